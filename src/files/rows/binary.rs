//! COPY's binary format: signature, flags, extension; rows of counted fields; a trailer.

use super::Fault;

/// The signature of binary COPY data.
pub const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Critical flags. Bit 16 meant that rows have OIDs, which no supported server writes.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// The field that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpectedField {
    Signature,
    Flags,
    ExtensionLength,
    /// A row's number of fields, or the trailer.
    Fields,
    FieldLength,
    Nothing,
}

/// The state of the finder.
#[derive(Clone, Debug)]
pub struct Binary {
    next: ExpectedField,
    /// The bytes of the signature or of a number that have been read.
    word: [u8; 11],
    read: usize,
    /// Bytes to skip before it.
    skip: u64,
    /// Fields of the row that follow.
    fields: u16,
    /// The bytes to skip are those of the row's last field.
    last_field: bool,
    pub(super) rows: u64,
}

impl Default for Binary {
    fn default() -> Self {
        Binary {
            next: ExpectedField::Signature,
            word: [0; 11],
            read: 0,
            skip: 0,
            fields: 0,
            last_field: false,
            rows: 0,
        }
    }
}

impl Binary {
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        loop {
            let passed = (bytes.len() - at).min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            at += passed;
            self.skip -= passed as u64;
            if self.skip > 0 {
                return Ok(None);
            }
            if std::mem::take(&mut self.last_field) {
                self.rows += 1;
                return Ok(Some(at));
            }
            if at == bytes.len() {
                return Ok(None);
            }
            let length = match self.next {
                ExpectedField::Signature => SIGNATURE.len(),
                ExpectedField::Flags
                | ExpectedField::ExtensionLength
                | ExpectedField::FieldLength => 4,
                ExpectedField::Fields => 2,
                ExpectedField::Nothing => {
                    return Err(Fault::Malformed(format!(
                        "data after the trailer, behind row {}",
                        self.rows
                    )));
                }
            };
            let taken = (length - self.read).min(bytes.len() - at);
            self.word[self.read..self.read + taken].copy_from_slice(&bytes[at..at + taken]);
            self.read += taken;
            at += taken;
            if self.read < length {
                return Ok(None);
            }
            self.read = 0;
            self.understand()?;
        }
    }

    fn understand(&mut self) -> Result<(), Fault> {
        let [a, b, c, d, ..] = self.word;
        let number = i32::from_be_bytes([a, b, c, d]);
        match self.next {
            ExpectedField::Signature if self.word == *SIGNATURE => self.next = ExpectedField::Flags,
            ExpectedField::Signature => {
                let message = "the data does not begin with the signature of binary COPY";
                return Err(Fault::Malformed(message.to_owned()));
            }
            ExpectedField::Flags if number.cast_unsigned() & CRITICAL_FLAGS == 0 => {
                self.next = ExpectedField::ExtensionLength;
            }
            ExpectedField::Flags => {
                let message = "the header has critical flags that are not known";
                return Err(Fault::Malformed(message.to_owned()));
            }
            ExpectedField::ExtensionLength => {
                let message = "the header's extension has a negative length";
                self.skip =
                    u64::try_from(number).map_err(|_| Fault::Malformed(message.to_owned()))?;
                self.next = ExpectedField::Fields;
            }
            ExpectedField::Fields => match i16::from_be_bytes([a, b]) {
                -1 => self.next = ExpectedField::Nothing,
                count => {
                    self.fields = u16::try_from(count)
                        .map_err(|_| self.malformed("a negative number of fields"))?;
                    self.go_on();
                }
            },
            ExpectedField::FieldLength => {
                self.skip = match number {
                    -1 => 0,
                    length => {
                        u64::try_from(length).map_err(|_| self.malformed("a negative length"))?
                    }
                };
                self.fields -= 1;
                self.go_on();
            }
            ExpectedField::Nothing => {}
        }
        Ok(())
    }

    fn go_on(&mut self) {
        self.last_field = self.fields == 0;
        self.next = match self.last_field {
            true => ExpectedField::Fields,
            false => ExpectedField::FieldLength,
        };
    }

    fn malformed(&self, what: &str) -> Fault {
        Fault::Malformed(format!("row {}: {what}", self.rows + 1))
    }

    pub fn finish(&mut self) -> Result<(), Fault> {
        match self.next {
            ExpectedField::Nothing => Ok(()),
            ExpectedField::Signature | ExpectedField::Flags | ExpectedField::ExtensionLength => {
                Err(Fault::Truncated(
                    "the data ends within the header of binary COPY".to_owned(),
                ))
            }
            ExpectedField::Fields | ExpectedField::FieldLength => Err(Fault::Truncated(format!(
                "the data ends behind row {}, without the trailer of binary COPY",
                self.rows
            ))),
        }
    }
}
