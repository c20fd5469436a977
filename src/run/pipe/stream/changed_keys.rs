//! Ranges of keys in which rows have changed.

use super::key::Malformed;
use crate::plan::staged::changed_side::LeadRange;

/// More ranges of changed rows than this are not kept: then all rows are compared. Statements name each of them.
const CHANGED_RANGES_MAX: usize = 1 << 16;

/// Changed rows whose keys are no further apart are in one range: rows between them cost less than another range.
const GAP: i64 = 4;

/// If more than this part of the rows is to be compared, all are: that takes no index.
const WORTHWHILE_PART: f64 = 0.5;

/// Looking a range up in an index costs about as much as reading so many rows in their order.
const ROWS_A_LOOKUP: f64 = 8.0;

/// Is it better to compare so many rows, in so many ranges, than all?
pub(super) fn is_worthwhile(rows: u64, ranges: usize, of: u64) -> bool {
    rows as f64 + ranges as f64 * ROWS_A_LOOKUP <= of as f64 * WORTHWHILE_PART
}

/// The number of values in some ranges.
pub(super) fn values(ranges: &[LeadRange]) -> u64 {
    let values = ranges
        .iter()
        .map(|(low, high)| high.abs_diff(*low).saturating_add(1));
    values.fold(0, u64::saturating_add)
}

/// Sorts ranges and joins those that are no further apart than `gap`.
pub(super) fn join(ranges: &mut Vec<LeadRange>, gap: i64) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let joins = next.0 <= range.1.saturating_add(gap);
        if joins {
            range.1 = range.1.max(next.1);
        }
        joins
    });
}

/// Where rows of one side have changed.
#[derive(Debug, Default)]
pub(super) struct ChangedKeys {
    ranges: Vec<LeadRange>,
    overflows: bool,
}

impl ChangedKeys {
    /// Adds a line: the value of the key's first column of one row. Rows come in any order, mostly with their neighbours.
    pub fn add(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
        let key: i64 = text.parse().map_err(|_| Malformed)?;
        if let Some((low, high)) = self.ranges.last_mut()
            && key >= low.saturating_sub(GAP)
            && key <= high.saturating_add(GAP)
        {
            (*low, *high) = (key.min(*low), key.max(*high));
            return Ok(());
        }
        if self.ranges.len() >= CHANGED_RANGES_MAX {
            join(&mut self.ranges, GAP);
            // If few of them joined, that would be tried again and again.
            self.overflows |= self.ranges.len() > CHANGED_RANGES_MAX / 2;
        }
        if self.overflows {
            self.ranges.clear();
        }
        self.ranges.push((key, key));
        Ok(())
    }

    /// The ranges of two sides, in order; None if there are too many.
    pub fn joined(mut self, other: ChangedKeys) -> Option<Vec<LeadRange>> {
        self.ranges.extend(other.ranges);
        join(&mut self.ranges, GAP);
        let is_too_much =
            self.overflows || other.overflows || self.ranges.len() > CHANGED_RANGES_MAX;
        (!is_too_much).then_some(self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn keys(keys: impl IntoIterator<Item = i64>) -> ChangedKeys {
        let mut found = ChangedKeys::default();
        for key in keys {
            found.add(key.to_string().as_bytes()).unwrap();
        }
        found
    }

    #[rstest]
    #[case::none(&[], &[], &[])]
    #[case::one(&[7], &[], &[(7, 7)])]
    #[case::neighbours(&[7, 8, 12, 17], &[], &[(7, 12), (17, 17)])]
    #[case::downwards(&[8, 7, 3], &[], &[(3, 8)])]
    #[case::in_any_order(&[1, 100, 3, 104], &[], &[(1, 3), (100, 104)])]
    #[case::on_both_sides(&[1, 100], &[103, 50], &[(1, 1), (50, 50), (100, 103)])]
    #[case::at_the_ends(&[i64::MAX, i64::MIN], &[i64::MAX - 1], &[(i64::MIN, i64::MIN), (i64::MAX - 1, i64::MAX)])]
    fn changed_rows_are_ranges(
        #[case] source: &[i64],
        #[case] target: &[i64],
        #[case] expected: &[LeadRange],
    ) {
        let found = keys(source.iter().copied()).joined(keys(target.iter().copied()));
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn too_many_ranges_are_not_kept() {
        let most = i64::try_from(CHANGED_RANGES_MAX).unwrap();
        let scattered = |count: i64| keys((0..count).map(|at| at * 10));
        assert_eq!(
            scattered(most).joined(keys([])).map(|found| found.len()),
            Some(CHANGED_RANGES_MAX)
        );
        assert_eq!(scattered(most + 1).joined(keys([])), None);
        assert_eq!(scattered(most).joined(keys([5])), None);
        // Every second key, then those between: they join.
        let twice = (0..most).chain(0..most).enumerate();
        let twice = twice.map(|(at, key)| key * 10 + if at >= CHANGED_RANGES_MAX { 4 } else { 0 });
        assert_eq!(keys(twice).joined(keys([])), None, "ten apart");
    }

    #[rstest]
    #[case::nothing(0, 0, 0, true)]
    #[case::one_percent(10_000, 10_000, 1_000_000, true)]
    #[case::ten_percent(100_000, 100_000, 1_000_000, false)]
    #[case::ten_percent_together(100_000, 1, 1_000_000, true)]
    #[case::most(600_000, 1, 1_000_000, false)]
    fn few_rows_in_few_ranges_are_looked_up(
        #[case] rows: u64,
        #[case] ranges: usize,
        #[case] of: u64,
        #[case] expected: bool,
    ) {
        assert_eq!(is_worthwhile(rows, ranges, of), expected);
    }

    #[rstest]
    #[case(&[], 0)]
    #[case(&[(1, 1), (5, 9)], 6)]
    #[case(&[(i64::MIN, i64::MAX)], u64::MAX)]
    fn values_of_ranges_are_counted(#[case] ranges: &[LeadRange], #[case] expected: u64) {
        assert_eq!(values(ranges), expected);
    }

    #[test]
    fn a_line_that_is_not_a_number_is_refused() {
        for line in ["", "\\N", "1\t2", "9223372036854775808"] {
            assert_eq!(
                ChangedKeys::default().add(line.as_bytes()),
                Err(Malformed),
                "{line}"
            );
        }
    }
}
