//! What happens when a fire time comes or was missed.

use jiff::{SignedDuration, Timestamp};

use super::clock::CLOCK_SET_BACK;
use super::{JobTable, Lifecycle, refuse, skip_fire};
use crate::config::spec::Overlap;
use crate::daemon::event::{Action, SkipReason};
use crate::daemon::schedule::{CatchUp, ON_TIME, Schedule};
use crate::daemon::scheduled_config::JobName;
use crate::report::RunTrigger;

/// Fires that are handled before runs may start. If thousands of jobs are due at once, the first does not
/// wait until the next fire times of all are known. The other fires stay due, so that [`JobTable::wake_at`]
/// has passed, and the next tick comes at once.
const FIRES_AT_ONCE: usize = 256;

impl JobTable {
    pub(super) fn set_next_fire(&mut self, job: &JobName, schedule: &Schedule, after: Timestamp) {
        let Some(entry) = self.jobs.get_mut(job) else {
            return;
        };
        if let Some(old) = entry.next_fire.take() {
            self.fires.remove(&(old, job.clone()));
        }
        entry.next_fire = schedule.next_after(after);
        if let Some(next) = entry.next_fire {
            self.fires.insert((next, job.clone()));
        }
    }

    pub(super) fn fire_what_is_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        let scheduled = self.scheduled.clone();
        if self.latest.duration_since(now) > CLOCK_SET_BACK {
            self.latest = now;
            for name in scheduled.names() {
                if let Some((_, schedule)) = scheduled.job(name) {
                    self.set_next_fire(name, schedule, now);
                }
            }
        }
        self.latest = self.latest.max(now);
        for _ in 0..FIRES_AT_ONCE {
            let Some((due, job)) = self.fires.first().cloned() else {
                break;
            };
            if due > now {
                break;
            }
            self.fires.pop_first();
            let Some((_, schedule)) = scheduled.job(&job) else {
                continue;
            };
            if now.duration_since(due) <= ON_TIME {
                // If the period is shorter than the delay, the latest fire stands for all.
                let due = schedule.latest_between(due, now).unwrap_or(due);
                self.fire(&job, due, RunTrigger::Schedule, now, actions);
            } else {
                let before = due.saturating_sub(SignedDuration::from_nanos(1));
                let before = before.unwrap_or(due);
                self.catch_up(&job, schedule.catch_up(before, now), now, actions);
            }
            self.set_next_fire(&job, schedule, now);
        }
    }

    pub(super) fn catch_up(
        &mut self,
        job: &JobName,
        what: CatchUp,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        match what {
            CatchUp::Nothing => {}
            CatchUp::Run(due) => self.fire(job, due, RunTrigger::Missed, now, actions),
            CatchUp::Unwanted(due) => skip_fire(job, due, SkipReason::Missed, actions),
            CatchUp::TooOld(due) => skip_fire(job, due, SkipReason::TooOld, actions),
        }
    }

    fn fire(
        &mut self,
        job: &JobName,
        due: Timestamp,
        trigger: RunTrigger,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let due = self.repeats.name(due);
        if self.paused_since(job).is_some() {
            return skip_fire(job, due, SkipReason::Paused, actions);
        }
        let overlap = self
            .scheduled
            .job(job)
            .map(|(spec, _)| spec.schedule.overlap);
        let recheck = self
            .jobs
            .get_mut(job)
            .and_then(|entry| entry.recheck.as_mut());
        if let Some(request) = self.waiting.get_mut(job) {
            // The waiting run covers this fire, too.
            request.completes = Some(due);
            request.is_recheck = false;
            if let Some(earlier) = request.due_at.replace(due) {
                actions.push(Action::Skipped {
                    job: job.clone(),
                    due_at: Some(earlier),
                    why: SkipReason::StillWaiting,
                });
            }
        } else if let Some(run) = self.running.get_mut(job)
            && overlap == Some(Overlap::Skip)
        {
            run.request.completes = Some(due);
            refuse(job, Some(due), None, SkipReason::StillRunning, actions);
        } else if let Some(recheck) = recheck
            && recheck.is_elsewhere
            && overlap == Some(Overlap::Skip)
        {
            recheck.request.completes = Some(due);
            refuse(job, Some(due), None, SkipReason::StillRunning, actions);
        } else {
            self.cancel_recheck(job);
            self.enqueue(job, trigger, Some(due), None, now);
        }
    }
}
