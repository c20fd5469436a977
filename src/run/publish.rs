//! What happens on the target around the load: TRUNCATE or a lock before it, sequences and
//! deferred constraints after it, ANALYZE when all is published.

use super::modes::{self, older::Older};
use crate::config::spec::{JobSpec, Mode};
use crate::error::{Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::JobPlan;
use crate::plan::sql;
use crate::report::TableReport;

/// Locks the target's relations as the mode needs them, and empties them where it does that.
pub(super) async fn prepare(target: &Session, plan: &JobPlan) -> Result<()> {
    match &plan.truncate {
        Some(truncate) => target.run(Phase::Prepare, truncate).await?,
        None => {
            if let Some(lock) = sql::lock_targets(&plan.tables) {
                target.run(Phase::Lock, &lock).await?;
            }
        }
    }
    modes::swap::prepare(target, plan).await?;
    match &plan.defer {
        Some(defer) => target.run(Phase::Prepare, defer).await,
        None => Ok(()),
    }
}

/// The last work before COMMIT. Deferred constraints are checked here, where an error can still
/// be told apart from a COMMIT that went wrong. `builders` can work beside the target's own session.
pub(super) async fn finish(
    target: &Session,
    builders: &[Session],
    job: &JobSpec,
    plan: &JobPlan,
) -> Result<()> {
    target
        .run(Phase::Gate, "SET CONSTRAINTS ALL IMMEDIATE")
        .await?;
    modes::swap::index(target, builders, plan).await?;
    modes::swap::build(target, plan).await?;
    if job.sequences {
        for table in &plan.tables {
            for owned in &table.sequences {
                let moved = target.run(Phase::Publish, &owned.sql).await;
                moved.map_err(|error| error.on(&table.target))?;
            }
        }
    }
    modes::swap::attach(target, plan).await
}

/// What keeps readers waiting until COMMIT, and so comes last.
pub(super) async fn now(
    target: &Session,
    job: &JobSpec,
    plan: &JobPlan,
    older: &Older,
) -> Result<()> {
    modes::older::wait(target, job, older).await?;
    modes::swap::publish(target, job, plan).await
}

/// Refreshes the planner's statistics.
pub(super) async fn analyze(target: &Session, job: &JobSpec, tables: &[TableReport]) -> Result<()> {
    // A shadow was analysed before it was published.
    if !job.analyze || job.mode == Mode::Swap {
        return Ok(());
    }
    for table in tables {
        if let Ok(name) = QualifiedName::parse(&table.target) {
            let sql = format!("ANALYZE {}", name.sql());
            target
                .run(Phase::After, &sql)
                .await
                .map_err(|error| error.on(&name))?;
        }
    }
    Ok(())
}
