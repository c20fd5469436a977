//! The columns that a query or an expression gives.

use crate::catalog::desc::ColumnDesc;
use crate::catalog::types::Types;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::Ident;
use crate::pg::session::Session;

/// The columns of one SELECT, VALUES, TABLE or WITH … SELECT. The server only parses it.
///
/// *Errors:* what the server says of it; `SchemaMismatch` if it is no query that gives rows, or more
/// than one.
pub async fn output_columns(session: &Session, sql: &str) -> Result<Vec<ColumnDesc>> {
    // As it stands, so that no unbalanced parenthesis completes what is put around it; then within
    // another query, where only one that gives rows can stand.
    prepare(session, sql).await?;
    let wrapped = format!("SELECT * FROM ({sql}\n) AS \"source\"");
    let statement = prepare(session, &wrapped).await?;
    let columns = statement.columns();
    let oids: Vec<u32> = columns.iter().map(|column| column.type_().oid()).collect();
    let typmods: Vec<i32> = columns
        .iter()
        .map(tokio_postgres::Column::type_modifier)
        .collect();
    let types = Types::read(session, oids.iter().copied()).await?;
    let texts = type_texts(session, &oids, &typmods).await?;
    columns
        .iter()
        .zip(texts)
        .map(|(column, type_text)| {
            Ok(ColumnDesc {
                name: Ident::new(column.name()),
                ty: types.describe(session, column.type_().oid())?,
                typmod: column.type_modifier(),
                type_text,
                not_null: false,
                has_default: false,
                generated: None,
                identity: None,
                sequences: Vec::new(),
                privileged: true,
            })
        })
        .collect()
}

/// Has the server parse one statement; it never runs.
pub(super) async fn prepare(session: &Session, sql: &str) -> Result<tokio_postgres::Statement> {
    let prepared = session
        .answer(Phase::Inspect, session.client().prepare(sql))
        .await?;
    let statement = prepared.map_err(|error| not_a_query(session, error))?;
    if statement.params().is_empty() {
        return Ok(statement);
    }
    Err(Error::new(
        ErrorKind::SchemaMismatch,
        Phase::Inspect,
        session.side(),
        "the SQL has parameters such as $1, for which there are no values",
    )
    .at(session.server()))
}

async fn type_texts(session: &Session, oids: &[u32], typmods: &[i32]) -> Result<Vec<String>> {
    const TEXTS: &str = "\
        SELECT pg_catalog.format_type(t.oid, t.typmod) \
        FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[])) WITH ORDINALITY \
             AS t (oid, typmod, place) ORDER BY t.place";
    let rows = session
        .query(Phase::Inspect, TEXTS, &[&oids, &typmods])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What the server said of SQL from the configuration.
pub(super) fn not_a_query(session: &Session, error: tokio_postgres::Error) -> Error {
    session
        .error(Phase::Inspect, error)
        .hinted("it has to be one SELECT, VALUES, TABLE or WITH … SELECT, without a semicolon")
}
