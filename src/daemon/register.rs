//! Tells each target's ledger which jobs there are and when they are due, so that `job_status` knows
//! those that have never run. Beside the loop: a target may be out of reach.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::armed::ArmedConfig;
use crate::config::spec::{History, ServerSpec};
use crate::run::ledger::{self, JobDue};
use crate::run::{self, Cancelled, Canceller};

/// The thread that does it, if there is one. It ends with the value.
#[derive(Default)]
pub struct Registrar(Option<(Canceller, JoinHandle<()>)>);

impl Registrar {
    /// Begins to tell; what was being told of an earlier configuration is dropped.
    pub fn tell(&mut self, armed: &ArmedConfig, now: Timestamp) {
        self.stop();
        let targets = due(armed, now);
        if targets.is_empty() {
            return;
        }
        let (canceller, cancelled) = run::cancellation();
        let spawned = std::thread::Builder::new()
            .name("register".to_owned())
            .spawn(move || all(&targets, &cancelled));
        match spawned {
            Ok(thread) => self.0 = Some((canceller, thread)),
            Err(error) => tracing::warn!("the ledgers are not told of the jobs: {error}"),
        }
    }

    fn stop(&mut self) {
        if let Some((canceller, thread)) = self.0.take() {
            canceller.cancel();
            if thread.join().is_err() {
                tracing::error!("telling the ledgers of the jobs panicked");
            }
        }
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop();
    }
}

type Targets = Vec<(ServerSpec, Vec<JobDue>)>;

fn due(armed: &ArmedConfig, now: Timestamp) -> Targets {
    let config = armed.config();
    if config.daemon.history != History::Target {
        return Vec::new();
    }
    let mut by_target: BTreeMap<&str, Vec<JobDue>> = BTreeMap::new();
    for name in armed.names() {
        if let Some((spec, schedule)) = armed.job(name) {
            by_target.entry(&spec.target).or_default().push(JobDue {
                job: name.to_string(),
                next_due_at: schedule.next_after(now),
            });
        }
    }
    by_target
        .into_iter()
        .filter_map(|(target, jobs)| Some((config.servers.get(target)?.clone(), jobs)))
        .collect()
}

fn all(targets: &Targets, cancelled: &Cancelled) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::warn!("the ledgers are not told of the jobs: {error}"),
    };
    runtime.block_on(async {
        for (target, jobs) in targets {
            let told = tokio::select! {
                _ = cancelled.cancelled() => return,
                told = ledger::register(target, jobs) => told,
            };
            // Not a fault of the daemon's; the job's own run says it louder.
            if let Err(error) = told {
                tracing::info!("its ledger does not know yet when jobs are due: {error}");
            }
        }
    });
    // Not to be waited for: a name that is being resolved.
    runtime.shutdown_background();
}
