//! The sessions of one attempt. They are owned outside of the future that may be cancelled, so that both
//! servers can be cancelled, too.

use futures_util::future::join_all;

use super::bounds::{ABORT_WAIT, CLOSE_WAIT};
use super::files::FileSource;
use super::worker_pool::WorkerPool;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;

/// The sessions of one attempt.
#[derive(Default)]
pub(super) struct Sides {
    pub source: Option<Session>,
    /// The source, if it is a directory.
    pub files: Option<FileSource>,
    pub target: Option<Session>,
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
        let own = [
            self.source.take(),
            self.target.take(),
            self.job_lock.take(),
            self.reader.take(),
        ];
        let all = own.into_iter().flatten().chain(self.pool.take_all());
        join_all(all.map(|session| how(session))).await;
    }
}

/// An open session of one side. *Errors:* `Bug` if it is not open.
pub(super) fn opened(session: &Option<Session>, side: Side) -> Result<&Session> {
    let what = "the session is gone";
    let gone = || Error::new(ErrorKind::Bug, Phase::Commit, side, what);
    session.as_ref().ok_or_else(gone)
}

/// The source of rows.
#[derive(Clone, Copy)]
pub(super) enum SourceEnd<'a> {
    Server(&'a Session),
    Files(&'a FileSource),
}

impl<'a> SourceEnd<'a> {
    /// The session. *Errors:* `Bug`, because plans of files have no step that needs one.
    pub fn session(self) -> Result<&'a Session> {
        match self {
            SourceEnd::Server(session) => Ok(session),
            SourceEnd::Files(files) => {
                let what = "a step needs a session on a source that is files";
                let error = Error::new(ErrorKind::Bug, Phase::CopyOut, Side::Local, what);
                Err(error.at(files.server()))
            }
        }
    }
}
