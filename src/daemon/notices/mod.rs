//! Tells the notifiers of the configuration. Each has a thread of its own, so that none delays a run, the daemon's
//! loop, or another notifier. What is told is decided by [`health`](super::health).

mod command;
mod message;
mod queue;
mod webhook;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use command::Output;
pub use message::{Facts, Notice};

use super::control::NotifierStatusReply;
use super::health::Health;
use super::scheduled_config::JobName;
use crate::config::spec::{NoticeKind, NoticeWay, NotifierSpec};
use queue::NoticeQueue;

/// How long one try may take.
pub const NOTICE_WAIT: Duration = Duration::from_secs(10);

/// How often a notice is tried.
pub const NOTICE_TRIES_MAX: u32 = 3;

/// The pause between two tries.
const TRY_PAUSE: Duration = Duration::from_secs(2);

/// How long a daemon that stops waits for tries that have begun.
const STOP_WAIT: Duration = Duration::from_secs(2);
const KILL_WAIT: Duration = Duration::from_millis(500);
const STOP_CHECK_EVERY: Duration = Duration::from_millis(20);

/// Why a notice was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The reason, without the URL.
    #[error("{0}")]
    Failed(String),
    /// The daemon is stopping, or the notifier was removed.
    #[error("stopped")]
    Stopped,
}

/// Sends a notice once.
pub fn send_once(
    way: &NoticeWay,
    body: &[u8],
    output: Output,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), SendError> {
    match way {
        NoticeWay::Command(command) => command::run(command, body, output, is_stopped),
        NoticeWay::Webhook(file) => webhook::post(file, body),
    }
}

/// This machine's name, for notices.
pub fn host() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    host.to_string_lossy().into_owned()
}

/// The threads of all notifiers, and their queues.
pub struct Notifiers {
    running: BTreeMap<String, Notifier>,
    /// Those that a reload has removed.
    leaving: Vec<JoinHandle<()>>,
    settled: mpsc::Sender<JobName>,
}

struct Notifier {
    queue: Arc<NoticeQueue>,
    thread: JoinHandle<()>,
}

impl Notifiers {
    /// `settled` gets the name of each job whose notice was sent, or given up, by a notifier.
    pub fn new(settled: mpsc::Sender<JobName>) -> Self {
        Notifiers {
            running: BTreeMap::new(),
            leaving: Vec::new(),
            settled,
        }
    }

    /// Takes a new configuration. Notices that wait stay with the notifier of their name.
    pub fn update(&mut self, specs: &BTreeMap<String, NotifierSpec>) {
        self.leaving.retain(|thread| !thread.is_finished());
        let old = std::mem::take(&mut self.running);
        for (name, notifier) in old {
            match specs.get(&name) {
                Some(spec) => {
                    notifier.queue.set_spec(spec.clone());
                    self.running.insert(name, notifier);
                }
                None => {
                    notifier.queue.stop();
                    self.leaving.push(notifier.thread);
                }
            }
        }
        for (name, spec) in specs {
            if self.running.contains_key(name) {
                continue;
            }
            let queue = Arc::new(NoticeQueue::new(spec.clone()));
            let (its, settled) = (Arc::clone(&queue), self.settled.clone());
            let spawned = std::thread::Builder::new()
                .name(format!("notify {name}"))
                .spawn(move || tell_all(&its, &settled));
            match spawned {
                Ok(thread) => {
                    self.running
                        .insert(name.clone(), Notifier { queue, thread });
                }
                Err(error) => {
                    tracing::error!(notifier = name, "notices cannot be sent: {error}");
                }
            }
        }
    }

    /// Queues a notice for every notifier that is to be told. Returns whether there is one.
    ///
    /// `recovered` is only told to those who were to be told of what was wrong before.
    pub fn tell(&self, kind: NoticeKind, health: Health, notice: &Notice) -> bool {
        let Some(job) = notice.job.as_deref() else {
            return false;
        };
        let mut is_told = false;
        for notifier in self.running.values() {
            if notifier
                .queue
                .with_spec(|spec| wants(spec, kind, health, job))
            {
                notifier.queue.push(job.into(), notice.clone());
                is_told = true;
            }
        }
        is_told
    }

    /// Does no notifier have anything to tell of this job?
    pub fn is_settled(&self, job: &str) -> bool {
        self.running
            .values()
            .all(|notifier| !notifier.queue.has(job))
    }

    /// The notifiers with their counters, for `status`.
    pub fn status(&self) -> Vec<NotifierStatusReply> {
        let status = |(name, notifier): (&String, &Notifier)| notifier.queue.status(name);
        self.running.iter().map(status).collect()
    }

