//! Mode `truncate`: truncates all targets and loads them in one transaction.

use super::create::{self, Reach};
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
    steps.extend(create::after(input, Reach::All));
    steps.extend(common::sequences(input));
    steps.extend(common::checksums(input));
    steps.push(Step::Record);
    steps
}

/// One statement, because TRUNCATE refuses tables that tables outside the statement reference. Never
/// CASCADE: it would empty tables that the job does not name. Partitions are emptied when it is known which of
/// them get rows; until then their parent is locked, so that no others are attached.
fn truncate(input: &TransactionInput<'_>) -> Vec<Step> {
    let (whole, parents): (Vec<_>, Vec<_>) = input
        .tables()
        .map(|(_, table)| table)
        .partition(|table| table.partitions.replaced.is_none());
    let statement = |phase, sql| Step::Statement(Statement::of_all(phase, sql));
    let mut steps = Vec::new();
    if !parents.is_empty() {
        let names: Vec<String> = parents.iter().map(|table| table.target.sql()).collect();
        let names = names.join(", ONLY ");
        let sql = format!("LOCK TABLE ONLY {names} IN SHARE UPDATE EXCLUSIVE MODE");
        steps.push(statement(Phase::Lock, sql));
    }
    if !whole.is_empty() {
        let names: Vec<String> = whole.iter().map(|table| table.target_from()).collect();
        let sql = format!("TRUNCATE TABLE {}", names.join(", "));
        steps.push(statement(Phase::Prepare, sql));
    }
    steps
}
