//! Where log lines go: to journald with fields when it reads our stderr, pretty on a terminal,
//! JSON elsewhere.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Starts logging. `level` is a level or a filter; one that can't be read falls back to `info`,
/// and says so.
pub(super) fn start(level: &str) {
    let (filter, wrong) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    if let Err(error) = tracing_subscriber::registry()
        .with(writer())
        .with(filter)
        .try_init()
    {
        eprintln!("tableferry: logging could not be started: {error}");
    }
    if let Some(error) = wrong {
        tracing::warn!("--log-level `{level}` is not a filter ({error}); using `info`");
    }
}

fn writer<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // Without a prefix the fields are JOB, RUN_ID, …: `journalctl JOB=orders` finds them.
    if stderr_is_journal()
        && let Ok(journald) = tracing_journald::layer()
    {
        return journald.with_field_prefix(None).boxed();
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    if std::io::stderr().is_terminal() {
        layer.boxed()
    } else {
        layer.json().flatten_event(true).boxed()
    }
}

/// `JOURNAL_STREAM` holds device and inode of the socket that journald reads; a child whose
/// stderr was redirected inherits the variable, but not the socket.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}
