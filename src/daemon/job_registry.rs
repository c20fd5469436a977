//! Writes the configured jobs and their next fire times to each target's ledger, so that `job_status` also
//! shows jobs that have never run. A thread does this, because a target may be unreachable.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::scheduled_config::ScheduledConfig;
use crate::config::spec::{History, ServerSpec};
use crate::run::ledger::{self, JobDue};
use crate::run::{self, Cancelled, Canceller};

/// The thread that writes, if there is one. Dropping the value ends the thread.
#[derive(Default)]
pub struct JobRegistry(Option<(Canceller, JoinHandle<()>)>);

impl JobRegistry {
    /// Starts to write the jobs of a configuration. Stops writing those of an earlier one.
    pub fn update(&mut self, scheduled: &ScheduledConfig, now: Timestamp) {
        self.stop();
        let targets = due(scheduled, now);
        if targets.is_empty() {
            return;
        }
        let (canceller, cancelled) = run::cancellation();
        let spawned = std::thread::Builder::new()
            .name("job registry".to_owned())
            .spawn(move || register_all(&targets, &cancelled));
        match spawned {
            Ok(thread) => self.0 = Some((canceller, thread)),
            Err(error) => tracing::warn!("the jobs cannot be written to the ledgers: {error}"),
        }
    }

    fn stop(&mut self) {
        if let Some((canceller, thread)) = self.0.take() {
            canceller.cancel();
            if thread.join().is_err() {
                tracing::error!("writing the jobs to the ledgers panicked");
            }
        }
    }
}

impl Drop for JobRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

type Targets = Vec<(ServerSpec, Vec<JobDue>)>;

fn due(scheduled: &ScheduledConfig, now: Timestamp) -> Targets {
    let config = scheduled.config();
    if config.daemon.history != History::Target {
        return Vec::new();
    }
    let mut by_target: BTreeMap<&str, Vec<JobDue>> = BTreeMap::new();
    for name in scheduled.names() {
        if let Some((spec, schedule)) = scheduled.job(name) {
            let due = JobDue::new(spec, schedule.next_after(now));
            by_target.entry(&spec.target).or_default().push(due);
        }
    }
    by_target
        .into_iter()
        .filter_map(|(target, jobs)| {
            let server = config.servers.get(target)?;
            server.is_database().then(|| (server.clone(), jobs))
        })
        .collect()
}

fn register_all(targets: &Targets, cancelled: &Cancelled) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::warn!("the jobs cannot be written to the ledgers: {error}"),
    };
    runtime.block_on(async {
        for (target, jobs) in targets {
            let registered = tokio::select! {
                _ = cancelled.cancelled() => return,
                registered = ledger::register(target, jobs) => registered,
            };
            // The job's own run reports the same error as a failure.
            if let Err(error) = registered {
                tracing::info!("the ledger does not show yet when jobs are due: {error}");
            }
        }
    });
    // Name resolution may still be running; do not wait for it.
    runtime.shutdown_background();
}
