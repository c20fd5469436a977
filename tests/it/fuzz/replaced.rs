//! `replace = "partitions"`: the rows that stay. The server's own partition constraints say where a row belongs.

use super::job::Job;
use super::reader::{Reading, Row, Task, row};
use super::schema::{Table, list, quoted};
use crate::support::Connection;

/// The rows of the partitions that get none, by partitioned target. None if a query fails: a case that shrinking
/// broke.
pub fn kept(
    connection: &Connection,
    job: &Job,
    tasks: &[Option<Task<'_>>],
    given: &Reading,
) -> Option<Reading> {
    let mut kept = Reading::new();
    let replaced = |task: &&Task<'_>| job.replaces_partitions_of(task.target);
    for task in tasks.iter().flatten().filter(replaced) {
        let name = &task.target.name;
        let new = new_rows(task, given.get(name)?);
        let mut queries = Vec::new();
        for leaf in leaves(connection, task.target)? {
            let [partition, condition] = leaf.as_slice() else {
                return None;
            };
            let columns = task.target.columns.iter();
            let texts: Vec<String> = columns
                .map(|column| format!("{}::text", quoted(&column.name)))
                .collect();
            queries.push(format!(
                "SELECT json_build_array({})::text FROM ONLY {} \
                 WHERE NOT EXISTS (SELECT FROM {new} WHERE {})",
                texts.join(", "),
                partition.as_ref()?,
                condition.as_deref().unwrap_or("true"),
            ));
        }
        let mut rows = Vec::new();
        if !queries.is_empty() {
            for text in connection.try_rows(&queries.join(" UNION ALL ")).ok()? {
                rows.push(row(text[0].as_ref()?)?);
            }
        }
        kept.insert(name.clone(), rows);
    }
    Some(kept)
}

/// The tables that hold the rows, and what is true of their rows alone.
fn leaves(connection: &Connection, table: &Table) -> Option<Vec<Row>> {
    let name = table.sql_name().replace('\'', "''");
    let sql = format!(
        "SELECT relid::regclass::text, pg_get_partition_constraintdef(relid) \
         FROM pg_partition_tree('{name}') WHERE isleaf"
    );
    connection.try_rows(&sql).ok()
}

/// The source's rows as a relation in the target's types.
fn new_rows(task: &Task<'_>, given: &[Row]) -> String {
    let names: Vec<&str> = task.columns.iter().map(|(name, _)| *name).collect();
    let types: Vec<&str> = names
        .iter()
        .filter_map(|name| task.target.column(name).map(|column| column.ty.sql()))
        .collect();
    let values = |row: &Row| -> String {
        let cells = row.iter().zip(&types).map(|(value, ty)| match value {
            Some(text) => format!("'{}'::{ty}", text.replace('\'', "''")),
            None => format!("NULL::{ty}"),
        });
        cells.collect::<Vec<_>>().join(", ")
    };
    let mut selects: Vec<String> = given
        .iter()
        .map(|row| format!("SELECT {}", values(row)))
        .collect();
    let none: Vec<Option<String>> = vec![None; types.len()];
    selects.push(format!("SELECT {} WHERE false", values(&none)));
    format!(
        "({}) AS given ({})",
        selects.join(" UNION ALL "),
        list(&names)
    )
}
