//! Cancellation of a run.

use tokio::sync::watch;

/// Why a run has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A signal or a client requested it.
    Signal,
    /// The ledger says that the run is lost, so it cannot publish any more.
    Lost,
}

/// Cancels runs. It must live as long as they do.
pub struct Canceller(watch::Sender<Option<StopReason>>);

/// Tells a run that it was cancelled.
#[derive(Clone)]
pub struct Cancelled(watch::Receiver<Option<StopReason>>);

/// A canceller, and the receiver for its runs.
pub fn cancellation() -> (Canceller, Cancelled) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancelled(receiver))
}

impl Canceller {
    /// Cancels all of its runs. Calling it again has no effect.
    pub fn cancel(&self) {
        self.cancel_because(StopReason::Signal);
    }

    pub(super) fn cancel_because(&self, why: StopReason) {
        self.0.send_if_modified(|said| {
            let is_new = said.is_none();
            said.get_or_insert(why);
            is_new
        });
    }
}

impl Cancelled {
    pub fn is_cancelled(&self) -> bool {
        self.why().is_some()
    }

    /// The reason, if it was cancelled.
    pub fn why(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Returns when the run is cancelled. Never returns if the canceller is dropped without cancelling.
    pub async fn cancelled(&self) -> StopReason {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.map(|why| *why) {
            Ok(Some(why)) => why,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
