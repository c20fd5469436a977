//! Cancellation of a run.

use tokio::sync::watch;

/// Why a run has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Signal,
    /// The ledger calls it lost: it can't publish any more.
    Lost,
}

/// The right to cancel runs: keep it as long as they last.
pub struct Canceller(watch::Sender<Option<StopReason>>);

/// Seen by a run, to know that it was cancelled.
#[derive(Clone)]
pub struct Cancelled(watch::Receiver<Option<StopReason>>);

/// A canceller and what the runs see of it.
pub fn cancellation() -> (Canceller, Cancelled) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancelled(receiver))
}

impl Canceller {
    /// Cancels all runs that see it. Saying it again changes nothing.
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
    /// Was it cancelled?
    pub fn is_cancelled(&self) -> bool {
        self.why().is_some()
    }

    /// Why it was cancelled, if it was.
    pub fn why(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Returns once it is cancelled; never, when the canceller is gone without having done so.
    pub async fn cancelled(&self) -> StopReason {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.map(|why| *why) {
            Ok(Some(why)) => why,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
