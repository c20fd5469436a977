//! Lists rows that a merge or an upsert would write, for `--dry-run`.

use super::differs::differs;
use super::parts::{self, Parts};
use crate::pg::ident::Ident;

/// The most rows that are listed for one table.
const ROWS_LISTED_MAX: u32 = 100;

/// From the table of changes.
pub(super) fn of_merge(parts: &Parts<'_>) -> String {
    let value = |at, name: &Ident| {
        format!(
            "COALESCE(\"staged\".{}, \"change\".{})",
            name.sql(),
            parts::key_name(at)
        )
    };
    let on_target = parts.same_key("\"target\"", |at, _| {
        format!("\"change\".{}", parts::key_name(at))
    });
    format!(
        "SELECT CASE WHEN \"change\".\"row\" IS NULL THEN 'delete' WHEN \"change\".\"is_new\" THEN 'insert' \
         ELSE 'update' END, {}, {}, {} \
         FROM {} AS \"change\" LEFT JOIN {} AS \"staged\" ON \"staged\".ctid OPERATOR(pg_catalog.=) \"change\".\"row\" \
         LEFT JOIN {} AS \"target\" ON {on_target} ORDER BY {} LIMIT {ROWS_LISTED_MAX}",
        key(parts, value),
        row(parts, "\"target\"", "NOT \"change\".\"is_new\""),
        row(parts, "\"staged\"", "\"change\".\"row\" IS NOT NULL"),
        parts.changes.sql(),
        parts.stage.sql(),
        parts.target_from(),
        order(parts, value),
    )
}

/// From the staging table: an upsert does not always have a table of changes.
pub(super) fn of_upsert(parts: &Parts<'_>, updates: bool) -> String {
    let value = |_: usize, name: &Ident| format!("\"staged\".{}", name.sql());
    let settable = parts.settable();
    let differs = differs("\"target\"", "\"staged\"", settable.iter().copied());
    let differs = differs.filter(|_| updates);
    let differs = differs.map_or(String::new(), |differs| format!(" OR {differs}"));
    format!(
        "SELECT CASE WHEN \"target\".ctid IS NULL THEN 'insert' ELSE 'update' END, {}, {}, {} \
         FROM {} AS \"staged\" LEFT JOIN {} AS \"target\" ON {} \
         WHERE \"target\".ctid IS NULL{differs} ORDER BY {} LIMIT {ROWS_LISTED_MAX}",
        key(parts, value),
        row(parts, "\"target\"", "\"target\".ctid IS NOT NULL"),
        row(parts, "\"staged\"", "true"),
        parts.stage.sql(),
        parts.target_from(),
        parts.same_as_staged("\"target\""),
        order(parts, value),
    )
}

fn order(parts: &Parts<'_>, value: impl Fn(usize, &Ident) -> String) -> String {
    let columns = parts.key.columns.iter().enumerate();
    let values: Vec<String> = columns
        .map(|(at, column)| value(at, &column.name))
        .collect();
    values.join(", ")
}

/// The key as JSON of texts.
fn key(parts: &Parts<'_>, value: impl Fn(usize, &Ident) -> String) -> String {
    let columns = parts.key.columns.iter().enumerate();
    json(columns.map(|(at, column)| (value(at, &column.name), &column.name)))
}

/// The row as JSON of texts, under a condition.
fn row(parts: &Parts<'_>, of: &str, condition: &str) -> String {
    let columns = parts.columns.iter();
    let row = json(columns.map(|column| (format!("{of}.{}", column.name.sql()), &column.name)));
    format!("CASE WHEN {condition} THEN {row} END")
}

fn json<'a>(values: impl Iterator<Item = (String, &'a Ident)>) -> String {
    let list: Vec<String> = values
        .map(|(value, name)| format!("{value}::pg_catalog.text AS {}", name.sql()))
        .collect();
    format!(
        "(SELECT pg_catalog.row_to_json(\"tableferry_row\")::pg_catalog.text FROM (SELECT {}) AS \"tableferry_row\")",
        list.join(", ")
    )
}
