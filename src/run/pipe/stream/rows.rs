//! Splits the blocks of a COPY into rows, in binary or text format.

use bytes::{Buf, Bytes, BytesMut};

use super::key::{Malformed, RowKey, number};
use crate::files::rows::SIGNATURE;
use crate::plan::column::CopyFormat;
use crate::plan::staged::types::KeyPart;

/// The header of binary COPY data: the signature, then flags and the length of an extension, four bytes
/// each.
const COPY_HEADER_BYTES: usize = SIGNATURE.len() + 8;

/// A row, and its key.
#[derive(Debug, Default)]
pub(super) struct KeyedRow {
    /// In binary from the number of fields on, in text without the newline.
    pub bytes: Bytes,
    /// The values of its key.
    pub key: RowKey,
}

/// Cuts rows out of blocks. Keeps the current row and the one before it.
pub(super) struct RowCutter<'a> {
    parts: &'a [KeyPart],
    is_binary: bool,
    /// The bytes that are not yet split.
    open: Bytes,
    /// How many of them have been searched for a newline.
    searched: usize,
    /// The header has been read.
    begun: bool,
    /// The trailer has been read: no row follows.
    ended: bool,
    pub current: KeyedRow,
    pub previous: KeyedRow,
    /// The number of rows so far.
    pub count: u64,
}

impl<'a> RowCutter<'a> {
    pub fn new(format: &CopyFormat, parts: &'a [KeyPart]) -> Self {
        let is_binary = *format == CopyFormat::Binary;
        RowCutter {
            parts,
            is_binary,
            open: Bytes::new(),
            searched: 0,
            begun: !is_binary,
            ended: false,
            current: KeyedRow::default(),
            previous: KeyedRow::default(),
            count: 0,
        }
    }

    /// Adds the next block. Only the bytes of an incomplete row are copied.
    pub fn add(&mut self, block: Bytes) {
        if self.open.is_empty() {
            self.open = block;
            return;
        }
        let open = std::mem::take(&mut self.open);
        let mut joined = open
            .try_into_mut()
            .unwrap_or_else(|open| BytesMut::from(&open[..]));
        joined.extend_from_slice(&block);
        self.open = joined.freeze();
    }

    /// Advances to the next row; false if a block must be added first.
    pub fn advance(&mut self) -> Result<bool, Malformed> {
        if !self.begun {
            let Some(header) = header(&self.open)? else {
                return Ok(false);
            };
            self.open.advance(header);
            self.begun = true;
        }
        let found = match self.is_binary {
            true => binary_row(&self.open)?,
            false => self.newline().map(Found::Row),
        };
        let length = match found {
            _ if self.ended => {
                return if self.open.is_empty() {
                    Ok(false)
                } else {
                    Err(Malformed)
                };
            }
            None => return Ok(false),
            Some(Found::Trailer) => {
                self.open.advance(2);
                self.ended = true;
                return if self.open.is_empty() {
                    Ok(false)
                } else {
                    Err(Malformed)
                };
            }
            Some(Found::Row(length)) => length,
        };
        std::mem::swap(&mut self.previous, &mut self.current);
        self.current.bytes = self.open.split_to(length);
        if !self.is_binary {
            self.open.advance(1);
        }
        let KeyedRow { bytes, key } = &mut self.current;
        key.read(bytes, self.parts, self.is_binary)?;
        self.count += 1;
        Ok(true)
    }

    fn newline(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.open[self.searched..]);
        let length = found.map(|at| self.searched + at);
        self.searched = if found.is_some() { 0 } else { self.open.len() };
        length
    }

    /// Checks that the data has ended properly.
    pub fn is_whole(&self) -> bool {
        self.open.is_empty() && self.begun && (self.ended || !self.is_binary)
    }
}

enum Found {
    /// A row of this length.
    Row(usize),
    Trailer,
}

/// The length of the header, once it is complete.
fn header(data: &[u8]) -> Result<Option<usize>, Malformed> {
    let seen = data.len().min(SIGNATURE.len());
    if data[..seen] != SIGNATURE[..seen] {
        return Err(Malformed);
    }
    let Some(extension) = data.get(SIGNATURE.len() + 4..COPY_HEADER_BYTES) else {
        return Ok(None);
    };
    let extension = number(extension).ok_or(Malformed)?;
    let whole = COPY_HEADER_BYTES + usize::try_from(extension).map_err(|_| Malformed)?;
    Ok((data.len() >= whole).then_some(whole))
}

