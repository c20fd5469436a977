//! Splits the data into blocks of whole rows, and quotes rows that servers would read as the end of the
//! data.

use super::layout::{FileFormat, Layout};
use super::rows::{Fault, RowFinder, without_newline};

/// Bytes of one block, and of the longest header. A block ends where a row ends, unless the row is longer.
pub(super) const FILE_BLOCK_BYTES_MAX: usize = 64 << 10;

/// The rows of a block that can be sent, and the beginning of a row that is not complete.
pub(super) struct Cutter {
    quote: Option<u8>,
    is_text: bool,
    /// The header has not been found yet.
    pub wants_header: bool,
    /// The header, once it is found.
    pub header: Option<Vec<u8>>,
    /// The beginning of an incomplete row; the finder has read it.
    tail: Vec<u8>,
    /// The current row began in a block that has been sent.
    begun_before: bool,
}

impl Cutter {
    pub fn new(layout: &Layout) -> Self {
        Cutter {
            quote: (layout.format == FileFormat::Csv).then(|| layout.quote()),
            is_text: layout.format == FileFormat::Text,
            wants_header: layout.header,
            header: None,
            tail: Vec::new(),
            begun_before: false,
        }
    }

    pub fn take_tail(&mut self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(FILE_BLOCK_BYTES_MAX);
        buffer.append(&mut self.tail);
        buffer
    }

    /// Reads new bytes from `at` on. Returns the bytes that can be sent.
    pub fn pass(
        &mut self,
        finder: &mut RowFinder,
        mut buffer: Vec<u8>,
        mut at: usize,
    ) -> Result<Vec<u8>, Fault> {
        let mut start = 0;
        while let Some(end) = finder.next_end(&buffer[at..])? {
            at += end;
            if std::mem::take(&mut self.wants_header) {
                self.header = Some(buffer[start..at].to_vec());
            }
            if !std::mem::take(&mut self.begun_before) {
                at = self.mend(&mut buffer, start, at);
            }
            start = at;
        }
        if start == 0 && buffer.len() >= FILE_BLOCK_BYTES_MAX {
            // A row that is longer than a block is sent in pieces.
            self.begun_before = true;
            return Ok(buffer);
        }
        self.tail = buffer.split_off(start);
        Ok(buffer)
    }

    /// At the end of the data: returns the last row, if any.
    pub fn last(&mut self, mut ready: Vec<u8>) -> Vec<u8> {
        let mut tail = std::mem::take(&mut self.tail);
        let length = tail.len();
        if length > 0 {
            if std::mem::take(&mut self.wants_header) {
                self.header = Some(tail.clone());
            }
            if !self.begun_before {
                self.mend(&mut tail, 0, length);
            }
        }
        ready.append(&mut tail);
        ready
    }

    /// A row `\.` of CSV is data, but servers before 18 read it as the end and ignore the rest. So it is
    /// quoted, which does not change its value. In text format it is the end marker and is left out.
    /// Returns the row's end.
    fn mend(&self, buffer: &mut Vec<u8>, start: usize, end: usize) -> usize {
        if end - start > 4 || without_newline(&buffer[start..end]) != b"\\." {
            return end;
        }
        match self.quote {
            Some(quote) => {
                buffer.splice(start..start + 2, [quote, b'\\', b'.', quote]);
                end + 2
            }
            None if self.is_text => {
                buffer.drain(start..end);
                start
            }
            None => end,
        }
    }
}
