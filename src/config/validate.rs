//! Validates the merged values as a whole.

use std::path::PathBuf;

use super::diagnostics::Diagnostics;
use super::merge::Stacks;
use super::raw::RawDaemon;
use super::spec::{Config, DaemonSpec};
use super::{job, locate, notify, schedule, server, syntax, writers};
use crate::pg::conninfo::Outside;

/// Validates all of it. The result counts only when `diagnostics` has no errors. *Errors:* a value that
/// passed its check has no place in its type, which is a bug.
pub(super) fn validate(
    mut layers: Stacks,
    file: PathBuf,
    own: &locate::Directories,
    outside: &Outside<'_>,
    diagnostics: &mut Diagnostics,
) -> Result<Config, config::ConfigError> {
    let servers = layers.servers()?;
    let jobs = job::jobs(&mut layers, &servers, diagnostics)?;
    let notifiers = notify::notifiers(layers.notifiers()?, &jobs, diagnostics);
    schedule::check_between(&jobs, diagnostics);
    writers::check(&jobs, diagnostics);
    Ok(Config {
        file,
        daemon: daemon(layers.root()?.daemon, own),
        servers: servers
            .into_iter()
            .filter_map(|(name, raw)| {
                Some((
                    name.clone(),
                    server::server(name, raw, outside, diagnostics)?,
                ))
            })
            .collect(),
        jobs,
        notifiers,
        warnings: Vec::new(),
    })
}

fn daemon(raw: RawDaemon, own: &locate::Directories) -> DaemonSpec {
    DaemonSpec {
        max_running_jobs: raw.max_running_jobs,
        shutdown_grace: raw.shutdown_grace,
        runtime_dir: raw.runtime_dir.unwrap_or_else(|| own.runtime.clone()),
        state_dir: raw.state_dir.unwrap_or_else(|| own.state.clone()),
        listen: raw.listen,
        // The name was checked with its layer.
        timezone: syntax::timezone(&raw.timezone).unwrap_or(jiff::tz::TimeZone::UTC),
        log_level: raw.log_level,
        history: raw.history,
        history_keep: raw.history_keep,
    }
}