fn binary_row(data: &[u8]) -> Result<Option<Found>, Malformed> {
    let Some(count) = data.get(..2) else {
        return Ok(None);
    };
    let count = i16::from_be_bytes([count[0], count[1]]);
    if count == -1 {
        return Ok(Some(Found::Trailer));
    }
    let mut at = 2;
    for _ in 0..u16::try_from(count).map_err(|_| Malformed)? {
        let Some(length) = data.get(at..at + 4).and_then(number) else {
            return Ok(None);
        };
        at += 4 + usize::try_from(length.max(0)).map_err(|_| Malformed)?;
        if length < -1 {
            return Err(Malformed);
        }
    }
    Ok((data.len() >= at).then_some(Found::Row(at)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::column::FormatReason;
    use crate::plan::staged::types::KeyOrder;
    use proptest::prelude::*;

    pub const FIRST_NUMBER: [KeyPart; 1] = [KeyPart {
        place: 0,
        order: KeyOrder::Number,
    }];
    pub const TEXT: CopyFormat = CopyFormat::Text(FormatReason::Configured);

    /// COPY data as PostgreSQL's documentation describes it.
    pub fn binary(rows: &[(i32, Option<&[u8]>)]) -> Vec<u8> {
        let mut data = [&SIGNATURE[..], &[0; 8]].concat();
        for (key, value) in rows {
            data.extend(2_i16.to_be_bytes());
            data.extend(4_i32.to_be_bytes());
            data.extend(key.to_be_bytes());
            match value {
                None => data.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    data.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    data.extend(*value);
                }
            }
        }
        data.extend((-1_i16).to_be_bytes());
        data
    }

    fn cut(data: &[u8], at: &[usize], format: &CopyFormat) -> Result<Vec<Bytes>, Malformed> {
        let mut rows = RowCutter::new(format, &FIRST_NUMBER);
        let mut found = Vec::new();
        let mut from = 0;
        for to in at
            .iter()
            .map(|at| at % (data.len() + 1))
            .chain([data.len()])
        {
            if to > from {
                rows.add(Bytes::copy_from_slice(&data[from..to]));
                from = to;
            }
            while rows.advance()? {
                found.push(rows.current.bytes.clone());
            }
        }
        if rows.is_whole() {
            Ok(found)
        } else {
            Err(Malformed)
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_same_wherever_blocks_are_cut(
            values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            mut at in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let list: Vec<(i32, Option<&[u8]>)> =
                (0..).zip(values.iter().map(Option::as_deref)).collect();
            let data = binary(&list);
            at.iter_mut().for_each(|at| *at %= data.len() + 1);
            at.sort_unstable();
            let whole = cut(&data, &[], &CopyFormat::Binary).unwrap();
            prop_assert_eq!(whole.len(), values.len());
            prop_assert_eq!(cut(&data, &at, &CopyFormat::Binary).unwrap(), whole);
            let short = at.first().copied().unwrap_or(0);
            if short < data.len() {
                prop_assert_eq!(cut(&data[..short], &[], &CopyFormat::Binary), Err(Malformed));
            }
        }
    }

    #[test]
    fn text_rows_end_with_a_newline() {
        let rows = cut(b"1\ta\n2\tb\\n\n", &[3], &TEXT).unwrap();
        assert_eq!(rows, [&b"1\ta"[..], b"2\tb\\n"]);
        assert_eq!(cut(b"1\ta\n2", &[], &TEXT), Err(Malformed));
    }

    #[test]
    fn nothing_may_follow_the_trailer_or_stand_before_the_signature() {
        let mut data = binary(&[(1, None)]);
        data.push(0);
        assert_eq!(cut(&data, &[], &CopyFormat::Binary), Err(Malformed));
        assert_eq!(cut(b"PGCOPX", &[], &CopyFormat::Binary), Err(Malformed));
        assert_eq!(cut(b"", &[], &CopyFormat::Binary), Err(Malformed));
    }
}
