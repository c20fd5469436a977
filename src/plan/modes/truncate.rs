//! Mode `truncate`: empties all targets and loads them, in one transaction.

use super::{Facts, common};
use crate::error::Phase;
use crate::plan::step::{Run, Step};

pub(super) fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = common::begin(facts);
    steps.push(Step::CountReplaced);
    steps.extend(truncate(facts));
    steps.extend(common::defer_circle(facts));
    steps.extend(common::load(facts, false));
    steps.extend(common::end_snapshot(facts));
    steps.push(Step::Gate);
    steps.push(common::check_constraints());
    steps.extend(common::sequences(facts));
    steps.extend(common::checksums(facts));
    steps.push(Step::Record);
    steps
}

/// One statement, so that foreign keys among the tables are no obstacle. Never CASCADE: it would empty
/// tables that nobody named.
fn truncate(facts: &Facts<'_>) -> Option<Step> {
    let names: Vec<String> = facts.tables().map(|(_, t)| t.target_from()).collect();
    let sql = format!("TRUNCATE TABLE {}", names.join(", "));
    (!names.is_empty()).then(|| Step::Run(Run::of_all(Phase::Prepare, sql)))
}
