//! A program that prints the password of a login.

use std::process::{Command, Stdio};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{sleep, timeout};

use crate::child::{Ended, LastWords, Pipe, Program};
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// How long the program may take.
const PASSWORD_WAIT: Duration = Duration::from_secs(10);

/// The longest password, in bytes: PostgreSQL reads no longer one.
const PASSWORD_BYTES_MAX: usize = 64 << 10;

/// The interval of the check for output and for the program's end.
const CHECK_EVERY: Duration = Duration::from_millis(10);

const HINT: &str = "run the command by hand, as the user and with the environment of tableferry: the first line that it prints \
                    is the password";

/// Runs the program, without a shell, and returns the first line that it prints. The rest is ignored.
///
/// *Errors:* `Unreachable` if it fails or takes too long, which may pass; `Config` if it cannot be started, or if
/// what it prints is no password. None shows what it printed. *Cancellation:* it is killed with its process group.
pub(super) async fn password(command: &[String]) -> Result<SecretString> {
    password_within(command, PASSWORD_WAIT).await
}

async fn password_within(command: &[String], within: Duration) -> Result<SecretString> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| wrong(ErrorKind::Config, "names no program".to_owned()))?;
    let cannot_start = |error: std::io::Error| {
        wrong(
            ErrorKind::Config,
            format!("`{program}` cannot be started: {error}"),
        )
    };
    let mut asked = Command::new(program);
    asked
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Program::start(&mut asked).map_err(cannot_start)?;
    let mut output = Output::of(&mut running).map_err(cannot_start)?;
    let ended = timeout(within, end(&running, &mut output)).await;
    let secret = output.line();
    let secret = secret.as_deref().ok();
    match ended {
        Err(_) => {
            let said = output.stderr.told(secret);
            let message = format!("`{program}` has not ended within {within:?}{said}");
            Err(wrong(ErrorKind::Unreachable, message))
        }
        Ok(ended) if !ended.is_success() => {
            let said = output.stderr.told(secret);
            let message = format!("`{program}` ended with {ended}{said}");
            Err(wrong(ErrorKind::Unreachable, message))
        }
        Ok(_) => match output.line() {
            Ok(line) => Ok(SecretString::from(line)),
            Err(reason) => {
                let said = output.stderr.told(None);
                let message = format!("`{program}` {reason}{said}");
                Err(wrong(ErrorKind::Config, message))
            }
        },
    }
}

fn wrong(kind: ErrorKind, message: String) -> Error {
    let message = format!("password_command: {message}");
    Error::new(kind, Phase::Connect, Side::Local, message).hinted(HINT)
}

/// Reads until the program ends. What it has started may still hold its pipes.
async fn end(program: &Program, output: &mut Output) -> Ended {
    loop {
        let ended = program.ended();
        output.read();
        match ended {
            Some(ended) => return ended,
            None => sleep(CHECK_EVERY).await,
        }
    }
}

/// What the program has printed.
struct Output {
    pipes: [Option<Pipe>; 2],
    /// Up to the end of the first line, and no more than a byte over the bound.
    printed: Vec<u8>,
    stderr: LastWords,
}

impl Output {
    fn of(program: &mut Program) -> std::io::Result<Output> {
        let child = program.child();
        let stdout = child.stdout.take().map(Pipe::new).transpose()?;
        let stderr = child.stderr.take().map(Pipe::new).transpose()?;
        Ok(Output {
            pipes: [stdout, stderr],
            printed: Vec::new(),
            stderr: LastWords::default(),
        })
    }

    fn read(&mut self) {
        let [stdout, stderr] = &self.pipes;
        if let Some(stdout) = stdout {
            stdout.read(|bytes| keep_first_line(&mut self.printed, bytes));
        }
        if let Some(stderr) = stderr {
            stderr.read(|bytes| self.stderr.push(bytes));
        }
    }

    /// The first line, or what is wrong with it.
    fn line(&self) -> std::result::Result<String, &'static str> {
        first_line(&self.printed)
    }
}

