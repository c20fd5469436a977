//! What tables hold, read as text by SQL of its own: nothing of tableferry's code has a part in it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::job::{Job, JobTable};
use super::schema::{Column, Schema, Table, qualified, quoted};
use crate::support::Connection;

pub type Row = Vec<Option<String>>;

/// Sorted rows by table.
pub type Reading = BTreeMap<String, Vec<Row>>;

/// One entry of a job, with the columns that it copies.
#[derive(Debug)]
pub struct Task<'a> {
    pub entry: JobTable,
    pub target: &'a Table,
    /// Columns of the target, and what the source gives for them.
    pub columns: Vec<(&'a str, String)>,
    /// Columns of the target by which its rows are known.
    pub key: Vec<&'a str>,
}

/// What the job means to copy. None for an entry that can't be: the run has to refuse it.
pub fn tasks<'a>(job: &Job, source: &Schema, target: &'a Schema) -> Vec<Option<Task<'a>>> {
    let mut entries = job.tables.clone();
    if job.wildcard {
        let matched = source.tables.iter().filter(|table| !table.is_partition());
        for table in matched {
            if !entries.iter().any(|entry| entry.source == table.name) {
                entries.push(JobTable::plain(&table.name));
            }
        }
    }
    entries
        .into_iter()
        .map(|entry| task(entry, source, target))
        .collect()
}

fn task<'a>(entry: JobTable, source: &Schema, target: &'a Schema) -> Option<Task<'a>> {
    let (from, to) = (source.table(&entry.source)?, target.table(&entry.target)?);
    let mut columns = Vec::new();
    for column in &to.columns {
        if column.is_generated() {
            // What both compute is the same, if all that they compute it of is.
            let as_it_is = entry.columns.is_none() && entry.set.is_empty();
            if as_it_is && from.column(&column.name).is_some_and(Column::is_generated) {
                columns.push((column.name.as_str(), quoted(&column.name)));
            }
            continue;
        }
        let set = entry.set.iter().find(|(name, _)| *name == column.name);
        let named = entry
            .columns
            .as_ref()
            .is_none_or(|names| names.contains(&column.name));
        let value = match set {
            Some((_, value)) => format!("({value})"),
            None if named && from.column(&column.name).is_some() => quoted(&column.name),
            None => continue,
        };
        columns.push((
            column.name.as_str(),
            format!("{value}::{}", column.ty.sql()),
        ));
    }
    let names = match &entry.key {
        Some(names) => names.as_slice(),
        None => to.primary().map_or(&[][..], |key| &key.columns),
    };
    let in_key = to
        .columns
        .iter()
        .filter(|column| names.contains(&column.name));
    let key = in_key.map(|column| column.name.as_str()).collect();
    Some(Task {
        entry,
        target: to,
        columns,
        key,
    })
}

/// All rows of all tables, every column, those of parents without their children's.
pub fn all(connection: &Connection, schema: &Schema) -> Option<Reading> {
    let queries = schema.tables.iter().map(|table| {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| quoted(&column.name))
            .collect();
        (
            table.name.clone(),
            columns,
            format!("FROM {}", table.own_rows()),
        )
    });
    read(connection, queries.collect())
}

/// What the source gives for each entry of the job, by target.
pub fn given(
    connection: &Connection,
    source: &Schema,
    tasks: &[Option<Task<'_>>],
) -> Option<Reading> {
    let query = |task: &Task<'_>| {
        let from = source.table(&task.entry.source)?;
        let rows = if task.entry.children {
            qualified(&from.name)
        } else {
            from.own_rows()
        };
        let condition = match &task.entry.condition {
            Some(condition) => format!(" WHERE {condition}"),
            None => String::new(),
        };
        let columns = task
            .columns
            .iter()
            .map(|(_, value)| value.clone())
            .collect();
        Some((
            task.target.name.clone(),
            columns,
            format!("FROM {rows}{condition}"),
        ))
    };
    read(
        connection,
        tasks.iter().flatten().filter_map(query).collect(),
    )
}

