//! SIGINT and SIGTERM in a foreground command: cancel, and roll back on both servers.

use futures_util::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

use super::out::complain;
use crate::run::Canceller;

/// Cancels at the first signal. Owns its task: dropping it ends the watch.
pub(super) struct InterruptWatch {
    task: tokio::task::JoinHandle<()>,
}

impl InterruptWatch {
    /// None, with a message on stderr, if the signal handlers could not be set.
    pub fn start(canceller: Canceller) -> Option<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .inspect_err(|error| complain!("tableferry: signals cannot be handled: {error}"))
            .ok()?;
        let task = tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                tracing::warn!(signal, "cancelling, and rolling back on both servers");
                canceller.cancel();
            }
        });
        Some(InterruptWatch { task })
    }
}

impl Drop for InterruptWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
