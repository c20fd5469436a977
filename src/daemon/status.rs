//! The state of the jobs, for people and scripts.

use std::time::Duration;

use jiff::Timestamp;

use super::control::JobStatusReply;
use super::freshness;
use super::job_table::{JobState, JobStatus, JobTable, SavedJob};
use super::past_runs::PastRuns;
use super::state_file::StateFile;

/// Every configured job, and removed jobs with an active run, in order of names.
pub fn jobs(
    table: &JobTable,
    past: &PastRuns,
    state_file: &StateFile,
    now: Timestamp,
) -> Vec<JobStatusReply> {
    let jobs = &table.scheduled().config().jobs;
    let replies = table.status().map(|job| {
        let saved = state_file.saved(&job.job);
        let spec = jobs.get(&*job.job);
        reply(
            job,
            past,
            &saved,
            spec.and_then(|spec| spec.fresh_within),
            now,
        )
    });
    replies.collect()
}

/// One job, as `status --json` shows it.
pub fn reply(
    job: JobStatus,
    past: &PastRuns,
    saved: &SavedJob,
    fresh_within: Option<Duration>,
    now: Timestamp,
) -> JobStatusReply {
    let (state, since) = match job.state {
        JobState::Idle => ("idle", None),
        JobState::Waiting(since) => ("waiting", Some(since)),
        JobState::Running(since) => ("running", Some(since)),
        JobState::Elsewhere(since) => ("elsewhere", Some(since)),
    };
    let last = past.of(&job.job).and_then(|past| past.last.as_ref());
    let is_running = matches!(job.state, JobState::Running(_));
    let retry = past.retry(&job.job).filter(|_| is_running);
    JobStatusReply {
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
        paused_since: job.paused_since,
        snapshot_at: saved.snapshot_at,
        fresh_within_seconds: fresh_within.map(|limit| limit.as_secs_f64()),
        stale: freshness::stale_at(saved, fresh_within).map(|at| at <= now),
        not_copied: saved.not_copied.clone(),
    }
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
