//! The key of a row, and the order of keys: the same as the ORDER BY of both servers' statements.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::plan::staged::types::{KeyOrder, KeyPart};

/// COPY data that is not in the documented format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A big-endian number of four bytes.
pub(super) fn number(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// The values of a key, in the order of its columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RowKey(Vec<Value>);

/// PostgreSQL puts NULL after every value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Bytes(Bytes),
    Null,
}

impl RowKey {
    /// Reads the key's values from a row.
    pub fn read(
        &mut self,
        row: &Bytes,
        parts: &[KeyPart],
        is_binary: bool,
    ) -> Result<(), Malformed> {
        self.0.clear();
        for part in parts {
            let field = match is_binary {
                true => binary_field(row, part.place)?,
                false => text_field(row, part.place)?,
            };
            self.0.push(match (field, part.order) {
                (None, _) => Value::Null,
                (Some(field), KeyOrder::Number) => Value::Number(match is_binary {
                    true => signed(&field)?,
                    false => decimal(&field)?,
                }),
                (Some(field), KeyOrder::Bytes) => Value::Bytes(field),
            });
        }
        Ok(())
    }

    /// Does the key contain NULL? Then no other row has an equal key.
    pub fn has_null(&self) -> bool {
        self.0.contains(&Value::Null)
    }

    /// The order in which the servers send rows.
    pub fn order(&self, other: &RowKey) -> Ordering {
        self.0.cmp(&other.0)
    }
}

fn binary_field(row: &Bytes, place: usize) -> Result<Option<Bytes>, Malformed> {
    let mut at = 2;
    for column in 0.. {
        let length = row.get(at..at + 4).and_then(number).ok_or(Malformed)?;
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            if column == place {
                return Ok(None);
            }
            continue;
        };
        if column == place {
            let whole = at + length <= row.len();
            return whole
                .then(|| Some(row.slice(at..at + length)))
                .ok_or(Malformed);
        }
        at += length;
    }
    Err(Malformed)
}

fn text_field(row: &Bytes, place: usize) -> Result<Option<Bytes>, Malformed> {
    let mut fields = row.split(|byte| *byte == b'\t');
    let field = fields.nth(place).ok_or(Malformed)?;
    if field == b"\\N" {
        return Ok(None);
    }
    match field.contains(&b'\\') {
        false => Ok(Some(row.slice_ref(field))),
        true => unescaped(field).map(Some),
    }
}

/// Removes the escapes of COPY's text format, which writes a backslash before special characters and no
/// other escapes.
fn unescaped(field: &[u8]) -> Result<Bytes, Malformed> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().ok_or(Malformed)? {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                other => *other,
            },
            other => *other,
        });
    }
    Ok(bytes.into())
}

fn signed(field: &[u8]) -> Result<i64, Malformed> {
    match field.len() {
        2 => field
            .try_into()
            .map(|bytes| i64::from(i16::from_be_bytes(bytes))),
        4 => field
            .try_into()
            .map(|bytes| i64::from(i32::from_be_bytes(bytes))),
        _ => field.try_into().map(i64::from_be_bytes),
    }
    .map_err(|_| Malformed)
}

fn decimal(field: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(field).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn key(row: &'static [u8], orders: &[KeyOrder]) -> RowKey {
        let parts: Vec<KeyPart> = orders
            .iter()
            .enumerate()
            .map(|(place, order)| KeyPart {
                place,
                order: *order,
            })
            .collect();
        let mut key = RowKey::default();
        key.read(&Bytes::from_static(row), &parts, false).unwrap();
        key
    }

    #[rstest]
    #[case(b"9\tx", b"10\ta", Ordering::Less)]
    #[case(b"-9\tx", b"-10\ta", Ordering::Greater)]
    #[case(b"9\tx", b"9\ta", Ordering::Greater)]
    #[case(b"9\ta", b"9\ta", Ordering::Equal)]
    #[case(b"9\ta\\tb", b"9\tab", Ordering::Less)]
    #[case(b"9\t\\\\N", b"9\tZ", Ordering::Greater)]
    #[case(b"9\t\\N", b"9\t\xff", Ordering::Greater)]
    #[case(b"\\N\ta", b"9\ta", Ordering::Greater)]
    fn keys_are_ordered_as_postgresql_does(
        #[case] left: &'static [u8],
        #[case] right: &'static [u8],
        #[case] expected: Ordering,
    ) {
        let orders = [KeyOrder::Number, KeyOrder::Bytes];
        let (left, right) = (key(left, &orders), key(right, &orders));
        assert_eq!(left.order(&right), expected);
        assert_eq!(right.order(&left), expected.reverse());
    }

    #[test]
    fn binary_numbers_have_a_sign_whatever_their_width() {
        assert_eq!(signed(&(-3_i16).to_be_bytes()), Ok(-3));
        assert_eq!(signed(&(-3_i32).to_be_bytes()), Ok(-3));
        assert_eq!(signed(&i64::MIN.to_be_bytes()), Ok(i64::MIN));
        assert_eq!(signed(&[1]), Err(Malformed));
    }
}
