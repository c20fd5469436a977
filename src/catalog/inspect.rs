//! All that a plan needs, from both servers.

use std::collections::BTreeMap;

use crate::catalog::desc::{ColumnDesc, Inspected, Privileges, RelationDesc, RelationKind};
use crate::catalog::{Session, output_columns, read};
use crate::config::spec::{TableInput, TableSpec};
use crate::error::{Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};

/// Reads what both servers know of a job's tables: a few queries a server, and one or two more for
/// each `query`, `where` and `set`, which the source parses here, before a row moves.
pub async fn inspect(
    source: &Session,
    target: &Session,
    tables: Vec<TableSpec>,
) -> Result<Vec<Inspected>> {
    let read_names: Vec<QualifiedName> = tables
        .iter()
        .filter_map(|table| match &table.input {
            TableInput::Relation(name) => Some(name.clone()),
            TableInput::Query(_) => None,
        })
        .collect();
    let written_names: Vec<QualifiedName> = tables.iter().map(|t| t.target.clone()).collect();
    // Two servers: their round trips go side by side.
    let (sources, targets) =
        tokio::try_join!(read(source, &read_names), read(target, &written_names))?;
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let described = match &spec.input {
            TableInput::Relation(name) => sources.get(name).cloned(),
            TableInput::Query(query) => Some(
                query_desc(source, &spec.target, query)
                    .await
                    .map_err(|error| error.on(&spec.target))?,
            ),
        };
        let set = match &described {
            Some(desc) => expressions(source, &spec, desc.kind)
                .await
                .map_err(|error| error.on(&spec.target))?,
            None => BTreeMap::new(),
        };
        inspected.push(Inspected {
            target: targets.get(&spec.target).cloned(),
            source: described,
            set,
            spec,
        });
    }
    Ok(inspected)
}

async fn query_desc(source: &Session, target: &QualifiedName, query: &str) -> Result<RelationDesc> {
    let columns = output_columns(source, query).await?;
    let rows = source
        .query(
            Phase::Inspect,
            "SELECT pg_catalog.current_setting('lc_monetary')",
            &[],
        )
        .await?;
    Ok(RelationDesc {
        name: target.clone(),
        kind: RelationKind::Query,
        server_version: source.version(),
        columns,
        primary_key: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        rules: Vec::new(),
        triggers: Vec::new(),
        row_security_applies: false,
        has_children: false,
        rows_estimate: None,
        bytes_estimate: 0,
        // Whether the query may read what it reads shows when it runs, or is locked for.
        privileges: Privileges {
            select: true,
            usage: true,
            ..Privileges::default()
        },
        lc_monetary: rows.first().map(|row| row.get(0)).unwrap_or_default(),
    })
}

/// The types of the `set` expressions; and `where` is parsed.
async fn expressions(
    source: &Session,
    spec: &TableSpec,
    kind: RelationKind,
) -> Result<BTreeMap<Ident, ColumnDesc>> {
    if spec.set.is_empty() && spec.filter.is_none() {
        return Ok(BTreeMap::new());
    }
    let from = match &spec.input {
        TableInput::Relation(name) if kind == RelationKind::Table => format!("ONLY {}", name.sql()),
        TableInput::Relation(name) => name.sql(),
        TableInput::Query(query) => format!("({query}\n) AS \"source\""),
    };
    let list: Vec<String> = spec
        .set
        .iter()
        .map(|(name, expression)| format!("({expression}\n) AS {}", name.sql()))
        .collect();
    let filter = match &spec.filter {
        Some(filter) => format!(" WHERE ({filter}\n)"),
        None => String::new(),
    };
    let sql = format!("SELECT {} FROM {from}{filter}", list.join(", "));
    let columns = output_columns(source, &sql).await?;
    Ok(columns
        .into_iter()
        .map(|column| (column.name.clone(), column))
        .collect())
}
