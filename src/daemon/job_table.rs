//! The daemon's state machine: state × event → actions. It does no I/O and reads no clock, so a table of events
//! tests every decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Connections;
use crate::config::spec::JobSpec;
use crate::daemon::event::{Action, Answer, DaemonEvent, SkipReason, Ticket};
use crate::daemon::health::Health;
use crate::daemon::permits::{Needs, Permits};
use crate::daemon::queue::{Queue, RunRequest};
use crate::daemon::schedule::Schedule;
use crate::daemon::scheduled_config::{JobName, ScheduledConfig};
use crate::report::drift::NotCopied;
use crate::report::{Outcome, RunTrigger};

use clock::RepeatedTimes;
use elsewhere::Recheck;

mod clock;
mod elsewhere;
mod fires;
mod pauses;
mod reload;
mod runs;
#[cfg(test)]
mod tests;

/// How long runs may take to stop after they were cancelled, before the daemon leaves them.
const CANCEL_WAIT: Duration = Duration::from_secs(30);

/// What the state file says of a job. The file has one such object a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SavedJob {
    /// The last [`Action::FireCompleted`].
    pub due_at: Option<Timestamp>,
    /// When its last run started.
    pub started_at: Option<Timestamp>,
    /// When its last committed run ended.
    pub committed_at: Option<Timestamp>,
    /// When the source's snapshot was taken that the target holds, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_at: Option<Timestamp>,
    /// The source's columns that the target's rows lack.
    #[serde(flatten)]
    pub not_copied: NotCopied,
    /// When a daemon first knew the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<Timestamp>,
    /// What is wrong with it, and what was told of that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Health,
    /// The run that was started last, unless it is known how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Uuid>,
}

fn is_default(health: &Health) -> bool {
    *health == Health::default()
}

/// A job as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    pub job: JobName,
    /// A reload has removed the job, and its run goes on.
    pub is_removed: bool,
    /// Whether a run is waiting or active.
    pub state: JobState,
    pub next_fire: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_since: Option<Timestamp>,
    /// How its last run of this daemon ended, and when.
    pub last: Option<(Outcome, Timestamp)>,
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Idle,
    /// It wants to run since then and has no permit yet.
    Waiting(Timestamp),
    /// A run has been active since this time.
    Running(Timestamp),
    /// Another daemon runs it, for a fire of that time.
    Elsewhere(Timestamp),
}

/// All that the daemon knows about its jobs.
#[derive(Debug)]
pub struct JobTable {
    scheduled: ScheduledConfig,
    /// How many connections a run of this job takes.
    connections: fn(&JobSpec) -> Connections,
    jobs: BTreeMap<JobName, JobEntry>,
    fires: BTreeSet<(Timestamp, JobName)>,
    /// When to ask the ledger again about work whose outcome is not known.
    rechecks: BTreeSet<(Timestamp, JobName)>,
    waiting: Queue,
    /// By job, for a job never runs twice at once, not even across its removal and return.
    running: BTreeMap<JobName, RunningJob>,
    permits: Permits,
    lifecycle: Lifecycle,
    /// The latest time that the clock has shown.
    latest: Timestamp,
    repeats: RepeatedTimes,
}

#[derive(Debug, Default)]
struct JobEntry {
    next_fire: Option<Timestamp>,
    /// Those of `after` that have committed since this job's last start, and for which fire.
    committed: BTreeMap<JobName, Option<Timestamp>>,
    last: Option<(Outcome, Timestamp)>,
    /// Its last run, unless it is known that it was committed.
    orphan: Option<Uuid>,
    recheck: Option<Recheck>,
    /// As the ledger has said. A run asks it again.
    paused_since: Option<Timestamp>,
}

