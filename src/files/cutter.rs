//! Cuts blocks where rows end, and mends rows that servers take for the end of the data.

use super::layout::{FileFormat, Layout};
use super::rows::{Fault, RowFinder, without_newline};

/// Bytes of one block, and of the longest header. A block ends where a row ends, unless the row is longer.
pub(super) const FILE_BLOCK_BYTES_MAX: usize = 64 << 10;

/// The rows of a block that may be sent, and the begin of a row that may not yet.
pub(super) struct Cutter {
    quote: Option<u8>,
    is_text: bool,
    /// The header has not been found yet.
    pub wants_header: bool,
    /// The header, once it is found.
    pub header: Option<Vec<u8>>,
    /// The begin of a row whose end is yet to come; the finder has passed it.
    tail: Vec<u8>,
    /// The row that is being read began in a block that is gone.
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

    /// Passes over what was not passed yet, from `at` on. Gives what may be sent.
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
            // A row that is longer than a block goes in pieces.
            self.begun_before = true;
            return Ok(buffer);
        }
        self.tail = buffer.split_off(start);
        Ok(buffer)
    }

    /// The data is over: what is left is the last row, or nothing.
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

    /// A row `\.` of CSV is data, which servers before 18 take for the end and leave out what follows:
    /// quotes do not change its value. In text it is the end, which needs no saying. Gives the row's end.
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
