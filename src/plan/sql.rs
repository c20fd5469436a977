//! The statements of a plan. They qualify all names, because `search_path` is empty.

use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::{TableInput, TableSpec};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::column::{ColumnPlan, CopyFormat};

/// The source's FROM item.
pub fn read_from(spec: &TableSpec, kind: RelationKind) -> String {
    match &spec.input {
        TableInput::Relation(name) if spec.children => name.sql(),
        input => from_item(input, kind),
    }
}

/// The FROM item: the relation, with `ONLY` if it may have inheritance children, or the query in
/// parentheses.
pub fn from_item(input: &TableInput, kind: RelationKind) -> String {
    match input {
        TableInput::Relation(name) if kind.has_own_rows() => format!("ONLY {}", name.sql()),
        TableInput::Relation(name) => name.sql(),
        // The line break ends a comment at the end of the query, so that the parenthesis is not part of it.
        TableInput::Query(query) => format!("({query}\n) AS \"source\""),
        TableInput::File(file) => format!("file {}", file.name),
    }
}

/// `"a", "b"`, each with `prefix`.
pub fn names<'a>(prefix: &str, names: impl Iterator<Item = &'a Ident>) -> String {
    let list: Vec<String> = names
        .map(|name| format!("{prefix}{}", name.sql()))
        .collect();
    list.join(", ")
}

/// Combines `where` and another condition.
pub fn and(filter: Option<&str>, condition: Option<&str>) -> Option<String> {
    match (filter, condition) {
        (Some(filter), Some(condition)) => Some(format!("({}) AND ({condition})", closed(filter))),
        (only, None) | (None, only) => only.map(str::to_owned),
    }
}

/// The SELECT of the columns, in their order.
pub fn select(from: &str, columns: &[ColumnPlan], filter: Option<&str>) -> String {
    let list: Vec<String> = columns.iter().map(select_item).collect();
    let mut sql = String::from("SELECT ");
    sql.push_str(&list.join(", "));
    if !list.is_empty() {
        sql.push(' ');
    }
    sql.push_str("FROM ");
    sql.push_str(from);
    if let Some(filter) = filter {
        sql.push_str(&format!(" WHERE ({})", closed(filter)));
    }
    sql
}

fn select_item(column: &ColumnPlan) -> String {
    match &column.expression {
        Some(expression) => format!("({}) AS {}", closed(expression), column.name.sql()),
        None => column.name.sql(),
    }
}

/// Text of the configuration that a closing parenthesis can follow: a line break ends its last comment.
pub fn closed(text: &str) -> String {
    if text.contains("--") {
        format!("{text}\n")
    } else {
        text.to_owned()
    }
}

/// `COPY (SELECT …) TO STDOUT (…)`.
pub fn copy_out(select: &str, format: &CopyFormat) -> String {
    format!("COPY ({select}) TO STDOUT {}", format.options())
}

/// `COPY … FROM STDIN (…)`. Without columns the list is omitted, because `()` is not valid SQL. All columns
/// of such a target are generated, or it has none, so COPY's default list is empty, too.
pub fn copy_in(target: &QualifiedName, columns: &[ColumnPlan], format: &CopyFormat) -> String {
    copy_numbered_in(target, None, columns, format)
}

/// The same with a column before the others, which gets the number of each row.
pub fn copy_numbered_in(
    target: &QualifiedName,
    number: Option<&Ident>,
    columns: &[ColumnPlan],
    format: &CopyFormat,
) -> String {
    let columns = columns.iter().map(|column| &column.name);
    let names: Vec<String> = number.into_iter().chain(columns).map(Ident::sql).collect();
    let list = if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join(", "))
    };
    format!(
        "COPY {}{list} FROM STDIN {}",
        target.sql(),
        format.options()
    )
}

/// The same, with one more column.
pub fn copy_in_with(
    target: &QualifiedName,
    columns: &[ColumnPlan],
    last: &Ident,
    format: &CopyFormat,
) -> String {
    let names = columns.iter().map(|column| &column.name).chain([last]);
    let names: Vec<String> = names.map(Ident::sql).collect();
    format!(
        "COPY {} ({}) FROM STDIN (FORMAT {})",
        target.sql(),
        names.join(", "),
        format.as_str()
    )
}

/// COPY with FREEZE, into a table that was created in the same transaction.
pub fn frozen(copy_in: &str) -> String {
    format!("{}, FREEZE)", copy_in.strip_suffix(')').unwrap_or(copy_in))
}

/// Moves a sequence past its column's values, only in the direction of its increment.
///
/// A column without values does not move its sequence. The sequence keeps its step, because two servers may
/// share the numbers between them (odd, even). Values outside its bounds, and its last possible value, are
/// ignored, because they would exhaust it.
pub fn set_sequence(target: &RelationDesc, column: &Ident, sequence: &QualifiedName) -> String {
    let from = from_item(&TableInput::Relation(target.name.clone()), target.kind);
    let column = column.sql();
    let regclass = format!(
        "{}::pg_catalog.regclass",
        quote_literal(&sequence.sql()).trim_start()
    );
    let last = |what: &str, from_bound: &str, to_bound: &str| {
        format!(
            "(SELECT pg_catalog.{what}({column})::pg_catalog.numeric FROM {from} \
             WHERE {column} BETWEEN {from_bound} AND {to_bound})"
        )
    };
    // With CYCLE, the last value has a next one.
    let ascending = last(
        "max",
        "s.seqmin",
        "CASE WHEN s.seqcycle THEN s.seqmax ELSE GREATEST(s.seqmin, \
         s.seqmax::pg_catalog.numeric - s.seqincrement)::pg_catalog.int8 END",
    );
    let descending = last(
        "min",
        "CASE WHEN s.seqcycle THEN s.seqmin ELSE LEAST(s.seqmax, \
         s.seqmin::pg_catalog.numeric - s.seqincrement)::pg_catalog.int8 END",
        "s.seqmax",
    );
    format!(
        "SELECT pg_catalog.setval({regclass}, goal.value::pg_catalog.int8) FROM (\
         SELECT now.last_value, now.is_called, now.last_value + s.seqincrement \
         * pg_catalog.div(used.value - now.last_value, s.seqincrement) AS value \
         FROM pg_catalog.pg_sequence AS s CROSS JOIN {} AS now CROSS JOIN LATERAL (\
         SELECT CASE WHEN s.seqincrement > 0 THEN {ascending} ELSE {descending} END AS value\
         ) AS used WHERE s.seqrelid = {regclass} \
         AND pg_catalog.sign(used.value - now.last_value) <> -pg_catalog.sign(s.seqincrement::pg_catalog.numeric)\
         ) AS goal WHERE goal.value <> goal.last_value OR NOT goal.is_called",
        sequence.sql()
    )
}
