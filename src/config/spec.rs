//! The validated configuration, which the rest of the program uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

mod notify;
mod sql;
mod table;

pub use self::notify::{JobPattern, NoticeKind, NoticeWay, NotifierSpec};
pub use self::sql::{BUILT_IN_PARAMS, JobSql, LAST_SUCCESS};
pub use self::table::{FileInput, FileSpec, OnConflict, PartitionOf, Scope, TableInput, TableSpec};
pub use super::mode::Mode;
pub use super::pattern::{PatternPart, TablePattern};
pub use super::target_names::TargetNames;
use crate::files::layout::FileOptions;
use crate::pg::ident::{Ident, QualifiedName};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// `[daemon]`.
    pub daemon: DaemonSpec,
    /// `[servers.NAME]`.
    pub servers: BTreeMap<String, ServerSpec>,
    /// `[jobs.NAME]`.
    pub jobs: BTreeMap<String, JobSpec>,
    /// `[notify.NAME]`.
    pub notifiers: BTreeMap<String, NotifierSpec>,
    /// A warning about a valid configuration.
    pub warnings: Vec<Warning>,
}

/// A warning about a valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Whom it concerns.
    pub about: About,
    /// Where, which key, and what.
    pub text: String,
}

/// Whom a warning concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Job(String),
    /// The jobs of a server.
    Server(String),
    Notifier(String),
    /// All servers and jobs.
    All,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Config {
    /// The warnings that concern these jobs.
    pub fn warnings_of(&self, jobs: &[String]) -> impl Iterator<Item = &Warning> {
        self.warnings.iter().filter(|warning| match &warning.about {
            About::Job(job) => jobs.contains(job),
            About::Server(server) => jobs.iter().any(|job| {
                let spec = self.jobs.get(job);
                spec.is_some_and(|spec| spec.source == *server || spec.target == *server)
            }),
            About::Notifier(_) => false,
            About::All => true,
        })
    }
}

/// `[daemon]`.
#[derive(Clone, Debug)]
pub struct DaemonSpec {
    /// Runs at once.
    pub max_running_jobs: usize,
    /// How long SIGTERM lets running jobs go on.
    pub shutdown_grace: Duration,
    /// Pid file, trigger spool, control socket.
    pub runtime_dir: PathBuf,
    /// What must survive a restart and has no place on a target.
    pub state_dir: PathBuf,
    /// Where the status page and the metrics are served.
    pub listen: Option<std::net::SocketAddr>,
    /// The time zone of `cron` where a job names none.
    pub timezone: jiff::tz::TimeZone,
    /// What it logs, unless a flag says otherwise.
    pub log_level: LogLevel,
    /// Where runs are recorded.
    pub history: History,
    /// How long the ledger keeps a run.
    pub history_keep: Duration,
}

/// How much the daemon logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Where runs are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// In schema `tableferry` on each target.
    Target,
    /// In `state_dir`.
    Local,
    /// Nowhere.
    Off,
}

/// `[servers.NAME]`.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub place: ServerPlace,
    /// URI or key=value; empty unless it is a database. A secret, because it may hold a password.
    pub conninfo: SecretString,
    /// Where else the password is.
    pub password: PasswordSource,
    /// The words of the program whose standard input and output are the connection.
    pub proxy_command: Option<Vec<String>>,
    /// Connections across all jobs.
    pub max_connections: u32,
    /// `client_encoding` of both ends of its copies, for a SQL_ASCII database.
    pub encoding: Option<String>,
}

/// What stands behind the name of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPlace {
    /// A database of a PostgreSQL server.
    Database,
    /// A directory with files.
    Directory(PathBuf),
    /// The standard input or output of `tableferry copy`.
    Standard,
}

impl ServerSpec {
    /// It is a database, and not files.
    pub fn is_database(&self) -> bool {
        self.place == ServerPlace::Database
    }
}

/// Where a server's password is, besides the conninfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// In the conninfo, `PGPASSWORD`, or `.pgpass`.
    Libpq,
    /// The first line of this file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// This file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The first line that this program prints.
    Command(Vec<String>),
    /// A file of `.pgpass` format.
    PassFile(PathBuf),
}

