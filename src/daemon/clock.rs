//! The wall clock, and detection of when it is set. Fire times follow the wall clock; waits must not.

use std::fs::File;
use std::future;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{self, TimerFd, TimerFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Time servers adjust a clock by less than this. A larger difference means that the clock was set.
const STEP_MIN: SignedDuration = SignedDuration::from_secs(2);

/// Both clocks must be read within this time.
const READ_WITHIN: SignedDuration = SignedDuration::from_millis(500);

/// How often reading both clocks is tried.
const READINGS_MAX: usize = 3;

/// Far in the future: the timer exists only to be cancelled.
const NEVER_SECONDS: i64 = 1 << 40;

/// Watches the wall clock.
#[derive(Debug)]
pub struct Clock {
    notice: Option<AsyncFd<File>>,
    seen: Option<ClockReading>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    wall: Timestamp,
    /// Time since the machine started, including suspension. It cannot be set.
    boot: SignedDuration,
}

impl Clock {
    /// Begins to watch the clock. If the kernel does not report that the clock was set, [`Clock::read`]
    /// notices it. Needs a Tokio runtime.
    pub fn watch() -> Self {
        let notice = notice().inspect_err(|error| {
            tracing::debug!("the kernel does not say when the clock is set: {error}");
        });
        Clock {
            notice: notice.ok(),
            seen: ClockReading::take(),
        }
    }

    /// Completes when the clock was set, or the machine resumes after suspension. *Cancellation:* loses
    /// nothing; [`Clock::read`] reports the step.
    pub async fn is_set(&self) {
        let Some(notice) = &self.notice else {
            return future::pending().await;
        };
        let cancelled = |mut timer: &File| match timer.read(&mut [0; 8]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // ECANCELED is expected. Any other error would repeat at once.
            Err(error) if error.raw_os_error() == Some(nix::libc::ECANCELED) => Ok(true),
            _ => Ok(false),
        };
        match notice.async_io(Interest::READABLE, cancelled).await {
            Ok(true) => {}
            Ok(false) | Err(_) => future::pending().await,
        }
    }

    /// The time, and by how much the clock was set since the last call: negative if it was set back. `None`:
    /// only small corrections.
    pub fn read(&mut self) -> (Timestamp, Option<SignedDuration>) {
        let Some(now) = ClockReading::take() else {
            return (Timestamp::now(), None);
        };
        let step = self.seen.and_then(|seen| seen.step_to(now));
        self.seen = Some(now);
        (now.wall, step)
    }
}

impl ClockReading {
    /// If the process is stopped between the two reads, it would see a step that did not happen.
    fn take() -> Option<Self> {
        let boot = || {
            let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
            SignedDuration::try_from(Duration::from(time)).ok()
        };
        for _ in 0..READINGS_MAX {
            let (before, wall, boot) = (boot()?, Timestamp::now(), boot()?);
            if boot - before <= READ_WITHIN {
                return Some(ClockReading { wall, boot });
            }
        }
        None
    }

    fn step_to(self, now: ClockReading) -> Option<SignedDuration> {
        let passed = now.boot.checked_sub(self.boot)?;
        let step = now.wall.duration_since(self.wall).checked_sub(passed)?;
        (step.abs() >= STEP_MIN).then_some(step)
    }
}

/// A timer that is cancelled when the clock is set.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, and a file's descriptor never changes"
)]
fn notice() -> io::Result<AsyncFd<File>> {
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let timer = TimerFd::new(timerfd::ClockId::CLOCK_REALTIME, flags)?;
    timer.set(
        Expiration::OneShot(TimeSpec::new(NEVER_SECONDS, 0)),
        TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
    )?;
    AsyncFd::with_interest(File::from(OwnedFd::from(timer)), Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::runs_on(60.0, 60.0, None)]
    #[case::is_corrected(60.0, 61.9, None)]
    #[case::set_back(60.0, -3540.0, Some(-3600.0))]
    #[case::set_forward(60.0, 3660.0, Some(3600.0))]
    #[case::set_back_by_seconds(1.0, -1.0, Some(-2.0))]
    #[case::the_machine_slept(7200.0, 7200.0, None)]
    fn a_step_is_what_the_wall_clock_did_besides_running(
        #[case] boot_seconds: f64,
        #[case] wall_seconds: f64,
        #[case] expected: Option<f64>,
    ) {
        let seconds = SignedDuration::from_secs_f64;
        let start = ClockReading {
            wall: "2026-11-21T10:00Z".parse().unwrap(),
            boot: seconds(1000.0),
        };
        let now = ClockReading {
            wall: start.wall + seconds(wall_seconds),
            boot: start.boot + seconds(boot_seconds),
        };
        assert_eq!(start.step_to(now), expected.map(seconds));
    }

    #[tokio::test]
    async fn a_clock_that_nobody_sets_says_nothing() {
        let mut clock = Clock::watch();
        tokio::select! {
            biased;
            () = clock.is_set() => panic!("nobody set it"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let (now, step) = clock.read();
        assert_eq!(step, None);
        assert!(now.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(1));
    }
}
