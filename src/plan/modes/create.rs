//! The statements that make what the target lacks (`plan/create/`): tables before rows are loaded, indexes and foreign
//! keys after that.

use std::collections::BTreeSet;

use super::TransactionInput;
use crate::catalog::creation::Object;
use crate::config::spec::OnError;
use crate::error::Phase;
use crate::plan::copy::Load;
use crate::plan::step::{Statement, Step};

/// Which objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    All,
    /// Those that concern new tables only.
    New,
    /// Foreign keys to tables that exist. `swap` replaces these first.
    Existing,
}

/// What is made before rows are loaded. Rows that are judged one by one are judged by indexes and foreign keys, too.
pub(super) fn before(input: &TransactionInput<'_>) -> Vec<Step> {
    let objects = objects(input);
    let mut steps = statements(&objects, Phase::Prepare, |object| &object.before);
    if is_early(input) {
        steps.extend(statements(&objects, Phase::Prepare, |object| &object.after));
    }
    steps
}

/// What is made after that.
pub(super) fn after(input: &TransactionInput<'_>, reach: Reach) -> Vec<Step> {
    if is_early(input) {
        return Vec::new();
    }
    let mut objects = objects(input);
    objects.retain(|(_, object)| match reach {
        Reach::All => true,
        Reach::New => !object.is_outside,
        Reach::Existing => object.is_outside,
    });
    statements(&objects, Phase::Publish, |object| &object.after)
}

/// Are indexes made before the rows are loaded? Staged rows are written by their keys.
fn is_early(input: &TransactionInput<'_>) -> bool {
    let mut new = input.tables().filter(|(_, table)| table.is_new());
    input.job.on_error == OnError::Quarantine
        || new.any(|(_, table)| matches!(table.load, Load::Staged(_)))
}

fn statements<'a>(
    objects: &[(usize, &'a Object)],
    phase: Phase,
    of: impl Fn(&'a Object) -> &'a Vec<String>,
) -> Vec<Step> {
    let statements = objects.iter().flat_map(|(at, object)| {
        let list = of(object).iter();
        list.map(|sql| Step::Create(Statement::of_table(phase, *at, sql)))
    });
    statements.collect()
}

/// The objects that the transaction makes, each with the position of a table that needs it. An object is made for the
/// first table that needs it; one that joins tables, when the last of them is there.
fn objects<'a>(input: &TransactionInput<'a>) -> Vec<(usize, &'a Object)> {
    let mut made = BTreeSet::new();
    let (mut objects, mut joins) = (Vec::new(), Vec::new());
    for (at, table) in input.all.iter().enumerate() {
        for object in table.creation.iter().flat_map(|creation| &creation.objects) {
            if !made.insert(object.what.as_str()) {
                continue;
            }
            let joined = input.all.iter().zip(0..);
            let joined = joined.filter(|(table, _)| object.joins.contains(&table.target));
            let last = joined.map(|(_, at)| at).max();
            match object.joins.is_empty() {
                true if input.tables.contains(&at) => objects.push((at, object)),
                false if input.tables.contains(&last.unwrap_or(at)) => joins.push((at, object)),
                true | false => {}
            }
        }
    }
    objects.extend(joins);
    objects
}
