//! Reads a new configuration while the daemon runs. It is validated completely before anything changes.

use std::sync::Arc;

use super::event::Changes;
use super::scheduled_config::ScheduledConfig;
use crate::config;
use crate::config::spec::Config;

/// Reads the configuration again. *Errors:* all of its errors, as text.
pub fn read(request: &config::Request, old: &Config) -> Result<ScheduledConfig, String> {
    let new = config::load(request).map_err(|errors| errors.to_string())?;
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    for (key, kept) in kept_until_restart(old, &new) {
        tracing::warn!("`daemon.{key}` stays {kept} until the daemon is started again");
    }
    ScheduledConfig::new(Arc::new(new)).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// The directories and the address of a running daemon cannot be changed.
fn kept_until_restart(old: &Config, new: &Config) -> Vec<(&'static str, String)> {
    let (old, new) = (&old.daemon, &new.daemon);
    let mut kept = Vec::new();
    if old.runtime_dir != new.runtime_dir {
        kept.push(("runtime_dir", old.runtime_dir.display().to_string()));
    }
    if old.state_dir != new.state_dir {
        kept.push(("state_dir", old.state_dir.display().to_string()));
    }
    if old.listen != new.listen {
        let kept_address = old.listen.map_or("off".to_owned(), |a| a.to_string());
        kept.push(("listen", kept_address));
    }
    kept
}

/// What a reload changed, as a line.
pub fn text(changes: &Changes) -> String {
    let parts: Vec<_> = [
        ("added", &changes.added),
        ("removed", &changes.removed),
        ("changed", &changes.changed),
    ]
    .into_iter()
    .filter(|(_, jobs)| !jobs.is_empty())
    .map(|(what, jobs)| format!("{what} {}", jobs.join(", ")))
    .collect();
    if parts.is_empty() {
        "no job has changed".to_owned()
    } else {
        parts.join("; ")
    }
}
