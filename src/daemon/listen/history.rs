//! Reads runs from the ledgers for the page. A thread does this, because a target may be unreachable, and only
//! one at a time, so that many requests do not take the target's connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use crate::config::spec::Config;
use crate::run::ledger::{self, HistoryReader, Recorded};
use crate::run::{self, Cancelled, Canceller};

/// How long an answer is given again before the ledger is read anew.
const KEEP_FOR: Duration = Duration::from_secs(5);

/// Answers that are kept.
const ANSWERS_MAX: usize = 16;

/// How long reading may take, including the login.
const READ_WAIT: Duration = Duration::from_secs(8);

/// How long one query may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs of a ledger, as they were read lately.
#[derive(Debug, Default)]
pub(super) struct Histories(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    read_at: Instant,
    found: Arc<Found>,
}

/// Runs of one job, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub job: Option<String>,
    pub limit: usize,
}

/// What was read, or why nothing was.
pub(super) type Found = Result<Recorded, String>;

impl Histories {
    /// The newest runs, newest first, at most a few seconds old.
    pub(super) async fn read(&self, config: &Arc<Config>, wanted: Wanted) -> Arc<Found> {
        let mut kept = self.0.lock().await;
        kept.retain(|answer| answer.read_at.elapsed() < KEEP_FOR);
        if let Some(answer) = kept.iter().find(|answer| answer.wanted == wanted) {
            return Arc::clone(&answer.found);
        }
        let found = Arc::new(read(config, &wanted).await);
        if kept.len() == ANSWERS_MAX {
            kept.remove(0);
        }
        kept.push(Kept {
            wanted,
            read_at: Instant::now(),
            found: Arc::clone(&found),
        });
        found
    }
}

/// Stops the reader if nobody waits for it any more.
struct StopReader(Canceller);

impl Drop for StopReader {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn read(config: &Arc<Config>, wanted: &Wanted) -> Found {
    let (canceller, cancelled) = run::cancellation();
    let _stop = StopReader(canceller);
    let (found, answer) = oneshot::channel();
    let (config, wanted) = (Arc::clone(config), wanted.clone());
    // The thread ends when it is cancelled, and at the latest after `READ_WAIT`.
    std::thread::Builder::new()
        .name("read history".to_owned())
        .spawn(move || {
            let _ = found.send(read_all(&config, &wanted, &cancelled));
        })
        .map_err(|error| format!("no thread could be started: {error}"))?;
    let ended = |_| "reading the ledger panicked".to_owned();
    answer.await.map_err(ended)?
}

fn read_all(config: &Config, wanted: &Wanted, cancelled: &Cancelled) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime could be started: {error}"))?;
    let reader = HistoryReader {
        application_name: "tableferry page",
        statement_timeout: Some(STATEMENT_TIMEOUT),
    };
    let found = runtime.block_on(async {
        let job = wanted.job.as_deref();
        tokio::select! {
            _ = cancelled.cancelled() => Err("nobody waits for it".to_owned()),
            () = tokio::time::sleep(READ_WAIT) => {
                Err(format!("the ledger was not read within {} s", READ_WAIT.as_secs()))
            }
            found = ledger::recorded(config, job, wanted.limit, reader) => Ok(found),
        }
    });
    // Name resolution may still be running; do not wait for it.
    runtime.shutdown_background();
    found
}