/// `[jobs.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Its name in the configuration.
    pub name: String,
    /// The server that is read: the first, if there are several.
    pub source: String,
    /// The other ones.
    pub more_sources: Vec<String>,
    /// The target's column that holds the name of a row's source.
    pub source_column: Option<Ident>,
    /// The server that is written.
    pub target: String,
    /// What the target holds afterwards.
    pub mode: Mode,
    /// Same name on both sides; may hold `*`.
    pub tables: Vec<TablePattern>,
    /// Left out of what `tables` matched.
    pub exclude: Vec<TablePattern>,
    /// The targets' names of what `tables` matched; None: the same name.
    pub target_names: Option<TargetNames>,
    /// `[jobs.NAME.table."schema.name"]`, by target relation.
    pub table: BTreeMap<QualifiedName, TableSpec>,
    /// When it runs.
    pub schedule: ScheduleSpec,
    /// Data whose snapshot is older count as stale.
    pub fresh_within: Option<Duration>,
    /// The whole attempt.
    pub timeout: Option<Duration>,
    /// Waiting for a lock.
    pub lock_timeout: Duration,
    /// No byte moved on a side.
    pub stall_timeout: Duration,
    /// Tries again after errors that can pass.
    pub retry: RetrySpec,
    /// Which COPY format is allowed.
    pub format: FormatChoice,
    /// Connections a side.
    pub workers: u32,
    /// One snapshot and one target transaction for all tables.
    pub atomic: bool,
    /// What is compared before COMMIT.
    pub verify: Verify,
    /// When the source's rows are not believed.
    pub guard: GuardSpec,
    /// Do the target's triggers fire?
    pub triggers: Triggers,
    /// Move the target's sequences past the copied values.
    pub sequences: bool,
    /// ANALYZE after publishing.
    pub analyze: bool,
    /// Bytes a second read from the source.
    pub rate_limit: Option<u64>,
    /// What happens to rows that the target rejects.
    pub on_error: OnError,
    /// How many of them a run accepts.
    pub reject_limit: RejectLimit,
    /// Show keys and cell values in errors and reports.
    pub log_values: bool,
    /// Make views on a swapped table again.
    pub recreate_views: bool,
    /// How `merge` and `upsert` find differences.
    pub compare: Compare,
    /// What of a partitioned target is replaced.
    pub replace: Replace,
    /// Keep what a run that died has loaded.
    pub resume: bool,
    /// Make target tables that are not there.
    pub create: Create,
    /// What to do about columns that only the source has.
    pub new_columns: NewColumns,
    /// Give up a run that holds the source's snapshot longer.
    pub max_snapshot_age: Option<Duration>,
    /// How the job's files are written.
    pub csv: FileOptions,
    /// Statements of the user's own.
    pub sql: JobSql,
    /// The values of the job's own parameters.
    pub params: BTreeMap<String, String>,
    /// The parameters that the job's SQL names. Empty for a job that is not in a configuration.
    pub params_used: BTreeSet<String>,
}

/// When a job runs. `cron` and `every` exclude each other; neither: on demand only.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleSpec {
    /// A cron expression of five fields, already checked.
    pub cron: Option<String>,
    /// A period anchored to the epoch.
    pub every: Option<Duration>,
    /// The job's own time zone.
    pub timezone: Option<String>,
    /// The most that a fire time is delayed, fixed per job.
    pub jitter: Duration,
    /// The previous run is still going.
    pub overlap: Overlap,
    /// A fire time passed while no daemon ran.
    pub missed: Missed,
    /// How old a missed fire may be.
    pub catchup_window: Duration,
    /// SIGUSR1 with no trigger files runs it.
    pub on_demand: bool,
    /// `RTMIN+n`.
    pub signal: Option<u8>,
    /// Runs when all of these have committed.
    pub after: Vec<String>,
}

/// The previous run is still going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Let this fire go.
    Skip,
    /// Run once more afterwards.
    Queue,
}

/// A fire time passed while no daemon ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Run once, however many were missed.
    Once,
    /// Wait for the next.
    Skip,
}

/// How `merge` and `upsert` find the rows that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Whatever costs least.
    Auto,
    /// By the transactions that wrote the rows.
    Changed,
    /// Both sides are read in the order of the key, and only differences are staged.
    Stream,
    /// All of the source is staged and joined with the target.
    Full,
}

/// What `truncate` and `swap` replace of a partitioned target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replace {
    /// All of it.
    Table,
    /// The partitions that get rows.
    Partitions,
}

impl JobSpec {
    /// Rows may stay that the source does not have. In mode `swap`, each partition that is replaced is a table of its
    /// own.
    pub fn keeps_other_rows(&self) -> bool {
        self.mode.keeps_other_rows()
            || self.replace == Replace::Partitions && self.mode != Mode::Swap
    }
}

/// `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Create {
    /// A target table that is not there is an error.
    Never,
    /// It is made like the source's.
    Missing,
}

/// `new_columns`: the source has columns that the target lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewColumns {
    /// They are left out, with a warning.
    Warn,
    /// The target gets them.
    Add,
    /// They are an error.
    Error,
}

/// `retry = { max, backoff, max_backoff }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySpec {
    /// Tries after the first.
    pub max: u32,
    /// The first pause.
    #[serde(deserialize_with = "super::typed::duration")]
    pub backoff: Duration,
    /// The longest pause.
    #[serde(deserialize_with = "super::typed::duration")]
    pub max_backoff: Duration,
}

/// `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatChoice {
    /// Binary where it is safe, else text.
    Auto,
    /// Refuse what only text could carry.
    Binary,
    /// Always text.
    Text,
}

/// `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Rows read = rows written.
    Count,
    /// And a checksum on both servers.
    Checksum,
    /// Nothing.
    None,
}

/// `guard = { allow_empty, max_shrink, min_rows }`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardSpec {
    /// Is a source without rows believed?
    pub allow_empty: bool,
    /// The largest believed share of rows lost, 0 to 1.
    #[serde(deserialize_with = "super::typed::share")]
    pub max_shrink: f64,
    /// The least believed number of rows.
    pub min_rows: u64,
}

impl GuardSpec {
    /// Must it know how many rows the target has?
    pub fn compares(&self) -> bool {
        !self.allow_empty || self.max_shrink < 1.0
    }
}

/// `triggers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Triggers {
    /// The target's triggers fire.
    Fire,
    /// `session_replication_role = replica`.
    Skip,
}

/// `on_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Nothing is published.
    Abort,
    /// Rejected rows are set aside.
    Quarantine,
}

/// `reject_limit`: the most rows of a table that may be rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectLimit {
    /// So many.
    Rows(u64),
    /// This share of the rows that are read, 0 to 1.
    Share(f64),
}
