//! When the loop wakes, and what time it is then.

use std::time::Duration;

use jiff::{SignedDuration, SignedDurationRound, Timestamp, Unit};

use super::Daemon;
use crate::daemon::event::DaemonEvent;

/// The interval at which the wall clock is checked, in case the kernel does not report that it was set.
const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(60);

/// The longest sleep if no event is due.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Daemon {
    /// How long the loop may sleep.
    pub(super) fn time_to_wake(&mut self) -> Duration {
        let now = self.follow_clock();
        // Only a point in time can be missed. Without one, the daemon sleeps.
        let next = [self.table.wake_at(), self.health.wake_at()];
        let until_fire = next.into_iter().flatten().min().map(|at| {
            let wait = at.duration_since(now);
            Duration::try_from(wait)
                .unwrap_or_default()
                .min(CLOCK_CHECK_EVERY)
        });
        let until_fed = self
            .watchdog
            .map(|interval| interval.saturating_sub(self.watchdog_fed.elapsed()));
        [until_fire, until_fed]
            .into_iter()
            .flatten()
            .fold(SLEEP_MAX, Duration::min)
    }

    /// The time. If the clock was set, the job table is told first.
    pub(super) fn follow_clock(&mut self) -> Timestamp {
        let (now, step) = self.clock.read();
        if let Some(by) = step {
            let way = if by.is_negative() { "back" } else { "forward" };
            tracing::warn!(
                step_seconds = by.as_secs_f64(),
                "the clock was set {way} by {}; schedules follow it, but a fixed time that has run \
                 does not run again",
                describe_step(by)
            );
            let actions = self.table.handle(DaemonEvent::ClockSet { by }, now);
            self.act(actions);
        }
        now
    }
}

fn describe_step(step: SignedDuration) -> String {
    let rounded = SignedDurationRound::new().smallest(Unit::Millisecond);
    let step = step.abs();
    format!("{:#}", step.round(rounded).unwrap_or(step))
}