    /// Stops the threads. The programs of notifiers that were removed were killed before. Tries that have begun may go on for `STOP_WAIT`. What was not sent is in the state file.
    pub fn finish(&mut self) {
        let running = std::mem::take(&mut self.running);
        running.values().for_each(|notifier| notifier.queue.leave());
        let is_over = || {
            let mut threads = running.values().map(|notifier| &notifier.thread);
            threads.all(JoinHandle::is_finished)
        };
        wait_until(STOP_WAIT, is_over);
        // Kills programs. A request to a web server ends with this process.
        running.values().for_each(|notifier| notifier.queue.stop());
        wait_until(KILL_WAIT, is_over);
    }
}

fn wait_until(wait: Duration, is_over: impl Fn() -> bool) {
    let until = Instant::now() + wait;
    while !is_over() && Instant::now() < until {
        std::thread::sleep(STOP_CHECK_EVERY);
    }
}

/// Is the notifier to be told of this change?
fn wants(spec: &NotifierSpec, kind: NoticeKind, health: Health, job: &str) -> bool {
    let was_told = || spec.on.iter().any(|kind| health.seen.has(*kind));
    spec.is_about(job) && spec.on.contains(&kind) && (kind != NoticeKind::Recovered || was_told())
}

/// The thread of one notifier.
fn tell_all(queue: &NoticeQueue, settled: &mpsc::Sender<JobName>) {
    while let Some((job, notice)) = queue.next() {
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| tell(queue, &notice)))
            .unwrap_or_else(|_| Err(SendError::Failed("the notifier panicked".to_owned())));
        let notifier = queue.with_spec(|spec| spec.name.clone());
        let what = notice.notice;
        match &told {
            Ok(()) => tracing::info!(job = &*job, notifier, notice = what, "notice sent"),
            Err(SendError::Failed(why)) => tracing::error!(
                job = &*job,
                notifier,
                notice = what,
                tries = NOTICE_TRIES_MAX,
                "the notice could not be sent: {why}"
            ),
            // The state file keeps it for the next daemon.
            Err(SendError::Stopped) => return,
        }
        queue.done(told.err().map(|error| error.to_string()));
        if settled.blocking_send(job).is_err() {
            return;
        }
    }
}

fn tell(queue: &NoticeQueue, notice: &Notice) -> Result<(), SendError> {
    let body = notice.body();
    let mut tries = 1;
    loop {
        let way = queue.with_spec(|spec| spec.way.clone());
        let is_stopped = || queue.is_stopped();
        match send_once(&way, &body, Output::Discarded, &is_stopped) {
            Err(SendError::Failed(why)) if tries < NOTICE_TRIES_MAX => {
                tracing::debug!(
                    notice = notice.notice,
                    tries,
                    "the notice is tried again: {why}"
                );
                tries += 1;
                if !queue.pause(TRY_PAUSE) {
                    return Err(SendError::Stopped);
                }
            }
            told => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::JobPattern;
    use crate::daemon::health::Troubles;
    use NoticeKind::{Failed, InDoubt, Recovered, Stale};
    use rstest::rstest;

    #[rstest]
    #[case::all(&[Failed, Recovered, Stale, InDoubt], Failed, Troubles { failed: true, ..Troubles::default() }, true)]
    #[case::not_this_kind(&[Failed], Stale, Troubles { stale: true, ..Troubles::default() }, false)]
    #[case::recovered_from_what_it_was_told(&[Failed, Recovered], Recovered, Troubles { failed: true, ..Troubles::default() }, true)]
    #[case::recovered_from_what_it_was_not_told(&[Stale, Recovered], Recovered, Troubles { failed: true, ..Troubles::default() }, false)]
    #[case::recovered_from_both(&[Stale, Recovered], Recovered, Troubles { failed: true, stale: true, in_doubt: false }, true)]
    fn a_notifier_is_told_what_it_asked_for(
        #[case] on: &[NoticeKind],
        #[case] kind: NoticeKind,
        #[case] seen: Troubles,
        #[case] expected: bool,
    ) {
        let spec = |jobs: &str| NotifierSpec {
            name: "n".to_owned(),
            way: NoticeWay::Command(vec!["true".to_owned()]),
            on: on.to_vec(),
            jobs: vec![JobPattern::new(jobs)],
        };
        let health = Health {
            seen,
            ..Health::default()
        };
        assert_eq!(wants(&spec("*"), kind, health, "orders"), expected);
        assert!(!wants(&spec("other*"), kind, health, "orders"));
    }
}
