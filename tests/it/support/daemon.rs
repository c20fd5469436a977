//! The real binary as a daemon, with its own directories and its log as events.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Databases, Job, Outcome, PATIENCE, Running, job_with, wait_until};

/// The configuration of a daemon between two databases; `rest` is its `[daemon]` and `[jobs]`.
pub fn configuration(db: &Databases<'_>, rest: &str) -> String {
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    format!(
        "{rest}\n[servers.source]\nconninfo = {source:?}\n[servers.target]\nconninfo = {target:?}\n"
    )
}

/// A job that replaces `public.t` in one attempt.
pub fn truncate_job(name: &str, more: &str) -> String {
    format!(
        "[jobs.{name}]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\ntables = ['public.t']\n\
         analyze = false\nretry = {{ max = 0 }}\n{more}\n"
    )
}

/// The directories of a daemon, and its configuration.
pub fn home(configuration: &str) -> Job {
    let job = job_with(configuration);
    let directory = |name: &str| job.directory().join(name).display().to_string();
    let (runtime, state) = (directory("run"), directory("state"));
    job.env("RUNTIME_DIRECTORY", &runtime)
        .env("STATE_DIRECTORY", &state)
}

/// A running daemon. It is killed with the value.
pub struct Daemon<'j> {
    pub job: &'j Job,
    pub running: Running,
}

impl<'j> Daemon<'j> {
    /// Starts one, and waits until it is ready.
    #[track_caller]
    pub fn start(job: &'j Job) -> Self {
        let mut running = job.spawn(&["daemon"]);
        wait_until(PATIENCE, || {
            assert!(!running.has_ended(), "it ended: {}", running.stderr());
            events(&running.stderr())
                .iter()
                .any(|event| event["message"] == "ready")
        });
        Daemon { job, running }
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: Signal) {
        self.running.kill(signal);
    }

    /// Runs another command of the same configuration.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Outcome {
        self.job.run(arguments)
    }

    /// Its log so far.
    pub fn events(&self) -> Vec<Value> {
        events(&self.running.stderr())
    }

    /// The number of events with this message, and of this job unless `job` is empty.
    pub fn count(&self, message: &str, job: &str) -> usize {
        let events = self.events();
        events
            .iter()
            .filter(|event| event["message"].as_str().unwrap_or("").contains(message))
            .filter(|event| job.is_empty() || event["job"] == job)
            .count()
    }

    /// Waits until there are this many such events.
    #[track_caller]
    pub fn wait_for(&self, times: usize, message: &str, job: &str) {
        let started = std::time::Instant::now();
        while self.count(message, job) < times {
            assert!(
                started.elapsed() < PATIENCE,
                "not {times} times `{message}` of `{job}`:\n{}",
                self.running.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(self) -> Outcome {
        self.running.wait(PATIENCE)
    }

    /// Sends SIGTERM, and asserts that it exits with 0.
    #[track_caller]
    pub fn stop(self) -> Outcome {
        self.kill(Signal::SIGTERM);
        let outcome = self.wait();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome
    }
}

/// The lines of a log.
pub fn events(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Makes copies through [`HELD`] wait in the middle until [`release`].
pub fn hold(db: &Databases<'_>) {
    db.source.sql(
        "CREATE OR REPLACE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 500 THEN PERFORM pg_advisory_lock_shared(1); END IF; RETURN i; END';
         SELECT pg_advisory_lock(1)",
    );
}

/// Lets them go on.
pub fn release(db: &Databases<'_>) {
    db.source.sql("SELECT pg_advisory_unlock(1)");
}

/// Ends the session that holds the jobs.
pub fn held(job: &str) -> String {
    format!("[jobs.{job}.table.'public.t']\nset.id = 'public.slow(id)'\n")
}

/// Waits until a copy is held.
#[track_caller]
pub fn wait_held(db: &Databases<'_>) {
    wait_until(PATIENCE, || {
        db.source.count(
            "pg_locks WHERE locktype = 'advisory' AND NOT granted \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        ) == 1
    });
}

/// Waits until no session of tableferry is left on either server, then asserts that no lock or table is
/// left.
#[track_caller]
pub fn assert_nothing_left(db: &Databases<'_>) {
    db.wait_until_left();
    let locks = "pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(db.target.count(locks), 0);
    assert_eq!(
        db.target.value("SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"),
        "t"
    );
}
