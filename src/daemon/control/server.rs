//! The daemon's end of the control socket.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::{LINE_BYTES_MAX, Reply, Request, SOCKET_NAME};

/// Askers at once, those included that wait for a run to end.
const ASKERS_MAX: usize = 64;

/// Askers that have not said yet what they want.
const SILENT_MAX: usize = 64;

/// How long an asker may take to say what it wants, or to read an answer.
const ASKER_WAIT: Duration = Duration::from_secs(10);

/// Replies that are ready before the asker has read them: one a job that it waits for.
const REPLIES_MAX: usize = 10_000;

/// A request, and where its answers go: closing the channel ends the conversation.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// For the answers.
    pub replies: mpsc::Sender<Reply>,
}

/// How long askers are given to read what they were answered when the daemon leaves.
const LAST_ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// Between attempts to take in an asker, when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens until [`Server::finish`], or the end of the runtime.
#[derive(Debug)]
pub struct Server {
    task: JoinHandle<()>,
    leaving: oneshot::Sender<()>,
}

impl Server {
    /// Binds the socket, readable and writable for this user only. The runtime directory's lock
    /// says that no other daemon lives there, so a socket that is there already is a dead one's.
    pub fn start(runtime_dir: &Path, asked: mpsc::Sender<Asked>) -> io::Result<Self> {
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

    /// Hears nobody any more, and lets the answers that were given reach those who asked. The
    /// senders that came with their requests must have been dropped.
    pub async fn finish(mut self) {
        if self.leaving.send(()).is_ok() {
            let _ = tokio::time::timeout(LAST_ANSWERS_WAIT, &mut self.task).await;
        }
        self.task.abort();
    }
}

/// Takes askers in, as long as the daemon hears anybody. Those that say nothing take no place of one
/// that asks: when there are too many, the oldest is cut off.
async fn accept(listener: UnixListener, asked: mpsc::Sender<Asked>, talks: &mut JoinSet<()>) {
    let mut hearing = JoinSet::new();
    let mut silent: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        while talks.try_join_next().is_some() {}
        silent.retain(|task| !task.is_finished());
        if silent.len() >= SILENT_MAX
            && let Some(oldest) = silent.pop_front()
        {
            oldest.abort();
        }
        // Those that have asked, and wait for a place.
        let is_full = hearing.len() - silent.len() >= SILENT_MAX;
        tokio::select! {
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => silent.push_back(hearing.spawn(hear(stream))),
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(heard) = hearing.join_next(), if talks.len() < ASKERS_MAX => match heard {
                Ok(Ok(asker)) => {
                    let asked = asked.clone();
                    talks.spawn(async move {
                        if let Err(error) = answer(asker, asked).await {
                            tracing::debug!("control socket: {error}");
                        }
                    });
                }
                Ok(Err(error)) => tracing::debug!("control socket: {error}"),
                Err(_) => tracing::debug!("control socket: an asker that said nothing is cut off"),
            },
            // A place is free.
            Some(_) = talks.join_next(), if talks.len() >= ASKERS_MAX => {}
        }
    }
}

/// Somebody who has asked.
struct Asker {
    request: Request,
    input: Take<OwnedReadHalf>,
    output: OwnedWriteHalf,
}

async fn hear(stream: UnixStream) -> io::Result<Asker> {
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
    tokio::time::timeout(ASKER_WAIT, reader.read_line(&mut line)).await??;
    Ok(Asker {
        request: serde_json::from_str(&line).map_err(io::Error::other)?,
        input: reader.into_inner(),
        output,
    })
}

async fn answer(asker: Asker, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let Asker {
        request,
        mut input,
        mut output,
    } = asker;
    let (replies, mut answers) = mpsc::channel(REPLIES_MAX);
    let gone = || io::Error::other("the daemon is leaving");
    asked
        .send(Asked { request, replies })
        .await
        .map_err(|_| gone())?;
    let mut hang_up = [0_u8; 1];
    loop {
        let reply = tokio::select! {
            reply = answers.recv() => reply,
            // An asker that has gone needs no answer.
            _ = input.read(&mut hang_up) => return Ok(()),
        };
        let Some(reply) = reply else { return Ok(()) };
        let mut text = serde_json::to_vec(&reply).map_err(io::Error::other)?;
        text.push(b'\n');
        tokio::time::timeout(ASKER_WAIT, output.write_all(&text)).await??;
    }
}
