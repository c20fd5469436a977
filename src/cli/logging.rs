//! Where log lines go: pretty on a terminal, JSON elsewhere; always stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is a level or a filter; one that can't be read falls back to `info`,
/// and says so.
pub(super) fn start(level: &str) {
    let (filter, wrong) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let started = if terminal {
        builder.with_target(false).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init()
    };
    if let Err(error) = started {
        eprintln!("tableferry: logging could not be started: {error}");
    }
    if let Some(error) = wrong {
        tracing::warn!("--log-level `{level}` is not a filter ({error}); using `info`");
    }
}
