//! Finds row ends in COPY data of each format, in bounded memory, by the same rules as the server. The
//! server parses the values.

mod binary;
mod csv;
mod lines;
mod text;

use std::fmt;

use super::layout::{FileFormat, Layout};

pub use binary::SIGNATURE;

/// Finds row ends in bytes that come in pieces.
#[derive(Clone, Debug)]
pub enum RowFinder {
    /// `FORMAT csv`.
    Csv(csv::Csv),
    /// `FORMAT text`.
    Text(text::Text),
    /// `FORMAT binary`.
    Binary(binary::Binary),
}

/// Why the bytes are not rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end within a row, or before the end that the format requires.
    Truncated(String),
    /// They are not in the format.
    Malformed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Truncated(what) | Fault::Malformed(what) => f.write_str(what),
        }
    }
}

impl RowFinder {
    /// For data of this layout.
    pub fn new(layout: &Layout) -> Self {
        match layout.format {
            FileFormat::Csv => RowFinder::Csv(csv::Csv::new(layout.quote(), layout.escape())),
            FileFormat::Text => RowFinder::Text(text::Text::default()),
            FileFormat::Binary => RowFinder::Binary(binary::Binary::default()),
        }
    }

    /// Reads the bytes that follow the previous ones. `Some(n)`: a row ends before byte `n`; call again
    /// with the rest. `None`: all bytes were read, and no row ends in them. In binary format, the file's
    /// header belongs to the first row.
    ///
    /// *Errors:* the bytes are not in the format; the message has the line, or in binary format the row.
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self {
            RowFinder::Csv(csv) => csv.next_end(bytes),
            RowFinder::Text(text) => text.next_end(bytes),
            RowFinder::Binary(binary) => binary.next_end(bytes),
        }
    }

    /// Call this at the end of the data. Returns true if the last row has no newline, or perhaps half of one.
    ///
    /// *Errors:* `Truncated`.
    pub fn finish(&mut self) -> Result<bool, Fault> {
        match self {
            RowFinder::Csv(csv) => csv.finish(),
            RowFinder::Text(text) => text.finish(),
            RowFinder::Binary(binary) => binary.finish().map(|()| false),
        }
    }

    /// The number of rows so far, including the header.
    pub fn rows(&self) -> u64 {
        match self {
            RowFinder::Csv(csv) => csv.lines.rows,
            RowFinder::Text(text) => text.lines.rows,
            RowFinder::Binary(binary) => binary.rows,
        }
    }

    /// The line in which the next row begins, from 1; in binary format the number of the row.
    pub fn line(&self) -> u64 {
        match self {
            RowFinder::Csv(csv) => csv.lines.row_line,
            RowFinder::Text(text) => text.lines.row_line,
            RowFinder::Binary(binary) => binary.rows + 1,
        }
    }
}

/// A row without its newline.
pub fn without_newline(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

#[cfg(test)]
mod tests;
