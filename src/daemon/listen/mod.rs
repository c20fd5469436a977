//! `listen`: metrics, health checks and the status page over HTTP. All of it is read-only.
//!
//! Each connection carries one request, and its number, size and time have bounds. The event loop only answers
//! questions; answers are rendered on another thread, so that a large page does not delay a run.

mod answers;
mod headers;
mod history;
mod metrics;
mod page;
mod routes;
mod text_format;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::StartError;
use super::observed::Question;

/// Connections at once. If there are more, the oldest one that has sent no request is closed.
const CONNECTIONS_MAX: usize = 64;

/// The size of a request's head: its line and its headers. A body is not read.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// How long a client may take to send a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// How long a connection may last: its request, the answer, and the time that the client takes to read it.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);

/// The pause before connections are accepted again, when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that is listened on.
#[derive(Debug)]
pub struct Socket {
    listener: TcpListener,
    address: SocketAddr,
}

/// Listens on this address. Port 0 takes a free port. *Errors:* another process has the address, or this
/// machine does not have it.
pub fn bind(address: SocketAddr) -> Result<Socket, StartError> {
    let bound = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Socket {
            address: listener.local_addr()?,
            listener: TcpListener::from_std(listener)?,
        })
    };
    bound().map_err(|error: io::Error| StartError::Listen { address, error })
}

/// Serves until [`WebServer::finish`], or the end of the runtime.
#[derive(Debug)]
pub struct WebServer(JoinHandle<()>);

impl WebServer {
    pub fn start(socket: Socket, questions: mpsc::Sender<Question>) -> Self {
        let Socket { listener, address } = socket;
        tracing::info!(%address, "listening");
        let router = routes::router(questions, address.ip().is_loopback());
        WebServer(tokio::spawn(accept(listener, router)))
    }

    /// Closes the socket and all connections.
    pub async fn finish(self) {
        self.0.abort();
        // It was cancelled.
        let _ = self.0.await;
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    let mut silent: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        silent
            .retain(|(task, has_asked)| !task.is_finished() && !has_asked.load(Ordering::Relaxed));
        if connections.len() >= CONNECTIONS_MAX
            && let Some((oldest, _)) = silent.pop_front()
        {
            oldest.abort();
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let has_asked = Arc::new(AtomicBool::new(false));
                    let noted = NoteRequest {
                        inner: TowerToHyperService::new(router.clone()),
                        has_asked: Arc::clone(&has_asked),
                    };
                    silent.push_back((connections.spawn(serve(stream, noted)), has_asked));
                }
                Err(error) => {
                    tracing::warn!("listen: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, service: NoteRequest) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false);
    let served = http.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_WAIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("listen: {error}"),
        Err(_) => tracing::debug!("listen: a client was too slow"),
    }
}

/// Notes that a connection has sent its request.
struct NoteRequest {
    inner: TowerToHyperService<Router>,
    has_asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for NoteRequest {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}
