//! How long the source's snapshot is held: it keeps the source's vacuum from removing any row that was
//! deleted since, in all of its tables.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Context;
use crate::error::{Error, ErrorKind, Side};

/// Since when the source's snapshot has been held, in one attempt; at first, there is none.
#[derive(Debug, Default)]
pub struct Hold {
    since: watch::Sender<Option<Instant>>,
}

impl Hold {
    /// The snapshot is about to be taken.
    pub fn begin(&self) {
        self.since.send_replace(Some(Instant::now()));
    }

    /// The transaction is over.
    pub fn end(&self) {
        self.since.send_replace(None);
    }

    /// Returns once the snapshot is held for longer than `age`; never, where there is no such bound.
    pub async fn outlasts(&self, age: Option<Duration>) {
        let mut since = self.since.subscribe();
        loop {
            let deadline = match (*since.borrow_and_update(), age) {
                (Some(since), Some(age)) => since.checked_add(age),
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

/// What ends an attempt then.
pub(super) fn too_old(context: &Context) -> Error {
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
    async fn only_what_is_held_grows_old() {
        let hold = Hold::default();
        let mut outlasts = Box::pin(hold.outlasts(NO_TIME));
        assert_eq!(poll!(&mut outlasts), Poll::Pending);
        hold.begin();
        hold.end();
        assert_eq!(poll!(&mut outlasts), Poll::Pending);
        hold.begin();
        outlasts.await;
    }

    #[tokio::test]
    async fn a_wait_begun_late_counts_from_the_beginning() {
        let hold = Hold::default();
        hold.begin();
        hold.outlasts(NO_TIME).await;
        for unbounded in [None, Some(Duration::MAX)] {
            let mut never = Box::pin(hold.outlasts(unbounded));
            assert_eq!(poll!(&mut never), Poll::Pending);
        }
    }
}
