//! The daemon's event loop. It owns all state, receives all events, and never waits for a copy. The [job
//! table](super::job_table) decides; this module carries out the actions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::StartError;
use super::clients::Clients;
use super::clock::Clock;
use super::control::server::{PendingRequest, Server};
use super::event::DaemonEvent;
use super::health::HealthTable;
use super::instance::Instance;
use super::job_registry::JobRegistry;
use super::job_table::JobTable;
use super::ledger_watch::LedgerWatch;
use super::listen::{self, WebServer};
use super::notices::Notifiers;
use super::observed::{Question, Reloads};
use super::past_runs::PastRuns;
use super::runner::Runner;
use super::scheduled_config::ScheduledConfig;
use super::signals::SignalEvents;
use super::skips::Skips;
use super::spool::{SignalStorm, Spool};
use super::state_file::StateFile;
use super::status;
use super::systemd::{self, Supervisor};
use crate::config;
use crate::config::spec::{Config, JobSpec};
use crate::report::Listener;

mod actions;
mod looking;
mod questions;
mod requests;
mod telling;
mod waking;

/// Requests that wait for the loop's attention.
const REQUESTS_MAX: usize = 64;

/// Questions of HTTP requests that the loop has not answered yet.
const QUESTIONS_MAX: usize = 16;

/// Failed attempts that the loop has not read yet. `status` does not show more.
const RETRY_REPORTS_MAX: usize = 64;

/// Looks into ledgers that the loop has not read yet.
const LOOKS_MAX: usize = 64;

/// Jobs whose notices were sent or given up, and that the loop has not read yet.
const SETTLED_REPORTS_MAX: usize = 1024;

/// The time beyond the next turn of the loop that systemd is asked to wait while stopping. Cancelling runs
/// may take this long.
const CANCEL_STOP_EXTENSION: Duration = Duration::from_secs(45);

/// Called with every new configuration, but not with the first one.
pub type InForce = Box<dyn Fn(&Config)>;

/// Runs until the daemon has been stopped and no run is active.
///
/// *Errors:* the daemon cannot start: another daemon uses the runtime or state directory, or a directory
/// cannot be used.
pub async fn serve(
    config: Config,
    request: config::Request,
    listener: Arc<dyn Listener>,
    in_force: InForce,
) -> Result<(), StartError> {
    let (ended_tx, mut ended) = mpsc::channel(config.daemon.max_running_jobs.max(1));
    let (asked_tx, mut asked) = mpsc::channel(REQUESTS_MAX);
    let (retrying_tx, mut retrying) = mpsc::channel(RETRY_REPORTS_MAX);
    let (settled_tx, mut settled) = mpsc::channel(SETTLED_REPORTS_MAX);
    let (questions_tx, mut questions) = mpsc::channel::<Question>(QUESTIONS_MAX);
    let (looked_tx, mut looked) = mpsc::channel(LOOKS_MAX);
    let mut signals = SignalEvents::listen().map_err(StartError::Signals)?;
    let (mut daemon, socket) = Daemon::start(
        config,
        request,
        Runner::new(ended_tx, retrying_tx, listener),
        Notifiers::new(settled_tx),
        LedgerWatch::new(looked_tx),
        in_force,
    )?;
    let server =
        Server::start(&daemon.runtime_dir, asked_tx).map_err(|error| StartError::Directory {
            path: daemon.runtime_dir.clone(),
            error,
        })?;
    let web = socket.map(|socket| WebServer::start(socket, questions_tx));
    daemon.ready();
    while !daemon.done {
        let wake = tokio::time::sleep(daemon.time_to_wake());
        tokio::select! {
            Some(signal) = signals.next() => daemon.on_signal(signal),
            Some(PendingRequest { request, replies }) = asked.recv() => daemon.on_asked(request, replies),
            Some(run) = ended.recv() => daemon.on_ended(run),
            Some(retry) = retrying.recv() => daemon.past_runs.retrying(retry),
            Some(job) = settled.recv() => daemon.on_settled(&job),
            Some(question) = questions.recv() => daemon.on_question(question),
            Some(look) = looked.recv() => daemon.on_looked(look),
            () = std::future::ready(()), if daemon.open_scan.is_some() => daemon.continue_scan(),
            () = daemon.clock.is_set() => daemon.apply(DaemonEvent::Tick),
            () = wake => daemon.apply(DaemonEvent::Tick),
        }
        daemon.tell_supervisor();
    }
    drop((asked, std::mem::take(&mut daemon.clients)));
    if let Some(web) = web {
        web.finish().await;
    }
    server.finish().await;
    daemon.notifiers.finish();
    while let Ok(job) = settled.try_recv() {
        daemon.on_settled(&job);
    }
    tracing::info!("stopped");
    Ok(())
}

