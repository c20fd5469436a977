//! What the scans of both sides say about each bucket of keys, and which ranges of keys have to be compared.

use std::collections::BTreeMap;

use super::key::Malformed;
use crate::plan::staged::changed_side::LeadRange;

/// More buckets, or ranges of changed rows, than this are not kept: then all rows are compared.
const BUCKETS_KEPT_MAX: usize = 1 << 17;

/// Is more than this part of the rows to be compared, all are: that takes no index.
const WORTHWHILE_PART: f64 = 0.5;

/// Which side a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Source,
    Target,
}

/// The buckets of both sides.
#[derive(Debug)]
pub(super) struct Buckets {
    /// By how many bits keys are shifted.
    shift: u32,
    buckets: BTreeMap<i64, Bucket>,
    /// Where rows have changed on either side, in any order.
    changed: Vec<LeadRange>,
    pub source_rows: u64,
    pub target_rows: u64,
    overflows: bool,
}

/// The rows of both sides, and the source's hashes less the target's.
#[derive(Debug, Default)]
struct Bucket {
    source: u64,
    target: u64,
    sum: i128,
}

/// What has to be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Everything.
    All,
    /// These ranges, in order. None: both sides are equal.
    Only(Vec<LeadRange>),
}

/// Where the values of one side lie.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// The least and the greatest one.
    pub span: Option<LeadRange>,
    /// Values between which there were equal numbers of rows when the table was analyzed.
    pub histogram: Vec<i64>,
}

/// The number of bits by which keys are shifted to get about `wanted` buckets that are not empty, of `rows` rows.
/// At least one: the number of a bucket is doubled.
///
/// Keys may lie close together, with wide gaps between: the more is known of where they lie, the smaller
/// buckets can be.
pub(super) fn shift(source: Spread, target: Spread, rows: u64, wanted: u64) -> u32 {
    let Some((low, high)) = joined(source.span, target.span) else {
        return 1;
    };
    let mut points = match source.histogram.len() >= target.histogram.len() {
        true => source.histogram,
        false => target.histogram,
    };
    points.retain(|point| low < *point && *point < high);
    points.extend([low, high]);
    points.sort_unstable();
    let widths = || points.windows(2).map(|ends| ends[0].abs_diff(ends[1]));
    let rows_between = (rows / widths().len() as u64).saturating_add(1);
    let buckets = |shift: u32| -> u64 {
        let between = widths().map(|width| rows_between.min((width >> shift) + 1));
        between.fold(0, u64::saturating_add)
    };
    (1..63)
        .find(|shift| buckets(*shift) <= wanted)
        .unwrap_or(63)
}

/// The span of both sides.
fn joined(left: Option<LeadRange>, right: Option<LeadRange>) -> Option<LeadRange> {
    match (left, right) {
        (Some(left), Some(right)) => Some((left.0.min(right.0), left.1.max(right.1))),
        (one, other) => one.or(other),
    }
}

impl Buckets {
    pub fn new(shift: u32) -> Self {
        Buckets {
            shift,
            buckets: BTreeMap::new(),
            changed: Vec::new(),
            source_rows: 0,
            target_rows: 0,
            overflows: false,
        }
    }

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
        if self.buckets.len().max(self.changed.len()) >= BUCKETS_KEPT_MAX {
            self.overflows = true;
            return Ok(());
        }
        let bucket = self.buckets.entry(low >> self.shift).or_default();
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
            self.changed.push((low, high));
        }
        Ok(())
    }

    /// What has to be compared.
    pub fn ranges(mut self) -> Ranges {
        if self.overflows {
            return Ranges::All;
        }
        let last = i64::try_from((1_u64 << self.shift) - 1).unwrap_or(i64::MAX);
        let mut rows = 0.0;
        // Of buckets with the same keys on both sides, only what has changed.
        self.changed.retain(|(low, high)| {
            let Some(bucket) = self.buckets.get(&(low >> self.shift)) else {
                return false;
            };
            let part = (high.abs_diff(*low) as f64 + 1.0) / (last as f64 + 1.0);
            rows += bucket.rows() as f64 * part;
            bucket.has_same_keys()
        });
        let mut ranges = self.changed;
        for (number, bucket) in &self.buckets {
            if !bucket.has_same_keys() {
                rows += bucket.rows() as f64;
                ranges.push((number << self.shift, (number << self.shift) | last));
            }
        }
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = range.1.checked_add(1).is_none_or(|end| next.0 <= end);
            if joins {
                range.1 = range.1.max(next.1);
            }
            joins
        });
        let all = self.source_rows.max(self.target_rows) as f64;
        match rows > all * WORTHWHILE_PART {
            true => Ranges::All,
            false => Ranges::Only(ranges),
        }
    }
}

