//! What happens when the clock is set. Jobs with `every` or `*` follow it at once, fixed times run once, and
//! waits keep their length.

use jiff::{SignedDuration, Timestamp};

use super::{JobTable, Lifecycle};
use crate::daemon::schedule::{ON_TIME, Schedule};
use crate::daemon::scheduled_config::JobName;

/// If the clock is set back by more than this, fixed times are also computed anew. Vixie cron uses the same
/// limit.
pub(super) const CLOCK_SET_BACK: SignedDuration = SignedDuration::from_hours(3);

/// Time spans that are remembered as repeated. If there are more, the oldest is forgotten.
const REPEATS_MAX: usize = 16;

/// The fire times that are repeated because the clock was set back. The ledger identifies a fire by its time
/// and would treat the second one as done. So each repetition of a fire is recorded one microsecond later.
/// All daemons whose clocks were set back do the same.
#[derive(Debug, Default)]
pub(super) struct RepeatedTimes(Vec<(Timestamp, Timestamp)>);

impl RepeatedTimes {
    /// Times later than `now` and not later than `passed` come again.
    pub fn add(&mut self, now: Timestamp, passed: Timestamp) {
        if self.0.len() == REPEATS_MAX {
            self.0.remove(0);
        }
        self.0.push((now, passed));
    }

    /// What this fire is called.
    pub fn name(&self, due: Timestamp) -> Timestamp {
        let comes_again = |(from, until): &&(Timestamp, Timestamp)| *from < due && due <= *until;
        let times = self.0.iter().filter(comes_again).count();
        let later = SignedDuration::from_micros(i64::try_from(times).unwrap_or(0));
        due.checked_add(later).unwrap_or(due)
    }
}

impl JobTable {
    /// Adjusts the table after the clock was set by this much, to `now`. Must be called before fires are
    /// handled.
    pub(super) fn clock_set(&mut self, by: SignedDuration, now: Timestamp) {
        self.shift_waits(by);
        if !by.is_negative() {
            // Fire times that were skipped are due now.
            return;
        }
        let Ok(passed) = now.checked_sub(by) else {
            return;
        };
        self.repeats.add(now, passed);
        let scheduled = self.scheduled.clone();
        for name in scheduled.names() {
            if let Some((_, schedule)) = scheduled.job(name)
                && schedule.follows_clock()
                && !is_as_good(schedule, by, now)
            {
                self.reset_next_fire(name, schedule, now);
            }
        }
    }

    /// Computes the next fire time from now on, unless a fire is due already.
    pub(super) fn reset_next_fire(&mut self, job: &JobName, schedule: &Schedule, now: Timestamp) {
        let next = self.jobs.get(job).and_then(|entry| entry.next_fire);
        if next.is_some_and(|next| next > now) {
            self.set_next_fire(job, schedule, now);
        }
    }

    fn shift_waits(&mut self, by: SignedDuration) {
        let shifted = |at: Timestamp| at.checked_add(by).unwrap_or(at);
        let rechecks = std::mem::take(&mut self.rechecks);
        self.rechecks = rechecks
            .into_iter()
            .map(|(at, j)| (shifted(at), j))
            .collect();
        for entry in self.jobs.values_mut() {
            if let Some(recheck) = &mut entry.recheck {
                recheck.at = shifted(recheck.at);
            }
        }
        if let Lifecycle::Draining { until } | Lifecycle::Cancelling { until } = &mut self.lifecycle
        {
            *until = shifted(*until);
        }
    }
}

/// A small step back, shorter than the period of the job, delays its next fire so little that no fire needs
/// to be repeated.
fn is_as_good(schedule: &Schedule, by: SignedDuration, now: Timestamp) -> bool {
    let [first, second] = schedule.upcoming(now, 2)[..] else {
        return false;
    };
    by.abs() < ON_TIME && by.abs() < second.duration_since(first)
}
