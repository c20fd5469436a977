//! The query that reads what is attached to tables.

use std::collections::BTreeMap;

use futures_util::future::join3;
use tokio_postgres::{Row, Statement};

use super::Attachments;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
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
    Question::prepare(session).await?.ask(session, names).await
}

/// The prepared query. Planning it takes longer than running it, and while readers wait it must be answered
/// at once.
pub struct Question(Statement);

impl Question {
    /// Prepares the query in this session.
    pub async fn prepare(session: &Session) -> Result<Self> {
        let sql = sql(session.version());
        let prepared = session.answer(Phase::Inspect, session.client().prepare(&sql));
        prepared
            .await?
            .map(Question)
            .map_err(|error| session.error(Phase::Inspect, error))
    }

    /// Asks it, in the session that it was prepared in.
    pub async fn ask(
        &self,
        session: &Session,
        names: &[QualifiedName],
    ) -> Result<AttachmentsByTable> {
        let rows = session.answer(Phase::Inspect, self.rows(session, names));
        read(session, rows.await?)
    }

    /// Asks it, runs these statements and asks it again. All is sent at once: who waits for the tables
    /// does not wait for round trips, too.
    ///
    /// *Errors:* the three answers stand in their order. After an error, the later ones are errors.
    pub async fn ask_around(
        &self,
        session: &Session,
        names: &[QualifiedName],
        statements: &str,
    ) -> Result<(
        Result<AttachmentsByTable>,
        Result<()>,
        Result<AttachmentsByTable>,
    )> {
        let work = join3(
            self.rows(session, names),
            session.client().batch_execute(statements),
            self.rows(session, names),
        );
        let (before, done, after) = session.answer(Phase::Publish, work).await?;
        let done = done.map_err(|error| session.error(Phase::Publish, error));
        Ok((read(session, before), done, read(session, after)))
    }

    async fn rows(&self, session: &Session, names: &[QualifiedName]) -> QueryResult {
        let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
        let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&schemas, &relations];
        session.client().query(&self.0, &parameters).await
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

fn sql(version: u32) -> String {
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
}
