//! Work whose outcome is not known: another daemon runs it, or a run was left in doubt. It is checked again
//! later, by a run that first asks the ledger.

use std::time::Duration;

use jiff::Timestamp;

use super::{JobTable, Lifecycle, later};
use crate::config::spec::History;
use crate::daemon::event::{Elsewhere, Outcome};
use crate::daemon::queue::RunRequest;
use crate::report::RunTrigger;

/// The time between two checks.
const RECHECK_AFTER: Duration = Duration::from_secs(10);

/// A check that is due later.
#[derive(Debug)]
pub(super) struct Recheck {
    pub(super) at: Timestamp,
    /// Another daemon runs it; otherwise its run is in doubt.
    pub(super) is_elsewhere: bool,
    pub(super) request: RunRequest,
}

impl JobTable {
    /// Without a ledger, only the run itself knows its outcome.
    pub(super) fn is_undecided(&self, outcome: Outcome, elsewhere: Option<Elsewhere>) -> bool {
        let has_ledger = self.scheduled.config().daemon.history == History::Target;
        match outcome {
            Outcome::InDoubt => has_ledger,
            Outcome::Skipped => elsewhere == Some(Elsewhere::AtWork),
            Outcome::Committed | Outcome::RolledBack | Outcome::Cancelled => false,
        }
    }

    /// Queues a new run for a client that asked for one: the run that was skipped belongs to a fire.
    pub(super) fn request_again(&mut self, skipped: &mut RunRequest, asked: RunTrigger) {
        skipped.asked = None;
        if self.lifecycle == Lifecycle::Serving && self.jobs.contains_key(&skipped.job) {
            self.waiting.push(RunRequest {
                job: skipped.job.clone(),
                trigger: asked,
                due_at: None,
                completes: None,
                asked: Some(asked),
                is_recheck: false,
                tickets: std::mem::take(&mut skipped.tickets),
                since: skipped.since,
            });
        }
    }

    /// Schedules a check. A daemon that stops leaves the check to the next daemon.
    pub(super) fn recheck_later(&mut self, ended: RunRequest, is_elsewhere: bool, now: Timestamp) {
        let at = later(now, RECHECK_AFTER);
        let job = ended.job.clone();
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        if let Some(entry) = self.jobs.get_mut(&job) {
            if let Some(old) = entry.recheck.take() {
                self.rechecks.remove(&(old.at, job.clone()));
            }
            entry.recheck = Some(Recheck {
                at,
                is_elsewhere,
                request: RunRequest {
                    is_recheck: true,
                    ..ended
                },
            });
            self.rechecks.insert((at, job));
        }
    }

    pub(super) fn start_rechecks(&mut self, now: Timestamp) {
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        while let Some((at, job)) = self.rechecks.first().cloned()
            && at <= now
        {
            self.rechecks.pop_first();
            let recheck = self
                .jobs
                .get_mut(&job)
                .and_then(|entry| entry.recheck.take());
            if let Some(Recheck { request, .. }) = recheck {
                self.waiting.push(request);
            }
        }
    }

    /// Cancels the check: a later run covers it.
    pub(super) fn cancel_recheck(&mut self, job: &str) {
        let recheck = self
            .jobs
            .get_mut(job)
            .and_then(|entry| entry.recheck.take());
        if let Some(Recheck { at, request, .. }) = recheck {
            self.rechecks.remove(&(at, request.job));
        }
    }

    /// A run that is about to start first resolves a run in doubt, so its check is cancelled. The check of a
    /// fire stays.
    pub(super) fn forget_doubt(&mut self, job: &str) {
        let recheck = self.jobs.get(job).and_then(|entry| entry.recheck.as_ref());
        if recheck.is_some_and(|recheck| recheck.request.due_at.is_none()) {
            self.cancel_recheck(job);
        }
    }
}
