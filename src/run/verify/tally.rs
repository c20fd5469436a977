//! Merges two ordered streams of rows and counts rows that are on one side only, and rows that differ.

use std::cmp::Ordering;

use crate::report::difference::{ROWS_LISTED_MAX, RowDifference, What};

/// One row of one side. Rows are ordered as both servers send them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HashedRow {
    /// The key's text, spelled as both servers do.
    pub key: String,
    pub hash: i64,
    /// The range that it is counted in: the same for equal keys.
    pub range: usize,
}

/// The counts of one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
}

/// Which of the two next rows comes first, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextRow {
    /// Both sides have the row.
    Both,
    /// Only the source has it.
    Source,
    /// Only the target has it.
    Target,
}

/// What to do with the next row of either side; None at the end of both.
pub(super) fn step(source: Option<&HashedRow>, target: Option<&HashedRow>) -> Option<NextRow> {
    match (source, target) {
        (None, None) => None,
        (Some(_), None) => Some(NextRow::Source),
        (None, Some(_)) => Some(NextRow::Target),
        (Some(source), Some(target)) => Some(
            match (&source.key, source.hash).cmp(&(&target.key, target.hash)) {
                Ordering::Equal => NextRow::Both,
                Ordering::Less => NextRow::Source,
                Ordering::Greater => NextRow::Target,
            },
        ),
    }
}

/// Counts in constant memory, however many rows differ.
#[derive(Debug)]
pub(super) struct Tally {
    /// If each side has a row of this key that the other lacks, they count as one different row, not as a
    /// missing and an extra one.
    keyed: bool,
    pub ranges: Vec<Counts>,
    /// The first differing rows.
    pub rows: Vec<RowDifference>,
    key: String,
    range: usize,
    only_source: u64,
    only_target: u64,
}

impl Tally {
    pub fn new(keyed: bool, ranges: usize) -> Self {
        Tally {
            keyed,
            ranges: vec![Counts::default(); ranges],
            rows: Vec::new(),
            key: String::new(),
            range: 0,
            only_source: 0,
            only_target: 0,
        }
    }

    /// A row that only one side has.
    pub fn only(&mut self, step: NextRow, line: &HashedRow) {
        if !self.keyed || line.key != self.key {
            self.count_key();
            self.key.clone_from(&line.key);
        }
        self.range = line.range;
        match step {
            NextRow::Source => self.only_source += 1,
            NextRow::Target => self.only_target += 1,
            NextRow::Both => {}
        }
    }

    /// Counts the rows of the current key.
    pub fn count_key(&mut self) {
        let different = self.only_source.min(self.only_target);
        let found = Counts {
            missing: self.only_source - different,
            extra: self.only_target - different,
            different,
        };
        (self.only_source, self.only_target) = (0, 0);
        if let Some(range) = self.ranges.get_mut(self.range) {
            range.missing += found.missing;
            range.extra += found.extra;
            range.different += found.different;
        }
        let kinds = [
            (found.missing, What::Missing),
            (found.extra, What::Extra),
            (found.different, What::Different),
        ];
        for (_, what) in kinds.into_iter().filter(|(count, _)| *count > 0) {
            if self.keyed && self.rows.len() < ROWS_LISTED_MAX {
                self.rows.push(RowDifference {
                    key: self.key.clone(),
                    what,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn lines(list: &[(&str, i64)]) -> Vec<HashedRow> {
        list.iter()
            .map(|(key, hash)| HashedRow {
                key: (*key).to_owned(),
                hash: *hash,
                range: 0,
            })
            .collect()
    }

    fn merged(keyed: bool, source: &[(&str, i64)], target: &[(&str, i64)]) -> Tally {
        let (source, target) = (lines(source), lines(target));
        let (mut source, mut target) = (source.iter(), target.iter());
        let mut tally = Tally::new(keyed, 1);
        let (mut a, mut b) = (source.next(), target.next());
        while let Some(step) = step(a, b) {
            let behind = if step == NextRow::Target { b } else { a };
            if step != NextRow::Both {
                tally.only(step, behind.unwrap());
            }
            if step != NextRow::Target {
                a = source.next();
            }
            if step != NextRow::Source {
                b = target.next();
            }
        }
        tally.count_key();
        tally
    }

    #[rstest]
    #[case(&[], &[], (0, 0, 0))]
    #[case(&[("a", 1)], &[("a", 1)], (0, 0, 0))]
    #[case(&[("a", 1)], &[("a", 2)], (0, 0, 1))]
    #[case(&[("a", 2)], &[("a", 1)], (0, 0, 1))]
    #[case(&[("a", 1), ("b", 1)], &[("b", 1)], (1, 0, 0))]
    #[case(&[("b", 1)], &[("a", 1), ("b", 1), ("c", 1)], (0, 2, 0))]
    #[case(&[("a", 1), ("a", 1)], &[("a", 1)], (1, 0, 0))]
    #[case(&[("a", 1), ("a", 2), ("a", 3)], &[("a", 2), ("a", 4)], (1, 0, 1))]
    #[case(&[("", 5), ("a", 1)], &[("a", 9), ("z", 0)], (1, 1, 1))]
    fn rows_of_one_key_are_matched(
        #[case] source: &[(&str, i64)],
        #[case] target: &[(&str, i64)],
        #[case] expected: (u64, u64, u64),
    ) {
        let tally = merged(true, source, target);
        let found = tally.ranges[0];
        assert_eq!((found.missing, found.extra, found.different), expected);
    }

    #[test]
    fn without_a_key_rows_are_missing_or_extra() {
        let tally = merged(false, &[("", 1), ("", 1), ("", 3)], &[("", 1), ("", 2)]);
        let expected = Counts {
            missing: 2,
            extra: 1,
            different: 0,
        };
        assert_eq!(tally.ranges[0], expected);
        assert_eq!(tally.rows, []);
    }

    #[test]
    fn rows_are_named_up_to_a_limit() {
        let keys: Vec<String> = (0..200).map(|i| format!("{i:04}")).collect();
        let many: Vec<(&str, i64)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        let tally = merged(true, &many, &[]);
        assert_eq!(tally.ranges[0].missing, 200);
        assert_eq!(tally.rows.len(), ROWS_LISTED_MAX);
        assert_eq!(tally.rows[0].key, "0000");
        assert_eq!(tally.rows[0].what, What::Missing);
    }
}
