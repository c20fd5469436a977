//! The statements that write to the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::ddl::unusable;
use super::run_record::{RunRecord, TableRecord};
use super::{ask, ask_if_any};
use crate::catalog::change_mark::ChangeMark;
use crate::catalog::mark::Mark;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::param::Param;
use crate::pg::session::Session;

/// The columns are assigned by name. The row of a run that has ended is not changed.
const RUN_SQL: &str = "\
    INSERT INTO tableferry.run AS was (run_id, job, state, trigger, due_at, started_at, finished_at, \
        heartbeat_at, instance, attempts, source_lsn, snapshot_at, error, retried) \
    SELECT run_id, job, state, trigger, due_at, started_at, finished_at, \
        pg_catalog.clock_timestamp(), instance, attempts, source_lsn, snapshot_at, error, retried \
    FROM pg_catalog.json_populate_record(NULL::tableferry.run, $1::pg_catalog.text::pg_catalog.json) \
    ON CONFLICT (run_id) DO UPDATE SET state = EXCLUDED.state, finished_at = EXCLUDED.finished_at, \
        heartbeat_at = EXCLUDED.heartbeat_at, instance = EXCLUDED.instance, \
        attempts = EXCLUDED.attempts, source_lsn = EXCLUDED.source_lsn, \
        snapshot_at = EXCLUDED.snapshot_at, error = EXCLUDED.error, retried = EXCLUDED.retried \
    WHERE was.state = 'running' \
    RETURNING was.run_id";

/// The watermarks were written by the same transaction.
const TABLES_SQL: &str = "\
    INSERT INTO tableferry.run_table (run_id, target, source, mode, format, rows_read, rows_written, \
        rows_inserted, rows_updated, rows_deleted, rows_rejected, bytes, compare, drift, drift_more, \
        watermark) \
    SELECT run.run_id, t.target, t.source, t.mode, t.format, t.rows_read, t.rows_written, \
        t.rows_inserted, t.rows_updated, t.rows_deleted, t.rows_rejected, t.bytes, t.compare, t.drift, \
        t.drift_more, w.value \
    FROM tableferry.run \
    CROSS JOIN pg_catalog.json_populate_recordset(NULL::tableferry.run_table, \
        $2::pg_catalog.text::pg_catalog.json) AS t \
    LEFT JOIN tableferry.watermark w \
        ON w.run_id = run.run_id AND w.job = run.job AND w.target = t.target \
    WHERE run.run_id = $1::pg_catalog.text::pg_catalog.uuid";

/// The ledger says that the run has ended, for example that it is lost. Another run may do its work now.
#[derive(Debug, thiserror::Error)]
#[error("the ledger says that this run has ended already")]
pub(super) struct Superseded;

/// Writes the row of the run. *Errors:* caused by `Superseded` if the ledger says that the run has ended.
pub(super) async fn run(target: &Session, entry: &RunRecord, phase: Phase) -> Result<()> {
    let json = json(entry)?;
    let rows = ask(target, phase, RUN_SQL, &[&json]).await;
    match rows?.is_empty() {
        false => Ok(()),
        true => {
            let message = Superseded.to_string();
            let error = Error::new(ErrorKind::Conflict, phase, target.side(), message);
            Err(unusable(error.at(target.server()).caused_by(Superseded)))
        }
    }
}

/// Writes the rows of the tables that the open transaction publishes.
///
/// *Errors:* a table that this run has published already violates the primary key: nothing is
/// published twice.
pub(super) async fn tables(target: &Session, run_id: Uuid, tables: &[TableRecord]) -> Result<()> {
    let rows = json(&tables)?;
    let run_id = run_id.to_string();
    let written = ask(target, Phase::Publish, TABLES_SQL, &[&run_id, &rows]).await;
    written.map(drop)
}

