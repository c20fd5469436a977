//! Passes the changes of jobs' health to the state file and to the notifiers.

use std::time::Duration;

use jiff::Timestamp;

use super::Daemon;
use crate::config::spec::NoticeKind;
use crate::daemon::freshness;
use crate::daemon::health::{Change, Health};
use crate::daemon::notices::{self, Facts, Notice};
use crate::daemon::scheduled_config::JobName;

impl Daemon {
    /// Takes the notifiers, and every job's deadline, from the configuration in force.
    pub(super) fn follow_config(&mut self) {
        let scheduled = self.table.scheduled().clone();
        self.health.retain(|job| scheduled.job(job).is_some());
        for job in scheduled.names() {
            let saved = self.state_file.saved(job).health;
            let stale_at = self.stale_at(job);
            self.health.set(job, saved, stale_at);
        }
        self.notifiers.update(&scheduled.config().notifiers);
    }

    /// A reload may have removed the notifiers that had not told everything yet.
    pub(super) fn settle_all(&mut self) {
        for (job, _) in self.health.unsent() {
            self.on_settled(&job);
        }
    }

    /// When the job's data become stale.
    pub(super) fn stale_at(&self, job: &str) -> Option<Timestamp> {
        freshness::stale_at(&self.state_file.saved(job), self.fresh_within(job))
    }

    fn fresh_within(&self, job: &str) -> Option<Duration> {
        let (spec, _) = self.table.scheduled().job(job)?;
        spec.fresh_within
    }

    /// Saves the changes before anybody is told, so that a restart does not tell them again as new ones.
    pub(super) fn tell_changes(&mut self, changes: Vec<Change>, now: Timestamp) {
        for change in &changes {
            self.state_file.health(&change.job, change.health);
        }
        if changes.is_empty() {
            return;
        }
        self.save();
        for Change {
            job,
            health,
            notice,
        } in changes
        {
            if let Some(kind) = notice {
                self.tell_change(&job, kind, health, now);
            }
        }
    }

    /// Tells what an earlier daemon could not tell any more.
    pub(super) fn tell_unsent(&mut self) {
        let now = Timestamp::now();
        for (job, kind) in self.health.unsent() {
            let health = self.health.of(&job);
            self.tell_change(&job, kind, health, now);
        }
    }

    fn tell_change(&mut self, job: &JobName, kind: NoticeKind, health: Health, now: Timestamp) {
        let saved = self.state_file.saved(job);
        let facts = Facts {
            job,
            snapshot_at: saved.snapshot_at,
            not_copied: &saved.not_copied,
            fresh_within_seconds: self.fresh_within(job).map(|limit| limit.as_secs_f64()),
            error: self.past_runs.error_of(job),
        };
        let notice = Notice::new(kind, &facts, &notices::host(), now);
        if !self.notifiers.tell(kind, health, &notice) {
            self.on_settled(job);
        }
    }

    /// A notifier has told what it had to tell of this job, or has given up.
    pub(super) fn on_settled(&mut self, job: &str) {
        if self.notifiers.is_settled(job)
            && let Some(health) = self.health.settled(job)
        {
            self.state_file.health(job, health);
            self.save();
        }
    }
}
