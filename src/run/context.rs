//! What a run works with, split by who needs it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::config::spec::{Config, History, JobSpec, ServerSpec};
use crate::error::{CurrentPhase, Error, ErrorKind, Phase, Result, Side};
use crate::report::{Event, Listener, RunTrigger};
use crate::run::fed::Fed;
use crate::run::idle::IdleSession;

/// One run of one job.
#[derive(Clone)]
pub struct RunContext {
    /// The work. This is all that planning, copying and comparing need.
    pub context: JobContext,
    /// Why the run was started, and when.
    pub start: RunStart,
    /// Where the run is recorded.
    pub ledger: LedgerSettings,
}

/// The job of a run, its servers, and who is told what happens.
#[derive(Clone)]
pub struct JobContext {
    pub job: JobSpec,
    /// The server that is read: the first, if there are several and none is chosen.
    pub source: ServerSpec,
    /// The other ones.
    pub more_sources: Vec<ServerSpec>,
    /// Its position among those of the job.
    pub source_at: usize,
    /// The server that is written.
    pub target: ServerSpec,
    pub run_id: Uuid,
    /// Read all rows, also of tables with a watermark.
    pub full: bool,
    /// `--dry-run`: publish nothing.
    pub dry_run: bool,
    /// `--rows`: publish only if exactly this many rows were read, over all tables.
    pub rows: Option<u64>,
    /// The program that gives the rows, where the library is used.
    pub fed: Option<Arc<Fed>>,
    /// Keeps the target's connection after the run, where the library is used.
    pub idle: Option<IdleSession>,
    /// Receives the run's events.
    pub listener: Arc<dyn Listener>,
    /// What the run is doing.
    pub phase: CurrentPhase,
}

/// Why a run was started, and when.
#[derive(Clone, Copy, Debug)]
pub struct RunStart {
    pub trigger: RunTrigger,
    /// The fire time that it was started for.
    pub due_at: Option<Timestamp>,
    /// An earlier run of the job that is over. It is not known how it ended.
    pub orphan: Option<Orphan>,
    /// When the job is due next. Written to the ledger.
    pub next_due: NextDue,
    /// Does it end without doing anything if the job is paused?
    pub obeys_pause: bool,
    pub started_at: Timestamp,
}

/// Where runs are recorded, and for how long.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// On the target, in a local file, or nowhere.
    pub history: History,
    /// The same of earlier runs, also in a dry run.
    pub recorded: History,
    /// How long the ledger keeps a run.
    pub keep: Duration,
    /// The directory of a local history.
    pub state_dir: PathBuf,
}

/// A run whose process is gone. It is resolved before its job runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub run_id: Uuid,
    /// The run was left in doubt, and the next run does the same work. It does nothing if the orphan was
    /// committed.
    pub is_same: bool,
}

/// When a job is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextDue {
    /// Not known: no daemon runs the job.
    Unknown,
    /// At this time. `None`: the job runs on demand only.
    Known(Option<Timestamp>),
}

impl RunContext {
    /// A new run of `job`. *Errors:* `Config` if the configuration lacks the job or one of its servers.
    /// Validation has excluded that for a job of this configuration.
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
        let target = server(&job.target)?.clone();
        let more = job.more_sources.iter();
        let more_sources = more
            .map(|name| server(name).cloned())
            .collect::<Result<_>>()?;
        let history = match config.daemon.history {
            // A directory has no ledger.
            History::Target if !target.is_database() => History::Local,
            other => other,
        };
        Ok(RunContext {
            context: JobContext {
                source: server(&job.source)?.clone(),
                more_sources,
                source_at: 0,
                target,
                job: job.clone(),
                run_id: Uuid::now_v7(),
                full: false,
                dry_run: false,
                rows: None,
                fed: None,
                idle: None,
                listener,
                phase: CurrentPhase::default(),
            },
            start: RunStart {
                trigger,
                due_at: None,
                orphan: None,
                next_due: NextDue::Unknown,
                obeys_pause: false,
                started_at: Timestamp::now(),
            },
            ledger: LedgerSettings {
                history,
                recorded: history,
                keep: config.daemon.history_keep,
                state_dir: config.daemon.state_dir.clone(),
            },
        })
    }
}

impl RunContext {
    /// A run of a job that is not in a configuration and is not recorded in a ledger.
    pub fn one_off(
        job: JobSpec,
        source: ServerSpec,
        target: ServerSpec,
        rows: Option<u64>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        RunContext {
            context: JobContext {
                job,
                source,
                more_sources: Vec::new(),
                source_at: 0,
                target,
                run_id: Uuid::now_v7(),
                full: false,
                dry_run: false,
                rows,
                fed: None,
                idle: None,
                listener,
                phase: CurrentPhase::default(),
            },
            start: RunStart {
                trigger: RunTrigger::Manual,
                due_at: None,
                orphan: None,
                next_due: NextDue::Unknown,
                obeys_pause: false,
                started_at: Timestamp::now(),
            },
            ledger: LedgerSettings {
                history: History::Off,
                recorded: History::Off,
                keep: Duration::ZERO,
                state_dir: PathBuf::new(),
            },
        }
    }
}

impl RunContext {
    /// Makes it a dry run: everything is done in one transaction of the target, which is rolled back. No run is
    /// recorded.
    pub fn rehearse(&mut self) {
        self.context.dry_run = true;
        // Tables that several workers load are committed before they are published.
        self.context.job.workers = 1;
        self.ledger.history = History::Off;
    }
}

impl RunContext {
    /// The run as each of its sources is read, in order.
    pub(super) fn of_each_source(&self) -> Vec<RunContext> {
        let contexts = self.context.of_each_source().into_iter();
        let run = |context| RunContext {
            context,
            ..self.clone()
        };
        contexts.map(run).collect()
    }
}

impl JobContext {
    /// The same for each source, in order.
    pub(super) fn of_each_source(&self) -> Vec<JobContext> {
        let sources = std::iter::once(&self.source).chain(&self.more_sources);
        let context = |(at, source): (usize, &ServerSpec)| JobContext {
            source: source.clone(),
            more_sources: Vec::new(),
            source_at: at,
            ..self.clone()
        };
        sources.enumerate().map(context).collect()
    }

    pub(super) fn tell(&self, event: Event) {
        self.listener.on(&self.job.name, self.run_id, &event);
    }

    /// A statement waits for a lock.
    pub(super) fn tell_locked(&self, server: &str, holders: &str) {
        self.tell(Event::Locked {
            server: server.to_owned(),
            holders: holders.to_owned(),
        });
    }
}
