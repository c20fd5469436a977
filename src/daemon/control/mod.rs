//! The socket in `runtime_dir` through which the other commands talk to a running daemon. Each connection
//! carries one request, a line of JSON. The answers are lines of JSON.

pub mod client;
pub mod server;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::Outcome;
use crate::report::drift::NotCopied;

/// The socket's name in `runtime_dir`.
pub const SOCKET_NAME: &str = "control.sock";

/// The longest request or answer line, in bytes: 10 000 job names fit.
pub const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Run these jobs now; with `wait`, answer when their runs have ended.
    Trigger {
        jobs: Vec<String>,
        /// Answer when their runs have ended.
        wait: bool,
    },
    /// Read the configuration again.
    Reload,
    /// Say what all jobs are doing.
    Status,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// The job will run.
    Accepted { job: String },
    /// There will be no run.
    Refused {
        job: String,
        /// Why, for people.
        why: String,
        /// There is no such job: the client is mistaken.
        unknown: bool,
    },
    /// A run that started after the request has ended.
    Ended { job: String, outcome: Outcome },
    /// The new configuration is in force.
    Reloaded {
        added: Vec<String>,
        removed: Vec<String>,
        /// Jobs that are not as they were.
        changed: Vec<String>,
    },
    /// The configuration is wrong, and the old one stays in force.
    Invalid {
        /// All that is wrong, for people.
        errors: String,
    },
    /// What all jobs are doing.
    Status {
        /// One a job, in order of names.
        jobs: Vec<JobStatusReply>,
        #[serde(default)]
        notifiers: Vec<NotifierStatusReply>,
    },
}

/// What one notifier has done since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotifierStatusReply {
    pub notifier: String,
    /// Notices that were sent.
    pub sent: u64,
    /// Notices that were given up after all tries.
    pub failed: u64,
    /// Notices that a newer one of the same job has replaced before they were sent.
    pub replaced: u64,
    /// Notices that are not sent yet.
    pub waiting: usize,
    /// Why the last notice was given up, unless it was sent.
    pub last_error: Option<String>,
}

/// What one job is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatusReply {
    pub job: String,
    /// `idle`, `waiting`, `running`, or `elsewhere`: another daemon runs it.
    pub state: String,
    /// Since when, if it waits or runs.
    pub since: Option<Timestamp>,
    /// A reload has removed the job, and its run goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Which attempt its run makes, if one has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why the attempt before that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_error: Option<String>,
    /// How its last run ended.
    pub last_outcome: Option<Outcome>,
    /// When its last run ended.
    pub last_finished_at: Option<Timestamp>,
    /// What was wrong with its last run.
    pub last_error: Option<String>,
    pub next_run_at: Option<Timestamp>,
    /// Since when it is paused.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
    /// When the source's snapshot was taken that the target holds, by the source's clock.
    #[serde(default)]
    pub snapshot_at: Option<Timestamp>,
    /// `fresh_within`.
    #[serde(default)]
    pub fresh_within_seconds: Option<f64>,
    /// Whether the data are older; `None` without `fresh_within`.
    #[serde(default)]
    pub stale: Option<bool>,
    /// The source's columns that the last committed run has left out.
    #[serde(flatten)]
    pub not_copied: NotCopied,
}
