//! A program that was started here: nothing of it outlives its owner, and no zombie is left.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::harmless;

/// How long a killed program is waited for. One that a disk or a network holds in the kernel dies later.
const REAP_WAIT: Duration = Duration::from_secs(1);

/// The interval of the check for that.
const REAP_CHECK_EVERY: Duration = Duration::from_millis(1);

/// How often a pipe is read at a time: 64 KiB, which is what a pipe holds.
const READS_MAX: usize = 16;

/// How much of the end of what a program writes to its standard error is kept, in bytes.
const STDERR_BYTES_MAX: usize = 1000;

/// A running program, and what it has started, as one process group: dropping this kills it, and reaps the program.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    group: Pid,
}

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(Signal),
}

impl Ended {
    /// Has it exited with 0?
    pub fn is_success(self) -> bool {
        self == Ended::Exited(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(status) => write!(f, "exit status: {status}"),
            Ended::Killed(signal) => write!(f, "signal: {} ({signal})", *signal as i32),
        }
    }
}

impl Program {
    /// Starts a program in a process group of its own.
    pub fn start(command: &mut Command) -> io::Result<Program> {
        let child = command.process_group(0).spawn()?;
        let group = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Program {
            child,
            group: Pid::from_raw(group),
        })
    }

    /// For its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it has ended, if it has. It is not reaped yet: until then no other process gets its id, so that its group
    /// can be killed.
    pub fn ended(&self) -> Option<Ended> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.group), flags) {
            Ok(WaitStatus::Exited(_, status)) => Some(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended::Killed(signal)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Reaps a program that has ended, and leaves alone what it has started.
    pub fn leave(mut self) {
        // The id is free from here on: nothing must be sent to it.
        self.group = Pid::from_raw(0);
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.group.as_raw() == 0 {
            return;
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        let until = Instant::now() + REAP_WAIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(REAP_CHECK_EVERY);
        }
    }
}

/// Reads what a program has written so far, without waiting for more.
#[derive(Debug)]
pub(crate) struct Pipe(File);

impl Pipe {
    /// The end of a pipe that is read.
    pub fn new(pipe: impl Into<OwnedFd>) -> io::Result<Pipe> {
        let file = File::from(pipe.into());
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Pipe(file))
    }

    /// Hands on what is there, and no more than a full pipe: the writer may be faster than this.
    pub fn read(&self, mut take: impl FnMut(&[u8])) {
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            match (&self.0).read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => take(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing is there now; any other error is an end, too.
                Err(_) => return,
            }
        }
    }
}

/// The end of what a program has written to its standard error.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    kept: Vec<u8>,
    is_cut: bool,
}

impl LastWords {
    /// Takes what it has written next.
    pub fn push(&mut self, written: &[u8]) {
        self.kept.extend_from_slice(written);
        let surplus = self.kept.len().saturating_sub(STDERR_BYTES_MAX);
        self.kept.drain(..surplus);
        self.is_cut |= surplus > 0;
    }

    /// As one line: `: it said "…"`; empty if there is nothing. `secret` is left out.
    pub fn told(&self, secret: Option<&str>) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let text = match secret {
            Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
            _ => text.into_owned(),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let text = lines.collect::<Vec<_>>().join("; ");
        if text.is_empty() {
            return String::new();
        }
        let cut = if self.is_cut { "…" } else { "" };
        format!(": it said \"{cut}{}\"", harmless::line(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::process::Stdio;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        Program::start(&mut command).unwrap()
    }

    fn wait(program: &Program) -> Ended {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match program.ended() {
                Some(ended) => return ended,
                None => assert!(Instant::now() < until),
            }
            std::thread::sleep(REAP_CHECK_EVERY);
        }
    }

    /// A process that runs: a zombie does not.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[rstest]
    #[case("true", Ended::Exited(0), "exit status: 0")]
    #[case("exit 3", Ended::Exited(3), "exit status: 3")]
    #[case("kill -9 $$", Ended::Killed(Signal::SIGKILL), "signal: 9 (SIGKILL)")]
    fn an_end_can_be_asked_for_often(
        #[case] script: &str,
        #[case] expected: Ended,
        #[case] text: &str,
    ) {
        let program = shell(script);
        let ended = wait(&program);
        assert_eq!((ended, ended.to_string().as_str()), (expected, text));
        assert_eq!(program.ended(), Some(expected));
    }

    #[rstest]
    #[case::it_runs("sleep 1000 & echo $!; wait")]
    #[case::it_has_ended("sleep 1000 & echo $!")]
    fn all_of_the_group_is_killed_and_the_program_reaped(#[case] script: &str) {
        let mut program = shell(script);
        let mut line = String::new();
        let mut stdout = io::BufReader::new(program.child().stdout.take().unwrap());
        io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        if !script.ends_with("wait") {
            wait(&program);
        }
        let (own, started) = (program.child().id().to_string(), line.trim().to_owned());
        assert!(runs(&started));
        drop(program);
        assert!(!std::path::Path::new(&format!("/proc/{own}")).exists());
        let until = Instant::now() + Duration::from_secs(60);
        while runs(&started) {
            assert!(Instant::now() < until);
            std::thread::sleep(REAP_CHECK_EVERY);
        }
    }

    #[rstest]
    #[case(&["a\nb\r\n"], None, ": it said \"a; b\"")]
    #[case(&["", " \n"], None, "")]
    #[case(&["the token is hun", "ter2\n"], Some("hunter2"), ": it said \"the token is ***\"")]
    #[case(&["\u{1b}[31mred"], None, ": it said \"\\x1b[31mred\"")]
    fn last_words_are_one_line(
        #[case] written: &[&str],
        #[case] secret: Option<&str>,
        #[case] told: &str,
    ) {
        let mut words = LastWords::default();
        for part in written {
            words.push(part.as_bytes());
        }
        assert_eq!(words.told(secret), told);
    }

    #[test]
    fn last_words_are_bounded() {
        let mut words = LastWords::default();
        for _ in 0..1000 {
            words.push(b"0123456789");
        }
        assert_eq!(words.kept.len(), STDERR_BYTES_MAX);
        assert!(words.told(None).starts_with(": it said \"…0123"));
    }
}