#[derive(Debug)]
struct RunningJob {
    needs: Needs,
    request: RunRequest,
    orphan: Option<Uuid>,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifecycle {
    Serving,
    Draining { until: Timestamp },
    Cancelling { until: Timestamp },
    Left,
}

impl JobTable {
    /// The table at start-up, and what to do at once: catching up with what was missed.
    pub fn new(
        scheduled: ScheduledConfig,
        connections: fn(&JobSpec) -> Connections,
        saved: &BTreeMap<String, SavedJob>,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let mut table = JobTable {
            scheduled: scheduled.clone(),
            connections,
            jobs: BTreeMap::new(),
            fires: BTreeSet::new(),
            rechecks: BTreeSet::new(),
            waiting: Queue::default(),
            running: BTreeMap::new(),
            permits: Permits::default(),
            lifecycle: Lifecycle::Serving,
            latest: now,
            repeats: RepeatedTimes::default(),
        };
        let mut actions = Vec::new();
        let of = |name: &str| saved.get(name).cloned().unwrap_or_default();
        // The clock was set back while no daemon ran.
        let passed = scheduled.names().filter_map(|name| of(name).due_at).max();
        if let Some(passed) = passed.filter(|passed| *passed > now) {
            table.repeats.add(now, passed);
        }
        for name in scheduled.names() {
            let Some((spec, schedule)) = scheduled.job(name) else {
                continue;
            };
            let entry = JobEntry {
                orphan: of(name).run_id,
                ..JobEntry::default()
            };
            table.jobs.insert(name.clone(), entry);
            if let Some(last) = of(name).due_at {
                table.catch_up(name, schedule.catch_up(last, now), now, &mut actions);
            }
            table.set_next_fire(name, schedule, start_of(schedule, of(name), now));
            for dependency in &spec.schedule.after {
                if of(dependency).committed_at > of(name).started_at
                    && let Some(entry) = table.jobs.get_mut(name)
                {
                    let dependency = JobName::from(dependency.as_str());
                    entry.committed.insert(dependency, None);
                }
            }
        }
        table.request_ready(scheduled.names(), now);
        table.start_what_may(now, &mut actions);
        (table, actions)
    }

    /// Takes an event in. Fire times up to `now` come first, whatever the event, but not more than
    /// can be taken in without a stop: ask [`JobTable::wake_at`].
    pub fn handle(&mut self, event: DaemonEvent, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if let DaemonEvent::ClockSet { by } = event {
            self.clock_set(by, now);
        }
        self.fire_what_is_due(now, &mut actions);
        self.start_rechecks(now);
        match event {
            DaemonEvent::Tick | DaemonEvent::ClockSet { .. } => {}
            DaemonEvent::Trigger {
                jobs,
                trigger,
                ticket,
            } => {
                for job in BTreeSet::from_iter(jobs) {
                    self.trigger(&job, trigger, ticket, now, &mut actions);
                }
            }
            DaemonEvent::OnDemand => self.signal(now, &mut actions, |spec| spec.schedule.on_demand),
            DaemonEvent::Looked {
                jobs,
                paused,
                requested,
            } => self.looked(&jobs, &paused, &requested, now),
            DaemonEvent::Signal(n) => {
                self.signal(now, &mut actions, |spec| spec.schedule.signal == Some(n));
            }
            DaemonEvent::Finished {
                job,
                run_id,
                outcome,
                elsewhere,
            } => self.finish(&job, run_id, (outcome, elsewhere), now, &mut actions),
            DaemonEvent::Reload(scheduled) => self.reload(scheduled, now, &mut actions),
            DaemonEvent::Stop => self.stop(now, &mut actions),
        }
        self.start_what_may(now, &mut actions);
        self.leave_if_done(now, &mut actions);
        actions
    }

    /// When to send [`DaemonEvent::Tick`]; `None`: not before another event. Ask again after every event,
    /// and at least once a minute, for the wall clock may be set: say so by [`DaemonEvent::ClockSet`].
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self.lifecycle {
            Lifecycle::Serving => {
                let first = [self.fires.first(), self.rechecks.first()];
                first.into_iter().flatten().map(|(at, _)| *at).min()
            }
            Lifecycle::Draining { until } | Lifecycle::Cancelling { until } => Some(until),
            Lifecycle::Left => None,
        }
    }

    /// The configuration in force.
    pub fn scheduled(&self) -> &ScheduledConfig {
        &self.scheduled
    }

    /// Whether [`DaemonEvent::Stop`] has come.
    pub fn is_stopping(&self) -> bool {
        self.lifecycle != Lifecycle::Serving
    }

    /// The jobs that are running, among them those that a reload has removed.
    pub fn running(&self) -> impl Iterator<Item = &JobName> {
        self.running.keys()
    }

    /// The connections to this server that running jobs may use.
    pub fn connections_in_use(&self, server: &str) -> u32 {
        self.permits.in_use(server)
    }

    /// Every configured job, and those that a reload removed while they run, in order of names.
    pub fn status(&self) -> impl Iterator<Item = JobStatus> {
        let names: BTreeSet<&JobName> = self.jobs.keys().chain(self.running.keys()).collect();
        names.into_iter().map(|name| self.status_of(name))
    }

    fn status_of(&self, job: &JobName) -> JobStatus {
        let entry = self.jobs.get(job);
        let recheck = entry.and_then(|entry| entry.recheck.as_ref());
        JobStatus {
            job: job.clone(),
            is_removed: entry.is_none(),
            state: match (self.running.get(job), self.waiting.get(job)) {
                (Some(run), _) => JobState::Running(run.since),
                (None, Some(request)) => JobState::Waiting(request.since),
                (None, None) => match recheck {
                    Some(recheck) if recheck.is_elsewhere => {
                        JobState::Elsewhere(recheck.request.since)
                    }
                    Some(_) | None => JobState::Idle,
                },
            },
            next_fire: entry.and_then(|entry| entry.next_fire),
            paused_since: self.paused_since(job),
            last: entry.and_then(|entry| entry.last),
        }
    }

