//! The sign of life of a run.

use std::time::Duration;

use tokio::time::timeout;

use super::entry::State;
use crate::config::spec::History;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::run::Context;

/// How often a run says that it is alive. A shorter one needs no connection for that.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// How long saying so may take, connecting included.
const HEARTBEAT_WAIT: Duration = Duration::from_secs(5);

/// How long it waits for a lock: the transaction that publishes holds the run's row.
const HEARTBEAT_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Says from time to time that the run is alive. Returns when the ledger says that it is lost: then
/// it can't be published any more, and another one may need what it holds.
pub(in crate::run) async fn until_lost(context: &Context) {
    if context.history != History::Target {
        return std::future::pending().await;
    }
    let mut session = None;
    loop {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        // Whatever goes wrong here says nothing about the run: its own connections tell.
        match timeout(HEARTBEAT_WAIT, beat(context, &mut session)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(_)) | Err(_) => session = None,
        }
    }
}

async fn beat(context: &Context, session: &mut Option<Session>) -> Result<bool> {
    let session = match session {
        Some(session) => session,
        None => session.insert(super::open(context, HEARTBEAT_LOCK_TIMEOUT).await?),
    };
    let sql = "WITH beat AS (UPDATE tableferry.run SET heartbeat_at = pg_catalog.clock_timestamp() \
                   WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid AND state = 'running') \
               SELECT state FROM tableferry.run WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid";
    let run_id = context.run_id.to_string();
    let row = session
        .row_if_any(Phase::CopyIn, "the run's state", sql, &[&run_id])
        .await?;
    // Without a row nobody has called the run lost: its ledger was made anew.
    Ok(match row {
        Some(row) => State::parse(&row.get::<String>(0)?) != Some(State::Lost),
        None => true,
    })
}