struct Daemon {
    request: config::Request,
    in_force: InForce,
    runtime_dir: std::path::PathBuf,
    clock: Clock,
    table: JobTable,
    health: HealthTable,
    notifiers: Notifiers,
    runner: Runner,
    state_file: StateFile,
    spool: Spool,
    storm: SignalStorm,
    open_scan: Option<requests::OpenScan>,
    scan_again: bool,
    skips: Skips,
    clients: Clients,
    past_runs: PastRuns,
    reloads: Reloads,
    started_at: Timestamp,
    job_registry: JobRegistry,
    ledger_watch: LedgerWatch,
    supervisor: Supervisor,
    watchdog: Option<Duration>,
    watchdog_fed: Instant,
    status_told: String,
    done: bool,
    /// Held as long as the daemon lives.
    _instances: [Instance; 2],
}

impl Daemon {
    fn start(
        config: Config,
        request: config::Request,
        runner: Runner,
        notifiers: Notifiers,
        ledger_watch: LedgerWatch,
        in_force: InForce,
    ) -> Result<(Self, Option<listen::Socket>), StartError> {
        let runtime_dir = config.daemon.runtime_dir.clone();
        let state_dir = config.daemon.state_dir.clone();
        super::private_dir(&runtime_dir)?;
        super::private_dir(&state_dir)?;
        let instance = Instance::lock_runtime_dir(&runtime_dir)?;
        let state_lock = Instance::lock_state_dir(&state_dir)?;
        let spool = Spool::of(&runtime_dir);
        spool.create()?;
        let mut state_file =
            StateFile::open(&state_dir).map_err(|error| StartError::Directory {
                path: state_dir.clone(),
                error,
            })?;
        let socket = config.daemon.listen.map(listen::bind).transpose()?;
        let now = Timestamp::now();
        let saved = state_file.saved_jobs(config.jobs.keys().cloned(), now);
        let scheduled = ScheduledConfig::new(Arc::new(config)).map_err(StartError::Schedules)?;
        let (table, actions) = JobTable::new(scheduled, JobSpec::connections, &saved, now);
        let mut daemon = Daemon {
            request,
            in_force,
            runtime_dir,
            clock: Clock::watch(),
            table,
            health: HealthTable::default(),
            notifiers,
            runner,
            state_file,
            spool,
            storm: SignalStorm::default(),
            open_scan: None,
            scan_again: false,
            skips: Skips::default(),
            clients: Clients::default(),
            past_runs: PastRuns::new(socket.is_some()),
            reloads: Reloads {
                accepted: 0,
                refused: 0,
                is_refused: false,
                accepted_at: now,
            },
            started_at: now,
            job_registry: JobRegistry::default(),
            ledger_watch,
            supervisor: Supervisor::from_env().map_err(StartError::Supervisor)?,
            watchdog: systemd::watchdog_interval(),
            watchdog_fed: Instant::now(),
            status_told: String::new(),
            done: false,
            _instances: [instance, state_lock],
        };
        daemon.follow_config();
        daemon.act(actions);
        daemon.tell_unsent();
        Ok((daemon, socket))
    }

    fn ready(&mut self) {
        // Trigger files that were written while no daemon ran are read now. Those that are written once
        // the daemon is ready wait for their signal.
        self.scan_spool(false);
        self.continue_scan();
        let jobs = self.table.scheduled().config().jobs.len();
        tracing::info!(jobs, runtime_dir = %self.runtime_dir.display(), "ready");
        self.status_told = status::line(&self.table);
        self.tell(self.supervisor.ready(&self.status_told));
        self.job_registry
            .update(self.table.scheduled(), Timestamp::now());
        self.ledger_watch.update(self.table.scheduled());
    }

    fn apply(&mut self, event: DaemonEvent) {
        let now = self.follow_clock();
        let actions = self.table.handle(event, now);
        self.act(actions);
        let changes = self.health.look(now);
        self.tell_changes(changes, now);
    }

    /// The loop itself notifies the watchdog, so that a loop that hangs is noticed.
    fn tell_supervisor(&mut self) {
        if let Some(interval) = self.watchdog
            && self.watchdog_fed.elapsed() >= interval
        {
            self.watchdog_fed = Instant::now();
            self.tell(self.supervisor.watchdog());
        }
        if self.table.is_stopping() {
            // Repeatedly, because systemd grants at most 71 minutes at a time.
            let wait = self.time_to_wake() + CANCEL_STOP_EXTENSION;
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
            tracing::debug!("systemd could not be notified: {error}");
        }
    }
}
