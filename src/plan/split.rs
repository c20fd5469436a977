//! `atomic = false`: a plan for each table, to be published one after the other.

use crate::config::spec::{JobSpec, Mode};
use crate::plan::copy::JobPlan;

/// The parts of a plan that are published in one transaction each: all of it, or a table.
pub fn transactions(job: &JobSpec, plan: JobPlan) -> Vec<JobPlan> {
    if job.atomic {
        return vec![plan];
    }
    let common = JobPlan {
        tables: Vec::new(),
        // A foreign key that is deferred is checked at the end of its own transaction, where nothing
        // has changed; but rows that change one after the other also pass through other states.
        defer: plan
            .defer
            .clone()
            .filter(|_| matches!(job.mode, Mode::Merge | Mode::Upsert)),
        ..plan.clone()
    };
    plan.tables
        .into_iter()
        .map(|table| JobPlan {
            truncate: (job.mode == Mode::Truncate)
                .then(|| format!("TRUNCATE TABLE {}", table.target_from())),
            tables: vec![table],
            ..common.clone()
        })
        .collect()
}
