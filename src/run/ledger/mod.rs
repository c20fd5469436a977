//! The record of runs: in schema `tableferry` on the target, or in a local file.
//!
//! On the target, a run's row is `running` before its first attempt does anything, and `committed`
//! in the transaction that publishes its rows, so that the two always agree.

mod check;
mod ddl;
mod entry;
mod history;
pub mod local;
mod record;

use std::time::Duration;

use super::{Context, NextDue, Record};
use crate::config::spec::{History, JobSpec};
use crate::error::{Error, Phase, Result, Side};
use crate::pg::session::{Session, SessionSettings};
use crate::plan::shared::has_stages;
use crate::report::{Event, Outcome, RunReport};

pub(super) use check::refuse_stages;
pub use check::{Readiness, check};
pub use ddl::script;
pub use entry::{Entry, EntryTable, State};
pub use history::history;
pub(super) use record::{record_watermark, watermark};

/// How long a failed run may take to say so in the ledger.
const ENDED_WAIT: Duration = Duration::from_secs(5);

/// How long that waits for a lock: a transaction in doubt may hold the run's row.
const ENDED_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one look waits for a transaction that is not decided yet.
const SETTLE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to end a session that is over.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Says that the run is at work, in a short transaction of its own; makes the ledger where there
/// is none. The session must not be in a transaction.
///
/// *Errors:* whatever keeps the run from being recorded: then nothing should be copied.
pub(super) async fn begin(context: &Context, target: &Session, attempt: u32) -> Result<()> {
    if needs_schema(context) {
        ddl::make(target).await?;
    }
    match context.history {
        History::Target => {
            // Should a crash of the server lose this row, publishing writes it.
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                         SET LOCAL synchronous_commit = off";
            target.run(Phase::Prepare, begin).await?;
            let entry = Entry::running(context, attempt);
            record::run(target, &entry, Phase::Prepare).await?;
            if let NextDue::Known(due) = context.next_due {
                record::set_next_due(target, &context.job.name, due).await?;
            }
            target.run(Phase::Prepare, "COMMIT").await
        }
        History::Local => local::ready(&context.state_dir),
        History::Off => Ok(()),
    }
}

/// Is there a ledger on the target? Changes nothing.
pub(super) async fn is_there(target: &Session) -> Result<bool> {
    Ok(ddl::look(target).await? == ddl::Found::Ready)
}

/// Watermarks and the staging tables of several workers have no other place.
fn needs_schema(context: &Context) -> bool {
    let has_watermark = |job: &JobSpec| job.table.values().any(|table| table.watermark.is_some());
    context.history == History::Target || has_watermark(&context.job) || has_stages(&context.job)
}

/// Says in the open transaction that it publishes the run's tables from `first` on, and if they are
/// the last ones that the run is committed: the last thing before COMMIT.
pub(super) async fn publish(
    context: &Context,
    target: &Session,
    record: &Record,
    first: usize,
    last: bool,
) -> Result<()> {
    if context.history != History::Target {
        return Ok(());
    }
    let snapshot = record.snapshot.as_ref();
    let tables = record.tables.get(first..).unwrap_or_default();
    let entry = Entry::publishing(context, record.attempt, snapshot, tables, last);
    record::run(target, &entry, Phase::Publish).await?;
    record::tables(target, context.run_id, &entry.tables).await
}

/// Has the transaction that published `relation` in this run been committed? Waits a while until
/// that is decided. *Errors:* `Locked` when it isn't yet.
pub(super) async fn is_published(context: &Context, relation: &str) -> Result<bool> {
    let target = open(context, SETTLE_LOCK_TIMEOUT).await?;
    let published = record::is_published(&target, context.run_id, relation).await;
    target.close(CLOSE_WAIT).await;
    published
}

/// Deletes old runs, now and then. Takes nothing back when it fails.
pub(super) async fn prune(context: &Context, target: &Session) -> Result<()> {
    match context.history {
        History::Target => record::prune(target, context.history_keep).await,
        History::Local | History::Off => Ok(()),
    }
}

/// Records how the run ended, as well as that can be done: the target may be out of reach. Then
/// its row stays `running`.
pub(super) async fn ended(context: &Context, report: &RunReport, error: Option<&Error>) {
    let entry = Entry::ended(context, report, error.map(ToString::to_string));
    let recorded = match (context.history, report.outcome) {
        (History::Off, _) => return,
        (History::Local, _) => local::append(&context.state_dir, &entry),
        // Written with the rows; and of what is in doubt there is nothing to say.
        (History::Target, Outcome::Committed | Outcome::InDoubt | Outcome::Skipped) => return,
        (History::Target, Outcome::RolledBack | Outcome::Cancelled) => {
            let recording = record_ended(context, &entry);
            tokio::time::timeout(ENDED_WAIT, recording)
                .await
                .unwrap_or_else(|_| Err(no_answer(context)))
        }
    };
    // What the run itself could not write needs no second complaint.
    if let Err(again) = recorded
        && !error.is_some_and(ddl::is_about_ledger)
    {
        let warning = format!("how the run ended could not be recorded: {again}");
        context.tell(Event::Warned(warning));
    }
}

async fn record_ended(context: &Context, entry: &Entry) -> Result<()> {
    let target = open(context, ENDED_LOCK_TIMEOUT).await?;
    ddl::make(&target).await?;
    record::run(&target, entry, Phase::After).await?;
    target.close(CLOSE_WAIT).await;
    Ok(())
}

/// A session for the ledger alone.
async fn open(context: &Context, lock_timeout: Duration) -> Result<Session> {
    let settings = SessionSettings {
        encoding: None,
        lock_timeout,
        application_name: format!("tableferry {}", context.job.name),
        replica: false,
    };
    Session::open(&context.target, Side::Target, &settings).await
}

fn no_answer(context: &Context) -> Error {
    let message = format!("no answer within {} s", ENDED_WAIT.as_secs());
    Error::new(
        crate::error::ErrorKind::Unreachable,
        Phase::After,
        Side::Target,
        message,
    )
    .at(&context.target.name)
}
