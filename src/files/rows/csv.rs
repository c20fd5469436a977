//! CSV, split into lines as PostgreSQL's `CopyReadLineText` does: with the same states, so that malformed
//! input gives the same rows.

use memchr::{memchr, memchr2, memchr3};

use super::Fault;
use super::lines::Lines;

/// The state of the finder.
#[derive(Clone, Debug)]
pub struct Csv {
    quote: u8,
    /// None if the escape is the quote: two quotes in a row then need no special case.
    escape: Option<u8>,
    in_quote: bool,
    last_was_escape: bool,
    /// The row has at least one byte.
    begun: bool,
    pub(super) lines: Lines,
}

impl Csv {
    pub fn new(quote: u8, escape: u8) -> Self {
        Csv {
            quote,
            escape: (escape != quote).then_some(escape),
            in_quote: false,
            last_was_escape: false,
            begun: false,
            lines: Lines::new("an unquoted"),
        }
    }

    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            if let Some(half) = self.lines.after_cr(bytes[at])? {
                return Ok(Some(self.end(at + half)));
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
                byte @ (b'\n' | b'\r') => {
                    if self.lines.ends_with(byte)? {
                        return Ok(Some(self.end(at)));
                    }
                }
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
            self.lines.pass_quoted(&rest[..passed]);
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
            self.lines.pass_quoted(&rest[found..=found]);
            if !is_escape {
                self.last_was_escape = false;
            }
        }
        at
    }

    fn end(&mut self, at: usize) -> usize {
        self.lines.end(true);
        self.begun = false;
        at
    }

    pub fn finish(&mut self) -> Result<bool, Fault> {
        if self.in_quote {
            return Err(self.lines.truncated("the last value has no closing quote"));
        }
        // A carriage return is a byte of the row, too.
        self.lines.finish()?;
        let open = self.begun;
        if open {
            self.end(0);
        }
        Ok(open)
    }
}
