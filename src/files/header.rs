//! The names in a file's first line.

use super::layout::{FileFormat, Layout};
use super::rows::{Fault, without_newline};

/// The columns that the first line names, in its order. *Errors:* it is not UTF-8.
pub fn names(layout: &Layout, line: &[u8]) -> Result<Vec<String>, Fault> {
    let line = std::str::from_utf8(without_newline(line)).map_err(|_| {
        Fault::Malformed(
            "line 1: the header is not valid UTF-8; with `header = false` columns are paired by position"
                .to_owned(),
        )
    })?;
    let delimiter = char::from(layout.delimiter());
    Ok(match layout.format {
        FileFormat::Csv => csv_fields(
            line,
            delimiter,
            char::from(layout.quote()),
            char::from(layout.escape()),
        ),
        FileFormat::Text | FileFormat::Binary => text_fields(line, delimiter),
    })
}

fn csv_fields(line: &str, delimiter: char, quote: char, escape: char) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut in_quote = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let next_is = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            chars.next_if(|next| *next == quote || *next == escape)
        };
        match (in_quote, c) {
            (false, c) if c == delimiter => fields.push(String::new()),
            (false, c) if c == quote => in_quote = true,
            (true, c) if c == escape => match next_is(&mut chars) {
                Some(escaped) => push(&mut fields, escaped),
                None if c == quote => in_quote = false,
                None => push(&mut fields, c),
            },
            (true, c) if c == quote => in_quote = false,
            (_, c) => push(&mut fields, c),
        }
    }
    fields
}

fn text_fields(line: &str, delimiter: char) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == delimiter => fields.push(String::new()),
            '\\' => push(&mut fields, chars.next().unwrap_or('\\')),
            c => push(&mut fields, c),
        }
    }
    fields
}

fn push(fields: &mut [String], c: char) {
    if let Some(field) = fields.last_mut() {
        field.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("id,name\n", &["id", "name"])]
    #[case::one("id", &["id"])]
    #[case::quoted("\"a,b\",\"c\"\"d\"\r\n", &["a,b", "c\"d"])]
    #[case::newline_within("\"a\nb\",c\n", &["a\nb", "c"])]
    #[case::empty_name("a,,b\n", &["a", "", "b"])]
    #[case::blanks_count("a, b \n", &["a", " b "])]
    fn csv_names(#[case] line: &str, #[case] expected: &[&str]) {
        let layout = Layout::new(FileFormat::Csv);
        assert_eq!(names(&layout, line.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn other_quotes_and_escapes() {
        let layout = Layout {
            delimiter: Some(b';'),
            quote: Some(b'\''),
            escape: Some(b'\\'),
            ..Layout::new(FileFormat::Csv)
        };
        assert_eq!(names(&layout, br"'a\'b;';c").unwrap(), ["a'b;", "c"]);
        let text = Layout::new(FileFormat::Text);
        assert_eq!(names(&text, b"a\\\tb\tc\n").unwrap(), ["a\tb", "c"]);
        assert!(names(&layout, b"\xff").is_err());
    }
}
