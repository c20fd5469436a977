//! One run of one job: its attempts, the pauses between them, and its report.

mod advisory_lock;
mod attempt;
pub mod bounds;
mod cancel;
mod changes;
mod checksum;
mod commit_resolution;
mod context;
mod copy;
mod creation;
mod ends;
pub mod fed;
mod files;
mod gate;
mod hooks;
pub mod idle;
mod inspect;
pub mod ledger;
mod leftovers;
mod modes;
mod params;
pub mod pipe;
pub mod planning;
mod preflight;
pub mod read;
mod resume;
mod retry;
mod run_progress;
mod sides;
pub mod snapshot_age;
mod statistics;
mod steps;
mod swapped;
mod target_files;
mod transaction;
pub mod verify;
mod watermark;
mod worker_pool;

use std::future::pending;
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Phase, Side};
use crate::report::{Elsewhere, ErrorReport, Event, Outcome, RunReport};

pub use cancel::{Cancelled, Canceller, StopReason, cancellation};
pub use context::{JobContext, NextDue, Orphan, RunContext};

use attempt::AttemptEnd;
use run_progress::RunProgress;

/// Runs the job until it is committed, cancelled, or has failed finally. The report has the outcome.
pub async fn run(run: &RunContext, cancelled: &Cancelled) -> RunReport {
    run_to_end(run, cancelled).await.0
}

/// The same, with the error itself if it was not committed.
pub async fn run_to_end(
    run: &RunContext,
    cancelled: &Cancelled,
) -> (RunReport, Option<Arc<Error>>) {
    let mut progress = RunProgress::default();
    let (canceller, stop) = cancellation();
    // These two only tell the attempts to stop. The attempts end in good order and are waited for.
    let relayed = async {
        canceller.cancel_because(cancelled.cancelled().await);
        pending::<Never>().await
    };
    let alive = async {
        ledger::until_lost(run).await;
        canceller.cancel_because(StopReason::Lost);
        pending::<Never>().await
    };
    let result = tokio::select! {
        biased;
        result = attempts(run, &stop, &mut progress) => result,
        never = relayed => match never {},
        never = alive => match never {},
    };
    let end = RunEnd::of(run, &progress, &stop, result);
    let mut report = RunReport {
        job: run.context.job.name.clone(),
        run_id: run.context.run_id,
        outcome: end.outcome,
        trigger: run.start.trigger,
        started_at: run.start.started_at,
        finished_at: Timestamp::now(),
        dry_run: run.context.dry_run,
        attempts: progress.attempt_number(),
        snapshot: progress.snapshot.clone(),
        tables: std::mem::take(&mut progress.tables),
        error: (end.error.as_deref())
            .map(|error| ErrorReport::new(error, run.context.job.log_values)),
        after_commit_error: (progress.after_commit.as_ref())
            .map(|error| ErrorReport::new(error, run.context.job.log_values)),
        elsewhere: end.elsewhere,
    };
    let is_ours = ledger::ended(run, &report, &progress, end.error.as_deref()).await;
    if !is_ours && run.start.due_at.is_some() {
        (report.outcome, report.elsewhere) = (Outcome::Skipped, Some(Elsewhere::AtWork));
    }
    let report = Arc::new(report);
    run.context.tell(Event::Finished(Arc::clone(&report)));
    (Arc::unwrap_or_clone(report), end.error)
}

/// Makes attempts until one succeeds or its error is not retried.
async fn attempts(
    run: &RunContext,
    stop: &Cancelled,
    progress: &mut RunProgress,
) -> std::result::Result<AttemptEnd, Arc<Error>> {
    let mut pauses = retry::pauses(&run.context.job.retry);
    loop {
        let error = match attempt::attempt(run, stop, progress).await {
            Ok(done) => return Ok(done),
            Err(error) => Arc::new(error),
        };
        progress.started(run);
        if stop.is_cancelled() || ledger::is_superseded(&error) || !retry::can_pass(&error) {
            return Err(error);
        }
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        progress.restart(&error);
        run.context.tell(Event::Retrying {
            error: Arc::clone(&error),
            pause,
            attempt: progress.attempt_number(),
        });
        tokio::select! {
            _ = stop.cancelled() => return Err(error),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The end of a run, in the terms of its report.
struct RunEnd {
    outcome: Outcome,
    elsewhere: Option<Elsewhere>,
    error: Option<Arc<Error>>,
}

impl RunEnd {
    fn of(
        run: &RunContext,
        progress: &RunProgress,
        stop: &Cancelled,
        result: std::result::Result<AttemptEnd, Arc<Error>>,
    ) -> Self {
        let ended = |outcome, elsewhere, error| RunEnd {
            outcome,
            elsewhere,
            error,
        };
        let error = match result {
            Ok(AttemptEnd::Committed) => return ended(Outcome::Committed, None, None),
            Ok(AttemptEnd::Rehearsed) => return ended(Outcome::RolledBack, None, None),
            Ok(AttemptEnd::Elsewhere(elsewhere, who)) => {
                let why = Error::new(ErrorKind::Locked, Phase::Prepare, Side::Target, who);
                let why = Arc::new(why.at(&run.context.target.name));
                return ended(Outcome::Skipped, Some(elsewhere), Some(why));
            }
            Err(error) => error,
        };
        let is_lost = stop.why() == Some(StopReason::Lost) || ledger::is_superseded(&error);
        // The outcome of an earlier run in doubt is still unknown.
        let in_doubt_still =
            !progress.fire_claimed && run.start.orphan.is_some_and(|orphan| orphan.is_same);
        let (outcome, elsewhere) = match error.kind() {
            ErrorKind::InDoubt => (Outcome::InDoubt, None),
            _ if in_doubt_still => (Outcome::InDoubt, Some(Elsewhere::AtWork)),
            // Another run takes the fire over.
            _ if is_lost && run.start.due_at.is_some() => {
                (Outcome::Skipped, Some(Elsewhere::AtWork))
            }
            _ if stop.why() == Some(StopReason::Signal) => (Outcome::Cancelled, None),
            _ => (Outcome::RolledBack, None),
        };
        ended(outcome, elsewhere, Some(error))
    }
}

enum Never {}
