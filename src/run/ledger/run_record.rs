//! The record of one run, as stored and as `tableferry history` shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::report::{DriftedColumn, Outcome, RunReport, RunTrigger, Snapshot, TableReport, drift};
use crate::run::RunContext;

/// The longest error that is recorded.
const ERROR_CHARS_MAX: usize = 2000;

/// How many earlier attempts' errors are recorded, and how long each.
const RETRIED_MAX: usize = 20;
const RETRIED_CHARS_MAX: usize = 500;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has started, and its end is not recorded.
    Running,
    /// The target holds its rows.
    Committed,
    /// The target is as it was.
    RolledBack,
    /// Stopped by a signal; the target is as it was.
    Cancelled,
    /// Its process is gone.
    Lost,
}

impl RunState {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Committed => "committed",
            RunState::RolledBack => "rolled_back",
            RunState::Cancelled => "cancelled",
            RunState::Lost => "lost",
        }
    }

    /// Reads what [`RunState::as_str`] writes.
    pub(super) fn parse(text: &str) -> Option<RunState> {
        use RunState::{Cancelled, Committed, Lost, RolledBack, Running};
        let all = [Running, Committed, RolledBack, Cancelled, Lost];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// One run: a row of `tableferry.run` with its rows of `tableferry.run_table`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    pub run_id: Uuid,
    pub job: String,
    /// The target server, as the configuration names it.
    #[serde(default)]
    pub server: String,
    pub state: RunState,
    pub trigger: RunTrigger,
    /// The fire time, if a schedule started the run.
    pub due_at: Option<Timestamp>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Who ran it: host and process.
    pub instance: String,
    pub attempts: u32,
    /// The source's WAL position.
    pub source_lsn: Option<String>,
    /// When the source's snapshot was taken, by its own clock.
    pub snapshot_at: Option<Timestamp>,
    /// Why it failed; without values.
    pub error: Option<String>,
    /// Why the attempts before the last one failed.
    #[serde(default)]
    pub retried: Option<Vec<String>>,
    #[serde(default)]
    pub tables: Vec<TableRecord>,
}

/// One table that a run published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableRecord {
    pub target: String,
    pub source: String,
    pub mode: String,
    /// `binary` or `text`.
    pub format: String,
    /// Rows that the source sent.
    pub rows_read: u64,
    /// Rows that the target took.
    pub rows_written: u64,
    /// Rows that are new on the target.
    pub rows_inserted: u64,
    /// Rows that were changed on the target.
    pub rows_updated: u64,
    /// Rows that are gone from the target.
    pub rows_deleted: u64,
    /// Rows that the target rejected.
    #[serde(default)]
    pub rows_rejected: u64,
    /// Bytes of COPY data.
    pub bytes: u64,
    /// How the rows that differ were found.
    #[serde(default)]
    pub compare: Option<String>,
    /// The columns that only one side has, and how many more there are.
    #[serde(default)]
    pub drift: Option<Vec<DriftedColumn>>,
    #[serde(default)]
    pub drift_more: Option<u64>,
    /// The watermark that was reached.
    #[serde(default)]
    pub watermark: Option<String>,
}

impl RunRecord {
    /// A run that begins its first attempt, or another one after `failures`.
    pub(super) fn running(run: &RunContext, failures: &[String]) -> Self {
        let shortened = |why: &String| shortened(why, RETRIED_CHARS_MAX);
        let newest = failures.len().saturating_sub(RETRIED_MAX);
        let retried = failures.iter().skip(newest).map(shortened);
        RunRecord {
            run_id: run.context.run_id,
            job: run.context.job.name.clone(),
            server: run.context.target.name.clone(),
            state: RunState::Running,
            trigger: run.start.trigger,
            due_at: run.start.due_at,
            started_at: run.start.started_at,
            finished_at: None,
            instance: instance(),
            attempts: u32::try_from(failures.len() + 1).unwrap_or(u32::MAX),
            source_lsn: None,
            snapshot_at: None,
            error: None,
            retried: (!failures.is_empty()).then(|| retried.collect()),
            tables: Vec::new(),
        }
    }

