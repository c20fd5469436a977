//! Reads runs from the ledger.

use super::ask;
use super::ddl::{self, LedgerState};
use super::run_record::RunRecord;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::session::Session;

/// The newest `limit` runs in a target's ledger, newest first, of one job or of all; `None` when
/// it has no ledger.
pub async fn history(
    target: &Session,
    job: Option<&str>,
    limit: usize,
) -> Result<Option<Vec<RunRecord>>> {
    match ddl::state(target).await? {
        LedgerState::Ready | LedgerState::Outdated => {}
        LedgerState::Nothing | LedgerState::Schema => return Ok(None),
    }
    let sql = "SELECT (pg_catalog.to_jsonb(run) || pg_catalog.jsonb_build_object('tables', COALESCE((\
                   SELECT pg_catalog.jsonb_agg(t ORDER BY t.target) FROM tableferry.run_table AS t \
                   WHERE t.run_id = run.run_id), '[]')))::pg_catalog.text \
               FROM tableferry.run WHERE $1::pg_catalog.text IS NULL OR job = $1 \
               ORDER BY started_at DESC, run_id DESC LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = ask(target, Phase::Inspect, sql, &[&job, &limit]).await?;
    let entries = rows.iter().map(|row| parse(target, row.get(0)));
    entries.collect::<Result<_>>().map(Some)
}

fn parse(target: &Session, json: String) -> Result<RunRecord> {
    let mut entry: RunRecord = serde_json::from_str(&json).map_err(|error| {
        let message = format!("a row of the ledger cannot be read: {error}");
        let kind = ErrorKind::SchemaMismatch;
        ddl::unusable(Error::new(kind, Phase::Inspect, target.side(), message)).at(target.server())
    })?;
    entry.server = target.server().to_owned();
    Ok(entry)
}
