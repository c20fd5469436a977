//! COPY's text format: a backslash escapes the next byte, and `\.` is the end of the data.

use memchr::memchr3;

use super::Fault;
use super::lines::Lines;

const NOT_ALONE: &str = "the end marker \\. is not alone on its line";

/// The state of the finder.
#[derive(Clone, Debug)]
pub struct Text {
    after_backslash: bool,
    /// The bytes of the row so far, counted only up to a few.
    length: u64,
    /// The end marker has been read.
    ended: bool,
    pub(super) lines: Lines,
}

impl Default for Text {
    fn default() -> Self {
        Text {
            after_backslash: false,
            length: 0,
            ended: false,
            lines: Lines::new("a"),
        }
    }
}

impl Text {
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if let Some(half) = self.lines.after_cr(byte)? {
                return Ok(Some(self.end(at + half)));
            }
            if self.ended && self.length == 0 {
                return Err(self.malformed("data after the end marker \\."));
            }
            if self.after_backslash {
                self.after_backslash = false;
                at += 1;
                if byte == b'.' {
                    if self.length != 1 {
                        return Err(self.malformed(NOT_ALONE));
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
                return Err(self.malformed(NOT_ALONE));
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
                byte => {
                    if self.lines.ends_with(byte)? {
                        return Ok(Some(self.end(at)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn end(&mut self, at: usize) -> usize {
        self.lines.end(!self.ended);
        self.length = 0;
        at
    }

    pub fn finish(&mut self) -> Result<bool, Fault> {
        if self.after_backslash {
            return Err(self.lines.truncated("the data ends after a backslash"));
        }
        let open = self.lines.finish()? || self.length > 0;
        if open {
            self.end(0);
        }
        Ok(open && !self.ended)
    }

    fn malformed(&self, what: &str) -> Fault {
        Fault::Malformed(format!("line {}: {what}", self.lines.row_line))
    }
}
