//! The daemon's one loop: it owns all state, hears everything in one place, and never waits for a
//! copy. What to do is decided by the [job table](super::job_table); this does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::armed::ArmedConfig;
use super::askers::Askers;
use super::control::server::{Asked, Server};
use super::control::{Reply, Request};
use super::event::{Action, Elsewhere, Event, Outcome, SkipReason, Trigger};
use super::instance::Instance;
use super::job_table::JobTable;
use super::past::Memory;
use super::register::Registrar;
use super::runner::{Ended, Runner};
use super::signals::{SignalEvent, SignalEvents};
use super::spool::{Spool, Storm, Wanted};
use super::status::{self, LastRuns};
use super::systemd::{self, Supervisor};
use super::{StartError, reload};
use crate::config;
use crate::config::spec::{Config, JobSpec};
use crate::report::Listener;
use crate::words::counted;

/// The wall clock may be set: it is looked at no later than after this.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// Far away.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests that wait for the loop's attention.
const ASKED_MAX: usize = 64;

/// How much longer stopping may take than until the loop's next turn, before systemd should lose
/// patience: what cancelling may take.
const CANCEL_WAIT: Duration = Duration::from_secs(45);

/// Called with every configuration that comes into force, the first one excepted.
pub type InForce = Box<dyn Fn(&Config)>;

/// Runs until SIGTERM has been obeyed. Returns when no run is left.
///
/// *Errors:* the daemon can't start: another one lives in the runtime directory, or that or the
/// state directory can't be used.
pub async fn serve(
    config: Config,
    request: config::Request,
    listener: Arc<dyn Listener>,
    in_force: InForce,
) -> Result<(), StartError> {
    let (ended_tx, mut ended) = mpsc::channel(config.daemon.max_running_jobs.max(1));
    let (asked_tx, mut asked) = mpsc::channel(ASKED_MAX);
    let mut signals = SignalEvents::listen().map_err(StartError::Signals)?;
    let mut daemon = Daemon::start(config, request, Runner::new(ended_tx, listener), in_force)?;
    let server =
        Server::start(&daemon.runtime_dir, asked_tx).map_err(|error| StartError::Directory {
            path: daemon.runtime_dir.clone(),
            error,
        })?;
    daemon.ready();
    while !daemon.done {
        let wake = tokio::time::sleep(daemon.time_to_wake());
        tokio::select! {
            Some(signal) = signals.next() => daemon.on_signal(signal),
            Some(Asked { request, replies }) = asked.recv() => daemon.on_asked(request, replies),
            Some(run) = ended.recv() => daemon.on_ended(run),
            () = wake => daemon.apply(Event::Tick),
        }
        daemon.tell_supervisor();
    }
    drop((asked, std::mem::take(&mut daemon.askers)));
    server.finish().await;
    tracing::info!("stopped");
    Ok(())
}

struct Daemon {
    request: config::Request,
    in_force: InForce,
    runtime_dir: std::path::PathBuf,
    table: JobTable,
    runner: Runner,
    memory: Memory,
    spool: Spool,
    storm: Storm,
    askers: Askers,
    last_runs: LastRuns,
    registrar: Registrar,
    supervisor: Supervisor,
    watchdog: Option<Duration>,
    watchdog_fed: Instant,
    status_told: String,
    done: bool,
    /// Held as long as the daemon lives.
    _instance: Instance,
}

impl Daemon {
    fn start(
        config: Config,
        request: config::Request,
        runner: Runner,
        in_force: InForce,
    ) -> Result<Self, StartError> {
        let runtime_dir = config.daemon.runtime_dir.clone();
        let state_dir = config.daemon.state_dir.clone();
        super::private_dir(&runtime_dir)?;
        super::private_dir(&state_dir)?;
        let instance = Instance::claim(&runtime_dir)?;
        let spool = Spool::of(&runtime_dir);
        spool.create()?;
        let mut memory = Memory::open(&state_dir).map_err(|error| StartError::Directory {
            path: state_dir.clone(),
            error,
        })?;
        let now = Timestamp::now();
        let past = memory.recall(config.jobs.keys().cloned(), now);
        let armed = ArmedConfig::new(Arc::new(config)).map_err(StartError::Schedules)?;
        let (table, actions) = JobTable::new(armed, JobSpec::connections, &past, now);
        let mut daemon = Daemon {
            request,
            in_force,
            runtime_dir,
            table,
            runner,
            memory,
            spool,
            storm: Storm::default(),
            askers: Askers::default(),
            last_runs: LastRuns::default(),
            registrar: Registrar::default(),
            supervisor: Supervisor::from_env().map_err(StartError::Supervisor)?,
            watchdog: systemd::watchdog_interval(),
            watchdog_fed: Instant::now(),
            status_told: String::new(),
            done: false,
            _instance: instance,
        };
        daemon.act(actions);
        Ok(daemon)
    }

