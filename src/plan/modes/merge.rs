//! Mode `merge`: stages the rows, and makes the target the same by writing what differs.

use super::{Facts, common, upsert};
use crate::plan::step::Step;

pub(super) fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = common::begin(facts);
    steps.push(Step::CountReplaced);
    steps.extend(common::lock(facts, "ROW EXCLUSIVE"));
    steps.push(common::defer());
    steps.extend(common::load(facts, true));
    steps.extend(common::judge(facts));
    steps.extend(common::end_snapshot(facts));
    steps.extend([Step::Gate, Step::CheckKeys, Step::Apply]);
    steps.push(common::check_constraints());
    steps.extend(common::sequences(facts));
    steps.extend(common::checksums(facts));
    steps.extend(upsert::drop_stages(facts));
    steps.push(Step::Record);
    steps
}
