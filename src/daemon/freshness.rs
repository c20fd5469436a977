//! How old a job's data are, and when they become stale.

use std::time::Duration;

use jiff::Timestamp;

use crate::daemon::job_table::SavedJob;

/// When the data of a job become older than `fresh_within`; `None` if the job does not set it.
///
/// Their age counts from the source's snapshot that the target holds. If that is not known (a daemon of an older
/// version ran the job), it counts from the end of the last committed run. A job that has never committed counts
/// from when a daemon first knew it.
pub fn stale_at(saved: &SavedJob, fresh_within: Option<Duration>) -> Option<Timestamp> {
    let since = saved
        .snapshot_at
        .or(saved.committed_at)
        .or(saved.known_at)?;
    Some(since.checked_add(fresh_within?).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::from_the_snapshot([Some(10), Some(20), Some(5)], Some(60), Some(70))]
    #[case::from_the_end_of_the_run_if_the_snapshot_is_not_known([None, Some(20), Some(5)], Some(60), Some(80))]
    #[case::never_committed([None, None, Some(5)], Some(60), Some(65))]
    #[case::a_job_that_is_not_known_yet([None, None, None], Some(60), None)]
    #[case::without_fresh_within([Some(10), Some(20), Some(5)], None, None)]
    fn age_counts_from_what_the_target_holds(
        #[case] times: [Option<i64>; 3],
        #[case] fresh_within: Option<u64>,
        #[case] expected: Option<i64>,
    ) {
        let [snapshot_at, committed_at, known_at] = times;
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let saved = SavedJob {
            snapshot_at: snapshot_at.map(at),
            committed_at: committed_at.map(at),
            known_at: known_at.map(at),
            ..SavedJob::default()
        };
        let found = stale_at(&saved, fresh_within.map(Duration::from_secs));
        assert_eq!(found, expected.map(at));
    }
}
