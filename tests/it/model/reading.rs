//! What both sides hold, read as text by SQL of its own, and what a run owes.

use std::collections::BTreeMap;

use super::case::Game;
use crate::support::{Connection, Outcome, changes};

type Row = Vec<Option<String>>;

/// Rows by their key.
pub type Rows = BTreeMap<Row, Row>;

/// The rows of a table that satisfy the condition.
pub fn rows(at: &Connection, game: &Game, columns: &[&str], condition: &str) -> Rows {
    let list: Vec<String> = columns.iter().map(|name| format!("{name}::text")).collect();
    let query = format!("SELECT {} FROM t WHERE {condition}", list.join(", "));
    let keys = game.shape.key.len();
    let rows = at.rows(&query).into_iter();
    rows.map(|mut row| {
        let rest = row.split_off(keys);
        (row, rest)
    })
    .collect()
}

/// What the target has to hold after a run.
pub fn owed(game: &Game, source: &Rows, before: &Rows, outside: &Rows) -> Rows {
    let keeps = match (game.mode, game.scope) {
        ("upsert", _) => before.clone(),
        (_, "where") => outside.clone(),
        _ => Rows::new(),
    };
    let mut owed = keeps;
    owed.extend(source.iter().map(|(key, row)| (key.clone(), row.clone())));
    owed
}

/// Rows that were inserted, updated and deleted.
fn differences(before: &Rows, after: &Rows) -> [u64; 3] {
    let mut counts = [0; 3];
    for (key, row) in after {
        match before.get(key) {
            None => counts[0] += 1,
            Some(old) if old != row => counts[1] += 1,
            Some(_) => {}
        }
    }
    counts[2] = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .count() as u64;
    counts
}

/// Says what is wrong with the target.
pub fn compare(owed: &Rows, after: &Rows) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, row) in owed {
        match after.get(key) {
            None => wrong.push(format!("missing {key:?}")),
            Some(is) if is != row => {
                wrong.push(format!("{key:?} is {}, not {}", short(is), short(row)))
            }
            Some(_) => {}
        }
    }
    let extra = after.keys().filter(|key| !owed.contains_key(*key));
    wrong.extend(extra.map(|key| format!("extra {key:?}")));
    match wrong.is_empty() {
        true => Ok(()),
        false => {
            let count = wrong.len();
            wrong.truncate(8);
            Err(format!("{count} rows are wrong: {}", wrong.join("; ")))
        }
    }
}

fn short(row: &Row) -> String {
    let cells = row.iter().map(|cell| match cell {
        None => "NULL".to_owned(),
        Some(text) => text.chars().take(12).collect(),
    });
    cells.collect::<Vec<_>>().join("|")
}

/// Says whether the report's counts of changes are true. `marks`: a marked row that returns is updated.
pub fn counts(
    outcome: &Outcome,
    (before, after): (&Rows, &Rows),
    marks: bool,
) -> Result<(), String> {
    let written = |[inserted, updated, deleted]: [u64; 3]| match marks {
        true => [inserted + updated, 0, deleted],
        false => [inserted, updated, deleted],
    };
    let said = written(changes(&outcome.report()["tables"][0]));
    let are = written(differences(before, after));
    match said == are {
        true => Ok(()),
        false => Err(format!(
            "the report says {said:?} rows were inserted, updated, deleted: {are:?}"
        )),
    }
}

/// No row is half one version and half another.
pub fn pairs(at: &Connection) -> Result<(), String> {
    match at.count("t WHERE a IS DISTINCT FROM b") {
        0 => Ok(()),
        rows => Err(format!("{rows} rows are of two versions")),
    }
}
