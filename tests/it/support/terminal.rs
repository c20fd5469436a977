//! Runs the binary as if on a terminal.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Job, PATIENCE, wait_until};

/// A command on a terminal of 80 columns. It is killed with the value.
pub struct Terminal {
    child: Child,
    shown: PathBuf,
}

impl Terminal {
    /// Starts the binary with these arguments; `None` where there is no `script`.
    pub fn start(job: &Job, arguments: &str) -> Option<Self> {
        let line = format!(
            "stty cols 80 rows 30; exec {} {arguments}",
            env!("CARGO_BIN_EXE_tableferry")
        );
        let shown = job.file(&format!("shown.{}", job.terminals()), "");
        let child = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TABLEFERRY_CONFIG", job.configuration())
            .env("HOME", job.home())
            .env("TERM", "xterm")
            .envs(job.environment())
            .current_dir(job.directory())
            .stdin(Stdio::piped())
            .stdout(File::create(&shown).unwrap())
            .spawn()
            .ok()?;
        Some(Terminal { child, shown })
    }

    /// What a person sees so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.shown).unwrap()).into_owned()
    }

    /// Waits until this is shown so many times.
    #[track_caller]
    pub fn wait_for(&self, text: &str, times: usize) {
        wait_until(PATIENCE, || self.shown().matches(text).count() >= times);
    }

    /// Types this; `\x03` is Ctrl-C.
    pub fn enter(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end. Returns the exit code, and all that was shown.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        wait_until(PATIENCE, || self.child.try_wait().unwrap().is_some());
        let code = self.child.wait().unwrap().code();
        (code, self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a person sees of a command who types `input`; `None` where there is no `script`.
#[track_caller]
pub fn on_a_terminal(job: &Job, arguments: &str, input: &str) -> Option<String> {
    let mut terminal = Terminal::start(job, arguments)?;
    terminal.enter(input);
    Some(terminal.end().1)
}

/// The lines as they are seen: without what sets colours and moves the cursor.
pub fn seen_lines(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        // A sequence that moves the cursor begins another line.
        plain.push_str(match end.map(|end| after.as_bytes()[end]) {
            Some(b'm') => "",
            _ => "\n",
        });
        rest = &after[end.map_or(after.len(), |end| end + 1)..];
    }
    plain.push_str(rest);
    plain.split(['\r', '\n']).map(str::to_owned).collect()
}

/// Asserts that no line is wider than the terminal.
#[track_caller]
pub fn assert_fits(what: &str, shown: &str) {
    for line in seen_lines(shown) {
        let width = line.chars().count();
        // Bars fill their lines, and the terminal begins the next one.
        let are_bars = line.contains('%') && width % 80 == 0;
        assert!(width <= 80 || are_bars, "{what}: {line:?}\nin: {shown}");
    }
}