/// Keeps what belongs to the first line, with its end.
fn keep_first_line(kept: &mut Vec<u8>, bytes: &[u8]) {
    if kept.contains(&b'\n') {
        return;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
    // With CR LF, the line's end takes two bytes.
    let room = (PASSWORD_BYTES_MAX + 2).saturating_sub(kept.len());
    kept.extend_from_slice(&line[..line.len().min(room)]);
}

fn first_line(printed: &[u8]) -> std::result::Result<String, &'static str> {
    let line = printed.strip_suffix(b"\n").unwrap_or(printed);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        _ if printed.is_empty() => Err("printed nothing"),
        _ if line.is_empty() => Err("printed an empty first line"),
        _ if line.len() > PASSWORD_BYTES_MAX => Err("printed a first line of more than 64 KiB"),
        Ok(line) if line.contains('\0') => Err("printed a first line with a NUL byte"),
        Ok(line) => Ok(line.to_owned()),
        Err(_) => Err("printed a first line that is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    #[rstest]
    #[case::one_line("printf 'a b\\n'", Ok("a b"))]
    #[case::no_line_end("printf secret", Ok("secret"))]
    #[case::crlf("printf 'secret\\r\\nx'", Ok("secret"))]
    #[case::two_lines("echo first; echo second", Ok("first"))]
    #[case::more_than_a_pipe_holds("echo first; head -c 300000 /dev/zero", Ok("first"))]
    #[case::something_still_holds_its_pipes("echo first; sleep 1000 &", Ok("first"))]
    #[case::largest("head -c 65536 /dev/zero | tr '\\0' x; echo", Ok(""))]
    #[case::nothing("true", Err("`sh` printed nothing"))]
    #[case::nothing_but_a_reason(
        "echo no token >&2",
        Err("`sh` printed nothing: it said \"no token\"")
    )]
    #[case::empty("echo; echo second", Err("`sh` printed an empty first line"))]
    #[case::nul("printf 'a\\0b\\n'", Err("`sh` printed a first line with a NUL byte"))]
    #[case::not_utf8(
        "printf 'a\\377\\n'",
        Err("`sh` printed a first line that is not UTF-8")
    )]
    #[case::too_long(
        "head -c 65537 /dev/zero | tr '\\0' x",
        Err("`sh` printed a first line of more than 64 KiB")
    )]
    #[case::fails(
        "echo hunter2; echo 'got hunter2' >&2; echo expired >&2; exit 7",
        Err("`sh` ended with exit status: 7: it said \"got ***; expired\"")
    )]
    #[case::dies("kill -9 $$", Err("`sh` ended with signal: 9 (SIGKILL)"))]
    #[tokio::test]
    async fn the_first_line_is_the_password(
        #[case] script: &str,
        #[case] expected: std::result::Result<&str, &str>,
    ) {
        let command = ["sh", "-c", script].map(str::to_owned);
        match (password(&command).await, expected) {
            (Ok(got), Ok("")) => assert_eq!(got.expose_secret().len(), PASSWORD_BYTES_MAX),
            (Ok(got), Ok(expected)) => assert_eq!(got.expose_secret(), expected),
            (Err(error), Err(expected)) => {
                assert_eq!(error.message(), format!("password_command: {expected}"));
                assert!(!format!("{error:?}").contains("hunter2"));
            }
            (got, _) => panic!("{got:?}"),
        }
    }

    #[tokio::test]
    async fn no_shell_reads_the_arguments() {
        let command = ["printf", "%s", "$HOME; false"].map(str::to_owned);
        let got = password(&command).await.unwrap();
        assert_eq!(got.expose_secret(), "$HOME; false");
        let error = password(&["/nowhere/token".to_owned()]).await.unwrap_err();
        let start = "password_command: `/nowhere/token` cannot be started: No such file";
        assert!(error.message().starts_with(start), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed() {
        let command = ["sh", "-c", "echo $$; echo asking >&2; sleep 1000"].map(str::to_owned);
        let wait = Duration::from_secs(1);
        let error = password_within(&command, wait).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let expected = "password_command: `sh` has not ended within 1s: it said \"asking\"";
        assert_eq!(error.message(), expected);
    }
}
