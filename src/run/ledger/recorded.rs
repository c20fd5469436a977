//! Runs from all ledgers of a configuration: what `tableferry history` and the page show.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::local;
use super::run_record::RunRecord;
use crate::config::spec::{Config, History, ServerSpec};
use crate::error::{Error, Phase, Result, Side};
use crate::pg::session::{Session, SessionSettings};
use crate::run::bounds::{CLOSE_WAIT, COMMAND_LOCK_TIMEOUT};

/// Who reads, and how long a statement may take.
#[derive(Clone, Copy, Debug)]
pub struct HistoryReader {
    pub application_name: &'static str,
    pub statement_timeout: Option<Duration>,
}

/// The newest runs, newest first, and the ledgers that could not be read.
#[derive(Debug, Default)]
pub struct Recorded {
    pub runs: Vec<RunRecord>,
    pub unread: Vec<Unread>,
}

/// A ledger that could not be read.
#[derive(Debug)]
pub enum Unread {
    /// `history = "off"`.
    Off,
    /// This server has none. It gets one from the first run.
    NoLedger(String),
    Failed(Error),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Off => f.write_str("`history = \"off\"`: runs are not recorded"),
            Unread::NoLedger(server) => write!(f, "there is no ledger on `{server}` yet"),
            Unread::Failed(error) => error.fmt(f),
        }
    }
}

impl Recorded {
    /// Whether runs may be missing.
    pub fn is_incomplete(&self) -> bool {
        let is_error = |unread: &Unread| !matches!(unread, Unread::NoLedger(_));
        self.unread.iter().any(is_error)
    }
}

/// The newest `limit` runs of one job or of all.
pub async fn recorded(
    config: &Config,
    job: Option<&str>,
    limit: usize,
    reader: HistoryReader,
) -> Recorded {
    let mut found = Recorded::default();
    match config.daemon.history {
        History::Off => found.unread.push(Unread::Off),
        History::Local => found.read_locally(config, job, limit),
        History::Target => {
            let is_database = |name: &String| {
                let server = config.servers.get(name);
                server.is_some_and(ServerSpec::is_database)
            };
            let (databases, directories): (Vec<_>, Vec<_>) =
                targets(config, job).into_iter().partition(is_database);
            // A directory has no place for a ledger.
            if !directories.is_empty() {
                found.read_locally(config, job, limit);
            }
            for server in databases {
                match of_target(config, &server, job, limit, reader).await {
                    Ok(Some(runs)) => found.runs.extend(runs),
                    Ok(None) => found.unread.push(Unread::NoLedger(server)),
                    Err(error) => found.unread.push(Unread::Failed(error)),
                }
            }
        }
    }
    found
        .runs
        .sort_by_key(|run| std::cmp::Reverse(run.started_at));
    found.runs.truncate(limit);
    found
}

impl Recorded {
    fn read_locally(&mut self, config: &Config, job: Option<&str>, limit: usize) {
        match local::read(&config.daemon.state_dir, job, limit) {
            Ok(runs) => self.runs.extend(runs),
            Err(error) => self.unread.push(Unread::Failed(error)),
        }
    }
}

/// The servers that may hold a job's runs: its target, or all targets. Two of them may be the same one by two names: each run is then
/// shown under both.
fn targets(config: &Config, job: Option<&str>) -> BTreeSet<String> {
    match job.and_then(|job| config.jobs.get(job)) {
        Some(spec) => BTreeSet::from([spec.target.clone()]),
        None => config
            .jobs
            .values()
            .map(|spec| spec.target.clone())
            .collect(),
    }
}

async fn of_target(
    config: &Config,
    server: &str,
    job: Option<&str>,
    limit: usize,
    reader: HistoryReader,
) -> Result<Option<Vec<RunRecord>>> {
    let Some(spec) = config.servers.get(server) else {
        return Ok(None);
    };
    let settings = SessionSettings {
        encoding: None,
        lock_timeout: COMMAND_LOCK_TIMEOUT,
        application_name: reader.application_name.to_owned(),
        replica: false,
    };
    let session = Session::open(spec, Side::Target, &settings).await?;
    let runs = read(&session, job, limit, reader.statement_timeout).await;
    session.close(CLOSE_WAIT).await;
    runs
}

async fn read(
    session: &Session,
    job: Option<&str>,
    limit: usize,
    statement_timeout: Option<Duration>,
) -> Result<Option<Vec<RunRecord>>> {
    if let Some(timeout) = statement_timeout {
        let set = format!("SET statement_timeout = {}", timeout.as_millis());
        session.run(Phase::Inspect, &set).await?;
    }
    super::history(session, job, limit).await
}