impl Bucket {
    fn rows(&self) -> u64 {
        self.source.max(self.target)
    }

    fn has_same_keys(&self) -> bool {
        self.source == self.target && self.sum == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, &[], 16, 1)]
    #[case(Some((1, 1)), &[], 16, 1)]
    #[case(Some((1, 3_000_000)), &[], 65536, 6)]
    #[case(Some((i64::MIN, i64::MAX)), &[], 16, 60)]
    #[case(Some((0, 31)), &[], 16, 1)]
    #[case(Some((0, 32)), &[], 16, 2)]
    #[case::a_gap(Some((1, 1 << 50)), &[], 65536, 34)]
    #[case::a_gap_that_is_known(Some((1, 1 << 50)), &[1, 300_000, 600_000, 900_000, 1 << 50], 900_000, 1)]
    #[case::few_buckets(Some((1, 1 << 50)), &[1, 300_000, 600_000, 900_000, 1 << 50], 300_000, 5)]
    fn keys_are_cut_into_about_so_many_buckets(
        #[case] span: Option<LeadRange>,
        #[case] histogram: &[i64],
        #[case] wanted: u64,
        #[case] expected: u32,
    ) {
        let side = || Spread {
            span,
            histogram: histogram.to_vec(),
        };
        // Nothing is known of a table that was never analyzed.
        assert!(shift(side(), side(), u64::MAX, wanted) > 0);
        assert_eq!(
            shift(side(), Spread::default(), 1_000_000, wanted),
            expected
        );
        assert_eq!(
            shift(Spread::default(), side(), 1_000_000, wanted),
            expected
        );
    }

    fn ranges(source: &[&str], target: &[&str]) -> Ranges {
        let mut buckets = Buckets::new(3);
        for (side, lines) in [(Scanned::Source, source), (Scanned::Target, target)] {
            for line in lines {
                buckets
                    .add(side, line.replace(' ', "\t").as_bytes())
                    .unwrap();
            }
        }
        buckets.ranges()
    }

    fn only(ranges: &[LeadRange]) -> Ranges {
        Ranges::Only(ranges.to_vec())
    }

    // Bucket n is 8n to 8n+7. A line: an odd number for changed rows; rows; sum of hashes; least; greatest.
    #[rstest]
    #[case::equal(&["0 8 5 0 7", "2 8 -9 8 15"], &["0 8 5 0 7", "2 8 -9 8 15"], only(&[]))]
    #[case::nothing(&[], &[], only(&[]))]
    #[case::updated_on_the_source(&["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], &["0 8 5 0 7", "2 8 1 8 15"], only(&[(4, 4)]))]
    #[case::updated_on_the_target(&["0 8 5 0 7", "2 8 1 8 15"], &["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], only(&[(4, 4)]))]
    #[case::updated_on_both(&["0 7 3 1 7", "1 1 2 2 2", "2 8 1 8 15"], &["0 7 3 0 7", "1 1 2 4 4", "2 8 1 8 15"], only(&[(2, 2), (4, 4)]))]
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
        let mut buckets = Buckets::new(3);
        for line in ["", "1\t2\t3\t4", "a\t1\t1\t1\t1", "0\t-1\t1\t1\t1"] {
            assert_eq!(
                buckets.add(Scanned::Source, line.as_bytes()),
                Err(Malformed),
                "{line}"
            );
        }
    }
}
