//! Mode `merge`: stages the rows, and writes the differences to the target.

use super::create::{self, Reach};
use super::{TransactionInput, common, upsert};
use crate::plan::copy::CopyPlan;
use crate::plan::step::Step;

pub(super) fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = common::begin(input);
    let is_counted =
        |table: &CopyPlan| table.stream().is_none() && !table.is_counted_by_comparison();
    if input.tables().any(|(_, table)| is_counted(table)) {
        steps.push(Step::CountReplaced);
    }
    steps.extend(common::lock(input, "ROW EXCLUSIVE"));
    steps.push(common::defer());
    steps.extend(common::load(input, true));
    steps.extend(common::judge(input));
    steps.extend(common::end_snapshot(input));
    steps.extend([Step::Gate, Step::CheckKeys, Step::Apply]);
    steps.push(common::check_constraints());
    steps.extend(create::after(input, Reach::All));
    steps.extend(common::sequences(input));
    steps.extend(common::checksums(input));
    steps.extend(upsert::drop_stages(input));
    steps.extend(common::drop_parts(input));
    steps.push(Step::Record);
    steps
}
