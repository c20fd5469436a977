//! Answers those who look at the daemon from outside.

use jiff::Timestamp;

use super::Daemon;
use crate::daemon::observed::{Lifecycle, Observed, ObservedJob, ObservedServer, Question};
use crate::daemon::status;

impl Daemon {
    pub(super) fn on_question(&mut self, question: Question) {
        // Whoever has asked may be gone.
        match question {
            Question::Alive(answer) => {
                let _ = answer.send(match self.table.is_stopping() {
                    true => Lifecycle::Stopping,
                    false => Lifecycle::Serving,
                });
            }
            Question::Jobs(answer) => {
                let _ = answer.send(self.observed());
            }
        }
    }

    fn observed(&self) -> Observed {
        let now = Timestamp::now();
        let config = self.table.scheduled().config();
        let jobs = self.table.status().map(|job| {
            let name = job.job.clone();
            let saved = self.state_file.saved(&name);
            let spec = config.jobs.get(&*name);
            let fresh_within = spec.and_then(|spec| spec.fresh_within);
            ObservedJob {
                status: status::reply(job, &self.past_runs, &saved, fresh_within, now),
                last_success_at: saved.committed_at,
                past: self.past_runs.of(&name).cloned(),
                live: self.runner.live(&name).cloned(),
            }
        });
        let servers = config.servers.values().map(|server| ObservedServer {
            name: server.name.clone(),
            connections: self.table.connections_in_use(&server.name),
            connections_max: server.max_connections,
        });
        Observed {
            at: now,
            daemon_started_at: self.started_at,
            jobs: jobs.collect(),
            servers: servers.collect(),
            notifiers: self.notifiers.status(),
            reloads: self.reloads,
            config: config.clone(),
        }
    }
}
