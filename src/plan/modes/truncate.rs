//! Mode `truncate`: truncates all targets and loads them in one transaction.

use super::{TransactionInput, common};
use crate::error::Phase;
use crate::plan::step::{Statement, Step};

pub(super) fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = common::begin(input);
    steps.push(Step::CountReplaced);
    steps.extend(truncate(input));
    steps.extend(common::defer_circle(input));
    steps.extend(common::load(input, false));
    steps.extend(common::end_snapshot(input));
    steps.push(Step::Gate);
    steps.push(common::check_constraints());
    steps.extend(common::sequences(input));
    steps.extend(common::checksums(input));
    steps.push(Step::Record);
    steps
}

/// One statement, because TRUNCATE refuses tables that tables outside the statement reference. Never
/// CASCADE: it would empty tables that the job does not name.
fn truncate(input: &TransactionInput<'_>) -> Option<Step> {
    let names: Vec<String> = input.tables().map(|(_, t)| t.target_from()).collect();
    let sql = format!("TRUNCATE TABLE {}", names.join(", "));
    (!names.is_empty()).then(|| Step::Statement(Statement::of_all(Phase::Prepare, sql)))
}
