//! Plans without running: `tableferry plan` and `check --connect`.

use super::context::RunContext;
use super::ends::{End, Ends};
use super::snapshot_age::SnapshotAge;
use super::{inspect, params, preflight};
use crate::catalog;
use crate::error::Result;
use crate::plan::copy::JobPlan;
use crate::plan::{Refusal, lock};

/// Connects to both servers and plans. Moves no rows, and locks nothing on the target.
pub async fn plan(run: &RunContext) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let mut ends = Ends::default();
    let planned = plan_with(run, &mut ends).await;
    ends.close().await;
    planned
}

async fn plan_with(run: &RunContext, ends: &mut Ends) -> Result<Result<JobPlan, Vec<Refusal>>> {
    ends.open_target(&run.context).await?;
    let resolved = params::resolved(run, ends.target()?).await?;
    let run = resolved.as_ref().unwrap_or(run);
    let context = &run.context;
    ends.open_source(context).await?;
    let (source, target) = (ends.source()?, ends.target()?);
    let snapshot_age = SnapshotAge::default();
    let inspected = inspect::inspect(context, source, target, &snapshot_age, 1).await?;
    let unwritable = match target {
        End::Server(target) => preflight::unwritable(run, target).await?,
        End::Files(_) => Vec::new(),
    };
    let mut plan = match inspected.plan {
        Ok(plan) => plan,
        Err(mut refusals) => {
            refusals.extend(unwritable);
            return Ok(Err(refusals));
        }
    };
    let mut refusals = preflight::check(context, source, target, &mut plan).await?;
    refusals.extend(unwritable);
    if let End::Server(source) = source {
        plan.seen_locks.source = catalog::locked(source).await?;
    }
    if let End::Server(target) = target {
        let candidates = lock::partitioned_candidates(&plan);
        plan.seen_locks.partitions = catalog::partitions(target, &candidates).await?;
    }
    Ok(match refusals.is_empty() {
        true => Ok(plan),
        false => Err(refusals),
    })
}
