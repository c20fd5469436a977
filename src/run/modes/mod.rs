//! Steps before and after the load in modes that load into another table than the target. The plan has
//! decided their statements (`plan::staged`, `plan::swap`).

mod locks;
mod merge;
pub(super) mod partitions;
mod published;
pub(super) mod replaced;
pub(super) mod rounds;
mod row_counts;
pub(super) mod shared;
pub(super) mod snapshot_wait;
pub(super) mod staging;
pub(super) mod swap;
mod upsert;

use crate::config::spec::{JobSpec, Mode, Scope, TableInput};
use crate::error::{Error, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::{Inspected, sql};
use crate::run::context::JobContext;
use crate::run::resume;
use crate::run::transaction::PlannedRelations;

/// Checks that the target can evaluate the `where` that limits the rows which `merge` deletes. It is
/// written for the source's columns.
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
            "`scope = \"where\"` evaluates `where` on the target, too: it may only use columns \
             and functions that both sides have",
        )
    });
    prepared.map(drop)
}

/// Creates the tables to load, after the target's relations have been locked and compared with the plan.
/// With several workers, `maker` is not the publishing session, and commits the tables; a shadow that one
/// worker loads whole is created by that worker.
pub(super) async fn make(
    context: &JobContext,
    maker: &Session,
    tables: &[CopyPlan],
    planned: &PlannedRelations,
    workers: u32,
) -> Result<()> {
    let shared = workers > 1;
    if shared {
        shared::begin(maker, Phase::Prepare).await?;
    }
    for table in tables {
        if let (Some(resume), Some(kept)) = (&table.resume, table.kept()) {
            resume::adopt(context, maker, table, resume, kept).await?;
            continue;
        }
        let statements = match &table.load {
            Load::Direct | Load::File(_) => continue,
            Load::Staged(staged) if staged.is_created_late() => continue,
            Load::Staged(staged) => &staged.create,
            Load::Shadow(_) if shared && !table.is_cut() => continue,
            Load::Shadow(shadow) => &shadow.make,
        };
        make_one(maker, table, statements, shared).await?;
        if let (Some(resume), Some(target)) = (&table.resume, planned.get(&table.target)) {
            let created = resume::create(maker, table, resume, target).await;
            created.map_err(|error| error.on(&table.target))?;
        }
    }
    match shared {
        true => shared::commit(maker).await,
        false => Ok(()),
    }
}

/// Creates a shadow in the transaction of the worker that loads it whole.
pub(super) async fn make_whole(loader: &Session, table: &CopyPlan) -> Result<()> {
    match &table.load {
        Load::Shadow(shadow) if !table.is_cut() => {
            make_one(loader, table, &shadow.make, true).await
        }
        Load::Direct | Load::Staged(_) | Load::Shadow(_) | Load::File(_) => Ok(()),
    }
}

async fn make_one(
    maker: &Session,
    table: &CopyPlan,
    statements: &[String],
    shared: bool,
) -> Result<()> {
    let made = async {
        for sql in statements {
            maker.run(Phase::Prepare, sql).await?;
        }
        match shared {
            true => shared::hide(maker, table.written()).await,
            false => Ok(()),
        }
    };
    made.await.map_err(|error: Error| error.on(&table.target))
}
