//! What waits for one notifier: at most one notice of each job. A newer one replaces it, so a notifier that is slow
//! hears the newest state of every job.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::message::Notice;
use crate::config::spec::NotifierSpec;
use crate::daemon::control::NotifierStatusReply;
use crate::daemon::scheduled_config::JobName;

/// The queue of one notifier, shared by the daemon's loop and the notifier's thread.
pub(super) struct NoticeQueue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    spec: NotifierSpec,
    waiting: BTreeMap<JobName, Notice>,
    /// The job whose notice is being sent.
    current: Option<JobName>,
    ending: Ending,
    counters: NotifierStatusReply,
}

/// Is the thread to end?
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Ending {
    No,
    /// After the try that it makes.
    Soon,
    /// At once.
    Now,
}

impl NoticeQueue {
    pub fn new(spec: NotifierSpec) -> Self {
        NoticeQueue {
            state: Mutex::new(State {
                spec,
                waiting: BTreeMap::new(),
                current: None,
                ending: Ending::No,
                counters: NotifierStatusReply::default(),
            }),
            changed: Condvar::new(),
        }
    }

    /// The state is valid after each statement, also if a thread has panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_spec(&self, spec: NotifierSpec) {
        self.lock().spec = spec;
    }

    pub fn with_spec<T>(&self, look: impl FnOnce(&NotifierSpec) -> T) -> T {
        look(&self.lock().spec)
    }

    /// Adds a notice. It replaces one of the same job that waits.
    pub fn push(&self, job: JobName, notice: Notice) {
        let mut state = self.lock();
        if state.waiting.insert(job, notice).is_some() {
            state.counters.replaced += 1;
        }
        self.changed.notify_all();
    }

    /// Waits for the next notice. `None`: the thread is to end.
    pub fn next(&self) -> Option<(JobName, Notice)> {
        let mut state = self.lock();
        loop {
            if state.ending != Ending::No {
                return None;
            }
            if let Some((job, notice)) = state.waiting.pop_first() {
                state.current = Some(job.clone());
                return Some((job, notice));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The current notice was sent, or given up for this reason.
    pub fn done(&self, error: Option<String>) {
        let mut state = self.lock();
        state.current = None;
        match error {
            None => state.counters.sent += 1,
            Some(_) => state.counters.failed += 1,
        }
        state.counters.last_error = error;
    }

    /// Waits before another try. `false`: the thread is to end.
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            if state.ending != Ending::No {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Does it have a notice of this job?
    pub fn has(&self, job: &str) -> bool {
        let state = self.lock();
        state.waiting.contains_key(job) || state.current.as_deref() == Some(job)
    }

    pub fn status(&self, name: &str) -> NotifierStatusReply {
        let state = self.lock();
        NotifierStatusReply {
            notifier: name.to_owned(),
            waiting: state.waiting.len() + usize::from(state.current.is_some()),
            ..state.counters.clone()
        }
    }

    /// Has the thread end after the try that it makes.
    pub fn leave(&self) {
        self.end(Ending::Soon);
    }

    /// Has the thread end, and give up the try that it makes.
    pub fn stop(&self) {
        self.end(Ending::Now);
    }

    /// Is the try that it makes to be given up?
    pub fn is_stopped(&self) -> bool {
        self.lock().ending == Ending::Now
    }

    fn end(&self, ending: Ending) {
        let mut state = self.lock();
        if state.ending < ending {
            state.ending = ending;
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::NoticeWay;
    use jiff::Timestamp;

    fn queue() -> NoticeQueue {
        NoticeQueue::new(NotifierSpec {
            name: "n".to_owned(),
            way: NoticeWay::Command(Vec::new()),
            on: Vec::new(),
            jobs: Vec::new(),
        })
    }

    fn notice(number: i64) -> Notice {
        Notice::test("n", "host", Timestamp::from_second(number).unwrap())
    }

    #[test]
    fn the_newest_notice_of_each_job_waits() {
        let queue = queue();
        for number in 0..3 {
            queue.push("a".into(), notice(number));
        }
        queue.push("b".into(), notice(9));
        assert_eq!(queue.next(), Some(("a".into(), notice(2))));
        // It is being sent: a newer one is not lost.
        queue.push("a".into(), notice(3));
        assert!(queue.has("a") && queue.has("b") && !queue.has("c"));
        queue.done(Some("why".to_owned()));
        assert_eq!(queue.next(), Some(("a".into(), notice(3))));
        queue.done(None);
        assert!(!queue.has("a"));
        let status = queue.status("n");
        assert_eq!((status.sent, status.failed, status.replaced), (1, 1, 2));
        assert_eq!((status.waiting, status.last_error), (1, None));
    }

    #[test]
    fn a_stop_ends_every_wait() {
        let queue = queue();
        assert!(queue.pause(Duration::from_millis(1)));
        queue.push("a".into(), notice(1));
        queue.leave();
        assert!(!queue.pause(Duration::from_secs(3600)));
        assert_eq!(queue.next(), None);
        assert!(!queue.is_stopped());
        queue.stop();
        assert!(queue.is_stopped());
    }
}
