//! Work that is not settled: another daemon is at it, or a run was left in doubt. It is looked at
//! again, by a run that begins with asking the ledger.

use std::time::Duration;

use jiff::Timestamp;

use super::{JobTable, Lifecycle, later};
use crate::config::spec::History;
use crate::daemon::event::{Elsewhere, Outcome};
use crate::daemon::queue::RunRequest;
use crate::report::Trigger;

/// How long to leave it alone.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A look that is to come.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) at: Timestamp,
    /// Another daemon is at work on it; else it is in doubt.
    pub(super) is_elsewhere: bool,
    pub(super) request: RunRequest,
}

impl JobTable {
    /// Without a ledger nobody can say more than the run itself did.
    pub(super) fn is_unsettled(&self, outcome: Outcome, elsewhere: Option<Elsewhere>) -> bool {
        let has_ledger = self.scheduled.config().daemon.history == History::Target;
        match outcome {
            Outcome::InDoubt => has_ledger,
            Outcome::Skipped => elsewhere == Some(Elsewhere::AtWork),
            Outcome::Committed | Outcome::RolledBack | Outcome::Cancelled => false,
        }
    }

    /// Whoever asked for a run, and not for a fire's, gets one.
    pub(super) fn ask_again(&mut self, skipped: &mut RunRequest, asked: Trigger) {
        skipped.asked = None;
        if self.lifecycle == Lifecycle::Serving && self.jobs.contains_key(&skipped.job) {
            self.waiting.push(RunRequest {
                job: skipped.job.clone(),
                trigger: asked,
                due_at: None,
                settles: None,
                asked: Some(asked),
                looks_again: false,
                tickets: std::mem::take(&mut skipped.tickets),
                since: skipped.since,
            });
        }
    }

    /// A daemon that stops leaves it to the next one: it is not settled.
    pub(super) fn look_again_later(
        &mut self,
        ended: RunRequest,
        is_elsewhere: bool,
        now: Timestamp,
    ) {
        let at = later(now, LOOK_AGAIN);
        let job = ended.job.clone();
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        if let Some(entry) = self.jobs.get_mut(&job) {
            if let Some(old) = entry.again.take() {
                self.looks.remove(&(old.at, job.clone()));
            }
            entry.again = Some(Again {
                at,
                is_elsewhere,
                request: RunRequest {
                    looks_again: true,
                    ..ended
                },
            });
            self.looks.insert((at, job));
        }
    }

    pub(super) fn look_again(&mut self, now: Timestamp) {
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        while let Some((at, job)) = self.looks.first().cloned()
            && at <= now
        {
            self.looks.pop_first();
            let again = self.jobs.get_mut(&job).and_then(|entry| entry.again.take());
            if let Some(Again { request, .. }) = again {
                self.waiting.push(request);
            }
        }
    }

    /// Nothing needs to be looked at any more: what comes stands for it.
    pub(super) fn look_no_more(&mut self, job: &str) {
        let again = self.jobs.get_mut(job).and_then(|entry| entry.again.take());
        if let Some(Again { at, request, .. }) = again {
            self.looks.remove(&(at, request.job));
        }
    }

    /// A run that is about to start settles whatever run was left in doubt; a fire's is looked at
    /// all the same.
    pub(super) fn forget_doubt(&mut self, job: &str) {
        let again = self.jobs.get(job).and_then(|entry| entry.again.as_ref());
        if again.is_some_and(|again| again.request.due_at.is_none()) {
            self.look_no_more(job);
        }
    }
}
