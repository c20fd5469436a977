//! Settles a COMMIT whose answer was lost, by asking the target what became of the transaction.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cancelled, Context, inspect, ledger};
use crate::config::spec::History;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::report::TableReport;

/// How long to look for an answer before the run is reported as in doubt, unless the job has a
/// `timeout`. The target needs a minute to find out that a connection is dead (`pg::pins`).
const SETTLE_WAIT: Duration = Duration::from_secs(90);

/// Between two looks.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// How long a server may take to end the session of one look.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// By what the target's transaction can be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// By a relation that the ledger calls published by this run: the row came with the rows.
    Ledger(String),
    /// Without a ledger, by its number.
    Transaction {
        /// `pg_current_xact_id()`.
        xid: String,
        /// Which server this number belongs to, and which history of it: after a failover the
        /// same number may be somebody else's transaction.
        server: String,
    },
}

const SERVER_SQL: &str = "(SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text || '/' || \
     (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())::pg_catalog.text";

/// Asked inside the transaction that publishes these tables, just before COMMIT.
pub(super) async fn fate(
    context: &Context,
    target: &Session,
    tables: &[TableReport],
) -> Result<Fate> {
    if let (History::Target, Some(table)) = (context.history, tables.first()) {
        return Ok(Fate::Ledger(table.target.clone()));
    }
    let sql = format!("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text, {SERVER_SQL}");
    let row = target
        .one_row(Phase::Gate, "the transaction's number", &sql, &[])
        .await?;
    Ok(Fate::Transaction {
        xid: row.get(0)?,
        server: row.get(1)?,
    })
}

/// `Ok` when the transaction is known to be committed; an error of another kind than `InDoubt`
/// when it is known to be rolled back; else the error that was handed in.
pub(super) async fn settle(
    context: &Context,
    fate: &Fate,
    lost: Error,
    cancelled: &Cancelled,
) -> Result<()> {
    let deadline = Instant::now() + context.job.timeout.unwrap_or(SETTLE_WAIT);
    while Instant::now() < deadline && !cancelled.is_cancelled() {
        match tokio::time::timeout_at(deadline, look(context, fate)).await {
            Ok(Ok(Some(true))) => return Ok(()),
            Ok(Ok(Some(false))) => return Err(lost.of_kind(ErrorKind::Unreachable)),
            Ok(Ok(None) | Err(_)) | Err(_) => tokio::time::sleep(SETTLE_PAUSE).await,
        }
    }
    let how = match fate {
        Fate::Ledger(_) => format!(
            "SELECT state FROM tableferry.run WHERE run_id = '{}' FOR UPDATE",
            context.run_id
        ),
        Fate::Transaction { xid, .. } => format!("SELECT pg_xact_status('{xid}'::xid8)"),
    };
    Err(lost.hinted(format!(
        "the target could not be asked what became of its transaction; \
         {how} there says whether it was committed"
    )))
}

/// Committed, rolled back, or (`None`) not decided yet or not to be known here.
async fn look(context: &Context, fate: &Fate) -> Result<Option<bool>> {
    match fate {
        Fate::Ledger(relation) => ledger::is_published(context, relation).await.map(Some),
        Fate::Transaction { xid, server } => xact_status(context, xid, server).await,
    }
}

async fn xact_status(context: &Context, xid: &str, server: &str) -> Result<Option<bool>> {
    let target = inspect::open(context, Side::Target).await?;
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
