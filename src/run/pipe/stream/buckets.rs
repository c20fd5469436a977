//! What both sides say about their keys: totals, and buckets that differ.

use std::collections::BTreeMap;
use std::ops::Sub;

use super::changed_keys::{is_worthwhile, join};
use super::key::Malformed;
use crate::plan::staged::changed_side::LeadRange;

/// More buckets than this are not kept: then all rows are compared.
const BUCKETS_KEPT_MAX: usize = 1 << 17;

/// Which side a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Source,
    Target,
}

/// A number of rows, and the sum of the hashes of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub rows: u64,
    sum: i128,
}

impl Totals {
    /// Adds a line.
    pub fn add(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let mut numbers = fields(line)?;
        self.rows += number::<u64>(numbers.next())?;
        self.sum += number::<i128>(numbers.next())?;
        Ok(())
    }
}

impl Sub for Totals {
    type Output = Totals;

    fn sub(self, other: Totals) -> Totals {
        Totals {
            rows: self.rows.saturating_sub(other.rows),
            sum: self.sum - other.sum,
        }
    }
}

fn fields(line: &[u8]) -> Result<std::str::Split<'_, char>, Malformed> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
    Ok(text.split('\t'))
}

fn number<T: std::str::FromStr>(field: Option<&str>) -> Result<T, Malformed> {
    field.ok_or(Malformed)?.parse().map_err(|_| Malformed)
}

/// The buckets of both sides.
#[derive(Debug)]
pub(super) struct Buckets {
    /// By how many bits keys are shifted.
    shift: u32,
    buckets: BTreeMap<i64, Bucket>,
    overflows: bool,
}

/// The rows of both sides, and the source's hashes less the target's.
#[derive(Debug, Default)]
struct Bucket {
    source: u64,
    target: u64,
    sum: i128,
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
            overflows: false,
        }
    }

    /// Adds a line of a scan.
    pub fn add(&mut self, side: Scanned, line: &[u8]) -> Result<(), Malformed> {
        let mut numbers = fields(line)?;
        let at = number::<i64>(numbers.next())?;
        let rows = number::<u64>(numbers.next())?;
        let sum = number::<i128>(numbers.next())?;
        if self.buckets.len() >= BUCKETS_KEPT_MAX {
            self.overflows = true;
            return Ok(());
        }
        let bucket = self.buckets.entry(at).or_default();
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
        Ok(())
    }

    /// What has to be compared: `changed`, in which there are `within` of all `rows`, and the buckets that have other
    /// keys on one side. None: all rows.
    pub fn differing(
        self,
        changed: Vec<LeadRange>,
        within: u64,
        rows: u64,
    ) -> Option<Vec<LeadRange>> {
        let last = i64::try_from((1_u64 << self.shift) - 1).unwrap_or(i64::MAX);
        let mut compared = within;
        let mut ranges = changed;
        for (number, bucket) in &self.buckets {
            if !bucket.has_same_keys() {
                compared = compared.saturating_add(bucket.rows());
                ranges.push((number << self.shift, (number << self.shift) | last));
            }
        }
        join(&mut ranges, 1);
        let few = is_worthwhile(compared, ranges.len(), rows);
        (!self.overflows && few).then_some(ranges)
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
    use super::super::changed_keys::values;
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

    // Bucket n is 8n to 8n+7. A line: the bucket's number, rows, the sum of hashes.
    #[rstest]
    #[case::equal(&["0 8 5", "1 8 -9"], &["0 8 5", "1 8 -9"], &[], Some(vec![]))]
    #[case::nothing(&[], &[], &[], Some(vec![]))]
    #[case::deleted(&["0 7 3", "1 8 1", "2 80 1"], &["0 8 5", "1 8 1", "2 80 1"], &[], Some(vec![(0, 7)]))]
    #[case::one_deleted_on_each_side(&["0 8 3", "1 8 1", "2 80 1"], &["0 8 5", "1 8 1", "2 80 1"], &[], Some(vec![(0, 7)]))]
    #[case::neighbours(&["-1 1 1", "2 30 1"], &["-2 1 1", "2 30 1"], &[], Some(vec![(-16, -1)]))]
    #[case::with_changed_rows(&["0 7 3", "1 8 1", "2 80 1"], &["0 8 5", "1 8 1", "2 80 1"], &[(4, 4), (20, 20)], Some(vec![(0, 7), (20, 20)]))]
    #[case::most(&["0 8 5", "1 1 1"], &["0 9 5", "1 1 1"], &[], None)]
    fn what_may_differ_is_compared(
        #[case] source: &[&str],
        #[case] target: &[&str],
        #[case] changed: &[LeadRange],
        #[case] expected: Option<Vec<LeadRange>>,
    ) {
        let mut buckets = Buckets::new(3);
        let mut totals = [Totals::default(), Totals::default()];
        for (at, (side, lines)) in [(Scanned::Source, source), (Scanned::Target, target)]
            .into_iter()
            .enumerate()
        {
            for line in lines {
                let line = line.replace(' ', "\t");
                buckets.add(side, line.as_bytes()).unwrap();
                let total = line.split_once('\t').unwrap().1;
                totals[at].add(total.as_bytes()).unwrap();
            }
        }
        let rows = totals[0].rows.max(totals[1].rows);
        let found = buckets.differing(changed.to_vec(), values(changed), rows);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_outside_of_the_changed_rows_is_the_difference() {
        let totals = |line: &str| {
            let mut totals = Totals::default();
            totals.add(line.as_bytes()).unwrap();
            totals
        };
        assert_eq!(totals("10\t-7") - totals("3\t5"), totals("7\t-12"));
    }

    #[test]
    fn a_line_that_is_not_of_a_scan_is_refused() {
        for line in ["", "1\t2", "a\t1\t1", "0\t-1\t1"] {
            let added = Buckets::new(3).add(Scanned::Source, line.as_bytes());
            assert_eq!(added, Err(Malformed), "{line}");
        }
        for line in ["", "1", "-1\t1", "1\t"] {
            assert_eq!(
                Totals::default().add(line.as_bytes()),
                Err(Malformed),
                "{line}"
            );
        }
    }
}
