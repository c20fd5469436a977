//! What all jobs do and did at one moment. The event loop makes it for those who ask; what is shown of it is
//! made elsewhere, so that the loop does not wait.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::control::{JobStatusReply, NotifierStatusReply};
use super::live_run::LiveRun;
use super::past_runs::JobPast;
use crate::config::spec::Config;

/// A question to the event loop.
#[derive(Debug)]
pub enum Question {
    /// Does the loop live? The answer says whether it accepts runs.
    Alive(oneshot::Sender<Lifecycle>),
    /// What do the jobs do?
    Jobs(oneshot::Sender<Observed>),
}

/// Whether the daemon accepts runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    Serving,
    Stopping,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Observed {
    pub at: Timestamp,
    pub daemon_started_at: Timestamp,
    pub config: Arc<Config>,
    pub reloads: Reloads,
    /// Every configured job, and removed jobs with an active run, in order of names.
    pub jobs: Vec<ObservedJob>,
    pub servers: Vec<ObservedServer>,
    pub notifiers: Vec<NotifierStatusReply>,
}

/// One job.
#[derive(Clone, Debug)]
pub struct ObservedJob {
    pub status: JobStatusReply,
    /// The last commit, also of a daemon before this one.
    pub last_success_at: Option<Timestamp>,
    pub past: Option<Arc<JobPast>>,
    pub live: Option<Arc<LiveRun>>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ObservedServer {
    pub name: String,
    /// Connections that running jobs may use.
    pub connections: u32,
    pub connections_max: u32,
}

/// How reloads ended since the daemon started.
#[derive(Clone, Copy, Debug)]
pub struct Reloads {
    pub accepted: u64,
    pub refused: u64,
    /// Whether the last one was refused, so that the file differs from the configuration in force.
    pub is_refused: bool,
    /// When the configuration in force was read.
    pub accepted_at: Timestamp,
}

impl Observed {
    /// A job by its name.
    pub fn job(&self, name: &str) -> Option<&ObservedJob> {
        self.jobs.iter().find(|job| job.status.job == name)
    }
}
