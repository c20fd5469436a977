//! What the modes that don't write into the target itself do around the load. What they run was
//! decided by the plan (`plan::staged`, `plan::swap`).

mod merge;
mod staging;
pub(super) mod swap;
mod upsert;

use crate::config::spec::{JobSpec, Mode, Scope, TableInput, Verify};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::staged::{self, Apply, Staged};
use crate::plan::{Inspected, sql};
use crate::report::TableReport;
use crate::words::counted;

/// One table that was loaded into staging, and its report.
struct Loaded<'a> {
    table: &'a CopyPlan,
    staged: &'a Staged,
    report: &'a mut TableReport,
}

/// The `where` that limits what `merge` deletes is written over the source's columns, and is asked
/// of the target's rows: does the target understand it?
pub(super) async fn check_scope(target: &Session, job: &JobSpec, entry: &Inspected) -> Result<()> {
    let spec = &entry.spec;
    let (Mode::Merge, Scope::Where, Some(filter), Some(desc)) =
        (job.mode, spec.scope, &spec.filter, &entry.target)
    else {
        return Ok(());
    };
    let from = sql::from_item(&TableInput::Relation(desc.name.clone()), desc.kind);
    let sql = format!("SELECT FROM {from} WHERE ({})", sql::closed(filter));
    let prepared = target.answer(Phase::Inspect, target.client().prepare(&sql));
    let prepared = prepared.await?.map_err(|error| {
        let error = Error::pg(Phase::Inspect, Side::Target, error);
        error.at(target.server()).on(&desc.name).hinted(
            "`scope = \"where\"` asks `where` of the target's rows, too: it may only use columns \
             and functions that both sides have",
        )
    });
    prepared.map(drop)
}

/// Makes the staging tables, once the target's relations are locked and known to be unchanged.
pub(super) async fn stage(target: &Session, plan: &JobPlan) -> Result<()> {
    for (table, staged) in staged::of(plan) {
        let made = target.run(Phase::Prepare, &staged.create).await;
        made.map_err(|error| error.on(&table.target))?;
    }
    Ok(())
}

/// Makes the target's rows of the staged ones, and counts what that changed. `reports` are those of
/// the plan's tables, in their order.
pub(super) async fn apply(
    target: &Session,
    job: &JobSpec,
    plan: &JobPlan,
    reports: &mut [TableReport],
) -> Result<()> {
    let mut merges = Vec::new();
    let mut upserts = Vec::new();
    let reports = plan.tables.iter().zip(reports);
    let reports = reports.filter(|(table, _)| matches!(table.load, Load::Staged(_)));
    for ((table, staged), (_, report)) in staged::of(plan).zip(reports) {
        let loaded = Loaded {
            table,
            staged,
            report,
        };
        staging::check(target, job, &loaded)
            .await
            .map_err(|error| error.on(&table.target))?;
        match &staged.apply {
            Apply::Merge(merge) => merges.push((merge, loaded)),
            Apply::Upsert(upsert) => upserts.push((upsert, loaded)),
        }
    }
    merge::apply(target, job, merges).await?;
    for (upsert, loaded) in upserts {
        upsert::apply(target, job, upsert, loaded).await?;
    }
    Ok(())
}

/// Were as many rows changed as the comparison found? A trigger may have dropped some, or somebody
/// else changed them in between.
fn expect(
    target: &Session,
    job: &JobSpec,
    table: &CopyPlan,
    what: &str,
    found: u64,
    done: u64,
) -> Result<()> {
    if found == done || job.verify == Verify::None {
        return Ok(());
    }
    let rows = counted(found, "row");
    let message = format!("the target has {what} {done} of {rows}");
    let error = if table.target_has_triggers {
        Error::new(
            ErrorKind::DataRejected,
            Phase::Publish,
            Side::Target,
            message,
        )
        .hinted(
            "a trigger on the target drops rows: `triggers = \"skip\"` leaves it out, \
             `verify = \"none\"` accepts it",
        )
    } else {
        Error::new(ErrorKind::Conflict, Phase::Publish, Side::Target, message)
            .hinted("somebody else changed the target's rows meanwhile; it will be tried again")
    };
    Err(error.at(target.server()).on(&table.target))
}

/// The counts in the only row of a query.
async fn counts<const N: usize>(target: &Session, sql: &str) -> Result<[u64; N]> {
    let rows = target.query(Phase::Publish, sql, &[]).await?;
    let mut counts = [0; N];
    if let Some(row) = rows.first() {
        for (at, count) in counts.iter_mut().enumerate() {
            *count = u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
        }
    }
    Ok(counts)
}
