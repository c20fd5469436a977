//! `rate_limit`: a token bucket that is filled at the rate and emptied by the bytes that pass.
//!
//! The bucket may be overdrawn: a block passes completely, and the next one waits until its bytes are paid for.
//! So a row that is larger than a second's worth only takes longer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The largest unused allowance, as a time at the full rate.
pub const BURST: Duration = Duration::from_millis(200);

/// A limit in bytes a second, shared by all copies of a run: each waits until earlier blocks are paid for.
#[derive(Debug)]
pub struct RateLimit {
    made_at: Instant,
    bucket: Mutex<Bucket>,
}

impl RateLimit {
    /// A limit that counts from now on.
    pub fn new(bytes_a_second: u64) -> Self {
        RateLimit {
            made_at: Instant::now(),
            bucket: Mutex::new(Bucket::new(bytes_a_second)),
        }
    }

    /// Takes bytes out of the bucket. Returns how long they must wait.
    pub(super) fn take(&self, bytes: usize) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(bytes, self.made_at.elapsed())
    }
}

/// Waits until these bytes may pass. Calls `pausing` before a wait.
///
/// *Cancellation:* at any time; the bytes count as passed.
pub(super) async fn pass(limit: Option<&RateLimit>, bytes: usize, pausing: impl FnOnce()) {
    let pause = limit.map_or(Duration::ZERO, |limit| limit.take(bytes));
    if !pause.is_zero() {
        pausing();
        sleep(pause).await;
    }
}

/// Times are counted from when it was made.
#[derive(Debug)]
struct Bucket {
    bytes_a_second: u64,
    /// When all bytes taken so far are paid for. Initially before `BURST`, so the bucket is full.
    paid_at: Duration,
}

impl Bucket {
    fn new(bytes_a_second: u64) -> Self {
        Bucket {
            bytes_a_second: bytes_a_second.max(1),
            paid_at: Duration::ZERO,
        }
    }

    /// Takes bytes out at the time `now`; returns how long to wait until they are paid for.
    fn take(&mut self, bytes: usize, now: Duration) -> Duration {
        // Shifted by `BURST`, so that no time is below zero.
        let now = now.saturating_add(BURST);
        let full = now.saturating_sub(BURST);
        self.paid_at = self.paid_at.max(full).saturating_add(self.cost(bytes));
        self.paid_at.saturating_sub(now)
    }

    fn cost(&self, bytes: usize) -> Duration {
        let (bytes, rate) = (bytes as u64, self.bytes_a_second);
        let part = u128::from(bytes % rate) * 1_000_000_000 / u128::from(rate);
        Duration::new(bytes / rate, u32::try_from(part).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Takes of (bytes, at ms) from 1000 bytes a second, and the pauses in ms.
    #[rstest]
    #[case::a_burst_is_free(&[(200, 0)], &[0])]
    #[case::what_is_more_is_waited_for(&[(200, 0), (100, 0)], &[0, 100])]
    #[case::a_block_waits_whole(&[(1000, 0)], &[800])]
    #[case::a_row_of_many_seconds(&[(60_200, 0), (100, 60_000)], &[60_000, 100])]
    #[case::who_waits_as_told_goes_on_at_the_rate(&[(700, 0), (500, 500), (500, 1000)], &[500, 500, 500])]
    #[case::lateness_is_made_up_for(&[(700, 0), (500, 600)], &[500, 400])]
    #[case::but_no_more_than_a_burst(&[(700, 0), (500, 9000)], &[500, 300])]
    #[case::several_pay_in_turn(&[(200, 0), (300, 0), (300, 0), (300, 0)], &[0, 300, 600, 900])]
    #[case::nothing_costs_nothing(&[(200, 0), (0, 0)], &[0, 0])]
    fn bytes_wait_until_they_are_paid_for(#[case] takes: &[(usize, u64)], #[case] pauses: &[u64]) {
        let mut bucket = Bucket::new(1000);
        let seen: Vec<u128> = takes
            .iter()
            .map(|(bytes, at)| bucket.take(*bytes, Duration::from_millis(*at)).as_millis())
            .collect();
        let expected: Vec<u128> = pauses.iter().map(|pause| u128::from(*pause)).collect();
        assert_eq!(seen, expected);
    }

    #[rstest]
    #[case(1, usize::MAX)]
    #[case(u64::MAX, usize::MAX)]
    #[case(3, 1)]
    fn no_rate_and_no_size_overflows(#[case] bytes_a_second: u64, #[case] bytes: usize) {
        let mut bucket = Bucket::new(bytes_a_second);
        bucket.take(bytes, Duration::MAX);
        bucket.take(bytes, Duration::ZERO);
    }

    proptest::proptest! {
        /// Of any takes, each waiting as it was told, no more than the rate and one burst passes.
        #[test]
        fn no_more_passes_than_the_rate_and_one_burst(
            rate in 1_u64..1 << 40,
            takes in proptest::collection::vec((0_usize..1 << 30, 0_u64..2_000), 1..50),
        ) {
            let mut bucket = Bucket::new(rate);
            let (mut now, mut passed) = (Duration::ZERO, 0_u64);
            for (bytes, late_millis) in takes {
                now += bucket.take(bytes, now);
                passed += bytes as u64;
                let allowed = (now + BURST).as_secs_f64() * rate as f64;
                // Costs are whole nanoseconds.
                proptest::prop_assert!(passed as f64 <= allowed * (1.0 + 1e-9) + 50.0 * rate as f64 / 1e9 + 1.0);
                now += Duration::from_millis(late_millis);
            }
        }
    }
}
