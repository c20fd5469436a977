//! What the scans of both sides say about each bucket of keys, and which ranges of keys have to be compared.

use std::collections::BTreeMap;

use super::key::Malformed;
use crate::plan::staged::changed_side::LeadRange;

/// More buckets than this are not kept: keys are not where they were a moment ago.
const BUCKETS_KEPT_MAX: usize = 1 << 18;

/// Is more than this part of the rows to be compared, all are: that takes no index.
const WORTHWHILE_PART: f64 = 0.5;

/// Which side a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Source,
    Target,
}

/// The buckets of both sides.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: BTreeMap<i64, Bucket>,
    pub source_rows: u64,
    pub target_rows: u64,
    overflows: bool,
}

/// The source's rows and hashes less the target's, and where rows have changed on either side.
#[derive(Debug, Default)]
struct Bucket {
    source: u64,
    target: u64,
    sum: i128,
    changed: Option<LeadRange>,
}

/// What has to be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Everything.
    All,
    /// These ranges, in order. None: both sides are equal.
    Only(Vec<LeadRange>),
}

/// The number of bits by which keys in this span are shifted to get about `wanted` buckets. At least one: the
/// number of a bucket is doubled.
pub(super) fn shift(span: Option<LeadRange>, wanted: u64) -> u32 {
    let width = span.map_or(0, |(low, high)| high.abs_diff(low));
    (1..63).find(|shift| width >> shift < wanted).unwrap_or(63)
}

/// The span of both sides.
pub(super) fn joined(left: Option<LeadRange>, right: Option<LeadRange>) -> Option<LeadRange> {
    match (left, right) {
        (Some(left), Some(right)) => Some((left.0.min(right.0), left.1.max(right.1))),
        (one, other) => one.or(other),
    }
}

impl Buckets {
    /// Adds a line of a scan.
    pub fn add(&mut self, side: Scanned, line: &[u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
        let mut fields = text.split('\t');
        let mut next = || fields.next().ok_or(Malformed);
        let number: i64 = next()?.parse().map_err(|_| Malformed)?;
        let rows: u64 = next()?.parse().map_err(|_| Malformed)?;
        let sum: i128 = next()?.parse().map_err(|_| Malformed)?;
        let low: i64 = next()?.parse().map_err(|_| Malformed)?;
        let high: i64 = next()?.parse().map_err(|_| Malformed)?;
        match side {
            Scanned::Source => self.source_rows += rows,
            Scanned::Target => self.target_rows += rows,
        }
        if self.buckets.len() >= BUCKETS_KEPT_MAX {
            self.overflows = true;
            return Ok(());
        }
        let bucket = self.buckets.entry(number >> 1).or_default();
        match side {
            Scanned::Source => {
                bucket.source += rows;
                bucket.sum += sum;
            }
            Scanned::Target => {
                bucket.target += rows;
                bucket.sum -= sum;
            }
        }
        if number & 1 == 1 {
            bucket.changed = joined(bucket.changed, Some((low, high)));
        }
        Ok(())
    }

    /// What has to be compared, where keys were shifted by so many bits.
    pub fn ranges(&self, shift: u32) -> Ranges {
        if self.overflows {
            return Ranges::All;
        }
        let width = (1_u128 << shift) as f64;
        let mut rows = 0.0;
        let mut ranges: Vec<LeadRange> = Vec::new();
        for (number, bucket) in &self.buckets {
            let whole = (number << shift, (number << shift) | ((1_i64 << shift) - 1));
            let has_same_keys = bucket.source == bucket.target && bucket.sum == 0;
            let Some(range) = (match has_same_keys {
                true => bucket.changed,
                false => Some(whole),
            }) else {
                continue;
            };
            let part = (range.1.abs_diff(range.0) as f64 + 1.0) / width;
            rows += bucket.source.max(bucket.target) as f64 * part.min(1.0);
            match ranges.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(range.0) => last.1 = range.1,
                _ => ranges.push(range),
            }
        }
        let all = self.source_rows.max(self.target_rows) as f64;
        match rows > all * WORTHWHILE_PART {
            true => Ranges::All,
            false => Ranges::Only(ranges),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, 16, 1)]
    #[case(Some((1, 1)), 16, 1)]
    #[case(Some((1, 3_000_000)), 65536, 6)]
    #[case(Some((i64::MIN, i64::MAX)), 16, 60)]
    #[case(Some((0, 31)), 16, 1)]
    #[case(Some((0, 32)), 16, 2)]
    fn keys_are_cut_into_about_so_many_buckets(
        #[case] span: Option<LeadRange>,
        #[case] wanted: u64,
        #[case] expected: u32,
    ) {
        assert_eq!(shift(span, wanted), expected);
    }

    fn ranges(source: &[&str], target: &[&str]) -> Ranges {
        let mut buckets = Buckets::default();
        for (side, lines) in [(Scanned::Source, source), (Scanned::Target, target)] {
            for line in lines {
                buckets
                    .add(side, line.replace(' ', "\t").as_bytes())
                    .unwrap();
            }
        }
        buckets.ranges(3)
    }

    fn only(ranges: &[LeadRange]) -> Ranges {
        Ranges::Only(ranges.to_vec())
    }

    // Bucket n is 8n to 8n+7. A line: 2n, or 2n+1 for changed rows; rows; sum of hashes; least; greatest.
    #[rstest]
    #[case::equal(&["0 8 5 0 7", "2 8 -9 8 15"], &["0 8 5 0 7", "2 8 -9 8 15"], only(&[]))]
    #[case::nothing(&[], &[], only(&[]))]
    #[case::updated_on_the_source(&["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], &["0 8 5 0 7", "2 8 1 8 15"], only(&[(4, 4)]))]
    #[case::updated_on_the_target(&["0 8 5 0 7", "2 8 1 8 15"], &["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], only(&[(4, 4)]))]
    #[case::updated_on_both(&["0 7 3 1 7", "1 1 2 2 2", "2 8 1 8 15"], &["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], only(&[(2, 4)]))]
    #[case::deleted(&["0 7 3 0 6", "2 8 1 8 15", "4 8 1 16 23"], &["0 8 5 0 7", "2 8 1 8 15", "4 8 1 16 23"], only(&[(0, 7)]))]
    #[case::one_deleted_on_each_side(&["0 8 3 0 6", "2 8 1 8 15", "4 8 1 16 23"], &["0 8 5 0 7", "2 8 1 8 15", "4 8 1 16 23"], only(&[(0, 7)]))]
    #[case::neighbours(&["-2 1 1 -5 -5", "4 30 1 16 23"], &["-4 1 1 -9 -9", "4 30 1 16 23"], only(&[(-16, -1)]))]
    #[case::out_of_where(&["1 0 0 3 3", "0 7 5 0 7", "2 8 1 8 15"], &["0 7 5 0 7", "2 8 1 8 15"], only(&[(3, 3)]))]
    #[case::most(&["1 8 5 0 7", "2 1 1 8 8"], &["0 8 5 0 7", "2 1 1 8 8"], Ranges::All)]
    fn what_may_differ_is_compared(
        #[case] source: &[&str],
        #[case] target: &[&str],
        #[case] expected: Ranges,
    ) {
        assert_eq!(ranges(source, target), expected);
    }

    #[test]
    fn a_line_that_is_not_of_a_scan_is_refused() {
        let mut buckets = Buckets::default();
        for line in ["", "1\t2\t3\t4", "a\t1\t1\t1\t1", "0\t-1\t1\t1\t1"] {
            assert_eq!(
                buckets.add(Scanned::Source, line.as_bytes()),
                Err(Malformed),
                "{line}"
            );
        }
    }
}
