//! Merges two ordered streams of rows, and finds rows that differ or that only one side has.

use std::cmp::Ordering;

use bytes::{BufMut, Bytes, BytesMut};

use super::rows::RowCutter;
use crate::plan::column::CopyFormat;

/// Rows are passed on in blocks of about this size.
const MERGED_BLOCK_BYTES: usize = 64 << 10;

/// A violation of the order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disorder {
    /// A row is ordered before the previous row of its side.
    Source,
    Target,
    /// The target has a key twice.
    Repeated,
}

/// Which rows the merge needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeededRow {
    /// The source's next row is needed.
    Source,
    Target,
    Both,
    /// Both sides have ended.
    Done,
}

/// Which sides have a current row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heads {
    pub source: bool,
    pub target: bool,
}

/// Which side has a staged row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Only the source.
    New,
    /// Both, with other values.
    Changed,
    /// Only the target.
    Gone,
}

/// Merges, and collects the rows to stage.
pub(super) struct Merger {
    out: Out,
    marks_gone: bool,
    /// The source's previous row has been written.
    was_staged: bool,
}

impl Merger {
    pub fn new(format: &CopyFormat, marks_gone: bool) -> Self {
        Merger {
            out: Out::new(*format == CopyFormat::Binary, marks_gone),
            marks_gone,
            was_staged: false,
        }
    }

    /// Compares the current rows, stages differences, and returns which side must advance.
    pub fn step(
        &mut self,
        source: &RowCutter<'_>,
        target: &RowCutter<'_>,
        heads: Heads,
    ) -> NeededRow {
        let order = match (heads.source, heads.target) {
            (false, false) => return NeededRow::Done,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => source.current.key.order(&target.current.key),
        };
        match order {
            Ordering::Equal => {
                // A NULL is equal to no other. Staged, the row is found when keys are checked.
                self.was_staged =
                    source.current.key.has_null() || source.current.bytes != target.current.bytes;
                if self.was_staged {
                    self.out.put(&source.current.bytes, Mark::Changed);
                }
                NeededRow::Both
            }
            Ordering::Less => {
                self.was_staged = true;
                self.out.put(&source.current.bytes, Mark::New);
                NeededRow::Source
            }
            Ordering::Greater => {
                // A key with NULL matches no row: such rows are deleted by a separate statement.
                if self.marks_gone && !target.current.key.has_null() {
                    self.out.put(&target.current.bytes, Mark::Gone);
                }
                NeededRow::Target
            }
        }
    }

    /// The source has advanced. If a key is repeated, all of its rows are staged, so that the check for
    /// repeated keys finds them before anything is written.
    pub fn source_advanced(&mut self, source: &RowCutter<'_>) -> Result<(), Disorder> {
        if source.count < 2 {
            return Ok(());
        }
        match source.previous.key.order(&source.current.key) {
            Ordering::Less => Ok(()),
            Ordering::Greater => Err(Disorder::Source),
            Ordering::Equal => {
                if !self.was_staged {
                    self.out.put(&source.previous.bytes, Mark::Changed);
                }
                Ok(())
            }
        }
    }

    /// The target has advanced.
    pub fn target_advanced(&self, target: &RowCutter<'_>) -> Result<(), Disorder> {
        if target.count < 2 {
            return Ok(());
        }
        match target.previous.key.order(&target.current.key) {
            Ordering::Less => Ok(()),
            Ordering::Equal if target.current.key.has_null() => Ok(()),
            Ordering::Equal => Err(Disorder::Repeated),
            Ordering::Greater => Err(Disorder::Target),
        }
    }

    /// Returns a block if there are enough rows for one.
    pub fn block(&mut self) -> Option<Bytes> {
        (self.out.buffer.len() >= MERGED_BLOCK_BYTES).then(|| self.out.take())
    }

    /// Returns the last block and the number of staged rows.
    pub fn end(mut self) -> (Bytes, u64) {
        if self.out.is_binary {
            self.out.buffer.put_i16(-1);
        }
        (self.out.take(), self.out.rows)
    }
}

/// COPY data for the staging table.
struct Out {
    buffer: BytesMut,
    is_binary: bool,
    /// Each row gets one more column, its mark: does only the target have it? NULL if the target lacks it.
    is_marked: bool,
    rows: u64,
}

impl Out {
    fn new(is_binary: bool, is_marked: bool) -> Self {
        let mut buffer = BytesMut::with_capacity(MERGED_BLOCK_BYTES);
        if is_binary {
            buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
            buffer.put_slice(&[0; 8]);
        }
        Out {
            buffer,
            is_binary,
            is_marked,
            rows: 0,
        }
    }

    fn put(&mut self, row: &[u8], mark: Mark) {
        self.rows += 1;
        match (self.is_binary, self.is_marked) {
            (true, false) => self.buffer.put_slice(row),
            (false, false) => {
                self.buffer.put_slice(row);
                self.buffer.put_u8(b'\n');
            }
            (true, true) => {
                let (count, fields) = row.split_at(row.len().min(2));
                let count = count.try_into().map_or(0, i16::from_be_bytes);
                self.buffer.put_i16(count + 1);
                self.buffer.put_slice(fields);
                match mark {
                    Mark::New => self.buffer.put_i32(-1),
                    Mark::Changed => self.buffer.put_slice(&[0, 0, 0, 1, 0]),
                    Mark::Gone => self.buffer.put_slice(&[0, 0, 0, 1, 1]),
                }
            }
            (false, true) => {
                self.buffer.put_slice(row);
                self.buffer.put_slice(match mark {
                    Mark::New => b"\t\\N\n",
                    Mark::Changed => b"\tf\n",
                    Mark::Gone => b"\tt\n",
                });
            }
        }
    }

