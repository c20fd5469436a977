//! The daemon's state machine: state × event → actions. It does nothing itself and asks no clock, so
//! whatever the daemon decides can be read off a table of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Connections;
use crate::config::spec::JobSpec;
use crate::daemon::armed::{ArmedConfig, JobName};
use crate::daemon::event::{Action, Answer, Event, SkipReason, Start, Ticket};
use crate::daemon::permits::{Needs, Permits};
use crate::daemon::queue::{Queue, Request};
use crate::report::{Outcome, Trigger};

mod fires;
mod reload;
#[cfg(test)]
mod tests;

/// How long runs may take to stop after they were cancelled, before the daemon leaves them.
const CANCEL_WAIT: Duration = Duration::from_secs(30);

/// What an earlier daemon left on record about a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// The last [`Action::Settled`].
    pub due_at: Option<Timestamp>,
    /// When its last run started.
    pub started_at: Option<Timestamp>,
    /// When its last committed run ended.
    pub committed_at: Option<Timestamp>,
}

/// A job as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// The job.
    pub job: JobName,
    /// Is it at work?
    pub state: JobState,
    /// Its next fire time.
    pub next_fire: Option<Timestamp>,
    /// How its last run of this daemon ended, and when.
    pub last: Option<(Outcome, Timestamp)>,
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Nothing.
    Idle,
    /// It wants to run since then and has no permit yet.
    Waiting(Timestamp),
    /// It runs since then.
    Running(Timestamp),
}

/// All that the daemon knows about its jobs.
#[derive(Debug)]
pub struct JobTable {
    armed: ArmedConfig,
    /// How many connections a run of this job takes.
    connections: fn(&JobSpec) -> Connections,
    jobs: BTreeMap<JobName, Entry>,
    fires: BTreeSet<(Timestamp, JobName)>,
    waiting: Queue,
    /// By job, for a job never runs twice at once, not even across its removal and return.
    running: BTreeMap<JobName, Running>,
    permits: Permits,
    phase: Phase,
    clock: Timestamp,
}

#[derive(Debug, Default)]
struct Entry {
    next_fire: Option<Timestamp>,
    /// Those of `after` that have committed since this job's last start.
    committed: BTreeSet<JobName>,
    last: Option<(Outcome, Timestamp)>,
}

#[derive(Debug)]
struct Running {
    needs: Needs,
    tickets: Vec<Ticket>,
    since: Timestamp,
    /// The latest fire time that needs no catching up if this run comes to its end.
    settles: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining { until: Timestamp },
    Cancelling { until: Timestamp },
    Left,
}

impl JobTable {
    /// The table at start-up, and what to do at once: catching up with what was missed.
    pub fn new(
        armed: ArmedConfig,
        connections: fn(&JobSpec) -> Connections,
        past: &BTreeMap<String, Past>,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let mut table = JobTable {
            armed: armed.clone(),
            connections,
            jobs: BTreeMap::new(),
            fires: BTreeSet::new(),
            waiting: Queue::default(),
            running: BTreeMap::new(),
            permits: Permits::default(),
            phase: Phase::Serving,
            clock: now,
        };
        let mut actions = Vec::new();
        let of = |name: &str| past.get(name).copied().unwrap_or_default();
        for name in armed.names() {
            let Some((spec, schedule)) = armed.job(name) else {
                continue;
            };
            table.jobs.insert(name.clone(), Entry::default());
            if let Some(last) = of(name).due_at {
                table.catch_up(name, schedule.catch_up(last, now), now, &mut actions);
            }
            table.arm(name, schedule, now);
            for dependency in &spec.schedule.after {
                if of(dependency).committed_at > of(name).started_at
                    && let Some(entry) = table.jobs.get_mut(name)
                {
                    entry.committed.insert(JobName::from(dependency.as_str()));
                }
            }
        }
        table.request_ready(armed.names(), now);
        table.start_what_may(now, &mut actions);
        (table, actions)
    }

    /// Takes an event in. Fire times up to `now` come first, whatever the event, but not more than
    /// can be taken in without a stop: ask [`JobTable::wake_at`].
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.fire_what_is_due(now, &mut actions);
        match event {
            Event::Tick => {}
            Event::Trigger {
                jobs,
                trigger,
                ticket,
            } => {
                for job in BTreeSet::from_iter(jobs) {
                    self.trigger(&job, trigger, ticket, now, &mut actions);
                }
            }
            Event::OnDemand => self.signal(now, &mut actions, |spec| spec.schedule.on_demand),
            Event::Signal(n) => {
                self.signal(now, &mut actions, |spec| spec.schedule.signal == Some(n));
            }
            Event::Finished { job, outcome } => self.finish(&job, outcome, now, &mut actions),
            Event::Reload(armed) => self.reload(armed, now, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
        }
        self.start_what_may(now, &mut actions);
        self.leave_if_done(now, &mut actions);
        actions
    }

