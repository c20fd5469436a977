//! COPY's text format: a backslash escapes the next byte, and `\.` is the end of the data.

use memchr::memchr3;

use super::{Eol, Fault};

/// The state of the finder.
#[derive(Clone, Debug)]
pub struct Text {
    eol: Eol,
    after_backslash: bool,
    after_cr: bool,
    /// The bytes of the row so far, counted only up to a few.
    length: u64,
    /// The end marker has been read.
    ended: bool,
    line: u64,
    pub(super) row_line: u64,
    pub(super) rows: u64,
}

impl Default for Text {
    fn default() -> Self {
        Text {
            eol: Eol::Unknown,
            after_backslash: false,
            after_cr: false,
            length: 0,
            ended: false,
            line: 1,
            row_line: 1,
            rows: 0,
        }
    }
}

impl Text {
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            if self.ended && !self.after_cr && self.length == 0 {
                return Err(Fault::Malformed(format!(
                    "line {}: data after the end marker \\.",
                    self.row_line
                )));
            }
            let byte = bytes[at];
            if self.after_cr {
                self.after_cr = false;
                if byte == b'\n' {
                    self.eol = Eol::CrLf;
                    return Ok(Some(self.end(at + 1)));
                }
                if self.eol == Eol::CrLf {
                    return Err(self.mixed("carriage return"));
                }
                self.eol = Eol::Cr;
                return Ok(Some(self.end(at)));
            }
            if self.after_backslash {
                self.after_backslash = false;
                at += 1;
                if byte == b'.' {
                    if self.length != 1 {
                        return Err(Fault::Malformed(format!(
                            "line {}: the end marker \\. is not alone on its line",
                            self.row_line
                        )));
                    }
                    self.ended = true;
                }
                self.length += 1;
                continue;
            }
            let rest = &bytes[at..];
            let found = memchr3(b'\\', b'\n', b'\r', rest);
            let passed = found.unwrap_or(rest.len());
            self.length += passed as u64;
            if self.ended && passed > 0 {
                return Err(Fault::Malformed(format!(
                    "line {}: the end marker \\. is not alone on its line",
                    self.row_line
                )));
            }
            let Some(found) = found else {
                return Ok(None);
            };
            at += found + 1;
            match rest[found] {
                b'\\' => {
                    self.after_backslash = true;
                    self.length += 1;
                }
                b'\n' => match self.eol {
                    Eol::Unknown | Eol::Lf => {
                        self.eol = Eol::Lf;
                        return Ok(Some(self.end(at)));
                    }
                    Eol::Cr | Eol::CrLf => return Err(self.mixed("newline")),
                },
                _ => match self.eol {
                    Eol::Unknown | Eol::CrLf => self.after_cr = true,
                    Eol::Cr => return Ok(Some(self.end(at))),
                    Eol::Lf => return Err(self.mixed("carriage return")),
                },
            }
        }
        Ok(None)
    }

    fn end(&mut self, at: usize) -> usize {
        // The end marker is not a row.
        self.rows += u64::from(!self.ended);
        self.line += 1;
        self.row_line = self.line;
        self.length = 0;
        at
    }

    pub fn finish(&mut self) -> Result<bool, Fault> {
        if self.after_backslash {
            return Err(Fault::Truncated(format!(
                "line {}: the data ends after a backslash",
                self.row_line
            )));
        }
        if self.after_cr {
            if self.eol == Eol::CrLf {
                return Err(Fault::Truncated(format!(
                    "line {}: the last newline is incomplete",
                    self.row_line
                )));
            }
            // The data's only line: nothing says whether its newline is whole.
            self.after_cr = false;
            self.end(0);
            return Ok(!self.ended);
        }
        if self.length > 0 {
            self.end(0);
            return Ok(!self.ended);
        }
        Ok(false)
    }

    fn mixed(&self, what: &str) -> Fault {
        Fault::Malformed(format!(
            "line {}: a {what} where lines end otherwise",
            self.line
        ))
    }
}
