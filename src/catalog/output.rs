//! The columns that a query or an expression returns.

use crate::catalog::desc::ColumnDesc;
use crate::catalog::types::Types;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::session::Session;

/// The columns of one SELECT, VALUES, TABLE or WITH … SELECT. The server only parses it.
///
/// *Errors:* from the server; `SchemaMismatch` if the SQL is not exactly one query that returns rows.
pub async fn output_columns(session: &Session, sql: &str) -> Result<Vec<ColumnDesc>> {
    // First alone, so that an unbalanced parenthesis cannot complete the text around it; then within another
    // query, where only a query that returns rows is allowed.
    prepare(session, sql, A_QUERY).await?;
    let wrapped = format!("SELECT * FROM ({sql}\n) AS \"source\"");
    let statement = prepare(session, &wrapped, A_QUERY).await?;
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
            let ty = types.describe(session, column.type_().oid())?;
            let typmod = column.type_modifier();
            Ok(ColumnDesc::computed(column.name(), ty, typmod, type_text))
        })
        .collect()
}

/// What a `query` has to be.
pub(super) const A_QUERY: &str =
    "it has to be one SELECT, VALUES, TABLE or WITH … SELECT, without a semicolon";

/// Has the server parse one statement; it never runs. `hint` says what it has to be.
pub(super) async fn prepare(
    session: &Session,
    sql: &str,
    hint: &str,
) -> Result<tokio_postgres::Statement> {
    let prepared = session
        .answer(Phase::Inspect, session.client().prepare(sql))
        .await?;
    let statement = prepared.map_err(|error| sql_error(session, error, hint))?;
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

/// A server error about SQL from the configuration. A missing privilege does not mean that the SQL is wrong.
pub(super) fn sql_error(session: &Session, error: tokio_postgres::Error, hint: &str) -> Error {
    let error = session.error(Phase::Inspect, error);
    match error.kind() {
        ErrorKind::SchemaMismatch => error.hinted(hint),
        _ => error,
    }
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
