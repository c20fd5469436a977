//! A program whose standard input and output are the connection to a server, as OpenSSH's ProxyCommand.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::child::{LastWords, Program};
use crate::error::{Error, ErrorKind};

/// How long a proxy may take to end after its connection: it then passes on what is still on its way.
const PROXY_END_WAIT: Duration = Duration::from_secs(1);

/// The interval of the check for its end.
const END_CHECK_EVERY: Duration = Duration::from_millis(10);

/// What a proxy is started as, and for which host: one address of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAddress {
    words: Vec<String>,
}

impl ProxyAddress {
    /// Replaces `%h` and `%p` in the words of a `proxy_command`.
    pub fn new(words: &[String], host: &str, port: u16) -> Self {
        let port = port.to_string();
        let expand = |word: &String| expanded(word, host, &port).unwrap_or_else(|_| word.clone());
        ProxyAddress {
            words: words.iter().map(expand).collect(),
        }
    }

    fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Starts the proxy, and returns the connection through it.
    pub(super) fn open(&self) -> io::Result<(UnixStream, Arc<Proxy>)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = UnixStream::from_std(ours)?;
        let input = OwnedFd::from(theirs.try_clone()?);
        let mut command = Command::new(self.program());
        command
            .args(self.words.iter().skip(1))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped());
        let started = Program::start(&mut command).and_then(|running| self.watch(running));
        let proxy = started.map_err(|error| {
            let message = format!(
                "proxy_command: `{}` cannot be started: {error}",
                self.program()
            );
            io::Error::new(error.kind(), message)
        })?;
        Ok((stream, Arc::new(proxy)))
    }

    fn watch(&self, mut running: Program) -> io::Result<Proxy> {
        let stderr = running.child().stderr.take();
        let stderr = stderr.ok_or_else(|| io::Error::other("it has no standard error"))?;
        let stderr = Receiver::from_owned_fd(stderr.into())?;
        let words = Arc::new(Mutex::new(LastWords::default()));
        Ok(Proxy {
            program: self.program().to_owned(),
            reader: tokio::spawn(read(stderr, Arc::clone(&words))),
            words,
            running,
        })
    }
}

impl std::fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "through `{}`", self.program())
    }
}

/// A running proxy. Dropping it kills it with its process group.
#[derive(Debug)]
pub(super) struct Proxy {
    program: String,
    running: Program,
    words: Arc<Mutex<LastWords>>,
    reader: JoinHandle<()>,
}

/// Reads what a proxy complains of, so that it never waits for a reader.
async fn read(mut stderr: Receiver, words: Arc<Mutex<LastWords>>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.push(&buffer[..read]);
    }
}

impl Proxy {
    /// Waits for the end of the proxy, and of what it writes, after that of its connection: at most `PROXY_END_WAIT`.
    pub async fn ended(&self) {
        let until = Instant::now() + PROXY_END_WAIT;
        while self.running.ended().is_none() || !self.reader.is_finished() {
            if Instant::now() >= until {
                return;
            }
            sleep(END_CHECK_EVERY).await;
        }
    }

    /// Adds to the error of a lost connection what is known of its proxy.
    pub fn explain(&self, error: Error) -> Error {
        let words = self.words.lock();
        let said = words.unwrap_or_else(PoisonError::into_inner).told(None);
        let program = &self.program;
        let (error, state) = match self.running.ended() {
            // It is the proxy that failed, whatever was done with its connection.
            Some(ended) if !ended.is_success() => (
                error.of_kind(ErrorKind::Unreachable),
                format!("ended with {ended}"),
            ),
            Some(ended) => (error, format!("ended with {ended}")),
            None if said.is_empty() => return error,
            None => (error, "runs".to_owned()),
        };
        error
            .because(&format!("proxy_command: `{program}` {state}{said}"))
            .hinted(
                "run the command by hand, as the user and with the environment of tableferry: it connects \
                 its standard input and output to the server",
            )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The words of a `proxy_command`. *Errors:* why it is none.
pub(crate) fn words(command: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(command).ok_or("a quote or a backslash at its end has no partner")?;
    for word in &words {
        expanded(word, "", "")?;
    }
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err("it names no program".to_owned()),
    }
}

/// A word with `%h`, `%p` and `%%` replaced. *Errors:* another character follows `%`.
fn expanded(word: &str, host: &str, port: &str) -> Result<String, String> {
    let mut parts = word.split('%');
    let mut made = parts.next().unwrap_or_default().to_owned();
    // After `%%`, the next part is what follows it.
    while let Some(part) = parts.next() {
        match part.chars().next() {
            Some('h') => made.push_str(host),
            Some('p') => made.push_str(port),
            None => match parts.next() {
                Some(rest) => {
                    made.push('%');
                    made.push_str(rest);
                    continue;
                }
                None => return Err("a single % stands at the end of a word: write %%".to_owned()),
            },
            Some(other) => {
                return Err(format!(
                    "%{other} is not known: %h is the host, %p the port, %% a percent sign"
                ));
            }
        }
        made.push_str(&part[1..]);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ssh -W %h:%p bastion", &["ssh", "-W", "db.example:5432", "bastion"])]
    #[case("'/opt/my proxy' \"a b\" c\\ d", &["/opt/my proxy", "a b", "c d"])]
    #[case("p %%h %%%h 100%% '' $HOME *", &["p", "%h", "%db.example", "100%", "", "$HOME", "*"])]
    #[case("p %%%% %h%p %%", &["p", "%%", "db.example5432", "%"])]
    fn a_command_is_split_without_a_shell(#[case] command: &str, #[case] expected: &[&str]) {
        let words = words(command).unwrap();
        assert_eq!(
            ProxyAddress::new(&words, "db.example", 5432).words,
            expected
        );
    }

    #[rstest]
    #[case("", "it names no program")]
    #[case("''", "it names no program")]
    #[case("ssh 'a", "a quote or a backslash at its end has no partner")]
    #[case(
        "ssh %r",
        "%r is not known: %h is the host, %p the port, %% a percent sign"
    )]
    #[case("ssh %", "a single % stands at the end of a word: write %%")]
    #[case(
        "ssh %é",
        "%é is not known: %h is the host, %p the port, %% a percent sign"
    )]
    fn what_is_no_command_is_refused(#[case] command: &str, #[case] reason: &str) {
        assert_eq!(words(command).unwrap_err(), reason);
    }

    #[test]
    fn a_host_is_never_split() {
        let words = words("ssh -W %h:%p").unwrap();
        let address = ProxyAddress::new(&words, "a b; 'c %p", 1);
        assert_eq!(address.words, ["ssh", "-W", "a b; 'c %p:1"]);
    }
}
