//! The statements of all staged tables of a transaction, in the order in which they run.

use super::merge;
use super::types::{Apply, Staged};
use super::upsert::NewRows;
use crate::plan::copy::{CopyPlan, Load};

/// The tables of a plan that are staged.
pub fn of(tables: &[CopyPlan]) -> impl Iterator<Item = (&CopyPlan, &Staged)> {
    tables.iter().filter_map(|table| match &table.load {
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        Load::Staged(staged) => Some((table, staged.as_ref())),
    })
}

/// Locks the targets that another session reads while they are compared.
pub fn reader_lock(tables: &[CopyPlan]) -> Option<String> {
    let streams = tables.iter().filter(|table| table.stream().is_some());
    let names: Vec<String> = streams.map(CopyPlan::target_from).collect();
    let sql = || format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    (!names.is_empty()).then(sql)
}

/// The statements that check the staged keys.
pub fn key_checks(tables: &[CopyPlan]) -> impl Iterator<Item = &str> {
    of(tables)
        .flat_map(|(_, staged)| {
            let partitions = staged.partitionless.iter().map(|found| &found.count);
            let keys: Vec<&String> = match staged.surplus_rows() {
                Some(sql) => vec![sql],
                None => {
                    let repeated = staged.repeated_keys.iter().map(|found| &found.count);
                    staged.null_keys.iter().chain(repeated).collect()
                }
            };
            let analyze = staged.is_analyzed_first().then_some(&staged.analyze);
            analyze.into_iter().chain(partitions).chain(keys)
        })
        .map(String::as_str)
}

/// The statements that compare the staged tables with their targets and write the differences, in order.
pub fn changes(tables: &[CopyPlan]) -> Vec<&str> {
    let mut list = Vec::new();
    let mut merges = Vec::new();
    let mut upserts = Vec::new();
    for (_, staged) in of(tables) {
        match &staged.apply {
            Apply::Merge(merge) => merges.push(merge),
            Apply::Upsert(upsert) => upserts.push((staged, upsert)),
        }
    }
    for merge in &merges {
        match &merge.direct {
            Some(direct) => list.push(&direct.count),
            None => list.extend(merge.comparison()),
        }
    }
    for (at, step) in merge::steps(&merges) {
        let merge = merges[at];
        let direct = merge.direct.as_ref().map(|direct| &direct.writes);
        list.extend(direct.unwrap_or(&merge.writes).statements(step));
    }
    for (staged, upsert) in &upserts {
        let sample = upsert.changes.iter().flat_map(|changes| &changes.sample);
        list.extend(sample);
        let counts = upsert.counts();
        list.extend(counts.map(|counts| &counts.exist));
        if upsert.new_rows == NewRows::Written {
            continue;
        }
        if !staged.is_analyzed_first() {
            list.push(&staged.analyze);
        }
        if let Some(changes) = &upsert.changes {
            list.extend(&changes.make);
            list.push(&changes.count_new);
        }
        if upsert.may_write_at_once() {
            list.push(&upsert.count_new);
        }
    }
    for (_, upsert) in &upserts {
        list.extend(upsert.changes.as_ref().map(|changes| &changes.insert));
        if upsert.may_write_at_once() {
            let read = upsert.counts().map(|counts| &counts.read);
            list.extend(read);
            list.push(&upsert.insert);
            list.extend(read);
        }
    }
    list.into_iter().map(String::as_str).collect()
}

/// The statements that compare rows again which were written as they were staged, and write what then differs: other
/// sessions have changed some of them since they were read.
pub fn conflicts(tables: &[CopyPlan]) -> Vec<&str> {
    let direct = of(tables).filter_map(|(_, staged)| match &staged.apply {
        Apply::Merge(merge) => merge.direct.is_some().then_some(merge),
        Apply::Upsert(_) => None,
    });
    let merges: Vec<&merge::Merge> = direct.collect();
    let compared = merges.iter().flat_map(|merge| merge.comparison());
    let steps = merge::steps(&merges).into_iter();
    let written = steps.flat_map(|(at, step)| merges[at].writes.statements(step));
    compared.chain(written).map(String::as_str).collect()
}

/// The statements that compare again the tables whose rows foreign keys or triggers may have changed.
pub fn compared_again(tables: &[CopyPlan]) -> Vec<&str> {
    let all: Vec<&Staged> = of(tables).map(|(_, staged)| staged).collect();
    let again = |table: &CopyPlan| all.iter().any(|by| by.effects.may_change(&table.target));
    let list = of(tables).filter(|(table, _)| again(table));
    list.flat_map(|(_, staged)| staged.apply.compare_again())
        .map(String::as_str)
        .collect()
}
