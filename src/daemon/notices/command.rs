//! Tells a program: the notice is its standard input.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{NOTICE_WAIT, SendError};
use crate::child::{Ended, Program};

/// The interval at which the program's end is looked for.
const END_CHECK_EVERY: Duration = Duration::from_millis(20);

/// The environment that the program gets: the rest of the daemon's may hold passwords.
const VARIABLES: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL",
];

/// What becomes of the program's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Discarded.
    Discarded,
    /// The same as this process's.
    Shown,
}

/// Runs the program, without a shell, and waits for its end: at most `NOTICE_WAIT`, after which it is killed with
/// its process group. It may ignore its input.
pub(super) fn run(
    command: &[String],
    body: &[u8],
    output: Output,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), SendError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(SendError::Failed("there is no program".to_owned()));
    };
    let to = || match output {
        Output::Discarded => Stdio::null(),
        Output::Shown => Stdio::inherit(),
    };
    let kept = VARIABLES
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut told = Command::new(program);
    told.args(arguments)
        .env_clear()
        .envs(kept)
        .stdin(Stdio::piped())
        .stdout(to())
        .stderr(to());
    let mut running = Program::start(&mut told)
        .map_err(|error| SendError::Failed(format!("`{program}` cannot be started: {error}")))?;
    let input = running.child().stdin.take();
    std::thread::scope(|scope| {
        // A program that reads nothing would hold up the writer. It ends with the program.
        scope.spawn(|| {
            if let Some(mut input) = input {
                // A program that ends without reading has decided so.
                let _ = input.write_all(body);
            }
        });
        // What ends too late is dropped here, and so killed: the writer would wait for it.
        let ended = wait(&running, is_stopped)?;
        running.leave();
        match ended.is_success() {
            true => Ok(()),
            false => Err(SendError::Failed(format!("`{program}` ended with {ended}"))),
        }
    })
}

fn wait(program: &Program, is_stopped: &dyn Fn() -> bool) -> Result<Ended, SendError> {
    let until = Instant::now() + NOTICE_WAIT;
    loop {
        match program.ended() {
            Some(ended) => return Ok(ended),
            None if is_stopped() => return Err(SendError::Stopped),
            None if Instant::now() < until => std::thread::sleep(END_CHECK_EVERY),
            None => {
                let message = format!("it has not ended within {} s", NOTICE_WAIT.as_secs());
                return Err(SendError::Failed(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn words(command: &[&str]) -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).collect()
    }

    #[rstest]
    #[case::reads(&["sh", "-c", "test \"$(cat)\" = body"], None)]
    #[case::ignores_its_input(&["true"], None)]
    #[case::fails(&["false"], Some("`false` ended with exit status: 1"))]
    #[case::dies(&["sh", "-c", "kill -9 $$"], Some("`sh` ended with signal: 9"))]
    #[case::is_not_there(&["/nowhere/tell"], Some("`/nowhere/tell` cannot be started: No such file"))]
    #[case::writes_a_lot(&["sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"], None)]
    #[case::gets_no_secrets(&["sh", "-c", "test -z \"$CARGO_MANIFEST_DIR\""], None)]
    #[case::gets_no_shell(&["test", "$HOME;false", "=", "$HOME;false"], None)]
    fn a_program_is_told(#[case] command: &[&str], #[case] error: Option<&str>) {
        let told = run(&words(command), b"body", Output::Discarded, &|| false);
        match (told, error) {
            (Ok(()), None) => {}
            (Err(SendError::Failed(why)), Some(error)) => assert!(why.starts_with(error), "{why}"),
            (told, _) => panic!("{told:?}"),
        }
    }

    #[test]
    fn a_program_that_does_not_read_is_not_waited_for() {
        let large = vec![b'x'; 1 << 20];
        let told = run(&words(&["true"]), &large, Output::Discarded, &|| false);
        assert!(told.is_ok(), "{told:?}");
    }

    #[test]
    fn a_stop_kills_the_program_and_what_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let told = run(
            &words(&["sh", "-c", &script]),
            b"",
            Output::Discarded,
            &|| file.exists(),
        );
        assert!(matches!(told, Err(SendError::Stopped)), "{told:?}");
        let pid: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A zombie is dead.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let started = Instant::now();
        while is_there() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(END_CHECK_EVERY);
        }
    }
}
