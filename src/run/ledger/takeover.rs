//! Runs whose process is gone are marked `lost`, so that another run can take over their fire. A run that
//! is marked lost cannot commit, even if its process is still alive: to commit, its row must be `running`.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::run_record::{RunState, instance};
use super::{ask, ask_if_any, ddl};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::session::Session;
use crate::run::RunContext;
use crate::run::advisory_lock::{self, Holder};

/// A run without a heartbeat for this long is taken for dead. Also in `schema.sql`.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

/// How long the backends of a lost run may take to end after pg_terminate_backend.
const TERMINATE_WAIT: Duration = Duration::from_secs(5);
const TERMINATE_PAUSE: Duration = Duration::from_millis(100);

/// Who runs a run, and its state.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub run_id: Uuid,
    /// `None`: the run's row was deleted long ago.
    pub state: Option<RunState>,
    pub instance: String,
    /// No heartbeat for `LOST_AFTER`.
    pub is_silent: bool,
}

/// Reads the owner and the state of a run.
pub(super) async fn owner(target: &Session, run_id: Uuid) -> Result<Owner> {
    let sql = "SELECT state, instance, \
                   heartbeat_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2) \
               FROM tableferry.run WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid";
    let row = ask_if_any(
        target,
        Phase::Prepare,
        "the state of a run",
        sql,
        &[&run_id.to_string(), &LOST_AFTER.as_secs_f64()],
    )
    .await?;
    Ok(match row {
        None => Owner {
            run_id,
            state: None,
            instance: "a daemon that is forgotten".to_owned(),
            is_silent: true,
        },
        Some(row) => Owner {
            run_id,
            state: Some(known(target, row.get(0)?)?),
            instance: row.get(1)?,
            is_silent: row.get(2)?,
        },
    })
}

/// Marks a run lost, if it is still `running`. Waits for a transaction that may be committing the run.
pub(super) async fn declare_lost(target: &Session, run_id: Uuid) -> Result<bool> {
    let sql = format!(
        "UPDATE tableferry.run {LOST} \
         WHERE run_id = $2::pg_catalog.text::pg_catalog.uuid AND state = 'running' RETURNING job"
    );
    let rows = ask(
        target,
        Phase::Prepare,
        &sql,
        &[&why_lost(), &run_id.to_string()],
    )
    .await;
    Ok(!rows?.is_empty())
}

const LOST: &str = "SET state = 'lost', finished_at = pg_catalog.clock_timestamp(), \
                    error = COALESCE(error, $1)";

fn why_lost() -> String {
    format!("its heartbeat stopped; declared lost by {}", instance())
}

/// Marks all other runs of the job lost that have had no heartbeat for `LOST_AFTER`. Skips runs whose
/// row is locked: a transaction is about to decide them.
pub(super) async fn declare_silent_lost(run: &RunContext, target: &Session) -> Result<Vec<Uuid>> {
    let sql = format!(
        "UPDATE tableferry.run {LOST} WHERE run_id IN (\
             SELECT run_id FROM tableferry.run WHERE job = $2 AND state = 'running' \
             AND run_id <> $3::pg_catalog.text::pg_catalog.uuid AND heartbeat_at < \
                 pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $4) \
             FOR UPDATE SKIP LOCKED) \
         RETURNING run_id::pg_catalog.text"
    );
    let rows = ask(
        target,
        Phase::Prepare,
        &sql,
        &[
            &why_lost(),
            &run.context.job.name,
            &run.context.run_id.to_string(),
            &LOST_AFTER.as_secs_f64(),
        ],
    )
    .await?;
    rows.iter().map(|row| uuid(target, row.get(0))).collect()
}

/// Terminates the backends of lost runs that still hold locks, for example because their client was
/// suspended or cut off. Their transactions are rolled back.
pub(super) async fn terminate_backends(target: &Session, lost: &[Uuid]) -> Result<()> {
    let deadline = Instant::now() + TERMINATE_WAIT;
    for run_id in lost {
        let key = advisory_lock::run_key(*run_id);
        while Instant::now() < deadline {
            let holders = advisory_lock::holders(target, key).await?;
            if holders.is_empty() {
                break;
            }
            for Holder { pid, .. } in holders {
                let sql = format!("SELECT pg_catalog.pg_terminate_backend({pid})");
                target.run(Phase::Prepare, &sql).await?;
            }
            tokio::time::sleep(TERMINATE_PAUSE).await;
        }
    }
    Ok(())
}

pub(super) fn uuid(target: &Session, text: String) -> Result<Uuid> {
    text.parse().map_err(|_| strange(target, "run", &text))
}

fn known(target: &Session, state: String) -> Result<RunState> {
    RunState::parse(&state).ok_or_else(|| strange(target, "state", &state))
}

/// The error for a value that no version up to this one writes.
fn strange(target: &Session, what: &str, text: &str) -> Error {
    let message = format!("the ledger holds a {what} that is not known here: {text}");
    let kind = ErrorKind::SchemaMismatch;
    ddl::unusable(Error::new(kind, Phase::Prepare, target.side(), message)).at(target.server())
}
