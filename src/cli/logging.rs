//! Where log lines go: to journald with fields if it reads stderr, as text on a terminal, as JSON elsewhere.

mod escape;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::colours::Stream;
use super::out::complain;
use escape::{Harmless, JsonStderr};

/// The log, while it is written.
pub(super) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    /// A flag said what is logged, and no configuration may change it.
    is_fixed: bool,
}

/// Starts logging. `flag` is a level or a filter, and wins over `level`; one that can't be read falls
/// back to `info`, and says so.
pub(super) fn start(flag: Option<String>, level: &str) -> Logging {
    let wanted = flag.as_deref().unwrap_or(level);
    let (filter, wrong) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    if let Err(error) = tracing_subscriber::registry()
        .with(filter)
        .with(writer())
        .try_init()
    {
        complain!("tableferry: logging could not be started: {error}");
    }
    if let Some(error) = wrong {
        tracing::warn!("--log-level `{wanted}` is not a filter ({error}); using `info`");
    }
    Logging {
        filter: handle,
        is_fixed: flag.is_some(),
    }
}

impl Logging {
    /// From now on, unless the flag wins.
    pub(super) fn set_level(&self, level: &str) {
        if self.is_fixed {
            return;
        }
        if let Err(error) = self.filter.reload(EnvFilter::new(level)) {
            tracing::error!("the log level can't be changed: {error}");
        }
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
        return Harmless(journald.with_field_prefix(None)).boxed();
    }
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    if std::io::stderr().is_terminal() {
        let has_colours = Stream::Stderr.has_colours();
        Harmless(layer.with_ansi(has_colours).with_writer(std::io::stderr)).boxed()
    } else {
        let json = layer.json().flatten_event(true);
        json.with_writer(|| JsonStderr).boxed()
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
