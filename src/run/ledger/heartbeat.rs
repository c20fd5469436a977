//! The heartbeat of a run: `heartbeat_at` in its ledger row.

use std::time::Duration;

use tokio::time::timeout;

use super::run_record::RunState;
use crate::config::spec::History;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::run::RunContext;

/// The time between two heartbeats. A run that is shorter opens no connection for them.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// How long a heartbeat may take, including connecting.
const HEARTBEAT_WAIT: Duration = Duration::from_secs(5);

/// How long a heartbeat waits for a lock: the transaction that publishes locks the run's row.
const HEARTBEAT_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Updates the heartbeat until the ledger says that the run is lost. Then the run can no longer commit, and
/// another run may need its locks.
pub(in crate::run) async fn until_lost(run: &RunContext) {
    if run.ledger.history != History::Target {
        return std::future::pending().await;
    }
    let mut session = None;
    loop {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        // An error here says nothing about the run, which has its own connections.
        match timeout(HEARTBEAT_WAIT, beat(run, &mut session)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(_)) | Err(_) => session = None,
        }
    }
}

async fn beat(run: &RunContext, session: &mut Option<Session>) -> Result<bool> {
    let session = match session {
        Some(session) => session,
        None => session.insert(super::open(run, HEARTBEAT_LOCK_TIMEOUT).await?),
    };
    let sql = "WITH beat AS (UPDATE tableferry.run SET heartbeat_at = pg_catalog.clock_timestamp() \
                   WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid AND state = 'running') \
               SELECT state FROM tableferry.run WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid";
    let run_id = run.context.run_id.to_string();
    let row = session
        .row_if_any(Phase::CopyIn, "the run's state", sql, &[&run_id])
        .await?;
    // The row is missing if the ledger was created anew. Then the run has not been marked lost.
    Ok(match row {
        Some(row) => RunState::parse(&row.get::<String>(0)?) != Some(RunState::Lost),
        None => true,
    })
}