/// Has the transaction that published `relation` in this run been committed? Waits until it is decided: this
/// insert waits for a transaction that has inserted the same key.
///
/// A SELECT would find nothing while a COMMIT hangs. *Errors:* `Locked` if it is not decided within the
/// `lock_timeout` of the session.
pub(super) async fn is_committed(target: &Session, run_id: Uuid, relation: &str) -> Result<bool> {
    let sql = "INSERT INTO tableferry.run_table (run_id, target, source, mode, format, rows_read, \
                   rows_written, rows_inserted, rows_updated, rows_deleted, bytes) VALUES \
               ($1::pg_catalog.text::pg_catalog.uuid, $2, '', '', '', 0, 0, 0, 0, 0, 0) \
               ON CONFLICT DO NOTHING RETURNING target";
    target
        .begin(Phase::Commit, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    let run_id = run_id.to_string();
    let asked = target
        .query(Phase::Commit, sql, &[&run_id, &relation])
        .await;
    match asked {
        Ok(rows) => {
            target.run(Phase::Commit, "ROLLBACK").await?;
            Ok(rows.is_empty())
        }
        // The row of the run is gone. The key was checked first.
        Err(error) if error.sqlstate() == Some("23503") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The watermark of `relation` that the last published run of the job has recorded.
pub(in crate::run) async fn watermark(
    target: &Session,
    job: &str,
    relation: &QualifiedName,
) -> Result<Option<String>> {
    let sql = "SELECT value FROM tableferry.watermark WHERE job = $1 AND target = $2";
    let relation = relation.to_string();
    ask_if_any(
        target,
        Phase::Inspect,
        "a watermark",
        sql,
        &[&job, &relation],
    )
    .await?
    .map(|row| row.get(0))
    .transpose()
}

/// The marks of the job's targets, by their names, for `run/changes.rs`.
pub(in crate::run) async fn marks(target: &Session, job: &str) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT target, mark FROM tableferry.mark WHERE job = $1";
    let rows = ask(target, Phase::Inspect, sql, &[&job]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What the next run must know of a table.
pub(in crate::run) enum NextRun<'a> {
    Watermark(&'a Mark),
    Mark(&'a ChangeMark),
}

/// Records what the next run must know of `relation`. Must be called in the transaction that publishes the rows,
/// before `ledger::record_transaction`.
pub(in crate::run) async fn record_for_next_run(
    target: &Session,
    run_id: Uuid,
    job: &str,
    relation: &QualifiedName,
    known: NextRun<'_>,
) -> Result<()> {
    let (table, column, value) = match known {
        NextRun::Watermark(mark) => ("watermark", "value", json(mark)?),
        NextRun::Mark(mark) => ("mark", "mark", json(mark)?),
    };
    let sql = format!(
        "INSERT INTO tableferry.{table} (job, target, {column}, run_id) \
         VALUES ($1, $2, $3, $4::pg_catalog.text::pg_catalog.uuid) \
         ON CONFLICT (job, target) DO UPDATE SET {column} = EXCLUDED.{column}, \
             run_id = EXCLUDED.run_id, recorded_at = EXCLUDED.recorded_at"
    );
    let (relation, run_id) = (relation.to_string(), run_id.to_string());
    let parameters: [&dyn Param; 4] = [&job, &relation, &value, &run_id];
    let written = ask(target, Phase::Publish, &sql, &parameters).await;
    written.map(drop)
}

/// When a job is due next, for `job_status`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JobDue {
    pub job: String,
    /// `None`: on demand only.
    pub next_due_at: Option<Timestamp>,
    /// As PostgreSQL reads an interval.
    fresh_within: Option<String>,
}

impl JobDue {
    /// The job's `fresh_within` is recorded beside its next fire time.
    pub fn new(job: &JobSpec, next_due_at: Option<Timestamp>) -> Self {
        let interval = |limit: Duration| format!("{} seconds", limit.as_secs_f64());
        JobDue {
            job: job.name.clone(),
            next_due_at,
            fresh_within: job.fresh_within.map(interval),
        }
    }
}

/// Records when these jobs are due next. The jobs are locked in a fixed order, because several daemons may
/// do this at once.
pub(super) async fn set_next_due(target: &Session, jobs: &[JobDue]) -> Result<()> {
    let sql = "INSERT INTO tableferry.job (job, next_due_at, fresh_within) \
               SELECT job, next_due_at, fresh_within FROM pg_catalog.json_populate_recordset(\
                   NULL::tableferry.job, $1::pg_catalog.text::pg_catalog.json) ORDER BY job \
               ON CONFLICT (job) DO UPDATE SET next_due_at = EXCLUDED.next_due_at, \
                   fresh_within = EXCLUDED.fresh_within, \
                   recorded_at = EXCLUDED.recorded_at";
    let written = ask(target, Phase::After, sql, &[&json(&jobs)?]).await;
    written.map(drop)
}

/// How often old runs are looked for.
const PRUNE_INTERVAL: &str = "1 day";

/// The number of runs that one statement deletes, and the number of such statements in one run.
const PRUNE_ROWS_MAX: i64 = 1000;
const PRUNE_BATCHES_MAX: u32 = 20;

/// Deletes runs older than `keep`, at most once a day, and never the last committed run of a job. A role
/// without DELETE skips this.
pub(super) async fn prune(target: &Session, keep: Duration) -> Result<()> {
    let due = format!(
        "UPDATE tableferry.ledger SET pruned_at = pg_catalog.now() \
         WHERE pruned_at < pg_catalog.now() - INTERVAL '{PRUNE_INTERVAL}' \
         AND pg_catalog.has_table_privilege('tableferry.run', 'DELETE') \
         AND pg_catalog.has_table_privilege('tableferry.run_table', 'DELETE') \
         AND pg_catalog.has_table_privilege('tableferry.fire', 'DELETE') \
         AND pg_catalog.has_table_privilege('tableferry.rejected', 'DELETE') \
         AND pg_catalog.has_table_privilege('tableferry.request', 'DELETE') \
         RETURNING version"
    );
    let is_due = ask(target, Phase::After, &due, &[]).await;
    if is_due?.is_empty() {
        return Ok(());
    }
    let forget = "DELETE FROM tableferry.fire WHERE due_at < pg_catalog.clock_timestamp() \
        - pg_catalog.make_interval(secs => $1) AND run_id NOT IN (SELECT run_id FROM tableferry.run)";
    // Deletes the rows of run_table explicitly: with session_replication_role = replica, nothing cascades.
    let delete = "WITH old AS (\
            SELECT run_id FROM tableferry.run \
            WHERE started_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) \
            AND (state <> 'committed' OR EXISTS (\
                SELECT FROM tableferry.run AS newer WHERE newer.job = run.job \
                AND newer.state = 'committed' AND newer.started_at > run.started_at)) \
            LIMIT $2), \
        tables AS (DELETE FROM tableferry.run_table USING old WHERE run_table.run_id = old.run_id), \
        rejected AS (DELETE FROM tableferry.rejected USING old WHERE rejected.run_id = old.run_id) \
        DELETE FROM tableferry.run USING old WHERE run.run_id = old.run_id RETURNING run.run_id";
    for _ in 0..PRUNE_BATCHES_MAX {
        let deleted = ask(
            target,
            Phase::After,
            delete,
            &[&keep.as_secs_f64(), &PRUNE_ROWS_MAX],
        )
        .await?;
        if (deleted.len() as i64) < PRUNE_ROWS_MAX {
            break;
        }
    }
    let old_requests = "DELETE FROM tableferry.request WHERE requested_at < pg_catalog.clock_timestamp() \
        - pg_catalog.make_interval(secs => $1)";
    ask(target, Phase::After, old_requests, &[&keep.as_secs_f64()]).await?;
    let forgotten = ask(target, Phase::After, forget, &[&keep.as_secs_f64()]).await;
    forgotten.map(drop)
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(
            ErrorKind::Bug,
            Phase::Prepare,
            crate::error::Side::Local,
            format!("a run could not be written as JSON: {error}"),
        )
    })
}
