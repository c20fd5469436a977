//! The record of runs: in schema `tableferry` on the target, or in a local file.
//!
//! On the target, the row of a run is `running` before its first attempt does anything. The transaction that
//! publishes the rows sets it to `committed`, so that the two always agree.

mod after_commit;
mod check;
mod ddl;
mod fire;
mod heartbeat;
mod history;
mod local;
mod paused;
mod recorded;
mod rejected;
mod requests;
mod run_record;
mod takeover;
mod writes;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::bounds::CLOSE_WAIT;
use super::run_progress::RunProgress;
use super::{NextDue, RunContext};
use crate::config::spec::{History, JobSpec, OnError, ServerSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side, has_cause};
use crate::pg::checked::CheckedRow;
use crate::pg::param::Param;
use crate::pg::session::{Session, SessionSettings};
use crate::plan::shared::has_stages;
use crate::report::{Elsewhere, Event, Outcome, RunReport, RunTrigger};

pub(super) use after_commit::{after_commit_failed, last_success};
pub(super) use check::refuse_stages;
pub use check::{Readiness, check};
pub use ddl::script;
pub(super) use fire::FireClaim;
pub(super) use heartbeat::until_lost;
use history::history;
pub use paused::{PauseChange, pause, resume};
pub use recorded::{HistoryReader, Recorded, Unread, recorded};
pub(super) use rejected::{Quarantined, Rejection};
pub use requests::{LedgerLook, look, open_session};
pub use run_record::{RunRecord, RunState, TableRecord};
pub use writes::JobDue;
pub(super) use writes::{NextRun, marks, record_for_next_run, watermark};

/// How long recording the end of a failed run may take.
const ENDED_WAIT: Duration = Duration::from_secs(5);

/// How long it waits for a lock: a transaction in doubt may hold the row of the run.
const ENDED_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a lookup waits for a transaction that is not decided yet.
const RESOLVE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Claims the fire and records the run as `running`, in a short transaction. Creates the ledger if there is
/// none. The session must not be in a transaction.
///
/// *Errors:* everything that prevents the run from being recorded. Then nothing may be copied.
pub(super) async fn begin(
    run: &RunContext,
    target: &Session,
    failures: &[String],
) -> Result<FireClaim> {
    if needs_schema(run) && !run.context.dry_run {
        let made = ddl::make(target).await;
        // Without a ledger, the schema is needed for staging tables.
        let for_stages = run.ledger.history != History::Target && has_stages(&run.context.job);
        made.map_err(|error| match for_stages {
            true => error.hinted(
                "have a DBA run what `tableferry schema` prints, with its GRANTs; or set `workers = 1`",
            ),
            false => error,
        })?;
    }
    match run.ledger.history {
        History::Target => begin_on_target(run, target, failures).await,
        History::Local | History::Off => begin_locally(run),
    }
}

/// The same without a ledger on the target: the run is recorded in the local file when it ends, or nowhere.
pub(super) fn begin_locally(run: &RunContext) -> Result<FireClaim> {
    if run.ledger.history == History::Local {
        local::ready(&run.ledger.state_dir)?;
    }
    Ok(FireClaim::Ours(BTreeSet::new()))
}

async fn begin_on_target(
    run: &RunContext,
    target: &Session,
    failures: &[String],
) -> Result<FireClaim> {
    // If a crash of the server loses these rows, the sessions of the run are lost, too, and the next attempt
    // writes them again.
    target
        .begin(
            Phase::Prepare,
            "ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = off",
        )
        .await?;
    let mut lost = Vec::new();
    let (pause, is_requested) = paused::before_run(run, target).await?;
    let claim = match &pause {
        // A run that has begun goes on, also with further attempts.
        Some(pause) if run.start.obeys_pause && failures.is_empty() => {
            FireClaim::Theirs(Elsewhere::Paused, format!("the job is {pause}"))
        }
        _ => claim(run, target, is_requested, &mut lost).await?,
    };
    if let FireClaim::Ours(_) = claim {
        let entry = RunRecord::running(run, failures);
        writes::run(target, &entry, Phase::Prepare).await?;
        if let NextDue::Known(due) = run.start.next_due {
            let due = JobDue::new(&run.context.job, due);
            writes::set_next_due(target, &[due]).await?;
        }
    }
    target.run(Phase::Prepare, "COMMIT").await?;
    if let (FireClaim::Ours(_), Some(pause)) = (&claim, pause)
        && !run.start.obeys_pause
        && failures.is_empty()
    {
        let warning =
            format!("the job is {pause}; it runs because it was named: a daemon would not run it");
        run.context.tell(Event::Warned(warning));
    }
    for run_id in &lost {
        let warning = format!("run {run_id} was lost: its heartbeat stopped");
        run.context.tell(Event::Warned(warning));
    }
    takeover::terminate_backends(target, &lost).await?;
    Ok(claim)
}

