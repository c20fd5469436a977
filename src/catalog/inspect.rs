//! Reads what the plan of one table needs: both relations, and the columns that its query or expressions
//! return.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::catalog::output::{self, output_columns};
use crate::config::spec::{TableInput, TableSpec};
use crate::error::{Error, Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::session::Session;

impl Inspected {
    /// Combines what is known of one table. The source parses a `query`, `where` or `set` here, before a row
    /// moves. `source_desc` is the relation that is read, if it exists.
    ///
    /// *Errors:* from the source, about the SQL.
    pub async fn new(
        source: &Session,
        spec: TableSpec,
        source_desc: Option<RelationDesc>,
        targets: &BTreeMap<QualifiedName, RelationDesc>,
    ) -> Result<Self> {
        let named = |error: Error| error.on(&spec.target);
        let described = match &spec.input {
            // The size of the whole tree is not known.
            TableInput::Relation(_) if spec.children => source_desc.map(|desc| RelationDesc {
                rows_estimate: None,
                bytes_estimate: 0,
                blocks: None,
                ..desc
            }),
            TableInput::Relation(_) | TableInput::File(_) => source_desc,
            TableInput::Query(query) => Some(
                query_desc(source, &spec.target, query)
                    .await
                    .map_err(named)?,
            ),
        };
        let set = match &described {
            Some(desc) => expressions(source, &spec, desc.kind).await.map_err(named)?,
            None => BTreeMap::new(),
        };
        Ok(Inspected {
            target: targets.get(&spec.target).cloned(),
            attachments: None,
            target_is_empty: false,
            creation: None,
            constraints: None,
            source: described,
            set,
            progress: None,
            changes: None,
            load: None,
            spec,
        })
    }
}

async fn query_desc(source: &Session, target: &QualifiedName, query: &str) -> Result<RelationDesc> {
    let columns = output_columns(source, query).await?;
    let sql = "SELECT pg_catalog.current_setting('lc_monetary')";
    let row = source
        .one_row(Phase::Inspect, "lc_monetary", sql, &[])
        .await?;
    Ok(RelationDesc::query(
        target.clone(),
        source.version(),
        columns,
        row.get(0)?,
    ))
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
        TableInput::Relation(name) if kind.has_own_rows() && !spec.children => {
            format!("ONLY {}", name.sql())
        }
        TableInput::Relation(name) => name.sql(),
        TableInput::Query(query) => format!("({query}\n) AS \"source\""),
        TableInput::File(_) => return Ok(BTreeMap::new()),
    };
    closed(source, spec, &from).await?;
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

/// Checks that each text is one expression with one value for each row. Without parentheses around it, an
/// unbalanced parenthesis or an open quote or comment is a syntax error; within parentheses it may not be.
async fn closed(source: &Session, spec: &TableSpec, from: &str) -> Result<()> {
    let set = spec.set.iter().map(|(name, expression)| {
        let sql = format!("SELECT {expression}\n FROM {from}");
        (format!("`set.{name}`"), sql)
    });
    let filter = spec.filter.iter().map(|filter| {
        let sql = format!("SELECT FROM {from} WHERE {filter}\n");
        ("`where`".to_owned(), sql)
    });
    // Beside columns, an aggregate is an error. Within CASE, a set-returning function is an error.
    let single = spec.set.iter().map(|(name, expression)| {
        let sql = format!("SELECT CASE WHEN true THEN ({expression}\n) END, * FROM {from}");
        (format!("`set.{name}`"), sql)
    });
    try_join_all(
        set.chain(single)
            .chain(filter)
            .map(|(key, sql)| async move {
                let parsed = output::prepare(source, &sql, EXPRESSION).await;
                parsed.map_err(|error| error.at_place(&key))
            }),
    )
    .await
    .map(drop)
}

const EXPRESSION: &str = "it has to be one SQL expression over the source's columns, with one value for each \
                          row; a subquery stands in parentheses";