    // Requests.

    fn enqueue(
        &mut self,
        job: &JobName,
        trigger: RunTrigger,
        due_at: Option<Timestamp>,
        ticket: Option<Ticket>,
        now: Timestamp,
    ) {
        let is_fire = matches!(trigger, RunTrigger::Schedule | RunTrigger::Missed);
        self.waiting.push(RunRequest {
            job: job.clone(),
            trigger,
            due_at,
            completes: due_at.filter(|_| is_fire),
            asked: due_at.is_none().then_some(trigger),
            is_recheck: false,
            tickets: Vec::from_iter(ticket),
            since: now,
        });
    }

    /// An active run may have read its tables before the event that caused the request. So it does not
    /// count, and another run is queued.
    fn trigger(
        &mut self,
        job: &str,
        trigger: RunTrigger,
        ticket: Option<Ticket>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let known = self.jobs.get_key_value(job).map(|(name, _)| name.clone());
        let why = match known {
            Some(_) if self.paused_since(job).is_some() => SkipReason::Paused,
            Some(name) if self.lifecycle == Lifecycle::Serving => {
                return self.enqueue(&name, trigger, None, ticket, now);
            }
            Some(_) => SkipReason::Stopping,
            None => SkipReason::Unknown,
        };
        refuse(&JobName::from(job), None, ticket, why, actions);
    }

    fn signal(
        &mut self,
        now: Timestamp,
        actions: &mut Vec<Action>,
        wanted: impl Fn(&JobSpec) -> bool,
    ) {
        let config = self.scheduled.config().clone();
        for (name, spec) in &config.jobs {
            if wanted(spec) {
                self.trigger(name, RunTrigger::Signal, None, now, actions);
            }
        }
    }

    // The end.

    fn stop(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match self.lifecycle {
            Lifecycle::Serving => {
                let grace = self.scheduled.config().daemon.shutdown_grace;
                self.lifecycle = Lifecycle::Draining {
                    until: later(now, grace),
                };
                self.rechecks.clear();
                for request in self.waiting.take_all() {
                    drop_request(request, SkipReason::Stopping, actions);
                }
            }
            Lifecycle::Draining { .. } => self.cancel_all(now, actions),
            Lifecycle::Cancelling { .. } | Lifecycle::Left => {}
        }
    }

    fn cancel_all(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.lifecycle = Lifecycle::Cancelling {
            until: later(now, CANCEL_WAIT),
        };
        actions.extend(self.running.keys().cloned().map(Action::Cancel));
    }

    fn leave_if_done(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if let Lifecycle::Draining { until } = self.lifecycle
            && until <= now
        {
            self.cancel_all(now, actions);
        }
        let done = match self.lifecycle {
            Lifecycle::Serving | Lifecycle::Left => false,
            Lifecycle::Draining { .. } => self.running.is_empty(),
            Lifecycle::Cancelling { until } => self.running.is_empty() || until <= now,
        };
        if done {
            self.lifecycle = Lifecycle::Left;
            actions.push(Action::Exit);
        }
    }
}

fn skip_fire(job: &JobName, due_at: Timestamp, why: SkipReason, actions: &mut Vec<Action>) {
    refuse(job, Some(due_at), None, why, actions);
    let job = job.clone();
    actions.push(Action::FireCompleted { job, due_at });
}

/// No `FireCompleted`: the next daemon catches up a fire time that this daemon's end has cut off.
fn drop_request(request: RunRequest, why: SkipReason, actions: &mut Vec<Action>) {
    refuse(&request.job, request.due_at, request.tickets, why, actions);
}

fn refuse(
    job: &JobName,
    due_at: Option<Timestamp>,
    tickets: impl IntoIterator<Item = Ticket>,
    why: SkipReason,
    actions: &mut Vec<Action>,
) {
    let skipped = job.clone();
    actions.push(Action::Skipped {
        job: skipped,
        due_at,
        why,
    });
    actions.extend(tickets.into_iter().map(|ticket| Action::Answer {
        ticket,
        job: job.clone(),
        answer: Answer::Refused(why),
    }));
}

/// From when on a job's fires count at start-up: a fixed time that has run does not run again because
/// the clock was set back meanwhile.
fn start_of(schedule: &Schedule, saved: SavedJob, now: Timestamp) -> Timestamp {
    let completed = saved.due_at.filter(|due| {
        !schedule.follows_clock() && due.duration_since(now) <= clock::CLOCK_SET_BACK
    });
    completed.map_or(now, |due| due.max(now))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
