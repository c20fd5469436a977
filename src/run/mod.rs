//! One run of one job: attempts, pauses between them, and what became of it.

mod advisory_lock;
mod attempt;
pub mod bounds;
mod cancel;
mod checksum;
mod commit_resolution;
mod copy;
mod gate;
pub mod inspect;
pub mod ledger;
mod leftovers;
mod modes;
pub mod pipe;
mod preflight;
mod retry;
pub mod snapshot_age;
mod steps;
pub mod verify;
mod watermark;
mod worker_pool;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::config::spec::{Config, History, JobSpec, ServerSpec};
use crate::error::{CurrentPhase, Error, ErrorKind, Phase, Result, Side};
use crate::report::{Elsewhere, ErrorReport, Event, Listener, Outcome, RunReport, RunTrigger};

pub use attempt::Record;
pub use cancel::{Cancelled, Canceller, StopReason, cancellation};

use attempt::AttemptEnd;

/// What a run works with.
#[derive(Clone)]
pub struct Context {
    /// What to do.
    pub job: JobSpec,
    /// The server that is read.
    pub source: ServerSpec,
    /// The server that is written.
    pub target: ServerSpec,
    /// This run.
    pub run_id: Uuid,
    /// What made it run.
    pub trigger: RunTrigger,
    /// Read everything, whatever the watermarks say.
    pub full: bool,
    /// The fire time that made it run.
    pub due_at: Option<Timestamp>,
    /// An earlier run of the job that is known to be over, and not how.
    pub orphan: Option<Orphan>,
    /// When the job is due next, for the ledger.
    pub next_due: NextDue,
    /// When it began.
    pub started_at: Timestamp,
    /// Where it is recorded.
    pub history: History,
    /// How long the ledger keeps a run.
    pub history_keep: Duration,
    /// Where a local history is.
    pub state_dir: PathBuf,
    /// Who is told.
    pub listener: Arc<dyn Listener>,
    /// What it is doing.
    pub phase: CurrentPhase,
}

/// A run without an owner. It is resolved before its job runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The run.
    pub run_id: Uuid,
    /// It was left in doubt, and the next run does the same work: none, if it was committed.
    pub is_same: bool,
}

/// When a job is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextDue {
    /// No daemon runs it, so nobody can say.
    Unknown,
    /// Then; `None`: on demand only.
    Known(Option<Timestamp>),
}

impl Context {
    /// A new run of `job`. *Errors:* `Config` when the job or one of its servers is not there,
    /// which validation has ruled out for a job of this configuration.
    pub fn new(
        config: &Config,
        job: &str,
        trigger: RunTrigger,
        listener: Arc<dyn Listener>,
    ) -> Result<Self> {
        let missing = |what: &str, name: &str| {
            let message = format!("there is no {what} `{name}` in the configuration");
            Error::new(ErrorKind::Config, Phase::Configure, Side::Local, message)
        };
        let job = config.jobs.get(job).ok_or_else(|| missing("job", job))?;
        let server = |name: &str| {
            config
                .servers
                .get(name)
                .ok_or_else(|| missing("server", name))
        };
        Ok(Context {
            source: server(&job.source)?.clone(),
            target: server(&job.target)?.clone(),
            job: job.clone(),
            run_id: Uuid::now_v7(),
            trigger,
            full: false,
            due_at: None,
            orphan: None,
            next_due: NextDue::Unknown,
            started_at: Timestamp::now(),
            history: config.daemon.history,
            history_keep: config.daemon.history_keep,
            state_dir: config.daemon.state_dir.clone(),
            listener,
            phase: CurrentPhase::default(),
        })
    }

    fn tell(&self, event: Event) {
        self.listener.on(&self.job.name, self.run_id, &event);
    }
}

