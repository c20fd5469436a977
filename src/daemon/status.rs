//! The state of the jobs, for people and scripts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::control;
use super::event::Outcome;
use super::freshness;
use super::job_table::{JobState, JobTable};
use super::runner::Retry;
use super::scheduled_config::JobName;
use super::state_file::StateFile;
use crate::report::ErrorReport;

/// How each job's last run ended, since the daemon started.
#[derive(Debug, Default)]
pub struct LastRuns {
    ended: BTreeMap<JobName, LastRun>,
    retries: BTreeMap<JobName, Retry>,
}

#[derive(Debug)]
struct LastRun {
    outcome: Outcome,
    error: Option<ErrorReport>,
    finished_at: Timestamp,
}

impl LastRuns {
    /// What was wrong with the job's last run.
    pub fn error_of(&self, job: &str) -> Option<&ErrorReport> {
        self.ended.get(job)?.error.as_ref()
    }

    /// A run has ended.
    pub fn insert(
        &mut self,
        job: &JobName,
        outcome: Outcome,
        error: Option<ErrorReport>,
        finished_at: Timestamp,
    ) {
        self.retries.remove(job);
        self.ended.insert(
            job.clone(),
            LastRun {
                outcome,
                error,
                finished_at,
            },
        );
    }

    /// A run tries again.
    pub fn retrying(&mut self, retry: Retry) {
        self.retries.insert(retry.job.clone(), retry);
    }
}

/// Every configured job, and removed jobs with an active run, in order of names.
pub fn jobs(
    table: &JobTable,
    last_runs: &LastRuns,
    state_file: &StateFile,
    now: Timestamp,
) -> Vec<control::JobStatusReply> {
    let jobs = &table.scheduled().config().jobs;
    table
        .status()
        .map(|job| {
            let (state, since) = match job.state {
                JobState::Idle => ("idle", None),
                JobState::Waiting(since) => ("waiting", Some(since)),
                JobState::Running(since) => ("running", Some(since)),
                JobState::Elsewhere(since) => ("elsewhere", Some(since)),
            };
            let last = last_runs.ended.get(&job.job);
            let is_running = matches!(job.state, JobState::Running(_));
            let saved = state_file.saved(&job.job);
            let fresh_within = jobs.get(&*job.job).and_then(|spec| spec.fresh_within);
            let retry = last_runs.retries.get(&job.job).filter(|_| is_running);
            control::JobStatusReply {
                job: job.job.to_string(),
                state: state.to_owned(),
                since,
                removed: job.is_removed,
                attempt: retry.map(|retry| retry.attempt),
                attempt_error: retry.map(|retry| retry.error.clone()),
                last_outcome: last.map(|last| last.outcome),
                last_finished_at: last.map(|last| last.finished_at),
                last_error: last.and_then(|last| Some(last.error.as_ref()?.message.clone())),
                next_run_at: job.next_fire,
                snapshot_at: saved.snapshot_at,
                fresh_within_seconds: fresh_within.map(|limit| limit.as_secs_f64()),
                stale: freshness::stale_at(&saved, fresh_within).map(|at| at <= now),
            }
        })
        .collect()
}

/// A line for `systemctl status`.
pub fn line(table: &JobTable) -> String {
    let running = table.running().count();
    let jobs = table.scheduled().config().jobs.len();
    match table.wake_at() {
        Some(at) if !table.is_stopping() => {
            format!("{running} of {jobs} jobs running; next at {at:.0}")
        }
        _ => format!("{running} of {jobs} jobs running"),
    }
}
