//! The task that drives a connection: owned, and bounded in its end.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Connection};
use tracing::debug;

use crate::error::chain;

/// Why a connection ended, until somebody asks.
type Reason = Arc<Mutex<Option<tokio_postgres::Error>>>;

/// Aborts the task when dropped.
#[derive(Debug)]
pub(super) struct ConnectionTask {
    handle: JoinHandle<()>,
    reason: Reason,
}

impl ConnectionTask {
    /// Starts to drive a connection.
    pub fn spawn<S, T>(connection: Connection<S, T>, server: String) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let reason = Reason::default();
        ConnectionTask {
            handle: tokio::spawn(drive(connection, server, Arc::clone(&reason))),
            reason,
        }
    }

    /// Why the connection was lost: whoever waits for an answer is only told that it was.
    pub fn take_reason(&self) -> Option<tokio_postgres::Error> {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.take()
    }

    /// Waits for the end of a connection whose client is gone, at most `within`; then aborts it.
    pub async fn end(mut self, within: Duration) {
        if timeout(within, &mut self.handle).await.is_err() {
            debug!("the connection did not close in time");
        }
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, server: String, reason: Reason)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            // A notice's words may hold a row's values: a trigger's RAISE often does.
            Some(Ok(AsyncMessage::Notice(notice))) => debug!(
                %server,
                severity = notice.severity(),
                sqlstate = notice.code().code(),
                "notice"
            ),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                debug!(%server, error = described(&error), "connection lost");
                *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            None => return,
        }
    }
}

fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.severity(), db.code().code()),
        None => chain(error),
    }
}
