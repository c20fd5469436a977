//! Runs the real binary with the test's configuration in a clean environment.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;
use super::database::Databases;

/// A configuration file in a directory of its own, and the environment to run the binary in.
pub struct Job {
    directory: TempDir,
    environment: Vec<(String, String)>,
    through: Vec<String>,
    runs: std::cell::Cell<u32>,
}

/// A configuration with the servers `source` and `target`; `jobs` is the TOML of the rest.
pub fn job(db: &Databases<'_>, jobs: &str) -> Job {
    job_between(&db.source.conninfo(), &db.target.conninfo(), jobs)
}

/// The same with other conninfos: through a proxy, as another role.
pub fn job_between(source: &str, target: &str, jobs: &str) -> Job {
    job_with(&format!(
        "[servers.source]\nconninfo = {source:?}\n\n[servers.target]\nconninfo = {target:?}\n\n{jobs}\n"
    ))
}

/// A configuration file with exactly this text.
pub fn job_with(configuration: &str) -> Job {
    let directory = tempfile::Builder::new()
        .prefix("tableferry-job.")
        .tempdir()
        .unwrap();
    fs::write(directory.path().join("tableferry.toml"), configuration).unwrap();
    fs::create_dir(directory.path().join("home")).unwrap();
    Job {
        directory,
        environment: Vec::new(),
        through: Vec::new(),
        runs: std::cell::Cell::new(0),
    }
}

impl Job {
    /// The directory of the configuration file, where the binary also runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory().join("tableferry.toml")
    }

    /// The binary's `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.directory().join("home")
    }

    /// Puts a file beside the configuration.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    /// Sets a variable in the binary's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The variables that were set.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.environment.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many terminals it has had; counts another one.
    pub fn terminals(&self) -> u32 {
        self.runs.replace(self.runs.get() + 1)
    }

    /// Starts the binary through another program with these arguments.
    pub fn through(mut self, program: &[&str]) -> Self {
        self.through = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs the binary to its end: `run(&["run", "j", "--json"])`. Panics after a minute.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.spawn(arguments).wait(PATIENCE)
    }

    /// Runs the binary to its end with this file as its standard input.
    #[track_caller]
    pub fn run_fed(&self, arguments: &[&str], stdin: impl Into<Stdio>) -> Outcome {
        self.spawn_fed(arguments, stdin.into()).wait(PATIENCE)
    }

    /// Starts the binary in the background.
    #[track_caller]
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_fed(arguments, Stdio::null())
    }

    /// The same with a standard input.
    #[track_caller]
    pub fn spawn_fed(&self, arguments: &[&str], stdin: Stdio) -> Running {
        let number = self.runs.replace(self.runs.get() + 1);
        // Files, not pipes: nothing reads while it runs, and a full pipe would block it.
        let stdout = self.directory().join(format!("stdout.{number}"));
        let stderr = self.directory().join(format!("stderr.{number}"));
        let mut words = self.through.iter().map(String::as_str);
        let binary = env!("CARGO_BIN_EXE_tableferry");
        let first = words.next();
        let child = Command::new(first.unwrap_or(binary))
            .args(words)
            .args(first.map(|_| binary))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("TABLEFERRY_CONFIG", self.configuration())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(arguments)
            .current_dir(self.directory())
            .stdin(stdin)
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running {
            child,
            stdout,
            stderr,
            ended: false,
        }
    }
}

/// The binary in the background. It is killed with the value.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: bool,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        signal::kill(pid, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits for its end. Panics, and kills it, when `bound` has passed.
    #[track_caller]
    pub fn wait(mut self, bound: Duration) -> Outcome {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return Outcome::new(status, self.stdout(), self.stderr());
            }
            assert!(
                started.elapsed() < bound,
                "tableferry still runs after {bound:?}\nstdout: {}\nstderr: {}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The result of the binary. `{outcome}` shows all of it, for assertion messages.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The lines of stdout that are JSON objects.
    pub reports: Vec<Value>,
}

impl Outcome {
    fn new(status: ExitStatus, stdout: String, stderr: String) -> Self {
        let reports = stdout
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
            })
            .collect();
        Self {
            code: status.code(),
            signal: status.signal(),
            stdout,
            stderr,
            reports,
        }
    }

    /// The only report. Panics unless there is exactly one.
    #[track_caller]
    pub fn report(&self) -> &Value {
        match self.reports.as_slice() {
            [report] => report,
            _ => panic!("not one report:\n{self}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "exit {:?}, signal {:?}\nstdout:\n{}\nstderr:\n{}",
            self.code, self.signal, self.stdout, self.stderr
        )
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
