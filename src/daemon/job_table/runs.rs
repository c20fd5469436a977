//! The start and the end of a run, and what follows from its end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{JobTable, Lifecycle, RunningJob};
use crate::daemon::event::{Action, Answer, Elsewhere, Orphan, RunOrder, SkipReason};
use crate::daemon::permits::Needs;
use crate::daemon::scheduled_config::JobName;
use crate::report::{Outcome, RunTrigger};

impl JobTable {
    pub(super) fn start_what_may(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        let config = self.scheduled.config();
        let mut short = BTreeSet::new();
        let mut started = Vec::new();
        for request in self.waiting.iter() {
            if !self.permits.has_run(config) {
                break;
            }
            let Some(spec) = config.jobs.get(&*request.job) else {
                continue;
            };
            if self.running.contains_key(&request.job) {
                continue;
            }
            let needs = Needs::new(config, spec, (self.connections)(spec));
            if self.permits.take(config, &needs, &mut short) {
                started.push((request.job.clone(), needs));
            }
        }
        for (job, needs) in started {
            let Some(request) = self.waiting.remove(&job) else {
                continue;
            };
            if request.due_at.is_none() && !request.is_recheck {
                self.forget_doubt(&job);
            }
            let entry = self.jobs.get_mut(&job);
            let orphan = entry.and_then(|entry| {
                entry.committed.clear();
                entry.orphan.take()
            });
            actions.push(Action::Start(RunOrder {
                job: job.clone(),
                trigger: request.trigger,
                due_at: request.due_at,
                orphan: orphan.map(|run_id| Orphan {
                    run_id,
                    is_same: request.is_recheck,
                }),
                config: self.scheduled.config().clone(),
            }));
            self.running.insert(
                job,
                RunningJob {
                    needs,
                    request,
                    orphan,
                    since: now,
                },
            );
        }
    }

    pub(super) fn finish(
        &mut self,
        job: &JobName,
        run_id: Uuid,
        (outcome, elsewhere): (Outcome, Option<Elsewhere>),
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some(mut run) = self.running.remove(job) else {
            return;
        };
        self.permits.give_back(&run.needs);
        let due_at = run.request.due_at;
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.last = Some((outcome, now));
            entry.orphan = match (outcome, elsewhere) {
                (Outcome::Committed | Outcome::Skipped, _) => None,
                // It could not even be asked about.
                (Outcome::InDoubt, Some(_)) => run.orphan,
                _ => Some(run_id),
            };
        }
        let is_paused = elsewhere == Some(Elsewhere::Paused);
        // A request that is still open is found again.
        if outcome == Outcome::Skipped
            && !is_paused
            && let Some(asked) = run.request.asked
            && asked != RunTrigger::Request
        {
            self.request_again(&mut run.request, asked);
        }
        for ticket in run.request.tickets.drain(..) {
            actions.push(Action::Answer {
                ticket,
                job: job.clone(),
                answer: match is_paused {
                    true => Answer::Refused(SkipReason::Paused),
                    false => Answer::Ended(outcome),
                },
            });
        }
        if self.is_undecided(outcome, elsewhere) {
            self.recheck_later(run.request, outcome == Outcome::Skipped, now);
        } else if let Some(due_at) = run.request.completes
            && outcome != Outcome::Cancelled
        {
            let job = job.clone();
            actions.push(Action::FireCompleted { job, due_at });
        }
        let is_committed = outcome == Outcome::Committed || elsewhere == Some(Elsewhere::Committed);
        if is_committed && self.lifecycle == Lifecycle::Serving {
            let scheduled = self.scheduled.clone();
            for dependant in scheduled.dependants(job) {
                if let Some(entry) = self.jobs.get_mut(dependant) {
                    entry.committed.insert(job.clone(), due_at);
                }
            }
            self.request_ready(scheduled.dependants(job), now);
        }
    }

    /// Requests those of `jobs` whose conditions are met.
    pub(super) fn request_ready<'n>(
        &mut self,
        jobs: impl IntoIterator<Item = &'n JobName>,
        now: Timestamp,
    ) {
        for job in jobs {
            let (Some((spec, _)), Some(entry)) = (self.scheduled.job(job), self.jobs.get(job))
            else {
                continue;
            };
            let after = &spec.schedule.after;
            let committed = |name: &String| entry.committed.get(name.as_str()).copied();
            let fires: Option<Vec<_>> = after.iter().map(committed).collect();
            let Some(fires) = fires.filter(|fires| !fires.is_empty()) else {
                continue;
            };
            // All daemons derive the same fire from the last of the runs that it waits for, so that one of
            // them runs the job. The job may also have fire times of its own.
            let has_times = spec.schedule.cron.is_some() || spec.schedule.every.is_some();
            let fires: Option<Vec<_>> = fires.into_iter().collect();
            let due_at = fires
                .filter(|_| !has_times)
                .and_then(|f| f.into_iter().max());
            self.enqueue(job, RunTrigger::After, due_at, None, now);
        }
    }
}