    fn take(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{FIRST_NUMBER, TEXT, binary};
    use super::*;
    use rstest::rstest;

    fn merged(
        source: &[u8],
        target: &[u8],
        format: &CopyFormat,
        marks_gone: bool,
    ) -> Result<Vec<u8>, Disorder> {
        let mut merger = Merger::new(format, marks_gone);
        let (mut from, mut to) = (
            RowCutter::new(format, &FIRST_NUMBER),
            RowCutter::new(format, &FIRST_NUMBER),
        );
        from.add(Bytes::copy_from_slice(source));
        to.add(Bytes::copy_from_slice(target));
        let mut heads = Heads::default();
        let mut next = NeededRow::Both;
        while next != NeededRow::Done {
            if matches!(next, NeededRow::Source | NeededRow::Both) {
                heads.source = from.advance().unwrap();
                if heads.source {
                    merger.source_advanced(&from)?;
                }
            }
            if matches!(next, NeededRow::Target | NeededRow::Both) {
                heads.target = to.advance().unwrap();
                if heads.target {
                    merger.target_advanced(&to)?;
                }
            }
            next = merger.step(&from, &to, heads);
        }
        assert!(from.is_whole() && to.is_whole());
        Ok(merger.end().0.to_vec())
    }

    #[rstest]
    #[case::equal("1\ta\n2\tb\n", "1\ta\n2\tb\n", "")]
    #[case::new("1\ta\n2\tb\n", "1\ta\n", "2\tb\t\\N\n")]
    #[case::gone("1\ta\n", "0\tz\n1\ta\n2\tb\n", "0\tz\tt\n2\tb\tt\n")]
    #[case::changed("1\ta\n2\tb\n", "1\ta\n2\tc\n", "2\tb\tf\n")]
    #[case::all_new("1\ta\n", "", "1\ta\t\\N\n")]
    #[case::all_gone("", "1\ta\n", "1\ta\tt\n")]
    #[case::nothing("", "", "")]
    #[case::mixed(
        "1\ta\n3\tb\n10\tc\n",
        "2\tx\n3\tb\n10\ty\n11\tz\n",
        "1\ta\t\\N\n2\tx\tt\n10\tc\tf\n11\tz\tt\n"
    )]
    #[case::repeated_and_equal("1\ta\n1\tb\n2\tc\n", "1\ta\n2\tc\n", "1\ta\tf\n1\tb\t\\N\n")]
    #[case::repeated_and_new("1\ta\n1\tb\n", "", "1\ta\t\\N\n1\tb\t\\N\n")]
    #[case::a_null_key("1\ta\n\\N\tb\n", "1\ta\n", "\\N\tb\t\\N\n")]
    #[case::null_keys_of_both("\\N\tb\n", "\\N\tb\n", "\\N\tb\tf\n")]
    #[case::null_keys_of_the_target("1\ta\n", "1\ta\n\\N\tb\n\\N\tc\n", "")]
    fn what_differs_is_staged(#[case] source: &str, #[case] target: &str, #[case] staged: &str) {
        let found = merged(source.as_bytes(), target.as_bytes(), &TEXT, true).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), staged);
    }

    #[test]
    fn without_marks_rows_of_the_target_are_left_alone() {
        let found = merged(b"1\ta\n2\tb\n", b"0\tz\n1\tx\n2\tb\n", &TEXT, false).unwrap();
        assert_eq!(found, b"1\ta\n");
    }

    #[test]
    fn binary_rows_get_one_field_more() {
        let source = binary(&[(1, Some(b"a")), (2, None), (4, Some(b"new"))]);
        let target = binary(&[(1, Some(b"a")), (2, Some(b"old")), (3, None)]);
        let found = merged(&source, &target, &CopyFormat::Binary, true).unwrap();
        let field = |bytes: &[u8]| {
            let length = i32::try_from(bytes.len()).unwrap();
            [&length.to_be_bytes()[..], bytes].concat()
        };
        let row = |key: i32, value: Vec<u8>, mark: Vec<u8>| {
            [vec![0, 3], field(&key.to_be_bytes()), value, mark].concat()
        };
        let null = vec![0xff; 4];
        let expected = [
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec(),
            row(2, null.clone(), field(&[0])),
            row(3, null.clone(), field(&[1])),
            row(4, field(b"new"), null),
            vec![0xff, 0xff],
        ];
        assert_eq!(found, expected.concat());
    }

    #[rstest]
    #[case("2\ta\n1\tb\n", "", Disorder::Source)]
    #[case("", "2\ta\n1\tb\n", Disorder::Target)]
    #[case("", "2\ta\n2\tb\n", Disorder::Repeated)]
    fn rows_out_of_order_are_noticed(
        #[case] source: &str,
        #[case] target: &str,
        #[case] expected: Disorder,
    ) {
        let found = merged(source.as_bytes(), target.as_bytes(), &TEXT, true);
        assert_eq!(found, Err(expected));
    }
}
