//! One run of one job: attempts, pauses between them, and what became of it.

mod attempt;
mod checksum;
mod claim;
mod copy;
mod crew;
mod gate;
pub mod inspect;
pub mod ledger;
mod leftovers;
mod modes;
pub mod pipe;
mod publish;
mod retry;
mod settle;
pub mod verify;
mod watermark;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::spec::{Config, History, JobSpec, ServerSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::report::{ErrorReport, Event, Listener, Outcome, RunReport, Trigger};

pub use attempt::Record;

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
    pub trigger: Trigger,
    /// Read everything, whatever the watermarks say.
    pub full: bool,
    /// The fire time that made it run.
    pub due_at: Option<Timestamp>,
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
        trigger: Trigger,
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
            next_due: NextDue::Unknown,
            started_at: Timestamp::now(),
            history: config.daemon.history,
            history_keep: config.daemon.history_keep,
            state_dir: config.daemon.state_dir.clone(),
            listener,
        })
    }

    fn tell(&self, event: Event) {
        self.listener.on(&self.job.name, self.run_id, &event);
    }
}

/// The right to cancel runs: keep it as long as they last.
pub struct Canceller(watch::Sender<bool>);

/// Seen by a run, to know that it was cancelled.
#[derive(Clone)]
pub struct Cancelled(watch::Receiver<bool>);

/// A canceller and what the runs see of it.
pub fn cancellation() -> (Canceller, Cancelled) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancelled(receiver))
}

impl Canceller {
    /// Cancels all runs that see it. Saying it again changes nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancelled {
    /// Was it cancelled?
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is cancelled; never, when the canceller is gone without having done so.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs the job until it is committed, cancelled, or has failed for good. Never fails itself: the
/// report says what became of it.
pub async fn run(context: &Context, cancelled: &Cancelled) -> RunReport {
    context.tell(Event::Started {
        trigger: context.trigger,
    });
    let mut pauses = retry::pauses(&context.job.retry);
    let mut attempts = 0;
    let mut record = Record::default();
    let result = loop {
        attempts += 1;
        record.restart(attempts);
        let error = match attempt::attempt(context, cancelled, &mut record).await {
            Ok(()) => break Ok(()),
            Err(error) => Arc::new(error),
        };
        if cancelled.is_cancelled() || !retry::can_pass(&error) {
            break Err(error);
        }
        let Some(pause) = pauses.next() else {
            break Err(error);
        };
        context.tell(Event::Retrying {
            error: Arc::clone(&error),
            pause,
            attempt: attempts + 1,
        });
        tokio::select! {
            () = cancelled.cancelled() => break Err(error),
            () = tokio::time::sleep(pause) => {}
        }
    };
    let error = result.as_ref().err();
    let report = RunReport {
        job: context.job.name.clone(),
        run_id: context.run_id,
        outcome: outcome(error.map(AsRef::as_ref), cancelled),
        trigger: context.trigger,
        started_at: context.started_at,
        finished_at: Timestamp::now(),
        attempts,
        snapshot: record.snapshot,
        tables: record.tables,
        error: error.map(|error| ErrorReport::new(error, context.job.log_values)),
    };
    ledger::ended(context, &report, error.map(AsRef::as_ref)).await;
    let report = Arc::new(report);
    context.tell(Event::Finished(Arc::clone(&report)));
    Arc::unwrap_or_clone(report)
}

fn outcome(error: Option<&Error>, cancelled: &Cancelled) -> Outcome {
    match error.map(Error::kind) {
        None => Outcome::Committed,
        Some(ErrorKind::InDoubt) => Outcome::InDoubt,
        Some(_) if cancelled.is_cancelled() => Outcome::Cancelled,
        Some(_) => Outcome::RolledBack,
    }
}
