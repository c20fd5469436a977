//! Makes text from servers, files and users harmless for a terminal and a log: characters that move the cursor,
//! hide text or forge a line become visible.
//!
//! `cli::out` uses it for all that commands print, `cli::logging` for the log, `report::progress` for progress
//! bars. Errors and reports themselves keep the exact text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands before the lines of a text after its first.
const CONTINUATION: &str = "\n    ";

/// One message: lines after the first are indented, so that none looks like a message of its own.
pub fn message(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| is_harmful(c) && c != '\t',
        |out, c| match c {
            '\n' => out.push_str(CONTINUATION),
            c => escape(out, c),
        },
    )
}

/// One line, such as a name or a cell of a table.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_harmful, escape)
}

/// Lines that were laid out here, of parts that are harmless themselves.
pub fn layout(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'), escape)
}

/// JSON that says the same: it escapes only what ASCII calls a control character by itself.
pub fn json(text: &str) -> Cow<'_, str> {
    // Outside of strings there are no others than these.
    let keeps = |c| matches!(c, '\n' | '\t' | '\r' | ' ');
    replaced(
        text,
        |c| is_harmful(c) && !keeps(c),
        |out, c| {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        },
    )
}

/// A value as one line of such JSON: what commands print with `--json`, and what is served over HTTP.
pub fn json_line(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(json(&text).into_owned())
}

/// Control characters (C0, DEL, C1), Unicode's line ends, and what changes the direction of writing.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(out: &mut String, c: char) {
    let _ = match (c, u32::from(c)) {
        ('\n', _) => out.write_str("\\n"),
        ('\r', _) => out.write_str("\\r"),
        ('\t', _) => out.write_str("\\t"),
        (_, code @ 0..=0xff) => write!(out, "\\x{code:02x}"),
        (_, code) => write!(out, "\\u{code:04x}"),
    };
}

fn replaced(
    text: &str,
    which: impl Fn(char) -> bool,
    replace: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&which) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if which(c) {
            replace(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("größe → 1 µs", "größe → 1 µs", "größe → 1 µs")]
    #[case("\x1b[31mred\x07", r"\x1b[31mred\x07", r"\x1b[31mred\x07")]
    #[case("a\r\nb\tc", "a\\r\n    b\tc", r"a\r\nb\tc")]
    #[case("\u{9b}2J\u{7f}", r"\x9b2J\x7f", r"\x9b2J\x7f")]
    #[case("a\u{202e}b\u{2028}", r"a\u202eb\u2028", r"a\u202eb\u2028")]
    fn what_a_terminal_would_obey_is_shown(
        #[case] text: &str,
        #[case] as_message: &str,
        #[case] as_line: &str,
    ) {
        assert_eq!(message(text), as_message);
        assert_eq!(line(text), as_line);
    }

    proptest::proptest! {
        #[test]
        fn nothing_harmful_is_left(text in "(?s)(.|[\u{0}-\u{a0}]|[\u{2020}-\u{2070}]){0,40}") {
            proptest::prop_assert!(!line(&text).contains(is_harmful));
            let message = message(&text);
            proptest::prop_assert!(!message.contains(|c| is_harmful(c) && c != '\n' && c != '\t'));
            proptest::prop_assert!(message.split('\n').skip(1).all(|line| line.starts_with("    ")));
            let written = serde_json::to_string(&text).unwrap();
            let safe = json(&written);
            proptest::prop_assert!(!safe.contains(is_harmful));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
