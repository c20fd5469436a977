//! The task that drives a connection. Its session owns it, and its end is bounded.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Connection};
use tracing::debug;

use super::proxy::Proxy;
use crate::error::chain;

/// Aborts the task when dropped.
#[derive(Debug)]
pub(super) struct ConnectionTask(JoinHandle<()>);

impl ConnectionTask {
    /// Starts to drive a connection, which may go through a proxy.
    pub fn spawn<S, T>(
        connection: Connection<S, T>,
        proxy: Option<Arc<Proxy>>,
        server: String,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        ConnectionTask(tokio::spawn(drive(connection, proxy, server)))
    }

    /// Waits for the end of a connection whose client is gone, at most `within`; then aborts it.
    pub async fn end(mut self, within: Duration) {
        if timeout(within, &mut self.0).await.is_err() {
            debug!("the connection did not close in time");
        }
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, proxy: Option<Arc<Proxy>>, server: String)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            // A notice may contain values of a row: a trigger's RAISE often does.
            Some(Ok(AsyncMessage::Notice(notice))) => debug!(
                %server,
                severity = notice.severity(),
                sqlstate = notice.code().code(),
                "notice"
            ),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // A pending request gets an error of its own; this one has the cause.
                debug!(%server, error = reason(&error), "connection lost");
                // Requests fail when the connection is dropped: by then its proxy can be asked why.
                if let Some(proxy) = &proxy {
                    proxy.ended().await;
                }
                return;
            }
            None => break,
        }
    }
    drop(connection);
    if let Some(proxy) = proxy {
        proxy.ended().await;
    }
}

fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.severity(), db.code().code()),
        None => chain(error),
    }
}
