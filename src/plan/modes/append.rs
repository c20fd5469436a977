//! Mode `append`: adds the rows. With a watermark, some rows are read again. So rows are staged, and rows
//! whose keys exist on the target are left out.

use super::create::{self, Reach};
use super::{TransactionInput, common, upsert};
use crate::plan::copy::Load;
use crate::plan::step::Step;

pub(super) fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    let is_staged = |load: &Load| matches!(load, Load::Staged(_));
    let staged = input.tables().any(|(_, table)| is_staged(&table.load));
    let mut steps = common::begin(input);
    steps.extend(common::lock(input, "ROW EXCLUSIVE"));
    steps.extend(common::defer_circle(input));
    steps.extend(common::load(input, staged));
    steps.extend(common::end_snapshot(input));
    steps.push(Step::Gate);
    if staged {
        steps.extend([Step::CheckKeys, Step::Apply]);
    }
    steps.push(common::check_constraints());
    steps.extend(create::after(input, Reach::All));
    steps.extend(common::sequences(input));
    steps.extend(upsert::drop_stages(input));
    steps.push(Step::Record);
    steps
}