    /// When to send [`Event::Tick`]; `None`: not before another event. Ask again after every event,
    /// and at least once a minute by the wall clock, for that may be set.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Serving => self.fires.first().map(|(due, _)| *due),
            Phase::Draining { until } | Phase::Cancelling { until } => Some(until),
            Phase::Left => None,
        }
    }

    /// The configuration in force.
    pub fn armed(&self) -> &ArmedConfig {
        &self.armed
    }

    /// Whether [`Event::Stop`] has come.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// The jobs that are running, among them those that a reload has removed.
    pub fn running(&self) -> impl Iterator<Item = &JobName> {
        self.running.keys()
    }

    /// Every configured job, in order of names.
    pub fn status(&self) -> impl Iterator<Item = JobStatus> {
        self.jobs.iter().map(|(job, entry)| JobStatus {
            job: job.clone(),
            state: match (self.running.get(job), self.waiting.get(job)) {
                (Some(run), _) => JobState::Running(run.since),
                (None, Some(request)) => JobState::Waiting(request.since),
                (None, None) => JobState::Idle,
            },
            next_fire: entry.next_fire,
            last: entry.last,
        })
    }

    // Requests.

    fn enqueue(
        &mut self,
        job: &JobName,
        trigger: Trigger,
        due_at: Option<Timestamp>,
        ticket: Option<Ticket>,
        now: Timestamp,
    ) {
        self.waiting.push(Request {
            job: job.clone(),
            trigger,
            due_at,
            tickets: Vec::from_iter(ticket),
            since: now,
        });
    }

    /// A run that is going on may have read its tables before whatever made somebody ask: it does
    /// not count, and one more is queued.
    fn trigger(
        &mut self,
        job: &str,
        trigger: Trigger,
        ticket: Option<Ticket>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let known = self.jobs.get_key_value(job).map(|(name, _)| name.clone());
        let why = match known {
            Some(name) if self.phase == Phase::Serving => {
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
        let config = self.armed.config().clone();
        for (name, spec) in &config.jobs {
            if wanted(spec) {
                self.trigger(name, Trigger::Signal, None, now, actions);
            }
        }
    }

    fn start_what_may(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.phase != Phase::Serving {
            return;
        }
        let config = self.armed.config();
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
            if let Some(entry) = self.jobs.get_mut(&job) {
                entry.committed.clear();
            }
            self.running.insert(
                job.clone(),
                Running {
                    needs,
                    tickets: request.tickets,
                    since: now,
                    settles: request.due_at,
                },
            );
            actions.push(Action::Start(Start {
                job,
                trigger: request.trigger,
                due_at: request.due_at,
                config: self.armed.config().clone(),
            }));
        }
    }

    fn finish(
        &mut self,
        job: &JobName,
        outcome: Outcome,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some(run) = self.running.remove(job) else {
            return;
        };
        self.permits.give_back(&run.needs);
        if let Some(due_at) = run.settles
            && outcome != Outcome::Cancelled
        {
            let job = job.clone();
            actions.push(Action::Settled { job, due_at });
        }
        for ticket in run.tickets {
            actions.push(Action::Answer {
                ticket,
                job: job.clone(),
                answer: Answer::Ended(outcome),
            });
        }
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.last = Some((outcome, now));
        }
        if outcome == Outcome::Committed && self.phase == Phase::Serving {
            let armed = self.armed.clone();
            for dependant in armed.dependants(job) {
                if let Some(entry) = self.jobs.get_mut(dependant) {
                    entry.committed.insert(job.clone());
                }
            }
            self.request_ready(armed.dependants(job), now);
        }
    }

    // `after`.

    /// Requests those of `jobs` whose conditions are met.
    fn request_ready<'n>(&mut self, jobs: impl IntoIterator<Item = &'n JobName>, now: Timestamp) {
        for job in jobs {
            let (Some((spec, _)), Some(entry)) = (self.armed.job(job), self.jobs.get(job)) else {
                continue;
            };
            let after = &spec.schedule.after;
            if !after.is_empty() && after.iter().all(|name| entry.committed.contains(&**name)) {
                self.enqueue(job, Trigger::After, None, None, now);
            }
        }
    }

    // The end.

    fn stop(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Serving => {
                let grace = self.armed.config().daemon.shutdown_grace;
                self.phase = Phase::Draining {
                    until: later(now, grace),
                };
                for request in self.waiting.take_all() {
                    drop_request(request, SkipReason::Stopping, actions);
                }
            }
            Phase::Draining { .. } => self.cancel_all(now, actions),
            Phase::Cancelling { .. } | Phase::Left => {}
        }
    }

    fn cancel_all(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.phase = Phase::Cancelling {
            until: later(now, CANCEL_WAIT),
        };
        actions.extend(self.running.keys().cloned().map(Action::Cancel));
    }

    fn leave_if_done(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if let Phase::Draining { until } = self.phase
            && until <= now
        {
            self.cancel_all(now, actions);
        }
        let done = match self.phase {
            Phase::Serving | Phase::Left => false,
            Phase::Draining { .. } => self.running.is_empty(),
            Phase::Cancelling { until } => self.running.is_empty() || until <= now,
        };
        if done {
            self.phase = Phase::Left;
            actions.push(Action::Exit);
        }
    }
}

fn let_go(job: &JobName, due_at: Timestamp, why: SkipReason, actions: &mut Vec<Action>) {
    refuse(job, Some(due_at), None, why, actions);
    let job = job.clone();
    actions.push(Action::Settled { job, due_at });
}

/// Without `Settled`: a fire time that the daemon's end cut off is caught up by the next daemon.
fn drop_request(request: Request, why: SkipReason, actions: &mut Vec<Action>) {
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

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
