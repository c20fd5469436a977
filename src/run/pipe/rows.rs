//! Rows with their origins: what is cut out of a stream of blocks, and tried again when it fails.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// One row, as COPY reads it, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedRow<'a> {
    /// Its number: of a server's rows the place in the order in which they came, of a file's the line in
    /// which it begins. Counted from 1.
    pub line: u64,
    /// Its bytes, with its end.
    pub text: &'a [u8],
}

/// Whole rows, one behind the other.
#[derive(Debug, Default)]
pub struct NumberedRows {
    bytes: Bytes,
    /// Where each row ends, and its line.
    ends: Vec<(usize, u64)>,
}

impl NumberedRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them.
    pub fn row(&self, at: usize) -> NumberedRow<'_> {
        let bytes = self.range(&(at..at + 1));
        NumberedRow {
            line: self.ends[at].1,
            text: &self.bytes[bytes],
        }
    }

    /// The bytes of some of them.
    pub fn part(&self, rows: &Range<usize>) -> Bytes {
        self.bytes.slice(self.range(rows))
    }

    fn range(&self, rows: &Range<usize>) -> Range<usize> {
        let end_of = |count: usize| match count {
            0 => 0,
            count => self.ends[count - 1].0,
        };
        end_of(rows.start)..end_of(rows.end)
    }
}

/// Cuts COPY's text format into rows: a line feed ends each, and stands nowhere else.
#[derive(Debug, Default)]
pub struct TextRows {
    bytes: BytesMut,
    ends: Vec<(usize, u64)>,
    lines: u64,
}

impl TextRows {
    /// Takes the next block, which may hold a piece of a row.
    pub fn push(&mut self, block: &[u8]) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(block);
        for (at, byte) in block.iter().enumerate() {
            if *byte == b'\n' {
                self.lines += 1;
                self.ends.push((before + at + 1, self.lines));
            }
        }
    }

    /// Whole rows so far, those that were taken included.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes of whole rows.
    pub fn whole_bytes(&self) -> usize {
        self.ends.last().map_or(0, |(end, _)| *end)
    }

    /// Begins a row that has not ended?
    pub fn is_torn(&self) -> bool {
        self.whole_bytes() < self.bytes.len()
    }

    /// Takes the whole rows.
    pub fn take(&mut self) -> NumberedRows {
        NumberedRows {
            bytes: self.bytes.split_to(self.whole_bytes()).freeze(),
            ends: std::mem::take(&mut self.ends),
        }
    }
}

/// The values of a row in COPY's text format; None is NULL.
pub fn values(row: &[u8]) -> Vec<Option<String>> {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.split(|byte| *byte == b'\t').map(value).collect()
}

fn value(field: &[u8]) -> Option<String> {
    if field == b"\\N" {
        return None;
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn rows_are_found_across_blocks() {
        let mut cut = TextRows::default();
        cut.push(b"1\ta\n2\t");
        assert_eq!(cut.whole_bytes(), 4);
        assert!(cut.is_torn());
        cut.push(b"b\n3\tc\n4");
        let rows = cut.take();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows.row(1),
            NumberedRow {
                line: 2,
                text: b"2\tb\n"
            }
        );
        assert_eq!(&rows.part(&(1..3))[..], b"2\tb\n3\tc\n");
        assert_eq!(&rows.part(&(0..0))[..], b"");
        cut.push(b"\td\n");
        assert!(!cut.is_torn());
        let rows = cut.take();
        assert_eq!(
            rows.row(0),
            NumberedRow {
                line: 4,
                text: b"4\td\n"
            }
        );
        assert_eq!(cut.take().len(), 0);
    }

    #[rstest]
    #[case(b"1\t\\N\t\n", &[Some("1"), None, Some("")])]
    #[case(b"a\\tb\\\\c\\nd\n", &[Some("a\tb\\c\nd")])]
    #[case(b"\\\\N\n", &[Some("\\N")])]
    #[case(b"\\b\\f\\r\\v\n", &[Some("\u{8}\u{c}\r\u{b}")])]
    #[case(b"\n", &[Some("")])]
    fn values_are_read_as_copy_writes_them(#[case] row: &[u8], #[case] expected: &[Option<&str>]) {
        let expected: Vec<Option<String>> = expected.iter().map(|v| v.map(str::to_owned)).collect();
        assert_eq!(values(row), expected);
    }

    proptest::proptest! {
        #[test]
        fn blocks_can_be_cut_anywhere(text: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..40)) {
            let mut cut = TextRows::default();
            let mut found: Vec<u8> = Vec::new();
            let mut rest = &text[..];
            for size in sizes {
                let (block, more) = rest.split_at(size.min(rest.len()));
                cut.push(block);
                rest = more;
                let rows = cut.take();
                for at in 0..rows.len() {
                    assert!(rows.row(at).text.ends_with(b"\n"));
                    found.extend_from_slice(rows.row(at).text);
                }
            }
            assert!(text.starts_with(&found));
        }
    }
}
