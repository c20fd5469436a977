//! Resolves a COMMIT whose answer was lost: asks the target whether the transaction was committed.

use std::time::Duration;

use tokio::time::Instant;

use super::bounds::CLOSE_WAIT;
use super::cancel::Cancelled;
use super::context::RunContext;
use super::{ends, ledger};
use crate::config::spec::History;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::report::TableReport;

/// How long the target is asked before the run is reported as in doubt, unless the job has a
/// `timeout`. The target needs a minute to notice that a connection is dead (`pg::pins`).
const RESOLVE_WAIT: Duration = Duration::from_secs(90);

/// The pause between two attempts to ask.
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);

/// How to look up whether the target's transaction was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommitLookup {
    /// In the ledger, by a relation that this run published. The transaction that wrote the rows wrote
    /// the ledger's row, too.
    Ledger(String),
    /// Without a ledger, by its transaction id.
    Transaction {
        /// `pg_current_xact_id()`.
        xid: String,
        /// The server's system identifier and timeline. After a failover, the same transaction id may
        /// be another transaction.
        server: String,
    },
}

const SERVER_SQL: &str = "(SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text || '/' || \
     (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())::pg_catalog.text";

/// Must be called in the transaction that publishes these tables, just before COMMIT.
pub(super) async fn lookup(
    run: &RunContext,
    target: &Session,
    tables: &[TableReport],
) -> Result<CommitLookup> {
    if let (History::Target, Some(table)) = (run.ledger.history, tables.first()) {
        return Ok(CommitLookup::Ledger(table.target.clone()));
    }
    let sql = format!("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text, {SERVER_SQL}");
    let row = target
        .one_row(Phase::Gate, "the transaction's id", &sql, &[])
        .await?;
    Ok(CommitLookup::Transaction {
        xid: row.get(0)?,
        server: row.get(1)?,
    })
}

/// Returns `Ok` if the transaction was committed.
///
/// *Errors:* `Unreachable` if it was rolled back; `error` if this could not be determined in time.
pub(super) async fn resolve(
    run: &RunContext,
    lookup: &CommitLookup,
    error: Error,
    cancelled: &Cancelled,
) -> Result<()> {
    let deadline = Instant::now() + run.context.job.timeout.unwrap_or(RESOLVE_WAIT);
    while Instant::now() < deadline && !cancelled.is_cancelled() {
        match tokio::time::timeout_at(deadline, ask(run, lookup)).await {
            Ok(Ok(Some(true))) => return Ok(()),
            Ok(Ok(Some(false))) => return Err(error.of_kind(ErrorKind::Unreachable)),
            Ok(Ok(None) | Err(_)) | Err(_) => tokio::time::sleep(RESOLVE_PAUSE).await,
        }
    }
    let how = match lookup {
        CommitLookup::Ledger(_) => format!(
            "SELECT state FROM tableferry.run WHERE run_id = '{}' FOR UPDATE",
            run.context.run_id
        ),
        CommitLookup::Transaction { xid, .. } => format!("SELECT pg_xact_status('{xid}'::xid8)"),
    };
    Err(error.hinted(format!(
        "the target could not be asked whether its transaction was committed; \
         {how} there says whether it was committed"
    )))
}

/// Was it committed? `None` if it is not decided yet, or if this server does not know.
async fn ask(run: &RunContext, lookup: &CommitLookup) -> Result<Option<bool>> {
    match lookup {
        CommitLookup::Ledger(relation) => ledger::is_committed(run, relation).await.map(Some),
        CommitLookup::Transaction { xid, server } => xact_status(run, xid, server).await,
    }
}

async fn xact_status(run: &RunContext, xid: &str, server: &str) -> Result<Option<bool>> {
    let target = ends::open(&run.context, Side::Target).await?;
    let sql = format!(
        "SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8), {SERVER_SQL}"
    );
    let what = "the transaction's state";
    let row = target.one_row(Phase::Commit, what, &sql, &[&xid]).await;
    target.close(CLOSE_WAIT).await;
    let row = row?;
    let status: Option<String> = row.get(0)?;
    let same_server = row.get::<String>(1)? == server;
    Ok(match status.as_deref() {
        _ if !same_server => None,
        Some("committed") => Some(true),
        Some("aborted") => Some(false),
        _ => None,
    })
}
