//! The events of a run, and their listeners: the log, a progress bar.
//!
//! The report of a finished run is the JSON object that `run --json` prints.

pub mod difference;
pub mod drift;
pub mod log;
pub mod progress;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use drift::{ColumnChange, Drift, DriftedColumn};

use crate::config::spec::Mode;
use crate::error::{Error, ErrorKind, Phase, Side};
use crate::pg::ident::QualifiedName;

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins. It is not told of one that another daemon has taken.
    Started { trigger: RunTrigger },
    /// Both sides were inspected, and nothing speaks against the copy.
    Planned {
        tables: usize,
        warnings: Vec<String>,
    },
    /// The source's snapshot is taken. While it is held, VACUUM there cannot remove rows.
    SnapshotTaken,
    /// The source's snapshot is no longer held.
    SnapshotReleased,
    /// A statement waits for a lock that these sessions of this server hold.
    Locked { server: String, holders: String },
    /// A table's COPY begins.
    TableStarted(TableProgress),
    /// More rows have been copied.
    TableMoved(TableProgress),
    /// A table's rows are on the target, not yet published.
    TableLoaded(TableProgress),
    /// All tables are loaded; the target's transaction is about to be committed.
    Publishing,
    /// An attempt failed, and another will be made.
    Retrying {
        error: Arc<Error>,
        pause: Duration,
        attempt: u32,
    },
    /// After COMMIT something went wrong that takes nothing back.
    Warned(String),
    /// The run is over.
    Finished(Arc<RunReport>),
}

/// Where the copy of one table stands.
#[derive(Clone, Debug)]
pub struct TableProgress {
    /// Its place in the job, from 1.
    pub number: usize,
    /// Tables in the job.
    pub of: usize,
    pub target: String,
    pub rows: u64,
    pub bytes: u64,
    /// Rows expected, from the source's statistics.
    pub rows_estimate: Option<u64>,
    /// Thousandths of the file that were read, where a file of known size is read.
    pub permille: Option<u16>,
}

/// How long a copy has waited, measured a few times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// For rows of the source.
    pub source: Duration,
    /// For the target to take rows, or for its rows that are compared.
    pub target: Duration,
    /// For `rate_limit`.
    pub rate_limit: Duration,
}

/// Takes note of events. Called in the run's own task: must not block.
pub trait Listener: Send + Sync {
    /// One event of one run.
    fn on(&self, job: &str, run_id: Uuid, event: &Event);
}

/// What made a job run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    /// A command, or a program.
    Manual,
    /// A fire time of its schedule.
    Schedule,
    /// A signal, or `tableferry trigger`.
    Signal,
    /// A fire time that passed while no daemon ran.
    Missed,
    /// The jobs in its `after`.
    After,
    /// `SELECT tableferry.request('job')`.
    Request,
}

/// How a run ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target holds the new rows.
    Committed,
    /// The target is as it was.
    RolledBack,
    /// The connection was lost during COMMIT and the outcome could not be learnt.
    InDoubt,
    /// Stopped by a signal; the target is as it was.
    Cancelled,
    /// The run did not start.
    Skipped,
}

/// How work stands that another run has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Not done yet: look again.
    AtWork,
    /// Done: the target holds its rows.
    Committed,
    /// Done with, and the target is as it was.
    Ended,
    /// The job is paused: nobody does it.
    Paused,
}

impl RunTrigger {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RunTrigger::Manual => "manual",
            RunTrigger::Schedule => "schedule",
            RunTrigger::Signal => "signal",
            RunTrigger::Missed => "missed",
            RunTrigger::After => "after",
            RunTrigger::Request => "request",
        }
    }
}

impl Outcome {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Committed => "committed",
            Outcome::RolledBack => "rolled_back",
            Outcome::InDoubt => "in_doubt",
            Outcome::Cancelled => "cancelled",
            Outcome::Skipped => "skipped",
        }
    }
}

/// What a run did: the JSON object of `--json`.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The job's name.
    pub job: String,
    /// The run's own id, as in the ledger.
    pub run_id: Uuid,
    /// How it ended.
    pub outcome: Outcome,
    /// What made it run.
    pub trigger: RunTrigger,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// The source's snapshot of the last attempt.
    pub snapshot: Option<Snapshot>,
    /// With `--dry-run`: nothing was published. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The tables of the last attempt, as far as it came.
    pub tables: Vec<TableReport>,
    /// Why it was not committed.
    pub error: Option<ErrorReport>,
    /// Which statement of `sql.after_commit` failed, and why: the run stays committed. Absent if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_commit_error: Option<ErrorReport>,
    /// Why it was skipped: another run has taken its work.
    #[serde(skip)]
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// What the source looked like when it was read.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The WAL position that the snapshot holds at least.
    pub lsn: String,
    /// The source's clock.
    pub taken_at: Timestamp,
}

