//! Line ends, which CSV and text have in common: the first one decides how all lines end, as on the server.

use super::Fault;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Eol {
    #[default]
    Unknown,
    Lf,
    CrLf,
    Cr,
}

/// Finds line ends, and counts lines and rows.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    eol: Eol,
    /// The last byte was a carriage return; the next byte decides its meaning.
    after_cr: bool,
    /// What precedes the name of a line end in messages.
    article: &'static str,
    /// The number of the current line.
    line: u64,
    /// The line in which the next row begins.
    pub row_line: u64,
    pub rows: u64,
}

impl Lines {
    pub fn new(article: &'static str) -> Self {
        Lines {
            eol: Eol::Unknown,
            after_cr: false,
            article,
            line: 1,
            row_line: 1,
            rows: 0,
        }
    }

    /// Call this with each byte before anything else reads it. `Some(n)`: a row ended with the carriage
    /// return before it, and this byte is (1) or is not (0) the second half of the newline.
    pub fn after_cr(&mut self, byte: u8) -> Result<Option<usize>, Fault> {
        if !std::mem::take(&mut self.after_cr) {
            return Ok(None);
        }
        if byte == b'\n' {
            self.eol = Eol::CrLf;
            return Ok(Some(1));
        }
        if self.eol == Eol::CrLf {
            return Err(self.mixed("carriage return"));
        }
        self.eol = Eol::Cr;
        Ok(Some(0))
    }

    /// Reads a newline or a carriage return that no quote or escape protects. True if a row ends with it;
    /// otherwise the next byte decides.
    pub fn ends_with(&mut self, byte: u8) -> Result<bool, Fault> {
        match (byte, self.eol) {
            (b'\n', Eol::Unknown | Eol::Lf) => {
                self.eol = Eol::Lf;
                Ok(true)
            }
            (b'\n', Eol::Cr | Eol::CrLf) => Err(self.mixed("newline")),
            (_, Eol::Unknown | Eol::CrLf) => {
                self.after_cr = true;
                Ok(false)
            }
            (_, Eol::Cr) => Ok(true),
            (_, Eol::Lf) => Err(self.mixed("carriage return")),
        }
    }

    /// Counts the lines within quotes.
    pub fn pass_quoted(&mut self, quoted: &[u8]) {
        let ends = match self.eol {
            Eol::Lf => b'\n',
            // As the server does: before the first line end, it looks for carriage returns, too.
            Eol::Unknown | Eol::Cr | Eol::CrLf => b'\r',
        };
        self.line += memchr::memchr_iter(ends, quoted).count() as u64;
    }

    /// A line ends. The end marker is not a row.
    pub fn end(&mut self, is_row: bool) {
        self.rows += u64::from(is_row);
        self.line += 1;
        self.row_line = self.line;
    }

    /// At the end of the data: true if its last byte is a carriage return. It is the data's only line then,
    /// and nothing says whether its newline is whole.
    pub fn finish(&mut self) -> Result<bool, Fault> {
        let open = std::mem::take(&mut self.after_cr);
        if open && self.eol == Eol::CrLf {
            return Err(self.truncated("the last newline is incomplete"));
        }
        Ok(open)
    }

    /// The data ends within the row.
    pub fn truncated(&self, what: &str) -> Fault {
        Fault::Truncated(format!("line {}: {what}", self.row_line))
    }

    fn mixed(&self, what: &str) -> Fault {
        Fault::Malformed(format!(
            "line {}: {} {what} where lines end otherwise",
            self.line, self.article
        ))
    }
}
