//! The merged tables with their types, before keys are checked against each other.
//!
//! Each value has been validated in its layer, so reading it here cannot fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::spec::*;
use super::typed::{duration, reject_limit, some_bytes, some_duration, some_signal, texts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoot {
    pub daemon: RawDaemon,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDaemon {
    pub max_running_jobs: usize,
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
    pub runtime_dir: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    pub listen: Option<std::net::SocketAddr>,
    pub timezone: String,
    pub log_level: LogLevel,
    pub history: History,
    #[serde(deserialize_with = "duration")]
    pub history_keep: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub dir: Option<PathBuf>,
    pub conninfo: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    pub password_credential: Option<String>,
    pub password_command: Option<Vec<String>>,
    pub passfile: Option<PathBuf>,
    pub proxy_command: Option<String>,
    pub max_connections: u32,
    pub encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotifier {
    pub command: Option<Vec<String>>,
    pub webhook_file: Option<PathBuf>,
    pub on: Vec<String>,
    pub jobs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    #[serde(default, deserialize_with = "texts")]
    pub source: Vec<String>,
    pub source_column: Option<String>,
    pub target: Option<String>,
    pub mode: Option<Mode>,
    #[serde(default)]
    pub tables: Vec<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    pub target_names: Option<String>,
    #[serde(default)]
    pub table: BTreeMap<String, RawTable>,
    pub cron: Option<String>,
    #[serde(default, deserialize_with = "some_duration")]
    pub every: Option<Duration>,
    pub timezone: Option<String>,
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    pub overlap: Overlap,
    pub missed: Missed,
    #[serde(deserialize_with = "duration")]
    pub catchup_window: Duration,
    pub on_demand: bool,
    #[serde(default, deserialize_with = "some_signal")]
    pub signal: Option<u8>,
    #[serde(default)]
    pub after: Vec<String>,
    #[serde(default, deserialize_with = "some_duration")]
    pub fresh_within: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    pub timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub lock_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub stall_timeout: Duration,
    pub retry: RetrySpec,
    pub format: FormatChoice,
    pub workers: u32,
    pub atomic: bool,
    pub verify: Verify,
    pub guard: GuardSpec,
    pub triggers: Triggers,
    pub sequences: bool,
    pub analyze: bool,
    #[serde(default, deserialize_with = "some_bytes")]
    pub rate_limit: Option<u64>,
    pub on_error: OnError,
    #[serde(deserialize_with = "reject_limit")]
    pub reject_limit: RejectLimit,
    pub log_values: bool,
    pub recreate_views: bool,
    pub compare: Compare,
    pub replace: Replace,
    pub resume: bool,
    pub create: Create,
    pub new_columns: NewColumns,
    #[serde(default, deserialize_with = "some_duration")]
    pub max_snapshot_age: Option<Duration>,
    #[serde(default)]
    pub csv: RawCsv,
    #[serde(default)]
    pub sql: JobSql,
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCsv {
    pub header: Option<bool>,
    pub delimiter: Option<String>,
    pub null: Option<String>,
    pub quote: Option<String>,
    pub escape: Option<String>,
    pub force_null: Option<Vec<String>>,
    pub encoding: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOnMissing {
    pub set: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTable {
    pub source: Option<String>,
    pub query: Option<String>,
    pub children: bool,
    pub columns: Option<Vec<String>>,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    pub key: Option<Vec<String>>,
    pub watermark: Option<String>,
    pub watermark_overlap: Option<String>,
    pub scope: Scope,
    #[serde(default)]
    pub on_missing: RawOnMissing,
    pub on_conflict: OnConflict,
    pub insert_only: Option<Vec<String>>,
    pub synced_at: Option<String>,
    pub lossy: bool,
    pub create_partitions: bool,
    pub file: Option<String>,
    #[serde(default)]
    pub csv: RawCsv,
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}
