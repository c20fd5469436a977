//! Mode `upsert`: stages the rows, and inserts or updates them by their keys.

use super::create::{self, Reach};
use super::{TransactionInput, common};
use crate::error::Phase;
use crate::plan::copy::Load;
use crate::plan::step::{Statement, Step};

pub(super) fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = common::begin(input);
    steps.extend(common::lock(input, "ROW EXCLUSIVE"));
    steps.push(common::defer());
    steps.extend(common::load(input, true));
    steps.extend(common::judge(input));
    steps.extend(common::end_snapshot(input));
    steps.extend([Step::Gate, Step::CheckKeys, Step::Apply]);
    steps.push(common::check_constraints());
    steps.extend(create::after(input, Reach::All));
    steps.extend(common::sequences(input));
    steps.extend(drop_stages(input));
    steps.extend(common::drop_parts(input));
    steps.push(Step::Record);
    steps
}

/// Drops the staging tables of several workers. Temporary ones are dropped at the end of their transaction.
pub(super) fn drop_stages<'a>(input: &'a TransactionInput<'a>) -> impl Iterator<Item = Step> + 'a {
    input.tables().filter_map(|(at, table)| match &table.load {
        Load::Staged(staged) => {
            let sql = staged.drop.as_ref()?;
            Some(Step::Statement(Statement::of_table(
                Phase::Publish,
                at,
                sql,
            )))
        }
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
    })
}
