//! Plans without running: `tableferry plan` and `check --connect`.

use super::context::RunContext;
use super::ends::{End, Ends};
use super::snapshot_age::SnapshotAge;
use super::{inspect, params, preflight};
use crate::catalog;
use crate::error::Result;
use crate::plan::copy::JobPlan;
use crate::plan::{self, Refusal, lock};

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
    let contexts = context.of_each_source();
    for context in &contexts {
        ends.open_source(context).await?;
    }
    let (mut plans, mut refusals) = (Vec::new(), Vec::new());
    for (at, context) in contexts.iter().enumerate() {
        ends.read_from(at);
        let (source, target) = (ends.source()?, ends.target()?);
        let snapshot_age = SnapshotAge::default();
        let inspected = inspect::inspect(context, source, target, &snapshot_age, 1).await?;
        match inspected.plan {
            Ok(mut plan) => {
                refusals.extend(preflight::check(context, source, target, &mut plan).await?);
                if let End::Server(source) = source {
                    plan.seen_locks.source = catalog::locked(source).await?;
                }
                plans.push(plan);
            }
            Err(refused) => refusals.extend(refused),
        }
    }
    let target = ends.target()?;
    if let End::Server(target) = target {
        refusals.extend(preflight::unwritable(run, target).await?);
    }
    let (true, Some(mut plan)) = (refusals.is_empty(), plan::join(plans)) else {
        return Ok(Err(refusals));
    };
    if let End::Server(target) = target {
        let candidates = lock::partitioned_candidates(&plan);
        plan.seen_locks.partitions = catalog::partitions(target, &candidates).await?;
    }
    Ok(Ok(plan))
}
