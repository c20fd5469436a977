//! The events that the daemon's loop passes to the [job table](crate::daemon::job_table), and the actions that
//! it returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::config::spec::Config;
use crate::daemon::scheduled_config::{JobName, ScheduledConfig};
pub use crate::report::{Elsewhere, Outcome, RunTrigger};
pub use crate::run::Orphan;

/// Identifies a client that waits for the outcome of a run.
pub type Ticket = u64;

#[derive(Clone, Debug)]
pub enum DaemonEvent {
    /// The time of [`wake_at`](crate::daemon::job_table::JobTable::wake_at) has come. Harmless at any other
    /// time.
    Tick,
    /// The wall clock was set by this much; negative if it was set back.
    ClockSet { by: SignedDuration },
    /// Run each of these jobs once, in a run that starts after the request.
    Trigger {
        /// Their names, as requested. Unknown names are answered.
        jobs: Vec<String>,
        trigger: RunTrigger,
        ticket: Option<Ticket>,
    },
    /// SIGUSR1 with an empty spool.
    OnDemand,
    /// What was found in the ledger of these jobs: which of them are paused, since when, and which are asked for.
    Looked {
        jobs: Vec<JobName>,
        paused: BTreeMap<String, Timestamp>,
        requested: Vec<String>,
    },
    /// SIGRTMIN + n.
    Signal(u8),
    /// A run that [`Action::Start`] has started is over.
    Finished {
        job: JobName,
        run_id: Uuid,
        outcome: Outcome,
        /// Where another daemon has taken its work.
        elsewhere: Option<Elsewhere>,
    },
    /// The configuration has changed, and is valid.
    Reload(ScheduledConfig),
    /// SIGTERM or SIGINT. The first waits for active runs, the second cancels them.
    Stop,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Start this run, and report its end with [`DaemonEvent::Finished`].
    Start(RunOrder),
    /// Cancel this job's run. The run still reports its end.
    Cancel(JobName),
    /// Store that this job's fire times up to this one need no catching up after a restart. This action
    /// comes when the run of the fire has ended, not when it starts, so that a daemon that is killed during
    /// a run repeats it. It does not come for a cancelled run.
    FireCompleted {
        job: JobName,
        /// The fire time: the next daemon's [`SavedJob::due_at`](crate::daemon::job_table::SavedJob::due_at).
        due_at: Timestamp,
    },
    /// Log that a requested run or a fire is skipped.
    Skipped {
        /// The job, as the request names it.
        job: JobName,
        /// The fire time that is let go.
        due_at: Option<Timestamp>,
        why: SkipReason,
    },
    /// Answer the client that holds this ticket.
    Answer {
        ticket: Ticket,
        /// The job that it was for.
        job: JobName,
        answer: Answer,
    },
    /// The new configuration is in force.
    Reloaded(Changes),
    /// No run is active any more. Comes once, as the last action.
    Exit,
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct RunOrder {
    pub job: JobName,
    pub trigger: RunTrigger,
    /// The fire time that the run stands for.
    pub due_at: Option<Timestamp>,
    /// A run of the job that must be resolved first.
    pub orphan: Option<Orphan>,
    /// The configuration of the run. A later reload does not change it.
    pub config: Arc<Config>,
}

/// Why something asked for will not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// No such job.
    Unknown,
    /// The previous run is still active, and `overlap = "skip"`.
    StillRunning,
    /// The previous fire still waits for a permit.
    StillWaiting,
    /// The fire was missed longer ago than `catchup_window`.
    Missed,
    /// The fire was missed longer ago than `catchup_window`.
    TooOld,
    /// A reload removed the job while it waited.
    Removed,
    Paused,
    Stopping,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A run that started after the request has ended, with this outcome.
    Ended(Outcome),
    /// There will be no run.
    Refused(SkipReason),
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<JobName>,
    pub removed: Vec<JobName>,
    /// Jobs that are not as they were.
    pub changed: Vec<JobName>,
}

impl SkipReason {
    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Unknown => "unknown",
            SkipReason::StillRunning => "still_running",
            SkipReason::StillWaiting => "still_waiting",
            SkipReason::Missed => "missed",
            SkipReason::TooOld => "too_old",
            SkipReason::Removed => "removed",
            SkipReason::Paused => "paused",
            SkipReason::Stopping => "stopping",
        }
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SkipReason::Unknown => "there is no such job",
            SkipReason::StillRunning => "the previous run is still going",
            SkipReason::StillWaiting => "the previous fire still waits for its turn",
            SkipReason::Missed => "its time passed while no daemon ran, and `missed` is \"skip\"",
            SkipReason::TooOld => "its time passed longer ago than `catchup_window`",
            SkipReason::Removed => "a reload removed the job",
            SkipReason::Paused => "the job is paused: `tableferry resume` ends that",
            SkipReason::Stopping => "the daemon is stopping",
        })
    }
}
