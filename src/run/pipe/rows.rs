//! Rows with their lines, taken from a stream of blocks. `quarantine` copies them again in parts after an error.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::files::layout::Layout;
use crate::files::rows::{Fault, RowFinder};

/// One row as COPY reads it, with its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedRow<'a> {
    /// The line in which it begins, counted from 1, a file's header included; a server's text has one row in
    /// each line.
    pub line: u64,
    /// Its bytes, with the newline.
    pub text: &'a [u8],
}

/// A sequence of whole rows.
#[derive(Debug, Default)]
pub struct NumberedRows {
    bytes: Bytes,
    /// The end of each row, and its line.
    ends: Vec<(usize, u64)>,
}

impl NumberedRows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One row.
    pub fn row(&self, at: usize) -> NumberedRow<'_> {
        let bytes = self.range(&(at..at + 1));
        NumberedRow {
            line: self.ends[at].1,
            text: &self.bytes[bytes],
        }
    }

    /// The bytes of a range of rows.
    pub fn part(&self, rows: &Range<usize>) -> Bytes {
        self.bytes.slice(self.range(rows))
    }

    /// The same, each row with its line as its first value.
    pub fn numbered(&self, rows: &Range<usize>, delimiter: u8) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.range(rows).len() + rows.len() * 12);
        for row in rows.clone().map(|at| self.row(at)) {
            // Begins with a blank, so that it never equals the NULL text.
            bytes.put_slice(format!(" {}", row.line).as_bytes());
            bytes.put_u8(delimiter);
            bytes.put_slice(row.text);
        }
        bytes.freeze()
    }

    /// The row, counted from 1, to which line `line` of some of them belongs.
    pub fn at_line(&self, rows: &Range<usize>, line: usize) -> Option<usize> {
        let rows = self.ends.get(rows.clone())?;
        let first = rows.first()?.1;
        let line = first.saturating_add(line as u64).checked_sub(1)?;
        Some(rows.partition_point(|(_, begins)| *begins <= line))
    }

    fn range(&self, rows: &Range<usize>) -> Range<usize> {
        let end_of = |count: usize| match count {
            0 => 0,
            count => self.ends[count - 1].0,
        };
        end_of(rows.start)..end_of(rows.end)
    }
}

/// Cuts COPY data into rows.
#[derive(Debug)]
pub struct NumberedRowCutter {
    finder: RowFinder,
    bytes: BytesMut,
    ends: Vec<(usize, u64)>,
    /// The line of the row that comes next.
    line: u64,
    /// Lines of the first row that the finder does not count: it did not know yet how they end.
    uncounted: Option<u64>,
    /// The first row names the columns.
    skips_header: bool,
    rows: u64,
}

impl NumberedRowCutter {
    /// For data of this layout.
    pub fn new(layout: &Layout) -> Self {
        let finder = RowFinder::new(layout);
        NumberedRowCutter {
            line: finder.line(),
            uncounted: None,
            finder,
            bytes: BytesMut::new(),
            ends: Vec::new(),
            skips_header: layout.header,
            rows: 0,
        }
    }

    /// Adds the next block, which may end within a row.
    pub fn push(&mut self, block: &[u8]) -> Result<(), Fault> {
        let mut at = self.bytes.len();
        self.bytes.extend_from_slice(block);
        while let Some(passed) = self.finder.next_end(&self.bytes[at..])? {
            at = self.end(at + passed);
        }
        Ok(())
    }

    /// The data is over. Gives true if the last row lacks its newline.
    pub fn finish(&mut self) -> Result<bool, Fault> {
        let open = self.finder.finish()?;
        if self.open_bytes() > 0 {
            self.end(self.bytes.len());
        }
        Ok(open)
    }

    /// A row ends before this byte. Gives its place, which is another one if the row is left out.
    fn end(&mut self, at: usize) -> usize {
        let uncounted = *self.uncounted.get_or_insert_with(|| {
            let row = &self.bytes[..at];
            let ends_in_lf = row.ends_with(b"\n") && !row.ends_with(b"\r\n");
            let lines = memchr::memchr_iter(b'\n', row).count() as u64;
            match ends_in_lf {
                true => lines.saturating_sub(self.finder.line() - 1),
                false => 0,
            }
        });
        let line = std::mem::replace(&mut self.line, self.finder.line() + uncounted);
        if std::mem::take(&mut self.skips_header) {
            self.bytes.advance(at);
            return 0;
        }
        self.rows += 1;
        self.ends.push((at, line));
        at
    }

