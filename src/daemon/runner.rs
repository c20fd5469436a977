//! The threads of runs. Each run has its own thread and runtime, so that a busy copy does not hold up the
//! daemon's loop and a panic ends only that run.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::daemon::event::{RunOrder, RunTrigger};
use crate::daemon::live_run::LiveRun;
use crate::daemon::schedule::Schedule;
use crate::daemon::scheduled_config::JobName;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::report::{ErrorReport, Event, Listener, RunReport};
use crate::run::{self, Cancelled, Canceller, NextDue, RunContext};

/// A run that has ended.
#[derive(Debug)]
pub struct EndedRun {
    pub job: JobName,
    pub run_id: Uuid,
    /// The fire time that the run stood for.
    pub due_at: Option<Timestamp>,
    pub trigger: RunTrigger,
    /// The report, or an error if the run could not begin or panicked.
    pub report: std::result::Result<RunReport, ErrorReport>,
}

/// A failed attempt that is followed by another one.
#[derive(Debug)]
pub struct Retry {
    pub job: JobName,
    pub attempt: u32,
    /// Why the one before failed.
    pub error: String,
}

/// Passes events on, keeps the run's progress, and reports failed attempts to the loop.
struct RunListener {
    job: JobName,
    live: Arc<LiveRun>,
    retrying: mpsc::Sender<Retry>,
    listener: Arc<dyn Listener>,
}

impl Listener for RunListener {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        self.live.on(event, Timestamp::now());
        if let Event::Retrying { error, attempt, .. } = event {
            // Only `status` uses it, so an event may be lost if the loop is busy.
            let _ = self.retrying.try_send(Retry {
                job: self.job.clone(),
                attempt: *attempt,
                error: error.to_string(),
            });
        }
        self.listener.on(job, run_id, event);
    }
}

/// All runs that are going on.
pub struct Runner {
    runs: BTreeMap<JobName, RunThread>,
    ended: mpsc::Sender<EndedRun>,
    retrying: mpsc::Sender<Retry>,
    listener: Arc<dyn Listener>,
}

struct RunThread {
    canceller: Canceller,
    live: Arc<LiveRun>,
    thread: JoinHandle<()>,
}

impl Runner {
    /// `ended` has room for every run at once, so that no run waits to report its end.
    pub fn new(
        ended: mpsc::Sender<EndedRun>,
        retrying: mpsc::Sender<Retry>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Runner {
            runs: BTreeMap::new(),
            ended,
            retrying,
            listener,
        }
    }

    /// Starts a run. Its end is always sent through the channel.
    pub fn start(&mut self, start: RunOrder, run_id: Uuid) {
        let (canceller, cancelled) = run::cancellation();
        let (job, due_at) = (start.job.clone(), start.due_at);
        let ended = self.ended.clone();
        let live = Arc::new(LiveRun::default());
        let trigger = start.trigger;
        let listener = Arc::new(RunListener {
            job: job.clone(),
            live: Arc::clone(&live),
            retrying: self.retrying.clone(),
            listener: Arc::clone(&self.listener),
        });
        let spawned = std::thread::Builder::new()
            .name(format!("run {job}"))
            .spawn(move || {
                let report = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    one_run(&start, run_id, &cancelled, listener)
                }))
                .unwrap_or_else(|panic| Err(bug(format!("the run panicked: {}", text_of(&*panic)))))
                .map_err(|error| ErrorReport::new(&error, false));
                let _ = ended.blocking_send(EndedRun {
                    job: start.job,
                    run_id,
                    due_at: start.due_at,
                    trigger,
                    report,
                });
            });
        match spawned {
            Ok(thread) => {
                let run = RunThread {
                    canceller,
                    live,
                    thread,
                };
                self.runs.insert(job, run);
            }
            Err(error) => {
                let error = bug(format!("no thread could be started for the run: {error}"));
                let report = Err(ErrorReport::new(&error, false));
                let ended = EndedRun {
                    job,
                    run_id,
                    due_at,
                    trigger,
                    report,
                };
                if self.ended.try_send(ended).is_err() {
                    tracing::error!("{error}");
                }
            }
        }
    }

    /// Has a run cancel itself and roll back.
    pub fn cancel(&self, job: &JobName) {
        if let Some(run) = self.runs.get(job) {
            run.canceller.cancel();
        }
    }

    /// How far the job's active run has come.
    pub fn live(&self, job: &JobName) -> Option<&Arc<LiveRun>> {
        self.runs.get(job).map(|run| &run.live)
    }

    /// Removes a run that has reported its end.
    pub fn forget(&mut self, job: &JobName) {
        if let Some(run) = self.runs.remove(job)
            && run.thread.join().is_err()
        {
            tracing::error!(job = &**job, "the run's thread panicked at its very end");
        }
    }
}

