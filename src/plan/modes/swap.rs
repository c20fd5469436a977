//! Mode `swap`: loads new tables, builds everything that the targets have, and replaces all targets at
//! once.

use super::create::{self, Reach};
use super::{TransactionInput, common};
use crate::error::Phase;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::step::{Statement, Step};
use crate::plan::swap::OWN_TABLESPACE;
use crate::plan::swap::types::Shadow;

pub(super) fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = common::begin(input);
    steps.push(Step::CountReplaced);
    steps.extend(empty_new(input));
    // The new table copies the attachments of the old one, so DDL on the old one is blocked.
    steps.extend(common::lock(input, "SHARE UPDATE EXCLUSIVE"));
    steps.push(Step::FreeNames);
    // Several workers create their tables in their own transactions. This setting applies to the other
    // statements.
    let own = Statement::of_all(Phase::Prepare, OWN_TABLESPACE);
    steps.push(Step::Statement(own));
    steps.extend(common::load(input, true));
    let has_young_rows = shadows(input).any(|(_, table, shadow)| {
        // With one worker, only tables with other access methods have rows that are not frozen, and no wait
        // would help.
        !shadow.frozen && table.is_cut()
    });
    if has_young_rows {
        steps.push(Step::NoteSnapshots);
    }
    steps.extend(common::end_snapshot(input));
    steps.push(Step::Gate);
    steps.push(common::check_constraints());
    steps.extend(create::after(input, Reach::New));
    steps.push(Step::BuildIndexes);
    if input.workers > 1 {
        steps.extend(lock_shadows(input));
    }
    steps.extend(common::drop_parts(input));
    steps.extend(each(input, |shadow| &shadow.build));
    steps.extend(common::sequences(input));
    steps.extend(each(input, |shadow| &shadow.attach));
    steps.extend(common::checksums(input));
    steps.push(Step::Record);
    if has_young_rows {
        steps.push(Step::WaitForSnapshots);
    }
    steps.push(Step::ReplaceTargets);
    steps.extend(create::after(input, Reach::Existing));
    steps
}

/// Rows that `before_load` has inserted into new tables are replaced, too.
fn empty_new(input: &TransactionInput<'_>) -> Option<Step> {
    let new = input.tables().filter(|(_, table)| table.is_new());
    let names: Vec<String> = new.map(|(_, table)| table.target_from()).collect();
    let is_needed = !names.is_empty() && !input.job.sql.before_load.is_empty();
    let sql = format!("TRUNCATE TABLE {}", names.join(", "));
    is_needed.then(|| Step::Statement(Statement::of_all(Phase::Prepare, sql)))
}

fn shadows<'a>(
    input: &TransactionInput<'a>,
) -> impl Iterator<Item = (usize, &'a CopyPlan, &'a Shadow)> {
    input.tables().filter_map(|(at, table)| match &table.load {
        Load::Shadow(shadow) => Some((at, table, &**shadow)),
        Load::Direct | Load::Staged(_) | Load::File(_) => None,
    })
}

/// Tables that several workers loaded are visible to other sessions, so they are locked.
fn lock_shadows(input: &TransactionInput<'_>) -> Option<Step> {
    let names: Vec<String> = shadows(input).map(|(_, _, s)| s.name.sql()).collect();
    let names = names.join(", ");
    let sql = format!("LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE");
    (!names.is_empty()).then(|| Step::Statement(Statement::of_all(Phase::Publish, sql)))
}

fn each<'a>(
    input: &'a TransactionInput<'a>,
    statements: impl Fn(&'a Shadow) -> &'a Vec<String> + 'a,
) -> impl Iterator<Item = Step> + 'a {
    shadows(input).flat_map(move |(at, _, shadow)| {
        let list = statements(shadow).iter();
        list.map(move |sql| Step::Statement(Statement::of_table(Phase::Publish, at, sql)))
    })
}
