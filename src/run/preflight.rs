//! Checks on the servers before a row is copied: can the source be read, and the target be written?

use super::context::{JobContext, RunContext};
use super::ends::{End, SourceEnd, TargetEnd};
use super::ledger;
use crate::catalog::desc::RelationKind;
use crate::catalog::obstacles::obstacles;
use crate::config::spec::{JobSpec, TableSpec};
use crate::error::{ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::{self, Refusal};

/// Starts a query on the source for each view, query or computed column, and checks the target. Adds
/// warnings to the plan. The source has its snapshot; the target is in no transaction.
///
/// *Errors:* the source's own, for example about a function that the role may not execute.
pub(super) async fn check(
    context: &JobContext,
    source: SourceEnd<'_>,
    target: TargetEnd<'_>,
    plan: &mut JobPlan,
) -> Result<Vec<Refusal>> {
    if let End::Server(source) = source {
        check_source(context, source, plan).await?;
    }
    let End::Server(target) = target else {
        return Ok(Vec::new());
    };
    let tables = plan.tables.iter();
    let columns = tables.flat_map(|table| {
        let names = table.columns.iter();
        names.map(|column| (&table.target, column.name.as_str()))
    });
    let columns: Vec<_> = columns.collect();
    target.begin_reading(Phase::Inspect).await?;
    let found = obstacles(target, &columns).await?;
    target.end_reading(Phase::Inspect).await?;
    Ok(plan::obstacles::judge(&context.job, plan, &found))
}

/// Starts a query on the source for each view, query or computed column, which checks privileges.
pub(super) async fn check_source(
    context: &JobContext,
    source: &Session,
    plan: &JobPlan,
) -> Result<()> {
    let computed = |table: &&CopyPlan| is_computed(&context.job, table);
    for table in plan.tables.iter().filter(computed) {
        // Reads no row.
        let sql = format!("({}) LIMIT 0", table.comparison.source);
        let begun = source.query(Phase::Inspect, &sql, &[]).await;
        begun.map_err(|error| error.on(table.read_relation()))?;
    }
    Ok(())
}

/// Does its SELECT contain more than the columns of a table?
fn is_computed(job: &JobSpec, table: &CopyPlan) -> bool {
    let is_table = matches!(
        table.source_kind,
        RelationKind::Table | RelationKind::Partitioned
    );
    let mut specs = job.table.values();
    let is_set = |spec: &TableSpec| spec.filter.is_some() || !spec.set.is_empty();
    !is_table || specs.any(|spec| spec.target == table.target && is_set(spec))
}

/// Why a run could not write to the target at all, if so. For `plan` and `check`.
///
/// *Errors:* the ledger cannot be read, for another reason than a lack of privileges.
pub(super) async fn unwritable(run: &RunContext, target: &Session) -> Result<Vec<Refusal>> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery()";
    let row = target.one_row(Phase::Inspect, "the target's role", sql, &[]);
    if row.await?.get(0)? {
        let of = format!("server `{}`", target.server());
        let refusal = Refusal::mismatch(Side::Target, of, "is a standby, which takes no writes");
        let refusal = refusal.of_kind(ErrorKind::ServerShutdown);
        return Ok(vec![refusal.hinted(
            "name the primary, or all hosts with target_session_attrs=read-write",
        )]);
    }
    if !ledger::needs_schema(run) {
        return Ok(Vec::new());
    }
    let Err(error) = ledger::check(target).await else {
        return Ok(Vec::new());
    };
    if error.kind() != ErrorKind::Permission {
        return Err(error);
    }
    let refusal = Refusal::permission(Side::Target, "the ledger", error.message());
    Ok(vec![refusal.hinted(error.hint().unwrap_or_default())])
}