/// One table of a run.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// What was read.
    pub source: String,
    /// What was written.
    pub target: String,
    /// The job's mode.
    pub mode: Mode,
    /// `binary`, `text` or `csv`.
    pub format: &'static str,
    /// The partitioned table of which the target is a partition that is replaced alone.
    #[serde(skip)]
    pub(crate) partition_of: Option<String>,
    /// Why text.
    pub format_reason: Option<String>,
    /// Rows that the source sent.
    pub rows_read: u64,
    /// Rows that the target took.
    pub rows_written: u64,
    /// Rows of the target that were compared with the source's on the way.
    #[serde(skip)]
    pub rows_compared: Option<u64>,
    /// Rows of the source, where they were counted and not all sent.
    #[serde(skip)]
    pub rows_counted: Option<u64>,
    /// Rows that a run that died had loaded, and that this run has kept, with `resume = true`. Absent if it found
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_kept: Option<u64>,
    /// Rows that are new on the target.
    pub rows_inserted: u64,
    /// Rows that were changed on the target.
    pub rows_updated: u64,
    /// Rows that are gone from the target.
    pub rows_deleted: u64,
    /// Rows that were set aside.
    pub rows_rejected: u64,
    /// How the rows that differ were found: `full`, `stream` or `changed`; None in modes that do not look for them.
    pub compare: Option<&'static str>,
    /// Rows that would be written, with `--dry-run` and `log_values`; not all of many.
    #[serde(skip)]
    pub changes: Vec<ChangedRow>,
    /// The columns that only one side has: what the run does about them. Absent if there are none.
    #[serde(flatten)]
    pub drift: Drift,
    /// Bytes of COPY data.
    pub bytes: u64,
    /// Pairs of connections.
    pub workers: u32,
    /// Time that its COPY took.
    pub seconds: f64,
    /// What it waited for, over all workers.
    #[serde(skip)]
    pub(crate) waited: Waited,
    /// With `atomic = false`: are its rows published? Absent if the outcome of the run says so, or if it is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<bool>,
}

impl TableReport {
    /// The report of this target.
    pub(crate) fn of<'a>(reports: &'a [Self], target: &QualifiedName) -> Option<&'a Self> {
        let name = target.to_string();
        reports.iter().find(|report| report.target == name)
    }

    /// Adds what another source has given for the same target.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows_read += other.rows_read;
        self.rows_written += other.rows_written;
        self.rows_inserted += other.rows_inserted;
        self.rows_updated += other.rows_updated;
        self.rows_deleted += other.rows_deleted;
        self.rows_rejected += other.rows_rejected;
        self.changes.extend(other.changes);
        self.drift.add(other.drift);
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.waited.source += other.waited.source;
        self.waited.target += other.waited.target;
        self.waited.rate_limit += other.waited.rate_limit;
    }

    /// The table was compared with the source, and no row was written.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.compare.is_some() && self.rows_changed() == 0
    }

    /// Rows of the target that are new, changed or gone.
    pub(crate) fn rows_changed(&self) -> u64 {
        self.rows_inserted + self.rows_updated + self.rows_deleted
    }
}

/// A row that a run would write.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct ChangedRow {
    /// `insert`, `update` or `delete`.
    pub change: String,
    /// The values of the key, as texts.
    pub key: serde_json::Value,
    /// The target's row; null if it has none.
    pub before: serde_json::Value,
    /// The source's row; null if it has none.
    pub after: serde_json::Value,
}

/// An error, as scripts see it.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub kind: ErrorKind,
    /// In which step.
    pub phase: Phase,
    /// Where.
    pub side: Side,
    /// The relation that was being worked on.
    pub relation: Option<String>,
    /// The SQLSTATE, where a server reported the error.
    pub sqlstate: Option<String>,
    /// One line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The message without values of rows, whatever `log_values` says.
    #[serde(skip)]
    pub(crate) plain_message: String,
}

impl ErrorReport {
    /// With `log_values`, the server's message is appended.
    pub(crate) fn new(error: &Error, log_values: bool) -> Self {
        let message = match error.detail() {
            Some(detail) if log_values => format!("{error}; the server says: {detail}"),
            _ => error.to_string(),
        };
        ErrorReport {
            kind: error.kind(),
            phase: error.phase(),
            side: error.side(),
            relation: error.relation().map(str::to_owned),
            sqlstate: error.sqlstate().map(str::to_owned),
            message,
            hint: error.hint().map(str::to_owned),
            plain_message: error.to_string(),
        }
    }
}

impl RunReport {
    /// Rows that are on the target because of this run.
    pub fn rows_written(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_written).sum()
    }

    /// Rows that the target rejected.
    pub fn rows_rejected(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_rejected).sum()
    }

    /// Tables that were published although the run as a whole was not, with `atomic = false`.
    pub fn committed_tables(&self) -> Vec<&str> {
        let committed = |table: &&TableReport| table.committed == Some(true);
        match self.outcome {
            Outcome::Committed => Vec::new(),
            _ => self
                .tables
                .iter()
                .filter(committed)
                .map(|table| table.target.as_str())
                .collect(),
        }
    }

    /// Bytes of COPY data.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// How long it took, pauses included.
    pub fn duration(&self) -> Duration {
        self.finished_at
            .duration_since(self.started_at)
            .unsigned_abs()
    }
}