    /// The number of whole rows so far, including those that were taken.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes of the whole rows.
    pub fn whole_bytes(&self) -> usize {
        self.ends.last().map_or(0, |(end, _)| *end)
    }

    /// Bytes of the row that has not ended.
    pub fn open_bytes(&self) -> usize {
        self.bytes.len() - self.whole_bytes()
    }

    /// The line in which that row begins.
    pub fn open_line(&self) -> u64 {
        self.line
    }

    /// Takes the whole rows.
    pub fn take(&mut self) -> NumberedRows {
        NumberedRows {
            bytes: self.bytes.split_to(self.whole_bytes()).freeze(),
            ends: std::mem::take(&mut self.ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::layout::FileFormat;

    fn text() -> NumberedRowCutter {
        NumberedRowCutter::new(&Layout::new(FileFormat::Text))
    }

    #[test]
    fn rows_are_found_across_blocks() {
        let mut cut = text();
        cut.push(b"1\ta\n2\t").unwrap();
        assert_eq!(cut.whole_bytes(), 4);
        assert_eq!((cut.open_bytes(), cut.open_line()), (2, 2));
        cut.push(b"b\n3\tc\n4").unwrap();
        let rows = cut.take();
        assert_eq!(rows.len(), 3);
        let second = NumberedRow {
            line: 2,
            text: b"2\tb\n",
        };
        assert_eq!(rows.row(1), second);
        assert_eq!(&rows.part(&(1..3))[..], b"2\tb\n3\tc\n");
        assert_eq!(&rows.part(&(0..0))[..], b"");
        assert_eq!(&rows.numbered(&(1..3), b'\t')[..], b" 2\t2\tb\n 3\t3\tc\n");
        cut.push(b"\td\n").unwrap();
        assert!(!cut.finish().unwrap());
        let rows = cut.take();
        let fourth = NumberedRow {
            line: 4,
            text: b"4\td\n",
        };
        assert_eq!(rows.row(0), fourth);
        assert_eq!(cut.take().len(), 0);
    }

    #[test]
    fn rows_of_csv_know_the_line_in_which_they_begin() {
        for step in [1, 2, 3, 100] {
            let mut cut = NumberedRowCutter::new(&Layout::new(FileFormat::Csv));
            let csv = b"id,name\r\n1,\"a\r\nb\r\n\"\r\n2,c\r\n3,\"d\r\n\"\r\n4,e";
            csv.chunks(step).for_each(|block| cut.push(block).unwrap());
            assert!(cut.finish().unwrap());
            let rows = cut.take();
            let lines: Vec<u64> = (0..rows.len()).map(|at| rows.row(at).line).collect();
            assert_eq!(lines, [2, 5, 6, 8]);
            assert_eq!(rows.row(3).text, b"4,e");
            assert_eq!(cut.rows(), 4);
            // The server counts lines from the first row that it gets.
            let found: Vec<_> = (1..=8).map(|line| rows.at_line(&(0..4), line)).collect();
            assert_eq!(found, [1, 1, 1, 2, 3, 3, 4, 4].map(Some));
            assert_eq!(rows.at_line(&(1..3), 2), Some(2));
        }
    }

    #[test]
    fn a_header_of_several_lines_counts() {
        for step in [1, 2, 100] {
            let mut cut = NumberedRowCutter::new(&Layout::new(FileFormat::Csv));
            let csv = b"id,\"a\nb\"\n1,\"c\nd\"\n2,e\n";
            csv.chunks(step).for_each(|block| cut.push(block).unwrap());
            let rows = cut.take();
            assert_eq!((rows.row(0).line, rows.row(1).line), (3, 5));
        }
    }

    proptest::proptest! {
        #[test]
        fn blocks_can_be_cut_anywhere(text: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..40)) {
            let mut cut = self::text();
            let mut found: Vec<u8> = Vec::new();
            let mut rest = &text[..];
            for size in sizes {
                let (block, more) = rest.split_at(size.min(rest.len()));
                if cut.push(block).is_err() {
                    break;
                }
                rest = more;
                let rows = cut.take();
                for at in 0..rows.len() {
                    found.extend_from_slice(rows.row(at).text);
                }
            }
            assert!(text.starts_with(&found));
        }
    }
}