/// Runs the job until it is committed, cancelled, or has failed for good. Never fails itself: the
/// report says what became of it.
pub async fn run(context: &Context, cancelled: &Cancelled) -> RunReport {
    let mut record = Record::default();
    let (canceller, stop) = cancellation();
    // Both only ever tell the attempts to stop: these end everything in good order, and are what
    // is waited for.
    let relayed = async {
        canceller.cancel_because(cancelled.cancelled().await);
        pending::<Never>().await
    };
    let alive = async {
        ledger::until_lost(context).await;
        canceller.cancel_because(StopReason::Lost);
        pending::<Never>().await
    };
    let result = tokio::select! {
        biased;
        result = attempts(context, &stop, &mut record) => result,
        never = relayed => match never {},
        never = alive => match never {},
    };
    let end = RunEnd::of(context, &record, &stop, result);
    let mut report = RunReport {
        job: context.job.name.clone(),
        run_id: context.run_id,
        outcome: end.outcome,
        trigger: context.trigger,
        started_at: context.started_at,
        finished_at: Timestamp::now(),
        attempts: u32::try_from(record.failures.len() + 1).unwrap_or(u32::MAX),
        snapshot: record.snapshot.clone(),
        tables: std::mem::take(&mut record.tables),
        error: (end.error.as_deref()).map(|error| ErrorReport::new(error, context.job.log_values)),
        elsewhere: end.elsewhere,
    };
    let is_ours = ledger::ended(context, &report, &record, end.error.as_deref()).await;
    if !is_ours && context.due_at.is_some() {
        (report.outcome, report.elsewhere) = (Outcome::Skipped, Some(Elsewhere::AtWork));
    }
    let report = Arc::new(report);
    context.tell(Event::Finished(Arc::clone(&report)));
    Arc::unwrap_or_clone(report)
}

/// Tries until it is done, or hopeless.
async fn attempts(
    context: &Context,
    stop: &Cancelled,
    record: &mut Record,
) -> std::result::Result<AttemptEnd, Arc<Error>> {
    let mut pauses = retry::pauses(&context.job.retry);
    loop {
        let error = match attempt::attempt(context, stop, record).await {
            Ok(done) => return Ok(done),
            Err(error) => Arc::new(error),
        };
        record.started(context);
        if stop.is_cancelled() || ledger::is_superseded(&error) || !retry::can_pass(&error) {
            return Err(error);
        }
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        record.restart(&error);
        context.tell(Event::Retrying {
            error: Arc::clone(&error),
            pause,
            attempt: u32::try_from(record.failures.len() + 1).unwrap_or(u32::MAX),
        });
        tokio::select! {
            _ = stop.cancelled() => return Err(error),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What became of a run, in the report's words.
struct RunEnd {
    outcome: Outcome,
    elsewhere: Option<Elsewhere>,
    error: Option<Arc<Error>>,
}

impl RunEnd {
    fn of(
        context: &Context,
        record: &Record,
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
            Ok(AttemptEnd::Elsewhere(elsewhere, who)) => {
                let why = Error::new(ErrorKind::Locked, Phase::Prepare, Side::Target, who);
                let why = Arc::new(why.at(&context.target.name));
                return ended(Outcome::Skipped, Some(elsewhere), Some(why));
            }
            Err(error) => error,
        };
        let is_lost = stop.why() == Some(StopReason::Lost) || ledger::is_superseded(&error);
        // What an earlier run left in doubt has not become clearer.
        let in_doubt_still =
            !record.fire_claimed && context.orphan.is_some_and(|orphan| orphan.is_same);
        let (outcome, elsewhere) = match error.kind() {
            ErrorKind::InDoubt => (Outcome::InDoubt, None),
            _ if in_doubt_still => (Outcome::InDoubt, Some(Elsewhere::AtWork)),
            // Somebody else takes its fire over.
            _ if is_lost && context.due_at.is_some() => (Outcome::Skipped, Some(Elsewhere::AtWork)),
            _ if stop.why() == Some(StopReason::Signal) => (Outcome::Cancelled, None),
            _ => (Outcome::RolledBack, None),
        };
        ended(outcome, elsewhere, Some(error))
    }
}

enum Never {}
