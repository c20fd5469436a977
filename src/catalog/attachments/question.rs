//! The query that reads what is attached to tables.

use std::collections::BTreeMap;

use futures_util::future::join3;
use tokio_postgres::{Row, Statement};

use super::Attachments;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::pg::session::Session;

const ATTACHMENTS: &str = include_str!("../attachments.sql");

/// The objects on which others may depend where they mean the table.
const OWN: &str = "\
(SELECT 1259::oid AS classid, c.oid, false AS is_identity \
  UNION ALL SELECT 1259, x.indexrelid, false FROM pg_catalog.pg_index AS x WHERE x.indrelid = c.oid \
  UNION ALL SELECT 1247, c.reltype, false \
  UNION ALL SELECT 1247, row_type.typarray, false \
  UNION ALL SELECT 2606, k.oid, false FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid) AS own";

/// The sequences of identity columns. They cannot be transferred: the new table has its own.
const IDENTITIES: &str = "\
(SELECT 1259::oid AS classid, dep.objid AS oid, true AS is_identity FROM pg_catalog.pg_depend AS dep \
   JOIN pg_catalog.pg_class AS s ON s.oid = dep.objid AND s.relkind = 'S' \
  WHERE dep.classid = 1259 AND dep.refclassid = 1259 AND dep.refobjid = c.oid AND dep.deptype = 'i') AS own";

/// What is attached to tables.
pub type AttachmentsByTable = BTreeMap<QualifiedName, Attachments>;

/// Reads what is attached to these tables, in one query. Relations that are not ordinary tables are not in
/// the result.
pub async fn attachments(session: &Session, names: &[QualifiedName]) -> Result<AttachmentsByTable> {
    let (_, attachments) = Question::ask_first(session, names).await?;
    Ok(attachments)
}

/// How the query is planned: with index lookups instead of scans of whole catalogs.
const PLANNING: &str = "SET jit = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
const PLANNED: &str = "RESET jit; RESET enable_hashjoin; RESET enable_mergejoin";

/// The prepared query. Planning it takes longer than running it, and while readers wait it must be answered
/// at once. It has no parameters, so the server plans it once.
pub struct Question(Statement);

impl Question {
    /// Prepares the query in this session, unless it was, and asks it.
    pub async fn ask_first(
        session: &Session,
        names: &[QualifiedName],
    ) -> Result<(Self, AttachmentsByTable)> {
        let sql = sql(session.version(), names);
        let question = Question(session.prepared(Phase::Inspect, &sql).await?);
        let client = session.client();
        let work = join3(
            client.batch_execute(PLANNING),
            question.rows(session),
            client.batch_execute(PLANNED),
        );
        let (planning, rows, planned) = session.answer(Phase::Inspect, work).await?;
        let attachments = read(session, planning.and(rows))?;
        planned.map_err(|error| session.error(Phase::Inspect, error))?;
        Ok((question, attachments))
    }

    /// Asks it again, runs these statements and asks it once more. All is sent at once: who waits for the
    /// tables does not wait for round trips, too.
    ///
    /// *Errors:* the three answers stand in their order. After an error, the later ones are errors.
    pub async fn ask_around(
        &self,
        session: &Session,
        statements: &str,
    ) -> Result<(
        Result<AttachmentsByTable>,
        Result<()>,
        Result<AttachmentsByTable>,
    )> {
        let work = join3(
            self.rows(session),
            session.client().batch_execute(statements),
            self.rows(session),
        );
        let (before, done, after) = session.answer(Phase::Publish, work).await?;
        let done = done.map_err(|error| session.error(Phase::Publish, error));
        Ok((read(session, before), done, read(session, after)))
    }

    async fn rows(&self, session: &Session) -> QueryResult {
        session.client().query(&self.0, &[]).await
    }
}

type QueryResult = std::result::Result<Vec<Row>, tokio_postgres::Error>;

fn read(session: &Session, asked: QueryResult) -> Result<AttachmentsByTable> {
    let rows = asked.map_err(|error| session.error(Phase::Inspect, error))?;
    rows.iter()
        .map(|row| {
            let attachments: Attachments = serde_json::from_str(row.get(1)).map_err(|error| {
                let message = "what is attached to a table has an unknown form";
                Error::new(ErrorKind::Bug, Phase::Inspect, session.side(), message)
                    .at(session.server())
                    .caused_by(error)
            })?;
            let name = QualifiedName::new(&attachments.schema, &attachments.name);
            Ok((name, attachments))
        })
        .collect()
}

fn sql(version: u32, names: &[QualifiedName]) -> String {
    let array = |part: fn(&QualifiedName) -> &Ident| {
        let literals: Vec<String> = names
            .iter()
            .map(|name| quote_literal(part(name).as_str()))
            .collect();
        format!("unnest(ARRAY[{}]::text[])", literals.join(", "))
    };
    let wanted = [array(|name| &name.schema), array(|name| &name.name)];
    let since = |since: u32, then: &'static str, or: &'static str| {
        if version >= since { then } else { or }
    };
    ATTACHMENTS
        .replace("@OWN@", OWN)
        .replace("@IDENTITIES@", IDENTITIES)
        .replace("@SET@", since(160_000, "SET", "MEMBER"))
        .replace("@DETACHING@", since(140_000, "i.inhdetachpending", "false"))
        .replace(
            "@STATISTICS_OF_ROWS@",
            since(
                140_000,
                "COALESCE(s.stxexprs::text LIKE '%:varattno 0 %', false)",
                "false",
            ),
        )
        .replace(
            "@COMPRESSION@",
            since(
                140_000,
                "CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END",
                "NULL",
            ),
        )
        .replace(
            "@PUBLISHED_SCHEMA@",
            since(
                150_000,
                "OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace AS s \
                    WHERE s.pnpubid = p.oid AND s.pnnspid = n.oid)",
                "",
            ),
        )
        .replace(
            "@PUBLISHED_COLUMNS@",
            since(
                150_000,
                "CASE WHEN r.prattrs IS NOT NULL THEN ARRAY( \
                    SELECT a.attname FROM pg_catalog.pg_attribute AS a \
                     WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs) ORDER BY a.attnum) END",
                "NULL",
            ),
        )
        .replace(
            "@PUBLISHED_ROWS@",
            since(150_000, "pg_get_expr(r.prqual, r.prrelid)", "NULL"),
        )
        // The last one: names may look like the others.
        .replace("@WANTED@", &wanted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are() {
        let sql = sql(150_000, &[QualifiedName::new("@SET@", "a'@OWN@@WANTED@")]);
        let wanted = "unnest(ARRAY['@SET@']::text[]), unnest(ARRAY['a''@OWN@@WANTED@']::text[])";
        assert!(sql.contains(wanted), "{sql}");
    }
}