/// Claims the fire, and all requests for a run of the job.
async fn claim(
    run: &RunContext,
    target: &Session,
    is_requested: bool,
    lost: &mut Vec<Uuid>,
) -> Result<FireClaim> {
    let claim = fire::claim(run, target, lost).await?;
    if let FireClaim::Theirs(..) = claim {
        return Ok(claim);
    }
    let was_asked = run.start.trigger == RunTrigger::Request && run.start.due_at.is_none();
    let has_claimed = (is_requested || was_asked) && requests::claim(run, target).await?;
    if was_asked && !has_claimed {
        let who = "another run has claimed the request".to_owned();
        return Ok(FireClaim::Theirs(Elsewhere::Ended, who));
    }
    Ok(claim)
}

/// Records jobs, which may never have run, and when they are due. Creates the ledger if there is none.
pub async fn register(target: &ServerSpec, jobs: &[JobDue]) -> Result<()> {
    let target = open_on(target, "tableferry".to_owned(), ENDED_LOCK_TIMEOUT).await?;
    ddl::make(&target).await?;
    writes::set_next_due(&target, jobs).await?;
    target.close(CLOSE_WAIT).await;
    Ok(())
}

/// Does the target have a ledger? Changes nothing.
pub(super) async fn is_there(target: &Session) -> Result<bool> {
    let found = ddl::state(target).await?;
    Ok(matches!(
        found,
        ddl::LedgerState::Ready | ddl::LedgerState::Outdated
    ))
}

/// Does the target have a ledger of this version? Changes nothing.
pub(super) async fn is_ready(target: &Session) -> Result<bool> {
    Ok(ddl::state(target).await? == ddl::LedgerState::Ready)
}

/// Makes the tables of rejected rows in the transaction of a dry run, if there are none: they are gone when it is rolled
/// back.
pub(super) async fn rehearse(run: &RunContext, target: &Session) -> Result<()> {
    if !run.context.dry_run || run.context.job.on_error == OnError::Abort {
        return Ok(());
    }
    match ddl::state(target).await? {
        ddl::LedgerState::Nothing | ddl::LedgerState::Schema => {
            ddl::make_here(target).await.map(drop)
        }
        // An upgrade would lock the tables of other runs.
        ddl::LedgerState::Outdated | ddl::LedgerState::Ready => Ok(()),
    }
}

/// Does the job need schema tableferry? Watermarks, rejected rows and the staging tables of several workers are
/// kept there, too.
pub(super) fn needs_schema(run: &RunContext) -> bool {
    let has_watermark = |job: &JobSpec| job.table.values().any(|table| table.watermark.is_some());
    run.ledger.history == History::Target
        || has_watermark(&run.context.job)
        || has_stages(&run.context.job)
        || run.context.job.on_error == OnError::Quarantine
}

/// Records in the open transaction that it publishes the tables from `first` on. With `last`, also records
/// the run as committed. This is the last step before COMMIT.
pub(super) async fn record_transaction(
    run: &RunContext,
    target: &Session,
    progress: &RunProgress,
    first: usize,
    last: bool,
) -> Result<()> {
    if run.ledger.history != History::Target {
        return Ok(());
    }
    let snapshot = progress.snapshot.as_ref();
    let tables = progress.tables.get(first..).ok_or_else(|| {
        let message = "the report lacks the tables that are to be published";
        Error::new(ErrorKind::Bug, Phase::Publish, Side::Local, message)
    })?;
    let entry = RunRecord::committing(run, &progress.failures, snapshot, tables, last);
    writes::run(target, &entry, Phase::Publish).await?;
    writes::tables(target, run.context.run_id, &entry.tables).await
}

/// Has the transaction that published `relation` in this run been committed? Waits for a limited time until
/// it is decided. *Errors:* `Locked` if it is not.
pub(super) async fn is_committed(run: &RunContext, relation: &str) -> Result<bool> {
    let target = open(run, RESOLVE_LOCK_TIMEOUT).await?;
    let committed = writes::is_committed(&target, run.context.run_id, relation).await;
    target.close(CLOSE_WAIT).await;
    committed
}

