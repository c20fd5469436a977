//! Limits log lines about skipped fires and unknown jobs: a fire during a run is logged once and then counted,
//! and only a few unknown names are logged.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::event::SkipReason;
use super::scheduled_config::JobName;

/// Refusals of one kind that are logged; more are counted.
pub const REFUSALS_LOGGED_MAX: usize = 10;

/// Fires that were skipped during an active run.
#[derive(Debug, Default)]
pub struct Skips(BTreeMap<JobName, u64>);

impl Skips {
    /// Logs fires that are skipped together. A condition that lasts is logged when it begins.
    pub fn say(&mut self, skipped: &[(JobName, Option<Timestamp>, SkipReason)]) {
        let mut unknown = 0;
        for (job, due_at, why) in skipped {
            let is_news = match why {
                SkipReason::StillRunning | SkipReason::StillWaiting | SkipReason::Paused => {
                    self.is_first(job)
                }
                SkipReason::Unknown => {
                    unknown += 1;
                    unknown <= REFUSALS_LOGGED_MAX
                }
                _ => true,
            };
            if is_news {
                let due_at = due_at.map(tracing::field::display);
                tracing::warn!(job = &**job, due_at, "not run: {why}");
            }
        }
        if unknown > REFUSALS_LOGGED_MAX {
            let more = unknown - REFUSALS_LOGGED_MAX;
            tracing::warn!("not run: {more} more names of jobs that do not exist");
        }
    }

    fn is_first(&mut self, job: &JobName) -> bool {
        let fires = self.0.entry(job.clone()).or_default();
        *fires += 1;
        *fires == 1
    }

    /// The job's run is over.
    pub fn over(&mut self, job: &JobName) {
        let fires = self.0.remove(job).unwrap_or_default();
        if fires > 1 {
            tracing::warn!(
                job = &**job,
                fires,
                "not run: {fires} fires in all, while the previous run was going"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_news_once() {
        let mut skips = Skips::default();
        let (a, b) = (JobName::from("a"), JobName::from("b"));
        let news = [&a, &a, &b, &a].map(|job| skips.is_first(job));
        assert_eq!(news, [true, false, true, false]);
        skips.over(&a);
        assert_eq!([&a, &b].map(|job| skips.is_first(job)), [true, false]);
    }
}
