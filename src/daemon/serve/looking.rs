//! Takes in what was found in the ledgers: pauses, requests, and runs of other daemons.

use super::Daemon;
use crate::daemon::event::DaemonEvent;
use crate::daemon::ledger_watch::Looked;

impl Daemon {
    pub(super) fn on_looked(&mut self, Looked { jobs, look }: Looked) {
        for job in &jobs {
            if let Some(snapshot_at) = look.snapshots.get(&**job)
                && self.state_file.published(job, *snapshot_at)
            {
                let stale_at = self.stale_at(job);
                let saved = self.health.of(job);
                self.health.set(job, saved, stale_at);
            }
        }
        self.apply(DaemonEvent::Looked {
            jobs,
            paused: look.paused,
            requested: look.requested,
        });
    }
}
