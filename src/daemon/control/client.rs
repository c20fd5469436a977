//! The client side of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::{ControlRequest, Reply, SOCKET_NAME};

/// How long a daemon may take to accept a request.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The answers to one request.
#[derive(Debug)]
pub struct Answers {
    lines: Lines<BufReader<OwnedReadHalf>>,
    // Closing it would tell the daemon that the client is gone.
    _write: OwnedWriteHalf,
}

/// Sends a request to the daemon of `runtime_dir`. *Errors:* no daemon runs (`NotFound`,
/// `ConnectionRefused`), or it does not answer.
pub async fn ask(runtime_dir: &Path, request: &ControlRequest) -> io::Result<Answers> {
    let path = runtime_dir.join(SOCKET_NAME);
    let stream = tokio::time::timeout(CONNECT_WAIT, UnixStream::connect(path)).await??;
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(request).map_err(io::Error::other)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    Ok(Answers {
        lines: BufReader::new(read).lines(),
        _write: write,
    })
}

impl Answers {
    /// The next answer; `None` after the last.
    pub async fn next(&mut self) -> io::Result<Option<Reply>> {
        match self.lines.next_line().await? {
            Some(line) => serde_json::from_str(&line)
                .map(Some)
                .map_err(io::Error::other),
            None => Ok(None),
        }
    }
}