/// Deletes old runs. A failure affects nothing else.
pub(super) async fn prune(run: &RunContext, target: &Session) -> Result<()> {
    match run.ledger.history {
        History::Target => writes::prune(target, run.ledger.keep).await,
        History::Local | History::Off => Ok(()),
    }
}

/// Records how the run ended, if the target can be reached. Otherwise its row stays `running` until another
/// run marks it lost.
///
/// Returns `false` if the ledger says that the run is lost.
pub(super) async fn ended(
    run: &RunContext,
    report: &RunReport,
    progress: &RunProgress,
    error: Option<&Error>,
) -> bool {
    let why = error
        .or(progress.after_commit.as_ref())
        .map(ToString::to_string);
    let entry = RunRecord::ended(run, report, &progress.failures, why);
    let recorded = match (run.ledger.history, report.outcome) {
        // The fire belongs to another run.
        (_, Outcome::Skipped) | (History::Off, _) => return true,
        (History::Local, _) => local::append(&run.ledger.state_dir, &entry),
        // A committed run was recorded with its rows. A run in doubt has no known end.
        (History::Target, Outcome::Committed | Outcome::InDoubt) => return true,
        (History::Target, Outcome::RolledBack | Outcome::Cancelled) => {
            let recording = record_ended(run, &entry);
            tokio::time::timeout(ENDED_WAIT, recording)
                .await
                .unwrap_or_else(|_| Err(no_answer(run)))
        }
    };
    match recorded {
        Err(again) if is_superseded(&again) => return false,
        // The run has already failed because of the ledger.
        Err(again) if !error.is_some_and(ddl::is_about_ledger) => {
            let warning = format!("how the run ended could not be recorded: {again}");
            run.context.tell(Event::Warned(warning));
        }
        Ok(()) | Err(_) => {}
    }
    true
}

/// Does the ledger say that the run is lost, or has ended?
pub(super) fn is_superseded(error: &Error) -> bool {
    has_cause::<writes::Superseded>(error)
}

async fn record_ended(run: &RunContext, entry: &RunRecord) -> Result<()> {
    let target = open(run, ENDED_LOCK_TIMEOUT).await?;
    ddl::make(&target).await?;
    writes::run(&target, entry, Phase::After).await?;
    target.close(CLOSE_WAIT).await;
    Ok(())
}

/// Queries the ledger. An error gets a hint.
async fn ask(
    target: &Session,
    phase: Phase,
    sql: &str,
    parameters: &[&dyn Param],
) -> Result<Vec<Row>> {
    let asked = target.query(phase, sql, parameters).await;
    asked.map_err(ddl::unusable)
}

/// Asks the ledger for one row, or none.
async fn ask_if_any(
    target: &Session,
    phase: Phase,
    what: &'static str,
    sql: &str,
    parameters: &[&dyn Param],
) -> Result<Option<CheckedRow>> {
    let asked = target.row_if_any(phase, what, sql, parameters).await;
    asked.map_err(ddl::unusable)
}

/// A session for the ledger alone.
async fn open(run: &RunContext, lock_timeout: Duration) -> Result<Session> {
    let name = format!("tableferry {}", run.context.job.name);
    open_on(&run.context.target, name, lock_timeout).await
}

async fn open_on(
    target: &ServerSpec,
    application_name: String,
    lock_timeout: Duration,
) -> Result<Session> {
    let settings = SessionSettings {
        encoding: None,
        lock_timeout,
        application_name,
        replica: false,
    };
    Session::open(target, Side::Target, &settings).await
}

fn no_answer(run: &RunContext) -> Error {
    let message = format!("no answer within {} s", ENDED_WAIT.as_secs());
    Error::new(ErrorKind::Unreachable, Phase::After, Side::Target, message)
        .at(&run.context.target.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerError;

    #[test]
    fn a_conflict_in_the_ledger_is_not_the_loss_of_the_run() {
        let deadlock = ServerError::parse(b"C40P01\0Mdeadlock detected\0\0");
        let deadlock = Error::reported(Phase::Publish, Side::Target, &deadlock);
        let deadlock = ddl::unusable(deadlock);
        assert_eq!(deadlock.kind(), ErrorKind::Conflict);
        assert!(!is_superseded(&deadlock));

        let message = writes::Superseded.to_string();
        let lost = Error::new(ErrorKind::Conflict, Phase::Publish, Side::Target, message);
        let lost = ddl::unusable(lost.caused_by(writes::Superseded));
        assert!(is_superseded(&lost));
    }
}
