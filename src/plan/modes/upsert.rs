//! Mode `upsert`: stages the rows, and inserts or updates them by their keys.

use super::{Facts, common};
use crate::error::Phase;
use crate::plan::copy::Load;
use crate::plan::step::{Run, Step};

pub(super) fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = common::begin(facts);
    steps.extend(common::lock(facts, "ROW EXCLUSIVE"));
    steps.push(common::defer());
    steps.extend(common::load(facts, true));
    steps.extend(common::judge(facts));
    steps.extend(common::end_snapshot(facts));
    steps.extend([Step::Gate, Step::CheckKeys, Step::Apply]);
    steps.push(common::check_constraints());
    steps.extend(common::sequences(facts));
    steps.extend(drop_stages(facts));
    steps.push(Step::Record);
    steps
}

/// Drops the staging tables of several workers. A temporary one goes with its transaction.
pub(super) fn drop_stages<'a>(facts: &'a Facts<'a>) -> impl Iterator<Item = Step> + 'a {
    facts.tables().filter_map(|(at, table)| match &table.load {
        Load::Staged(staged) => {
            let sql = staged.drop.as_ref()?;
            Some(Step::Run(Run::of_table(Phase::Publish, at, sql)))
        }
        Load::Direct | Load::Shadow(_) => None,
    })
}
