//! Compares the old configuration with the new one.

use jiff::Timestamp;

use super::{JobEntry, JobTable, Lifecycle, drop_request};
use crate::daemon::event::{Action, Changes, SkipReason};
use crate::daemon::scheduled_config::{JobName, ScheduledConfig};

impl JobTable {
    pub(super) fn reload(
        &mut self,
        scheduled: ScheduledConfig,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let old = std::mem::replace(&mut self.scheduled, scheduled.clone());
        let mut changes = Changes::default();
        let known: Vec<JobName> = self.jobs.keys().cloned().collect();
        for job in known {
            let Some((spec, schedule)) = scheduled.job(&job) else {
                self.remove(&job, actions);
                changes.removed.push(job);
                continue;
            };
            if old.job(&job).is_none_or(|(before, _)| before != spec) {
                changes.changed.push(job.clone());
            }
            if !old.same_schedule(&scheduled, &job) {
                self.set_next_fire(&job, schedule, now);
            } else if schedule.follows_clock() {
                self.reset_next_fire(&job, schedule, now);
            }
            if let Some(entry) = self.jobs.get_mut(&job) {
                entry
                    .committed
                    .retain(|name, _| spec.schedule.after.iter().any(|after| **after == **name));
            }
        }
        for job in scheduled.names() {
            if let Some((_, schedule)) = scheduled.job(job)
                && !self.jobs.contains_key(job)
            {
                self.jobs.insert(job.clone(), JobEntry::default());
                self.set_next_fire(job, schedule, now);
                changes.added.push(job.clone());
            }
        }
        actions.push(Action::Reloaded(changes));
        if self.lifecycle == Lifecycle::Serving {
            self.request_ready(scheduled.names(), now);
        }
    }

    fn remove(&mut self, job: &JobName, actions: &mut Vec<Action>) {
        self.cancel_recheck(job);
        if let Some(entry) = self.jobs.remove(job)
            && let Some(next) = entry.next_fire
        {
            self.fires.remove(&(next, job.clone()));
        }
        if let Some(request) = self.waiting.remove(job) {
            drop_request(request, SkipReason::Removed, actions);
        }
    }
}
