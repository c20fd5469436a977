//! Runs that wait for permits: first come, first served, and each job at most once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::daemon::event::Ticket;
use crate::daemon::scheduled_config::JobName;
use crate::report::RunTrigger;

/// A run that is wanted.
#[derive(Debug)]
pub struct RunRequest {
    pub job: JobName,
    /// What started the run: the trigger of the first request.
    pub trigger: RunTrigger,
    /// The latest fire time that the run covers.
    pub due_at: Option<Timestamp>,
    /// The latest fire time that needs no catching up after the run.
    pub completes: Option<Timestamp>,
    /// The first trigger that requested a run from now on, besides the fire.
    pub asked: Option<RunTrigger>,
    /// Checks the state of a fire that another daemon runs, or of a run in doubt. It requests no new work.
    pub is_recheck: bool,
    /// Who waits for its outcome.
    pub tickets: Vec<Ticket>,
    /// When it was first asked for.
    pub since: Timestamp,
}

/// The requests in order of arrival.
#[derive(Debug, Default)]
pub struct Queue {
    by_arrival: BTreeMap<u64, RunRequest>,
    of_job: BTreeMap<JobName, u64>,
    arrivals: u64,
}

impl Queue {
    /// Adds a request, or merges it into the waiting one: a run that has not started reads everything that
    /// was committed before either request.
    pub fn push(&mut self, request: RunRequest) {
        if let Some(waiting) = self.get_mut(&request.job) {
            waiting.tickets.extend(request.tickets);
            waiting.due_at = waiting.due_at.max(request.due_at);
            waiting.completes = waiting.completes.max(request.completes);
            waiting.asked = waiting.asked.or(request.asked);
            waiting.is_recheck &= request.is_recheck;
            // A run that only fulfils a request ends at once if another run has claimed the request.
            if waiting.trigger == RunTrigger::Request {
                waiting.trigger = request.trigger;
                waiting.asked = request.asked;
            }
            return;
        }
        self.arrivals += 1;
        self.of_job.insert(request.job.clone(), self.arrivals);
        self.by_arrival.insert(self.arrivals, request);
    }

    pub fn get(&self, job: &str) -> Option<&RunRequest> {
        self.by_arrival.get(self.of_job.get(job)?)
    }

    pub fn get_mut(&mut self, job: &str) -> Option<&mut RunRequest> {
        self.by_arrival.get_mut(self.of_job.get(job)?)
    }

    /// Takes the job's request out.
    pub fn remove(&mut self, job: &str) -> Option<RunRequest> {
        self.by_arrival.remove(&self.of_job.remove(job)?)
    }

    /// In order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = &RunRequest> {
        self.by_arrival.values()
    }

    /// Takes all out, in order of arrival.
    pub fn take_all(&mut self) -> impl Iterator<Item = RunRequest> {
        self.of_job.clear();
        std::mem::take(&mut self.by_arrival).into_values()
    }
}
