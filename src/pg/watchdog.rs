//! Decides whether a silent server is slow or dead.
//!
//! A server that executes a long statement sends nothing, and neither does a server whose connection was cut.
//! So the watchdog asks the server about the backend, through a short session of its own. A backend that is
//! working is waited for, with a warning. A backend that waits for a lock of another session ends the wait with
//! an error that names the holder. A backend that is gone, that waits for the client, or that cannot be asked
//! about is dead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use self::backend::Doing;
use super::tap::TapState;
use crate::error::{Error, ErrorKind, Phase};

mod backend;

pub use backend::Backend;

/// The interval of the checks for silence, and of progress events.
pub const SILENCE_CHECK_EVERY: Duration = Duration::from_millis(200);

/// For sessions that belong to no job.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// What a session's silence is judged by.
#[derive(Debug)]
pub struct Watchdog {
    pub(super) stall_timeout: Duration,
    lock_timeout: Duration,
    backend: Backend,
    tap: Arc<TapState>,
    /// Who held the lock that the last look saw the backend wait for.
    holder: Mutex<Option<String>>,
    told: Option<Told>,
}

/// Who is told who holds a lock that the backend waits for.
struct Told(Box<dyn Fn(&str) + Send + Sync>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

/// When the next look is due, as a time of silence.
#[derive(Clone, Copy, Debug)]
struct CheckTimes {
    stall_timeout: Duration,
    /// Zero: none.
    lock_timeout: Duration,
}

/// How long nothing has moved, and when to look.
pub struct Silence {
    since: Instant,
    moved: (u64, u64),
    next_check: Duration,
    check_times: CheckTimes,
}

impl Watchdog {
    pub(super) fn new(backend: Backend, lock_timeout: Duration, tap: Arc<TapState>) -> Self {
        Watchdog {
            stall_timeout: STALL_TIMEOUT,
            lock_timeout,
            backend,
            tap,
            holder: Mutex::new(None),
            told: None,
        }
    }

    /// Tells who holds a lock that the backend waits for, each time it is seen.
    pub(super) fn tells(&mut self, told: impl Fn(&str) + Send + Sync + 'static) {
        self.told = Some(Told(Box::new(told)));
    }

    /// The backend's process id.
    pub(super) fn pid(&self) -> i32 {
        self.backend.pid()
    }

    /// Takes note of the backend that answers.
    pub(super) fn answered_by(&self, pid: i32) {
        self.backend.answered_by(pid);
    }

    /// Returns only if no bytes move and the server is not working.
    pub(super) async fn stalled(&self, phase: Phase) -> Error {
        let moved = || (self.tap.received(), self.tap.sent());
        let mut silence = Silence::new(self, self.stall_timeout, moved());
        *self.holder_slot() = None;
        loop {
            sleep(silence.left().min(SILENCE_CHECK_EVERY)).await;
            if silence.is_due(moved())
                && let Some(error) = silence.check(self, phase, moved).await
            {
                return error;
            }
        }
    }

    /// Adds to a lock's timeout who held the lock, if that was seen.
    pub(super) fn name_holder(&self, error: Error) -> Error {
        let holder = self.holder_slot().take();
        match holder {
            Some(holder) if error.kind() == ErrorKind::Locked => {
                error.hinted(format!("the lock was held by pid {holder}"))
            }
            _ => error,
        }
    }

    fn holder_slot(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckTimes {
    /// A lock's holder can only be seen while the wait lasts.
    fn first(self) -> Duration {
        match self.before_lock_timeout() {
            Some(early) => early.min(self.stall_timeout),
            None => self.stall_timeout,
        }
    }

    fn after(self, quiet: Duration) -> Duration {
        if quiet < self.stall_timeout {
            self.stall_timeout
        } else {
            quiet + self.stall_timeout
        }
    }

    fn before_lock_timeout(self) -> Option<Duration> {
        (!self.lock_timeout.is_zero()).then(|| self.lock_timeout / 2)
    }
}

impl Silence {
    /// Silence that begins now.
    pub fn new(watchdog: &Watchdog, stall_timeout: Duration, moved: (u64, u64)) -> Self {
        let check_times = CheckTimes {
            stall_timeout,
            lock_timeout: watchdog.lock_timeout,
        };
        Silence {
            since: Instant::now(),
            moved,
            next_check: check_times.first(),
            check_times,
        }
    }

    /// Takes note of what has moved; is it time to look?
    pub fn is_due(&mut self, moved: (u64, u64)) -> bool {
        if moved != self.moved {
            self.restart(moved);
        }
        self.since.elapsed() >= self.next_check
    }

    /// Restarts the count: something has moved, or nothing was expected.
    pub fn restart(&mut self, moved: (u64, u64)) {
        self.moved = moved;
        self.since = Instant::now();
        self.next_check = self.check_times.first();
    }

    /// How long it has lasted.
    pub fn lasts(&self) -> Duration {
        self.since.elapsed()
    }

    fn left(&self) -> Duration {
        self.next_check.saturating_sub(self.since.elapsed())
    }

    /// Checks a session that has been silent. `Some`: the session must be given up. A backend that was
    /// waiting for the client is terminated, so that its locks are released at once.
    pub async fn check(
        &mut self,
        watchdog: &Watchdog,
        phase: Phase,
        moved: impl Fn() -> (u64, u64),
    ) -> Option<Error> {
        let quiet = self.since.elapsed();
        self.next_check = self.check_times.after(quiet);
        let backend = &watchdog.backend;
        let doing = backend.check().await;
        debug!(
            server = backend.server(),
            pid = backend.pid(),
            ?quiet,
            ?doing,
            "checked"
        );
        let holders = match &doing {
            Doing::Locked { holders } => Some(holders.clone()),
            _ => None,
        };
        if let (Some(Told(tell)), Some(holders)) = (&watchdog.told, &holders) {
            tell(holders);
        }
        *watchdog.holder_slot() = holders;
        if quiet < self.check_times.stall_timeout || moved() != self.moved {
            return None;
        }
        let waits_for_us = doing == Doing::WaitingForUs;
        let error = self.judge(backend, phase, doing, quiet)?;
        if waits_for_us {
            backend.end().await;
        }
        Some(error)
    }

    fn judge(
        &self,
        backend: &Backend,
        phase: Phase,
        doing: Doing,
        quiet: Duration,
    ) -> Option<Error> {
        let (pid, seconds) = (backend.pid(), quiet.as_secs());
        let ends_by_itself = self.check_times.lock_timeout > quiet;
        let (kind, what, hint) = match doing {
            Doing::Locked { holders } if ends_by_itself => {
                warn!(
                    server = backend.server(),
                    pid, seconds, holders, "waiting for a lock"
                );
                return None;
            }
            Doing::Working { at } => {
                warn!(
                    server = backend.server(),
                    pid, seconds, at, "the server is slow, and still at work"
                );
                return None;
            }
            Doing::Locked { holders } => (
                ErrorKind::Locked,
                format!("waits for a lock that is held by pid {holders}"),
                "end that session, or wait for it; `lock_timeout` and `stall_timeout` say how long to wait",
            ),
            Doing::WaitingForUs => (
                ErrorKind::Stalled,
                "waits for the client, and the client for the backend: data was lost in transit"
                    .to_owned(),
                "check the network, firewalls and poolers between tableferry and the server; `stall_timeout` says how long to wait",
            ),
            Doing::Gone => (
                ErrorKind::Stalled,
                "has ended, and no message of that arrived".to_owned(),
                "see the server's log for how it ended",
            ),
            Doing::Unknown { why } => (
                ErrorKind::Stalled,
                format!("did not answer, and the server could not be asked: {why}"),
                "is the server up, and does the network reach it? `stall_timeout` says how long to wait",
            ),
        };
        let message = format!("nothing moved for {seconds} s: backend {pid} {what}");
        Some(
            Error::new(kind, phase, backend.side(), message)
                .at(backend.server())
                .hinted(hint),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(300, 30, &[15_000, 300_000, 600_000])]
    #[case(300, 0, &[300_000, 600_000, 900_000])]
    #[case(5, 30, &[5_000, 10_000, 15_000])]
    fn the_server_is_asked_before_a_lock_times_out_and_at_every_stall(
        #[case] stall_seconds: u64,
        #[case] lock_seconds: u64,
        #[case] expected_millis: &[u64],
    ) {
        let check_times = CheckTimes {
            stall_timeout: Duration::from_secs(stall_seconds),
            lock_timeout: Duration::from_secs(lock_seconds),
        };
        let first = check_times.first();
        let second = check_times.after(first);
        let seen = [first, second, check_times.after(second)];
        let expected: Vec<_> = expected_millis
            .iter()
            .map(|ms| Duration::from_millis(*ms))
            .collect();
        assert_eq!(seen, expected[..]);
    }
}
