//! Looks into each target's ledger for paused jobs, requested runs, and runs of other daemons. One thread owns a
//! connection to each target, because a target may be unreachable.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::scheduled_config::{JobName, ScheduledConfig};
use crate::config::spec::{History, ServerSpec};
use crate::pg::session::Session;
use crate::run::ledger::{self, LedgerLook};
use crate::run::{self, Cancelled, Canceller};

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long a look may take, without connecting.
const LOOK_WAIT: Duration = Duration::from_secs(10);

/// What was found on one target.
#[derive(Debug)]
pub struct Looked {
    /// The jobs of the configuration that have this target.
    pub jobs: Vec<JobName>,
    pub look: LedgerLook,
}

/// The thread that looks, if there is one. Dropping the value ends the thread.
pub struct LedgerWatch {
    thread: Option<(Canceller, JoinHandle<()>)>,
    looked: mpsc::Sender<Looked>,
}

impl LedgerWatch {
    /// `looked` gets what was found.
    pub fn new(looked: mpsc::Sender<Looked>) -> Self {
        LedgerWatch {
            thread: None,
            looked,
        }
    }

    /// Looks into the ledgers of a configuration. Stops looking into those of an earlier one.
    pub fn update(&mut self, scheduled: &ScheduledConfig) {
        self.stop();
        let targets = targets(scheduled);
        if targets.is_empty() {
            return;
        }
        let (canceller, cancelled) = run::cancellation();
        let looked = self.looked.clone();
        let spawned = std::thread::Builder::new()
            .name("ledger watch".to_owned())
            .spawn(move || watch_all(&targets, &looked, &cancelled));
        match spawned {
            Ok(thread) => self.thread = Some((canceller, thread)),
            Err(error) => {
                tracing::error!("pauses and requests in the ledgers are not seen: {error}");
            }
        }
    }

    fn stop(&mut self) {
        if let Some((canceller, thread)) = self.thread.take() {
            canceller.cancel();
            if thread.join().is_err() {
                tracing::error!("looking into the ledgers panicked");
            }
        }
    }
}

impl Drop for LedgerWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

struct WatchedTarget {
    server: ServerSpec,
    jobs: Vec<JobName>,
    /// Those with `fresh_within`.
    limited: Vec<String>,
}

fn targets(scheduled: &ScheduledConfig) -> Vec<WatchedTarget> {
    let config = scheduled.config();
    if config.daemon.history != History::Target {
        return Vec::new();
    }
    let mut by_target: BTreeMap<&str, WatchedTarget> = BTreeMap::new();
    for name in scheduled.names() {
        let Some((spec, _)) = scheduled.job(name) else {
            continue;
        };
        let server = config.servers.get(&spec.target);
        let Some(server) = server.filter(|server| server.is_database()) else {
            continue;
        };
        let target = by_target
            .entry(&spec.target)
            .or_insert_with(|| WatchedTarget {
                server: server.clone(),
                jobs: Vec::new(),
                limited: Vec::new(),
            });
        target.jobs.push(name.clone());
        if spec.fresh_within.is_some() {
            target.limited.push(name.to_string());
        }
    }
    by_target.into_values().collect()
}

fn watch_all(targets: &[WatchedTarget], looked: &mpsc::Sender<Looked>, cancelled: &Cancelled) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return tracing::error!("pauses and requests in the ledgers are not seen: {error}");
        }
    };
    runtime.block_on(async {
        let watches = join_all(targets.iter().map(|target| watch(target, looked)));
        tokio::select! {
            _ = cancelled.cancelled() => {}
            _ = watches => {}
        }
    });
    // Name resolution may still be running; do not wait for it.
    runtime.shutdown_background();
}

/// Looks into one ledger, until the future is dropped.
async fn watch(target: &WatchedTarget, looked: &mpsc::Sender<Looked>) {
    let mut session = None;
    let mut is_down = false;
    loop {
        match look(target, &mut session).await {
            Ok(found) => {
                is_down = false;
                if let Some(look) = found {
                    let jobs = target.jobs.clone();
                    // If the loop is busy, the next look finds the same.
                    let _ = looked.try_send(Looked { jobs, look });
                }
            }
            Err(why) => {
                session = None;
                // Said once. The runs say more.
                if !is_down {
                    let server = &target.server.name;
                    tracing::info!(server, "the ledger cannot be looked into: {why}");
                }
                is_down = true;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(
    target: &WatchedTarget,
    session: &mut Option<Session>,
) -> Result<Option<LedgerLook>, String> {
    let open = match session {
        Some(open) => open,
        None => {
            let opened = ledger::open_session(&target.server).await;
            session.insert(opened.map_err(|error| error.to_string())?)
        }
    };
    match timeout(LOOK_WAIT, ledger::look(open, &target.limited)).await {
        Ok(looked) => looked.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOK_WAIT.as_secs())),
    }
}