    fn ready(&mut self) {
        let jobs = self.table.armed().config().jobs.len();
        tracing::info!(jobs, runtime_dir = %self.runtime_dir.display(), "ready");
        self.status_told = status::line(&self.table);
        self.tell(self.supervisor.ready(&self.status_told));
        self.registrar.tell(self.table.armed(), Timestamp::now());
        // Whoever asked while no daemon ran is heard now.
        self.look_into_spool(false);
    }

    /// How long the loop may sleep.
    fn time_to_wake(&self) -> Duration {
        // Only a time can be missed: a daemon that waits for nothing sleeps on.
        let until_fire = self.table.wake_at().map(|at| {
            let wait = at.duration_since(Timestamp::now());
            Duration::try_from(wait)
                .unwrap_or_default()
                .min(LOOK_AT_CLOCK)
        });
        let until_fed = self
            .watchdog
            .map(|interval| interval.saturating_sub(self.watchdog_fed.elapsed()));
        [until_fire, until_fed]
            .into_iter()
            .flatten()
            .fold(SLEEP_MAX, Duration::min)
    }

    fn apply(&mut self, event: Event) {
        let actions = self.table.handle(event, Timestamp::now());
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut run_ids = BTreeMap::new();
        for action in &actions {
            match action {
                Action::Start(start) => {
                    let run_id = Uuid::now_v7();
                    self.memory.started(&start.job, run_id, Timestamp::now());
                    run_ids.insert(start.job.clone(), run_id);
                }
                Action::Settled { job, due_at } => self.memory.settled(job, *due_at),
                Action::Reloaded(changes) => {
                    let added = changes.added.iter().map(ToString::to_string);
                    self.memory.recall(added, Timestamp::now());
                }
                _ => {}
            }
        }
        // All at once, and before a run can have published anything.
        self.save();
        for action in actions {
            match action {
                Action::Start(start) => {
                    if let Some(run_id) = run_ids.remove(&start.job) {
                        self.runner.start(start, run_id);
                    }
                }
                Action::Cancel(job) => self.runner.cancel(&job),
                Action::Settled { .. } => {}
                Action::Skipped { job, due_at, why } => {
                    let due_at = due_at.map(tracing::field::display);
                    tracing::warn!(job = &*job, due_at, "not run: {why}");
                }
                Action::Answer {
                    ticket,
                    job,
                    answer,
                } => self.askers.answer(ticket, &job, answer),
                Action::Reloaded(changes) => {
                    tracing::info!("configuration reloaded: {}", reload::text(&changes));
                    self.askers.reloaded(changes);
                    self.registrar.tell(self.table.armed(), Timestamp::now());
                }
                Action::Exit => self.done = true,
            }
        }
    }

    fn on_signal(&mut self, signal: SignalEvent) {
        match signal {
            SignalEvent::Stop => self.stop(),
            SignalEvent::Reload => {
                // What is wrong has been logged.
                let _ = self.reload();
            }
            SignalEvent::Look => self.look_into_spool(true),
            SignalEvent::Status => {
                for job in status::jobs(&self.table, &self.last_runs) {
                    tracing::info!(
                        job = job.job,
                        state = job.state,
                        last_outcome = job.last_outcome.map(tracing::field::debug),
                        next_run_at = job.next_run_at.map(tracing::field::display),
                        "status"
                    );
                }
            }
            SignalEvent::Job(number) => self.apply(Event::Signal(number)),
        }
    }

    fn stop(&mut self) {
        let grace = self.table.armed().config().daemon.shutdown_grace;
        let running = self.table.running().count();
        tracing::info!(running, grace_seconds = grace.as_secs(), "stopping");
        self.tell(
            self.supervisor
                .stopping(&format!("waiting for {}", counted(running, "run"))),
        );
        self.apply(Event::Stop);
    }

