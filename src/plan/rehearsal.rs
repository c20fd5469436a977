//! `run --dry-run`: a plan that publishes nothing.

use super::copy::JobPlan;
use super::step::{Publish, Step};

/// Leaves out of the plan what publishes rows, and what ROLLBACK does not undo.
pub fn rehearse(plan: &mut JobPlan) {
    let count = plan.transactions.len();
    for (index, transaction) in plan.transactions.iter_mut().enumerate() {
        let goes_on = |step: &Step| index > 0 && *step == Step::Begin;
        let steps = &mut transaction.steps;
        steps.retain(|step| !publishes(step) && !goes_on(step));
        transaction.publish = match index + 1 == count {
            true => Publish::RollBack,
            false => Publish::GoOn,
        };
        transaction.after.clear();
        transaction.after_commit.clear();
    }
}

fn publishes(step: &Step) -> bool {
    matches!(
        step,
        Step::MoveSequence(_) | Step::Record | Step::WaitForSnapshots | Step::ReplaceTargets
    )
}
