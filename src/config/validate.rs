//! From merged values to the configuration that the program works with.

use std::path::PathBuf;

use super::error::{ConfigError, KeyPath};
use super::keys::{self, Known};
use super::layer::Origins;
use super::merge::Stacks;
use super::raw::RawDaemon;
use super::spec::{About, Config, DaemonSpec, Warning};
use super::{job, locate, not_yet, schedule, server, writers};
use crate::pg::conninfo::Outside;

/// What was found while validating.
pub(super) struct Findings<'o> {
    origins: &'o Origins,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<Warning>,
}

impl<'o> Findings<'o> {
    pub fn new(origins: &'o Origins) -> Self {
        Findings {
            origins,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// An error at the key, or, where it is not set, at the table that lacks it.
    pub fn error(&mut self, key: &KeyPath, message: impl Into<String>) {
        let error = self.placed(key, message.into());
        self.errors.push(error);
    }

    /// Allowed, but worth a word.
    pub fn warn(&mut self, key: &KeyPath, message: impl Into<String>) {
        let warning = self.placed(key, message.into());
        let mut names = key.names().map(str::to_owned);
        let about = match (names.next().as_deref(), names.next()) {
            (Some("jobs"), Some(job)) => About::Job(job),
            (Some("servers"), Some(server)) => About::Server(server),
            _ => About::All,
        };
        self.warnings.push(Warning {
            about,
            text: warning.to_string(),
        });
    }

    /// The key or table stands in some layer, be its value right or wrong.
    pub fn is_set(&self, key: &KeyPath) -> bool {
        self.origins.contains_key(key)
    }

    /// A required key. One whose value did not fit was reported with its layer.
    pub fn require<T>(&mut self, key: &KeyPath, value: Option<T>) -> Option<T> {
        if value.is_none()
            && !self.is_set(key)
            && let Known::Key(known) = keys::lookup(key)
        {
            let expected = known.kind.expected();
            self.error(key, format!("is required: {} ({expected})", known.doc));
        }
        value
    }

    fn placed(&self, key: &KeyPath, message: String) -> ConfigError {
        let mut place = key.clone();
        while !place.is_root() && !self.origins.contains_key(&place) {
            place = place.parent();
        }
        ConfigError {
            origin: self.origins.get(&place).cloned(),
            key: key.clone(),
            message,
        }
    }
}

/// Validates all of it. The result counts only when `findings` has no errors. *Errors:* a value that
/// passed its check has no place in its type, which is a bug.
pub(super) fn validate(
    mut layers: Stacks,
    file: PathBuf,
    own: &locate::Directories,
    outside: &Outside<'_>,
    findings: &mut Findings,
) -> Result<Config, config::ConfigError> {
    let servers = layers.servers()?;
    let jobs = job::jobs(&mut layers, &servers, findings)?;
    schedule::check_between(&jobs, findings);
    writers::check(&jobs, findings);
    Ok(Config {
        file,
        daemon: daemon(layers.root()?.daemon, own, findings),
        servers: servers
            .into_iter()
            .filter_map(|(name, raw)| {
                Some((name.clone(), server::server(name, raw, outside, findings)?))
            })
            .collect(),
        jobs,
        warnings: Vec::new(),
    })
}

fn daemon(raw: RawDaemon, own: &locate::Directories, findings: &mut Findings) -> DaemonSpec {
    for (key, written) in not_yet::of_daemon(&raw) {
        let message = format!("`{written}` is not available in this version");
        findings.error(&KeyPath::from("daemon").join(&key), message);
    }
    DaemonSpec {
        max_running_jobs: raw.max_running_jobs,
        shutdown_grace: raw.shutdown_grace,
        runtime_dir: raw.runtime_dir.unwrap_or_else(|| own.runtime.clone()),
        state_dir: raw.state_dir.unwrap_or_else(|| own.state.clone()),
        // The name was checked with its layer.
        timezone: jiff::tz::TimeZone::get(&raw.timezone).unwrap_or(jiff::tz::TimeZone::UTC),
        log_level: raw.log_level,
        history: raw.history,
        history_keep: raw.history_keep,
    }
}
