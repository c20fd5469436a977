//! Cancels what a session is doing, on the server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{CancelToken, NoTls};
use tracing::debug;

use super::route::{Opened, Route};

/// Asks the server to cancel a session's current statement.
#[derive(Clone)]
pub struct CancelRequest {
    token: CancelToken,
    route: Arc<Route>,
}

impl CancelRequest {
    /// `route` is the one that the session was opened by.
    pub(super) fn new(token: CancelToken, route: Arc<Route>) -> Self {
        CancelRequest { token, route }
    }

    /// Sends a CancelRequest to the address of the session, over TLS if the session uses it, within
    /// `within`.
    ///
    /// The server does not confirm. A cancelled statement ends with 57014. Failures are logged and otherwise
    /// ignored, because the session is given up in any case. *Cancellation:* the request may or may not have
    /// been sent.
    pub async fn send(&self, within: Duration) {
        let address = &self.route.address;
        match timeout(within, self.request()).await {
            Ok(Ok(())) => debug!(%address, "asked to cancel"),
            Ok(Err(error)) => debug!(%address, %error, "could not ask to cancel"),
            Err(_) => debug!(%address, "the cancel request could not be sent in time"),
        }
    }

    async fn request(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Opened { socket, proxy } = self.route.open().await?;
        match &self.route.tls {
            Some(tls) => self.token.cancel_query_raw(socket, tls.connector()).await?,
            None => self.token.cancel_query_raw(socket, NoTls).await?,
        }
        // The server closes the connection when it has the request. A proxy that is killed before may lose it.
        if let Some(proxy) = proxy {
            proxy.ended().await;
        }
        Ok(())
    }
}

impl std::fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelRequest({})", self.route.address)
    }
}