/// Rows of the target that are outside of what the job may delete.
pub fn outside(connection: &Connection, tasks: &[Option<Task<'_>>]) -> Option<Reading> {
    let query = |task: &Task<'_>| {
        let condition = task
            .entry
            .condition
            .as_ref()
            .filter(|_| task.entry.within)?;
        let columns = task
            .target
            .columns
            .iter()
            .map(|column| quoted(&column.name))
            .collect();
        let rows = task.target.own_rows();
        let from = format!("FROM {rows} WHERE ({condition}) IS NOT TRUE");
        Some((task.target.name.clone(), columns, from))
    };
    read(
        connection,
        tasks.iter().flatten().filter_map(query).collect(),
    )
}

/// None if a query fails: a case that shrinking broke.
fn read(connection: &Connection, queries: Vec<(String, Vec<String>, String)>) -> Option<Reading> {
    let mut reading = Reading::new();
    let mut sql: Vec<String> = Vec::new();
    for (n, (table, columns, from)) in queries.iter().enumerate() {
        reading.insert(table.clone(), Vec::new());
        let texts: Vec<String> = columns
            .iter()
            .map(|column| format!("({column})::text"))
            .collect();
        sql.push(format!(
            "SELECT {n}, json_build_array({})::text {from}",
            texts.join(", ")
        ));
    }
    if sql.is_empty() {
        return Some(reading);
    }
    for row in connection.try_rows(&sql.join(" UNION ALL ")).ok()? {
        let number: usize = row[0].as_ref().unwrap().parse().unwrap();
        let values: Value = serde_json::from_str(row[1].as_ref().unwrap()).unwrap();
        let texts = values.as_array().unwrap().iter();
        let row: Row = texts
            .map(|value| value.as_str().map(str::to_owned))
            .collect();
        reading.get_mut(&queries[number].0).unwrap().push(row);
    }
    for rows in reading.values_mut() {
        rows.sort();
    }
    Some(reading)
}

/// A row out of its JSON.
pub fn row(text: &str) -> Option<Row> {
    let values: Value = serde_json::from_str(text).ok()?;
    let texts = values.as_array()?.iter();
    Some(
        texts
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
    )
}

/// Relations of which views show another number of rows than their table holds.
pub fn views(connection: &Connection, schema: &Schema) -> Vec<String> {
    let of = |extra: &super::schema::Extra| {
        let (view, table) = (extra.view.as_ref()?, schema.table(&extra.table)?);
        Some(format!(
            "SELECT '{}' WHERE (SELECT count(*) FROM {view}) <> (SELECT count(*) FROM {})",
            table.name.replace('\'', "''"),
            table.sql_name()
        ))
    };
    let sql: Vec<String> = schema.extras.iter().filter_map(of).collect();
    if sql.is_empty() {
        return Vec::new();
    }
    // A view that could not be made is no view.
    let rows = connection
        .try_rows(&sql.join(" UNION ALL "))
        .unwrap_or_default();
    rows.into_iter().filter_map(|row| row[0].clone()).collect()
}

/// What is wrong with the next values of a table's sequences, by column.
pub fn next_values(connection: &Connection, tasks: &[Option<Task<'_>>]) -> Vec<(String, String)> {
    let mut sql = Vec::new();
    for task in tasks.iter().flatten() {
        let table = task.target;
        // Sequences go past the values that are copied.
        let is_copied = |name: &str| task.columns.iter().any(|(copied, _)| *copied == name);
        for column in table
            .columns
            .iter()
            .filter(|column| column.filled.has_sequence() && is_copied(&column.name))
        {
            let literal = |text: &str| text.replace('\'', "''");
            sql.push(format!(
                "SELECT '{}', fz.next_value('{}', '{}', '{}')",
                literal(&table.name),
                literal(&table.sql_name()),
                literal(&table.own_rows()),
                literal(&column.name)
            ));
        }
    }
    if sql.is_empty() {
        return Vec::new();
    }
    let rows = connection.rows(&sql.join(" UNION ALL "));
    rows.into_iter()
        .filter_map(|row| Some((row[0].clone()?, row[1].clone()?)))
        .collect()
}