    /// A run that is about to commit these tables. With `last`, the run ends with them.
    pub(super) fn committing(
        run: &RunContext,
        failures: &[String],
        snapshot: Option<&Snapshot>,
        tables: &[TableReport],
        last: bool,
    ) -> Self {
        RunRecord {
            state: if last {
                RunState::Committed
            } else {
                RunState::Running
            },
            finished_at: last.then(Timestamp::now),
            tables: tables.iter().map(TableRecord::new).collect(),
            ..RunRecord::running(run, failures).read(snapshot)
        }
    }

    /// A run that has ended. A run in doubt is recorded as `lost` until it is resolved.
    pub(super) fn ended(
        run: &RunContext,
        report: &RunReport,
        failures: &[String],
        error: Option<String>,
    ) -> Self {
        let state = match report.outcome {
            Outcome::Committed => RunState::Committed,
            Outcome::RolledBack | Outcome::Skipped => RunState::RolledBack,
            Outcome::Cancelled => RunState::Cancelled,
            Outcome::InDoubt => RunState::Lost,
        };
        // With `atomic = false` some tables may be published although the run failed.
        let committed =
            |table: &&TableReport| state == RunState::Committed || table.committed == Some(true);
        RunRecord {
            state,
            finished_at: Some(report.finished_at),
            error: error.map(|text| shortened(&text, ERROR_CHARS_MAX)),
            tables: report
                .tables
                .iter()
                .filter(committed)
                .map(TableRecord::new)
                .collect(),
            ..RunRecord::running(run, failures).read(report.snapshot.as_ref())
        }
    }

    fn read(self, snapshot: Option<&Snapshot>) -> Self {
        RunRecord {
            source_lsn: snapshot
                .map(|snapshot| snapshot.lsn.clone())
                .filter(|lsn| !lsn.is_empty()),
            snapshot_at: snapshot.map(|snapshot| snapshot.taken_at),
            ..self
        }
    }

    /// What the run did about columns that only one side of a table has: a text for each such table.
    pub fn drift(&self) -> impl Iterator<Item = String> {
        self.tables.iter().filter_map(|table| {
            let drift = table.drift_in_words()?;
            Some(format!("{}: columns {drift}", table.target))
        })
    }

    /// The number of rows that this run has written.
    pub fn rows_written(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_written).sum()
    }

    /// Rows that the target rejected.
    pub fn rows_rejected(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_rejected).sum()
    }
}

impl TableRecord {
    /// The columns that only one side has.
    pub fn drift_in_words(&self) -> Option<String> {
        let columns = self.drift.as_deref().unwrap_or_default();
        drift::in_words(columns, self.drift_more.unwrap_or_default())
    }

    /// What is recorded of a table that was published.
    pub(crate) fn new(table: &TableReport) -> Self {
        let drift = &table.drift;
        TableRecord {
            target: table.target.clone(),
            source: table.source.clone(),
            mode: table.mode.as_str().to_owned(),
            format: table.format.to_owned(),
            rows_read: table.rows_read,
            rows_written: table.rows_written,
            rows_inserted: table.rows_inserted,
            rows_updated: table.rows_updated,
            rows_deleted: table.rows_deleted,
            rows_rejected: table.rows_rejected,
            bytes: table.bytes,
            compare: table.compare.map(str::to_owned),
            drift: (!drift.columns.is_empty()).then(|| drift.columns.clone()),
            drift_more: (drift.more > 0).then_some(drift.more),
            watermark: None,
        }
    }
}

/// The beginning of a text, without NUL, which PostgreSQL's text cannot hold.
fn shortened(text: &str, chars_max: usize) -> String {
    let chars = text.chars().filter(|char| *char != '\0');
    chars.take(chars_max).collect()
}

/// Identifies this process by host and process id.
pub(super) fn instance() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{}:{}", host.to_string_lossy(), std::process::id())
}
