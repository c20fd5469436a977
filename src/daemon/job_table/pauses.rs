//! Jobs that are paused, and runs that SQL asks for, as the ledger has them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{JobTable, Lifecycle};
use crate::config::spec::History;
use crate::daemon::scheduled_config::JobName;
use crate::report::RunTrigger;

impl JobTable {
    /// Takes in what was found in the ledger of these jobs. A request is found again until a run has claimed it, so a
    /// run that may be about to claim it counts.
    pub(super) fn looked(
        &mut self,
        jobs: &[JobName],
        paused: &BTreeMap<String, Timestamp>,
        requested: &[String],
        now: Timestamp,
    ) {
        for job in jobs {
            if let Some(entry) = self.jobs.get_mut(job) {
                entry.paused_since = paused.get(&**job).copied();
            }
        }
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        for job in requested {
            let known = jobs.iter().find(|known| ***known == **job);
            let Some(name) = known.filter(|name| self.jobs.contains_key(*name)) else {
                continue;
            };
            let running = self.running.get(name);
            let is_claiming = running.is_some_and(|run| run.request.trigger == RunTrigger::Request);
            if !is_claiming && self.waiting.get(name).is_none() {
                self.enqueue(name, RunTrigger::Request, None, None, now);
            }
        }
    }

    /// Since when the job is paused.
    pub fn paused_since(&self, job: &str) -> Option<Timestamp> {
        let has_ledger = self.scheduled.config().daemon.history == History::Target;
        let entry = self.jobs.get(job).filter(|_| has_ledger);
        entry.and_then(|entry| entry.paused_since)
    }
}
