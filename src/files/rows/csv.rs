//! CSV, split into lines as PostgreSQL's `CopyReadLineText` does: with the same states, so that malformed
//! input gives the same rows.

use memchr::{memchr, memchr2, memchr3};

use super::{Eol, Fault};

/// The state of the finder.
#[derive(Clone, Debug)]
pub struct Csv {
    quote: u8,
    /// None if the escape is the quote: two quotes in a row then need no special case.
    escape: Option<u8>,
    eol: Eol,
    in_quote: bool,
    last_was_escape: bool,
    /// The last byte was a carriage return; the next byte decides its meaning.
    after_cr: bool,
    /// The row has at least one byte.
    begun: bool,
    /// The number of the current line.
    line: u64,
    pub(super) row_line: u64,
    pub(super) rows: u64,
}

impl Csv {
    pub fn new(quote: u8, escape: u8) -> Self {
        Csv {
            quote,
            escape: (escape != quote).then_some(escape),
            eol: Eol::Unknown,
            in_quote: false,
            last_was_escape: false,
            after_cr: false,
            begun: false,
            line: 1,
            row_line: 1,
            rows: 0,
        }
    }

    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[at] == b'\n' {
                    self.eol = Eol::CrLf;
                    return Ok(Some(self.end(at + 1)));
                }
                if self.eol == Eol::CrLf {
                    return Err(self.mixed("carriage return"));
                }
                self.eol = Eol::Cr;
                return Ok(Some(self.end(at)));
            }
            let rest = &bytes[at..];
            self.begun = true;
            if self.in_quote {
                at += self.pass_quoted(rest);
                continue;
            }
            // Outside of quotes, an escape that is not the quote has no special meaning.
            let Some(found) = memchr3(self.quote, b'\n', b'\r', rest) else {
                self.last_was_escape = false;
                return Ok(None);
            };
            at += found + 1;
            match rest[found] {
                b'\n' => match self.eol {
                    Eol::Unknown | Eol::Lf => {
                        self.eol = Eol::Lf;
                        return Ok(Some(self.end(at)));
                    }
                    Eol::Cr | Eol::CrLf => return Err(self.mixed("newline")),
                },
                b'\r' => match self.eol {
                    Eol::Unknown | Eol::CrLf => self.after_cr = true,
                    Eol::Cr => return Ok(Some(self.end(at))),
                    Eol::Lf => return Err(self.mixed("carriage return")),
                },
                _ => {
                    self.in_quote = true;
                    self.last_was_escape = false;
                }
            }
        }
        Ok(None)
    }

    /// Skips bytes within quotes, up to the closing quote if it is there. Returns their number.
    fn pass_quoted(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let found = match self.escape {
                None => memchr(self.quote, rest),
                Some(_) if self.last_was_escape => Some(0),
                Some(escape) => memchr2(self.quote, escape, rest),
            };
            let passed = found.unwrap_or(rest.len());
            self.count_lines(&rest[..passed]);
            let Some(found) = found else {
                return bytes.len();
            };
            at += found + 1;
            let byte = rest[found];
            let is_escape = self.escape == Some(byte);
            if is_escape {
                self.last_was_escape = !self.last_was_escape;
            }
            if byte == self.quote && !self.last_was_escape {
                self.in_quote = false;
                return at;
            }
            self.count_lines(&rest[found..=found]);
            if !is_escape {
                self.last_was_escape = false;
            }
        }
        at
    }

    fn count_lines(&mut self, quoted: &[u8]) {
        let ends = match self.eol {
            Eol::Lf => b'\n',
            // As the server does: before the first line end, it looks for carriage returns, too.
            Eol::Unknown | Eol::Cr | Eol::CrLf => b'\r',
        };
        self.line += memchr::memchr_iter(ends, quoted).count() as u64;
    }

    fn end(&mut self, at: usize) -> usize {
        self.rows += 1;
        self.line += 1;
        self.row_line = self.line;
        self.begun = false;
        at
    }

    pub fn finish(&mut self) -> Result<bool, Fault> {
        if self.in_quote {
            return Err(Fault::Truncated(format!(
                "line {}: the last value has no closing quote",
                self.row_line
            )));
        }
        if self.after_cr {
            // A carriage return at the end of the data is a line end, or the first half of one.
            if self.eol == Eol::CrLf {
                return Err(Fault::Truncated(format!(
                    "line {}: the last newline is incomplete",
                    self.row_line
                )));
            }
            // The data's only line: nothing says whether its newline is whole.
            self.eol = Eol::Cr;
            self.after_cr = false;
            self.end(0);
            return Ok(true);
        }
        if self.begun {
            self.end(0);
            return Ok(true);
        }
        Ok(false)
    }

    fn mixed(&self, what: &str) -> Fault {
        Fault::Malformed(format!(
            "line {}: an unquoted {what} where lines end otherwise",
            self.line
        ))
    }
}