fn one_run(
    start: &RunOrder,
    run_id: Uuid,
    cancelled: &Cancelled,
    listener: Arc<dyn Listener>,
) -> Result<RunReport> {
    let mut run = RunContext::new(&start.config, &start.job, start.trigger, listener)?;
    run.context.run_id = run_id;
    run.start.orphan = start.orphan;
    run.start.due_at = start.due_at;
    run.start.obeys_pause = true;
    run.start.next_due = NextDue::Known(next_due(start));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| bug(format!("no runtime could be started: {error}")))?;
    Ok(runtime.block_on(run::run(&run, cancelled)))
}

/// The job's first fire time from now on.
fn next_due(start: &RunOrder) -> Option<Timestamp> {
    let spec = &start.config.jobs.get(&*start.job)?.schedule;
    let schedule = Schedule::new(&start.job, spec, &start.config.daemon.timezone).ok()?;
    schedule.next_after(Timestamp::now())
}

fn bug(message: String) -> Error {
    Error::new(ErrorKind::Bug, Phase::Prepare, Side::Local, message)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::report::{Outcome, RunTrigger};

    struct Panics;

    impl Listener for Panics {
        fn on(&self, job: &str, _: uuid::Uuid, _: &Event) {
            assert_ne!(job, "bad", "by the test");
        }
    }

    fn start(job: &str) -> RunOrder {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        let keys = "source = 'a'\ntarget = 'b'\nmode = 'append'\ntables = ['a.b']\nretry.max = 0\n";
        let text = format!(
            "[servers.a]\nconninfo = 'host=/nonexistent'\n\
             [servers.b]\nconninfo = 'host=/nonexistent'\n[jobs.bad]\n{keys}[jobs.good]\n{keys}"
        );
        std::fs::write(&file, text).unwrap();
        let request = config::Request {
            explicit: Some(file),
            ..config::Request::default()
        };
        let config = config::load(&request).unwrap_or_else(|errors| panic!("{errors}"));
        RunOrder {
            job: job.into(),
            trigger: RunTrigger::Manual,
            due_at: None,
            orphan: None,
            config: Arc::new(config),
        }
    }

    #[test]
    fn a_panic_ends_its_run_only() {
        let (sender, mut ended) = mpsc::channel(2);
        let mut runner = Runner::new(sender, mpsc::channel(1).0, Arc::new(Panics));
        runner.start(start("bad"), Uuid::now_v7());
        runner.start(start("good"), Uuid::now_v7());
        for _ in 0..2 {
            let EndedRun { job, report, .. } = ended.blocking_recv().unwrap();
            runner.forget(&job);
            match (&*job, report) {
                ("bad", Err(error)) => {
                    assert!(
                        error.message.contains("the run panicked"),
                        "{}",
                        error.message
                    );
                    assert!(error.message.contains("by the test"), "{}", error.message);
                }
                ("good", Ok(report)) => assert_eq!(report.outcome, Outcome::RolledBack),
                (job, report) => panic!("{job}: {report:?}"),
            }
        }
        assert!(runner.runs.is_empty());
    }
}
