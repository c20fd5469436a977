//! The sessions of one attempt. They are owned outside of the future that may be cancelled, so that both
//! servers can be cancelled, too.

use futures_util::future::join_all;

use super::bounds::{ABORT_WAIT, CLOSE_WAIT};
use super::ends::Ends;
use super::worker_pool::WorkerPool;
use crate::pg::session::Session;

/// The sessions of one attempt, and its files.
#[derive(Default)]
pub(super) struct Sides {
    /// What the attempt reads from and what it writes to.
    pub ends: Ends,
    /// Holds the job's advisory lock if there are several transactions on the target.
    pub job_lock: Option<Session>,
    /// Reads the target for `compare = "stream"`.
    pub reader: Option<Session>,
    /// The workers' sessions, if several workers load.
    pub pool: WorkerPool,
}

impl Sides {
    /// Cancels what runs on both servers and ends all sessions.
    pub async fn abort(&mut self) {
        self.end(async |session| session.abort(ABORT_WAIT).await)
            .await;
    }

    pub async fn close(&mut self) {
        self.end(async |session| session.close(CLOSE_WAIT).await)
            .await;
    }

    async fn end(&mut self, how: impl AsyncFn(Session)) {
        let own = [self.job_lock.take(), self.reader.take()];
        let ends = self.ends.take_all();
        let all = ends
            .chain(own.into_iter().flatten())
            .chain(self.pool.take_all());
        join_all(all.map(|session| how(session))).await;
    }
}