    fn reload(&mut self) -> Result<(), String> {
        self.tell(self.supervisor.reloading());
        let read = reload::read(&self.request, self.table.armed().config());
        let result = match read {
            Ok(armed) => {
                (self.in_force)(armed.config());
                self.apply(Event::Reload(armed));
                Ok(())
            }
            Err(errors) => {
                tracing::error!("the new configuration is refused, the old one stays: {errors}");
                Err(errors)
            }
        };
        self.status_told = status::line(&self.table);
        self.tell(self.supervisor.ready(&self.status_told));
        result
    }

    /// `signalled`: an empty spool then means all on-demand jobs.
    fn look_into_spool(&mut self, signalled: bool) {
        loop {
            let taken = match self.spool.take() {
                Ok(taken) => taken,
                Err(error) => return tracing::error!("the trigger spool can't be read: {error}"),
            };
            for (name, why) in &taken.rejected {
                tracing::warn!("trigger file `{name}` is refused: {why}");
            }
            let more = taken.more;
            match self.storm.wanted(&taken, Instant::now()) {
                Wanted::Named => self.apply(Event::Trigger {
                    jobs: taken.jobs.into_iter().collect(),
                    trigger: Trigger::Signal,
                    ticket: None,
                }),
                Wanted::OnDemand if signalled => self.apply(Event::OnDemand),
                Wanted::OnDemand | Wanted::Echo => {}
            }
            if !more {
                return;
            }
        }
    }

    fn on_asked(&mut self, request: Request, replies: mpsc::Sender<Reply>) {
        match request {
            Request::Trigger { jobs, wait: true } => {
                let ticket = self.askers.admit(replies, jobs.iter().cloned().collect());
                self.apply(Event::Trigger {
                    jobs,
                    trigger: Trigger::Manual,
                    ticket: Some(ticket),
                });
            }
            Request::Trigger { jobs, wait: false } => {
                for job in &jobs {
                    let refused = match self.table.armed().job(job) {
                        None => Some(SkipReason::Unknown),
                        Some(_) => self.table.is_stopping().then_some(SkipReason::Stopping),
                    };
                    Askers::acknowledge(&replies, job, refused);
                }
                self.apply(Event::Trigger {
                    jobs,
                    trigger: Trigger::Manual,
                    ticket: None,
                });
            }
            Request::Reload => {
                self.askers.expect_reload(replies);
                if let Err(errors) = self.reload() {
                    self.askers.reload_refused(&errors);
                }
            }
            Request::Status => {
                let jobs = status::jobs(&self.table, &self.last_runs);
                let _ = replies.try_send(Reply::Status { jobs });
            }
        }
    }

    fn on_ended(&mut self, ended: Ended) {
        let Ended {
            job,
            run_id,
            report,
        } = ended;
        self.runner.forget(&job);
        let now = Timestamp::now();
        let (outcome, elsewhere, error) = match report {
            Ok(report) => (report.outcome, report.elsewhere, report.error),
            Err(error) => {
                tracing::error!(job = &*job, "{}", error.message);
                (Outcome::RolledBack, None, Some(error))
            }
        };
        match (outcome, elsewhere) {
            (Outcome::InDoubt, _) => {}
            (Outcome::Committed, _) | (_, Some(Elsewhere::Committed)) => {
                self.memory.ended(&job);
                self.memory.committed(&job, now);
            }
            _ => self.memory.ended(&job),
        }
        self.last_runs.insert(&job, outcome, error, now);
        self.apply(Event::Finished {
            job,
            run_id,
            outcome,
            elsewhere,
        });
    }

    fn save(&mut self) {
        if let Err(error) = self.memory.save() {
            tracing::error!("what was run can't be remembered across a restart: {error}");
        }
    }

    /// The watchdog is fed here, by the loop itself, so that a loop that is stuck is noticed.
    fn tell_supervisor(&mut self) {
        if let Some(interval) = self.watchdog
            && self.watchdog_fed.elapsed() >= interval
        {
            self.watchdog_fed = Instant::now();
            self.tell(self.supervisor.watchdog());
        }
        if self.table.is_stopping() {
            // Again and again, for systemd grants at most 71 minutes at a time.
            let wait = self.time_to_wake() + CANCEL_WAIT;
            return self.tell(self.supervisor.extend_timeout(wait));
        }
        let line = status::line(&self.table);
        if line != self.status_told {
            self.tell(self.supervisor.status(&line));
            self.status_told = line;
        }
    }

    fn tell(&self, told: std::io::Result<()>) {
        if let Err(error) = told {
            tracing::debug!("the supervisor was not told: {error}");
        }
    }
}
