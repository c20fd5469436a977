//! The age of the source's snapshot. While it is held, VACUUM on the source cannot remove rows of any table
//! that were deleted since.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::JobContext;
use crate::error::{Error, ErrorKind, Side};

/// When the source's snapshot was taken, in one attempt, or the first of several; `None` while there is none.
#[derive(Debug, Default)]
pub struct SnapshotAge {
    since: watch::Sender<Option<Instant>>,
    /// The snapshots that are held: one for each source.
    held: AtomicUsize,
}

impl SnapshotAge {
    /// Call this just before the snapshot is taken.
    pub fn begin(&self) {
        if self.held.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since.send_replace(Some(Instant::now()));
        }
    }

    /// Call this when the snapshot's transaction has ended.
    pub fn end(&self) {
        if self.held.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.since.send_replace(None);
        }
    }

    /// Returns once the snapshot is older than `max`; never, if `max` is `None`.
    pub async fn exceeds(&self, max: Option<Duration>) {
        let mut since = self.since.subscribe();
        loop {
            let deadline = match (*since.borrow_and_update(), max) {
                (Some(since), Some(max)) => since.checked_add(max),
                _ => None,
            };
            let passes = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // `self` holds the sender, so this is no error.
                _ = since.changed() => {}
                () = passes => return,
            }
        }
    }
}

/// The error that ends an attempt whose snapshot is too old.
pub(super) fn too_old(context: &JobContext) -> Error {
    let seconds = context
        .job
        .max_snapshot_age
        .unwrap_or_default()
        .as_secs_f64();
    Error::new(
        ErrorKind::Timeout,
        context.phase.get(),
        Side::Source,
        format!("its snapshot was held for {seconds} s"),
    )
    .at(&context.source.name)
    .hinted(
        "`max_snapshot_age` of the job bounds how long the source's vacuum is held back: raise it, copy \
         less at a time, or see what the target waited for",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::task::Poll;

    const NO_TIME: Option<Duration> = Some(Duration::ZERO);

    #[tokio::test]
    async fn age_counts_only_while_the_snapshot_is_held() {
        let age = SnapshotAge::default();
        let mut exceeds = Box::pin(age.exceeds(NO_TIME));
        assert_eq!(poll!(&mut exceeds), Poll::Pending);
        age.begin();
        age.end();
        assert_eq!(poll!(&mut exceeds), Poll::Pending);
        age.begin();
        exceeds.await;
    }

    #[tokio::test]
    async fn age_counts_from_the_snapshot_and_not_from_the_wait() {
        let age = SnapshotAge::default();
        age.begin();
        age.exceeds(NO_TIME).await;
        for unbounded in [None, Some(Duration::MAX)] {
            let mut never = Box::pin(age.exceeds(unbounded));
            assert_eq!(poll!(&mut never), Poll::Pending);
        }
    }
}
