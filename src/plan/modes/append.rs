//! Mode `append`: the rows are added. With a watermark some are read again, so they are staged, and those
//! whose keys are there are left out.

use super::{Facts, common, upsert};
use crate::plan::copy::Load;
use crate::plan::step::Step;

pub(super) fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let is_staged = |load: &Load| matches!(load, Load::Staged(_));
    let staged = facts.tables().any(|(_, table)| is_staged(&table.load));
    let mut steps = common::begin(facts);
    steps.extend(common::lock(facts, "ROW EXCLUSIVE"));
    steps.extend(common::defer_circle(facts));
    steps.extend(common::load(facts, staged));
    steps.extend(common::end_snapshot(facts));
    steps.push(Step::Gate);
    if staged {
        steps.extend([Step::CheckKeys, Step::Apply]);
    }
    steps.push(common::check_constraints());
    steps.extend(common::sequences(facts));
    steps.extend(upsert::drop_stages(facts));
    steps.push(Step::Record);
    steps
}
