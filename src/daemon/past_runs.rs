//! What the daemon remembers of the runs that have ended since it started, for `status`, the metrics and the
//! page. The record of all runs is the ledger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::counters::JobCounters;
use super::event::{Elsewhere, Outcome, RunTrigger, SkipReason};
use super::runner::Retry;
use super::scheduled_config::JobName;
use crate::error::ErrorKind;
use crate::report::{ErrorReport, RunReport};

/// Runs of a job that the page shows beside it.
const RECENT_RUNS_MAX: usize = 20;

/// All jobs that have run, or should have.
#[derive(Debug)]
pub struct PastRuns {
    jobs: BTreeMap<JobName, Arc<JobPast>>,
    retries: BTreeMap<JobName, Retry>,
    keeps_reports: bool,
}

/// The past of one job.
#[derive(Clone, Debug, Default)]
pub struct JobPast {
    pub last: Option<LastRun>,
    /// How the newest runs ended, oldest first, without those that did not start.
    pub recent: VecDeque<Outcome>,
    /// The report of the last run that did start, if reports are kept.
    pub report: Option<Arc<RunReport>>,
    pub counters: JobCounters,
}

/// How a job's last run ended.
#[derive(Clone, Debug)]
pub struct LastRun {
    pub outcome: Outcome,
    pub error: Option<ErrorReport>,
    pub finished_at: Timestamp,
}

/// The end of a run.
#[derive(Debug)]
pub struct PastRun {
    pub trigger: RunTrigger,
    pub outcome: Outcome,
    pub elsewhere: Option<Elsewhere>,
    pub error: Option<ErrorReport>,
    /// Absent if the run could not begin or panicked.
    pub report: Option<RunReport>,
    /// Why its earlier attempts failed.
    pub retried: Vec<ErrorKind>,
    pub finished_at: Timestamp,
}

impl PastRuns {
    /// Reports take memory: they are only kept where somebody can see them.
    pub fn new(keeps_reports: bool) -> Self {
        PastRuns {
            jobs: BTreeMap::new(),
            retries: BTreeMap::new(),
            keeps_reports,
        }
    }

    /// What is known of this job.
    pub fn of(&self, job: &JobName) -> Option<&Arc<JobPast>> {
        self.jobs.get(job)
    }

    /// What was wrong with the job's last run.
    pub fn error_of(&self, job: &str) -> Option<&ErrorReport> {
        self.jobs.get(job)?.last.as_ref()?.error.as_ref()
    }

    /// The last failed attempt of the run that is active.
    pub fn retry(&self, job: &JobName) -> Option<&Retry> {
        self.retries.get(job)
    }

    /// A run tries again.
    pub fn retrying(&mut self, retry: Retry) {
        self.retries.insert(retry.job.clone(), retry);
    }

    /// A run has ended.
    pub fn ended(&mut self, job: &JobName, run: PastRun) {
        self.retries.remove(job);
        let keeps_reports = self.keeps_reports;
        let past = Arc::make_mut(self.jobs.entry(job.clone()).or_default());
        past.counters.retried(&run.retried);
        // A run of another daemon is looked at every few seconds: that is no run.
        if run.elsewhere != Some(Elsewhere::AtWork) {
            let kind = run.error.as_ref().map(|error| error.kind);
            past.counters.ended(run.outcome, run.trigger, kind);
        }
        if let Some(report) = run.report.filter(|_| run.outcome != Outcome::Skipped) {
            past.counters.moved(&report);
            if past.recent.len() == RECENT_RUNS_MAX {
                past.recent.pop_front();
            }
            past.recent.push_back(run.outcome);
            past.report = keeps_reports.then(|| Arc::new(report));
        }
        past.last = Some(LastRun {
            outcome: run.outcome,
            error: run.error,
            finished_at: run.finished_at,
        });
    }

    /// A fire or a request has led to no run.
    pub fn skipped(&mut self, job: &JobName, why: SkipReason) {
        let past = Arc::make_mut(self.jobs.entry(job.clone()).or_default());
        past.counters.skipped(why.as_str());
    }

    /// Forgets jobs that are not configured any more.
    pub fn retain(&mut self, is_configured: impl Fn(&JobName) -> bool) {
        self.jobs.retain(|job, _| is_configured(job));
        self.retries.retain(|job, _| is_configured(job));
    }
}
