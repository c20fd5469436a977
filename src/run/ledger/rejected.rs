//! `tableferry.rejected`: rows that a run left out, written by the transaction that publishes the others.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ask;
use super::ddl::unusable;
use super::writes::json;
use crate::error::{Phase, Result, ServerError};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// Of a constraint that names no column, those that it is over. On a partition it may have another name
/// than on its parent.
const RECORD: &str = "\
    INSERT INTO tableferry.rejected (run_id, job, target, line, key, column_name, constraint_name, \
        sqlstate, reason, \"row\") \
    SELECT $1::pg_catalog.text::pg_catalog.uuid, $2, $3, r.line, r.key, \
        COALESCE(r.column_name, ( \
            SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY k.place) \
            FROM (SELECT c.conrelid, c.conkey FROM pg_catalog.pg_constraint AS c \
                  JOIN part ON part.oid = c.conrelid WHERE c.conname = r.constraint_name \
                  ORDER BY c.conrelid LIMIT 1) AS c \
            CROSS JOIN LATERAL pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k (number, place) \
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number), ( \
            SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY k.place) \
            FROM (SELECT x.indrelid, x.indkey FROM pg_catalog.pg_index AS x \
                  JOIN part ON part.oid = x.indrelid \
                  JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid WHERE c.relname = r.constraint_name \
                  ORDER BY x.indrelid LIMIT 1) AS x \
            CROSS JOIN LATERAL pg_catalog.unnest(x.indkey) WITH ORDINALITY AS k (number, place) \
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number)), \
        r.constraint_name, r.sqlstate, r.reason, r.\"row\" \
    FROM pg_catalog.json_populate_recordset(NULL::tableferry.rejected, \
        $4::pg_catalog.text::pg_catalog.json) AS r";

/// The table and its partitions.
const PARTS: &str = "\
    WITH part AS (\
        SELECT pg_catalog.to_regclass($5)::pg_catalog.oid AS oid \
        UNION SELECT p.relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($5)) AS p) ";

/// One rejected row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::run) struct Rejection {
    /// Its number among the rows that were read, or its line in a file.
    line: Option<u64>,
    /// Its key.
    key: Option<Map<String, Value>>,
    /// All of its values, or just the key.
    row: Option<Map<String, Value>>,
    column_name: Option<String>,
    constraint_name: Option<String>,
    sqlstate: String,
    reason: String,
}

impl Rejection {
    /// A row that the server refused.
    pub fn new(
        line: u64,
        key: Map<String, Value>,
        row: Map<String, Value>,
        refused: &ServerError,
    ) -> Self {
        let unless_empty = |object: Map<String, Value>| (!object.is_empty()).then_some(object);
        Rejection {
            line: Some(line),
            key: unless_empty(key),
            row: unless_empty(row),
            column_name: refused.column_name().map(str::to_owned),
            constraint_name: refused.constraint().map(str::to_owned),
            sqlstate: refused.code.clone(),
            reason: refused.reason(),
        }
    }
}

/// Whose rows they are.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct Quarantined<'a> {
    /// The run.
    pub run_id: Uuid,
    /// The job.
    pub job: &'a str,
}

impl Quarantined<'_> {
    /// Runs a statement that moves rows to `tableferry.rejected`, and returns their number.
    pub async fn move_rejected(self, target: &Session, sql: &str) -> Result<u64> {
        let run_id = self.run_id.to_string();
        let what = "the number of rejected rows";
        let row = target
            .one_row(Phase::Gate, what, sql, &[&run_id, &self.job])
            .await;
        row.map_err(unusable)?.count(0)
    }

    /// Records rejected rows in the open transaction, which publishes the others.
    pub async fn record(
        self,
        target: &Session,
        relation: &QualifiedName,
        rejections: &[Rejection],
    ) -> Result<()> {
        let sql = format!("{PARTS}{RECORD}");
        let rows = json(&rejections)?;
        let (run_id, name) = (self.run_id.to_string(), relation.to_string());
        let parameters: [&dyn crate::pg::param::Param; 5] =
            [&run_id, &self.job, &name, &rows, &relation.sql()];
        let written = ask(target, Phase::CopyIn, &sql, &parameters).await;
        written.map(drop)
    }
}
