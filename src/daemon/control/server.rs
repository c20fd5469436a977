//! The daemon's side of the control socket.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::{ControlRequest, LINE_BYTES_MAX, Reply, SOCKET_NAME};

/// Clients at once, including those that wait for a run to end.
const CLIENTS_MAX: usize = 64;

/// Clients that have sent no request yet.
const SILENT_CLIENTS_MAX: usize = 64;

/// How long a client may take to send its request, or to read an answer.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// Answers that a client has not read yet: one for each job that it waits for.
const REPLIES_MAX: usize = 10_000;

/// A request, and where its answers go. Closing the channel closes the connection.
#[derive(Debug)]
pub struct PendingRequest {
    pub request: ControlRequest,
    pub replies: mpsc::Sender<Reply>,
}

/// How long clients have to read their last answers when the daemon exits.
const LAST_ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// The pause before connections are accepted again, when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens until [`Server::finish`], or the end of the runtime.
#[derive(Debug)]
pub struct Server {
    task: JoinHandle<()>,
    leaving: oneshot::Sender<()>,
}

impl Server {
    /// Binds the socket, readable and writable for this user only. The lock of the runtime directory shows
    /// that no other daemon uses it, so an existing socket belongs to a daemon that is gone.
    pub fn start(runtime_dir: &Path, asked: mpsc::Sender<PendingRequest>) -> io::Result<Self> {
        let path = runtime_dir.join(SOCKET_NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let (leaving, left) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut talks = JoinSet::new();
            tokio::select! {
                () = accept(listener, asked, &mut talks) => {}
                _ = left => {}
            }
            while talks.join_next().await.is_some() {}
        });
        Ok(Server { task, leaving })
    }

    /// Accepts no more connections, and waits until clients have read their answers. The senders of all
    /// requests must have been dropped.
    pub async fn finish(mut self) {
        if self.leaving.send(()).is_ok() {
            let _ = tokio::time::timeout(LAST_ANSWERS_WAIT, &mut self.task).await;
        }
        self.task.abort();
    }
}

/// Accepts connections until the daemon exits. Clients that send no request do not displace others: if there
/// are too many of them, the oldest is disconnected.
async fn accept(
    listener: UnixListener,
    asked: mpsc::Sender<PendingRequest>,
    talks: &mut JoinSet<()>,
) {
    let mut hearing = JoinSet::new();
    let mut silent: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        while talks.try_join_next().is_some() {}
        silent.retain(|task| !task.is_finished());
        if silent.len() >= SILENT_CLIENTS_MAX
            && let Some(oldest) = silent.pop_front()
        {
            oldest.abort();
        }
        // Limits the clients that have sent a request.
        let is_full = hearing.len() - silent.len() >= SILENT_CLIENTS_MAX;
        tokio::select! {
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => silent.push_back(hearing.spawn(hear(stream))),
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(heard) = hearing.join_next(), if talks.len() < CLIENTS_MAX => match heard {
                Ok(Ok(client)) => {
                    let asked = asked.clone();
                    talks.spawn(async move {
                        if let Err(error) = answer(client, asked).await {
                            tracing::debug!("control socket: {error}");
                        }
                    });
                }
                Ok(Err(error)) => tracing::debug!("control socket: {error}"),
                Err(_) => tracing::debug!("control socket: a client that sent no request is disconnected"),
            },
            // A place is free.
            Some(_) = talks.join_next(), if talks.len() >= CLIENTS_MAX => {}
        }
    }
}

/// A client that has sent its request.
struct ControlClient {
    request: ControlRequest,
    input: Take<OwnedReadHalf>,
    output: OwnedWriteHalf,
}

async fn hear(stream: UnixStream) -> io::Result<ControlClient> {
    let peer = stream.peer_cred()?.uid();
    let own = nix::unistd::geteuid().as_raw();
    if peer != own && peer != 0 {
        return Err(io::Error::other(format!(
            "user {peer} is not {own}, nor root"
        )));
    }
    let (read, output) = stream.into_split();
    let mut line = String::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(read.take(limit));
    tokio::time::timeout(CLIENT_WAIT, reader.read_line(&mut line)).await??;
    Ok(ControlClient {
        request: serde_json::from_str(&line).map_err(io::Error::other)?,
        input: reader.into_inner(),
        output,
    })
}

async fn answer(client: ControlClient, asked: mpsc::Sender<PendingRequest>) -> io::Result<()> {
    let ControlClient {
        request,
        mut input,
        mut output,
    } = client;
    let (replies, mut answers) = mpsc::channel(REPLIES_MAX);
    let gone = || io::Error::other("the daemon is leaving");
    asked
        .send(PendingRequest { request, replies })
        .await
        .map_err(|_| gone())?;
    let mut hang_up = [0_u8; 1];
    loop {
        let reply = tokio::select! {
            reply = answers.recv() => reply,
            // A client that has disconnected needs no answer.
            _ = input.read(&mut hang_up) => return Ok(()),
        };
        let Some(reply) = reply else { return Ok(()) };
        let mut text = serde_json::to_vec(&reply).map_err(io::Error::other)?;
        text.push(b'\n');
        tokio::time::timeout(CLIENT_WAIT, output.write_all(&text)).await??;
    }
}
