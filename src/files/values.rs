//! The values of one row, as COPY reads them.

use super::layout::{FileFormat, Layout};
use super::rows::without_newline;
use crate::pg::ident::Ident;

/// The values of a row in CSV or text, in the order of `columns`; None is NULL. A row with too many or too
/// few values has as many as it has. Bytes that are not UTF-8, and NUL, are replaced by U+FFFD.
pub fn values(layout: &Layout, columns: &[&Ident], row: &[u8]) -> Vec<Option<String>> {
    let row = without_newline(row);
    let fields = match layout.format {
        FileFormat::Csv => csv(layout, row),
        FileFormat::Text | FileFormat::Binary => text(layout, row),
    };
    let null = match (&layout.null, layout.format) {
        (Some(null), _) => null.as_bytes(),
        (None, FileFormat::Csv) => b"",
        (None, FileFormat::Text | FileFormat::Binary) => b"\\N",
    };
    let is_forced = |at: usize| {
        let column = columns.get(at);
        column.is_some_and(|column| layout.force_null.contains(column))
    };
    let value = |(at, field): (usize, FieldBytes)| {
        let is_null = field.raw == null && (!field.quoted || is_forced(at));
        let text = || String::from_utf8_lossy(&field.value).replace('\0', "\u{fffd}");
        (!is_null).then(text)
    };
    fields.into_iter().enumerate().map(value).collect()
}

#[derive(Default)]
struct FieldBytes {
    /// What is compared with NULL.
    raw: Vec<u8>,
    value: Vec<u8>,
    quoted: bool,
}

fn csv(layout: &Layout, row: &[u8]) -> Vec<FieldBytes> {
    let (delimiter, quote, escape) = (layout.delimiter(), layout.quote(), layout.escape());
    let mut fields = Vec::new();
    let mut field = FieldBytes::default();
    let mut in_quote = false;
    let mut bytes = row.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match in_quote {
            false if byte == delimiter => fields.push(std::mem::take(&mut field)),
            false if byte == quote => (in_quote, field.quoted) = (true, true),
            false => field.value.push(byte),
            true if byte == escape => {
                match bytes.next_if(|next| *next == quote || *next == escape) {
                    Some(escaped) => field.value.push(escaped),
                    None if byte == quote => in_quote = false,
                    None => field.value.push(byte),
                }
            }
            true if byte == quote => in_quote = false,
            true => field.value.push(byte),
        }
    }
    fields.push(field);
    for field in &mut fields {
        field.raw.clone_from(&field.value);
    }
    fields
}

fn text(layout: &Layout, row: &[u8]) -> Vec<FieldBytes> {
    let delimiter = layout.delimiter();
    let mut fields = Vec::new();
    let mut field = FieldBytes::default();
    let mut at = 0;
    while let Some(byte) = row.get(at).copied() {
        if byte == delimiter {
            fields.push(std::mem::take(&mut field));
            at += 1;
            continue;
        }
        let (value, length) = match byte {
            b'\\' => escaped(&row[at + 1..]),
            byte => (byte, 0),
        };
        field.raw.extend_from_slice(&row[at..=at + length]);
        field.value.push(value);
        at += length + 1;
    }
    fields.push(field);
    fields
}

/// What a backslash and the bytes behind it stand for, and how many bytes these are.
fn escaped(behind: &[u8]) -> (u8, usize) {
    let digits = |radix: u32, from: usize, most: usize| {
        let digits = behind.iter().skip(from).take(most);
        let digits = digits.map_while(|byte| char::from(*byte).to_digit(radix));
        digits.fold((0_u32, 0), |(value, count), digit| {
            (value * radix + digit, count + 1)
        })
    };
    // COPY keeps the lowest eight bits.
    let low = |value: u32| value.to_le_bytes()[0];
    match behind.first() {
        None => (b'\\', 0),
        Some(b'b') => (8, 1),
        Some(b'f') => (12, 1),
        Some(b'n') => (b'\n', 1),
        Some(b'r') => (b'\r', 1),
        Some(b't') => (b'\t', 1),
        Some(b'v') => (11, 1),
        Some(b'0'..=b'7') => {
            let (value, count) = digits(8, 0, 3);
            (low(value), count)
        }
        Some(b'x') => match digits(16, 1, 2) {
            (_, 0) => (b'x', 1),
            (value, count) => (low(value), count + 1),
        },
        Some(other) => (*other, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn shown(layout: &Layout, row: &[u8]) -> Vec<Option<String>> {
        let (a, b) = (Ident::new("a"), Ident::new("b"));
        values(layout, &[&a, &b], row)
    }

    fn owned(values: &[Option<&str>]) -> Vec<Option<String>> {
        values
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect()
    }

    #[rstest]
    #[case(b"1\t\\N\t\n", &[Some("1"), None, Some("")])]
    #[case(b"a\\tb\\\\c\\nd\n", &[Some("a\tb\\c\nd")])]
    #[case(b"\\\\N\n", &[Some("\\N")])]
    #[case(b"\\b\\f\\r\\v\n", &[Some("\u{8}\u{c}\r\u{b}")])]
    #[case(b"\\101\\x42\\x4g\\xg\\8\n", &[Some("AB\u{4}gxg8")])]
    #[case(b"a\\\tb\n", &[Some("a\tb")])]
    #[case(b"\n", &[Some("")])]
    #[case(b"\xff\0\n", &[Some("\u{fffd}\u{fffd}")])]
    fn text_as_copy_writes_it(#[case] row: &[u8], #[case] expected: &[Option<&str>]) {
        assert_eq!(shown(&Layout::new(FileFormat::Text), row), owned(expected));
    }

    #[rstest]
    #[case(b"1,,\"\"\r\n", &[Some("1"), None, Some("")])]
    #[case(b"\"a,\"\"b\nc\",x\"y\"z\n", &[Some("a,\"b\nc"), Some("xyz")])]
    #[case(b"1", &[Some("1")])]
    #[case(b"\n", &[None])]
    #[case(b"\xff,2,3,4\n", &[Some("\u{fffd}"), Some("2"), Some("3"), Some("4")])]
    fn csv_as_others_write_it(#[case] row: &[u8], #[case] expected: &[Option<&str>]) {
        assert_eq!(shown(&Layout::new(FileFormat::Csv), row), owned(expected));
    }

    #[test]
    fn other_options_of_csv() {
        let layout = Layout {
            delimiter: Some(b';'),
            quote: Some(b'\''),
            escape: Some(b'\\'),
            null: Some("NA".to_owned()),
            force_null: vec![Ident::new("b")],
            ..Layout::new(FileFormat::Csv)
        };
        let found = shown(&layout, b"'NA';'NA';NA;'it\\'s;';\n");
        let expected = [Some("NA"), None, None, Some("it's;"), Some("")];
        assert_eq!(found, owned(&expected));
    }
}
