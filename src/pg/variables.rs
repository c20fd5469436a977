//! `:'name'` in SQL, as psql has it: a variable as a quoted literal. In strings, quoted identifiers, dollar quotes
//! and comments it is no variable. (pure)

use super::ident::quote_literal;

/// What a statement may begin with that begins or ends a transaction.
const CONTROLS: [&str; 8] = [
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
];

/// A part of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'s> {
    /// Code, as it is.
    Code(&'s str),
    /// A string, a quoted identifier, a dollar quote or a comment.
    Quoted(&'s str),
    /// `:'name'`.
    Variable(&'s str),
}

/// The variables of a statement, in order.
pub(crate) fn variables(sql: &str) -> impl Iterator<Item = &str> {
    parts(sql).into_iter().filter_map(|part| match part {
        Part::Variable(name) => Some(name),
        Part::Code(_) | Part::Quoted(_) => None,
    })
}

/// The statement with literals in place of its variables. One without a value is NULL.
pub(crate) fn replaced<'v>(sql: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut made = String::with_capacity(sql.len());
    let mut after_literal = false;
    for part in parts(sql) {
        match part {
            Part::Variable(name) => {
                // Next to a word or another literal it would be read as a part of that.
                if made.ends_with(|c: char| is_word(c) || c == '\'') {
                    made.push(' ');
                }
                match value(name) {
                    Some(value) => made.push_str(&quote_literal(value)),
                    None => made.push_str("NULL"),
                }
                after_literal = true;
            }
            Part::Code(text) | Part::Quoted(text) => {
                if after_literal && text.starts_with(|c: char| is_word(c) || c == '\'') {
                    made.push(' ');
                }
                made.push_str(text);
                after_literal = false;
            }
        }
    }
    made
}

/// What keeps a text from being a statement within a transaction; None for any other text.
pub(crate) fn wrong_in_transaction(sql: &str) -> Option<&'static str> {
    let code: String = parts(sql)
        .into_iter()
        .map(|part| match part {
            Part::Code(code) => code,
            Part::Quoted(quoted) if quoted.starts_with(['-', '/']) => " ",
            Part::Quoted(_) | Part::Variable(_) => " ' ",
        })
        .collect();
    let code = code.to_ascii_uppercase();
    let mut words = code
        .split(|c: char| c == ';' || !(is_word(c) || c == '\''))
        .filter(|word| !word.is_empty());
    match words.next() {
        None => Some("it is empty"),
        Some(first) if CONTROLS.contains(&first) => Some("it begins or ends a transaction"),
        Some("PREPARE") if words.next() == Some("TRANSACTION") => Some("it ends a transaction"),
        Some("COPY") if words.any(|word| matches!(word, "STDIN" | "STDOUT")) => {
            Some("it copies from or to the client")
        }
        Some(_) => None,
    }
}

/// The statement's parts: together they are all of it.
fn parts(sql: &str) -> Vec<Part<'_>> {
    let bytes = sql.as_bytes();
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let before = bytes[..at].last().copied();
        let quoted = match rest {
            [b'\'', ..] if is_escaped(&bytes[..at]) => Some(escaped_end(bytes, at)),
            [quote @ (b'\'' | b'"'), ..] => Some(quote_end(bytes, at, *quote)),
            [b'-', b'-', ..] => Some(line_end(bytes, at)),
            [b'/', b'*', ..] => Some(comment_end(bytes, at)),
            [b'$', ..] if !before.is_some_and(is_word_byte) => {
                tag(rest).map(|tag| end_of(bytes, at + tag.len(), tag))
            }
            [b':', b':', ..] => {
                at += 2;
                continue;
            }
            [b':', b'\'', ..] => {
                let name = &rest[2..];
                let length = name.iter().take_while(|b| is_name_byte(**b)).count();
                if length > 0 && name.get(length) == Some(&b'\'') {
                    parts.push(Part::Code(&sql[from..at]));
                    parts.push(Part::Variable(&sql[at + 2..at + 2 + length]));
                    at += length + 3;
                    from = at;
                    continue;
                }
                None
            }
            _ => None,
        };
        match quoted {
            Some(end) => {
                parts.push(Part::Code(&sql[from..at]));
                parts.push(Part::Quoted(&sql[at..end]));
                (from, at) = (end, end);
            }
            None => at += 1,
        }
    }
    parts.push(Part::Code(&sql[from..]));
    parts.retain(|part| !matches!(part, Part::Code("")));
    parts
}

/// Is the quote that follows that of an escape string, `E'…'`?
fn is_escaped(before: &[u8]) -> bool {
    match before {
        [.., before, b'e' | b'E'] => !is_word_byte(*before),
        [b'e' | b'E'] => true,
        _ => false,
    }
}

/// The end of an escape string that begins here. A string on a line after it continues it.
fn escaped_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\'' => match continued(bytes, at + 1) {
                Some(next) => at = next,
                None => return at + 1,
            },
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where a string goes on after its closing quote: after another quote, maybe on a later line.
fn continued(bytes: &[u8], end: usize) -> Option<usize> {
    if bytes.get(end) == Some(&b'\'') {
        return Some(end + 1);
    }
    let (mut at, mut new_line) = (end, false);
    loop {
        match bytes.get(at..)? {
            [b'\n' | b'\r', ..] => {
                new_line = true;
                at += 1;
            }
            [b' ' | b'\t' | b'\x0b' | b'\x0c', ..] => at += 1,
            [b'-', b'-', ..] => at = line_end(bytes, at),
            [b'\'', ..] if new_line => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The end of what begins here with a quote: two quotes stand for one.
fn quote_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut end = end_of(bytes, start + 1, &[quote]);
    while bytes.get(end) == Some(&quote) {
        end = end_of(bytes, end + 1, &[quote]);
    }
    end
}

/// After the next `close`, or the end of all.
fn end_of(bytes: &[u8], from: usize, close: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let found = rest.windows(close.len()).position(|part| part == close);
    found.map_or(bytes.len(), |at| from + at + close.len())
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let line = bytes[from..]
        .iter()
        .take_while(|b| !matches!(b, b'\n' | b'\r'));
    from + line.count()
}

/// Comments may be nested.
fn comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => {
                (at, depth) = (at + 2, depth - 1);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `$$` or `$tag$` at the beginning.
fn tag(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes[1..].iter().take_while(|b| is_name_byte(**b)).count();
    let starts_well = bytes.get(1).is_some_and(|b| !b.is_ascii_digit());
    (starts_well && bytes.get(length + 1) == Some(&b'$')).then(|| &bytes[..length + 2])
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_word_byte(byte: u8) -> bool {
    is_name_byte(byte) || byte == b'$'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn shown(sql: &str) -> String {
        replaced(sql, |name| (name != "nothing").then_some("V"))
    }

    #[rstest]
    #[case("at >= :'since'", "at >= 'V'")]
    #[case(":'a'::date", "'V'::date")]
    #[case("DATE:'a'", "DATE 'V'")]
    #[case("x = :'nothing'OR y", "x = NULL OR y")]
    #[case("':''a'' :' :'a'", "':''a'' :' 'V'")]
    #[case("\":'a'\" :'a'", "\":'a'\" 'V'")]
    #[case("E'\\':' || :'a'", "E'\\':' || 'V'")]
    #[case("e'a\\\\' || :'a'", "e'a\\\\' || 'V'")]
    #[case("type'\\' || :'a'", "type'\\' || 'V'")]
    #[case("E'a' -- b'\n '\\':' || :'a'", "E'a' -- b'\n '\\':' || 'V'")]
    #[case("E'a' 'b\\' || :'a'", "E'a' 'b\\' || 'V'")]
    #[case("$$:'a'$$ || :'a'", "$$:'a'$$ || 'V'")]
    #[case("$t$ $$ :'a' $t$ || :'a'", "$t$ $$ :'a' $t$ || 'V'")]
    #[case("a$b$ || :'a' || c$b$", "a$b$ || 'V' || c$b$")]
    #[case("$1 || :'a' || $2", "$1 || 'V' || $2")]
    #[case("1 -- :'a'\n :'a'", "1 -- :'a'\n 'V'")]
    #[case("/* /* :'a' */ :'a' */ :'a'", "/* /* :'a' */ :'a' */ 'V'")]
    #[case("x::'a' :\"a\" :a := :'a b' :''", "x::'a' :\"a\" :a := :'a b' :''")]
    #[case(":'a'':'", "'V' ':'")]
    #[case(":'a':'a'", "'V' 'V'")]
    #[case("':'a'", "':'a'")]
    #[case(":'größe' 'offen :'a'", "'V' 'offen :'a'")]
    fn only_variables_are_replaced(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(shown(sql), expected);
    }

    #[rstest]
    #[case("COMMIT", true)]
    #[case(" ; /* x */ -- y\n commit work", true)]
    #[case("begin", true)]
    #[case("END;", true)]
    #[case("ROLLBACK TO x", true)]
    #[case("Prepare Transaction 'x'", true)]
    #[case("COPY t FROM STDIN", true)]
    #[case("-- nothing", true)]
    #[case("PREPARE x AS SELECT 1", false)]
    #[case("COPY t TO PROGRAM 'cat STDOUT'", false)]
    #[case("SELECT 'COMMIT'", false)]
    #[case("\"commit\"", false)]
    #[case("commitment", false)]
    #[case("DO $$BEGIN END$$", false)]
    fn statements_that_end_a_transaction_are_known(#[case] sql: &str, #[case] is_wrong: bool) {
        assert_eq!(wrong_in_transaction(sql).is_some(), is_wrong);
    }

    proptest! {
        #[test]
        fn the_parts_are_all_of_the_text(sql in "([a-eE$:'\"/*\\\\ \n-]|é){0,40}") {
            let all: String = parts(&sql).iter().map(|part| match part {
                Part::Code(text) | Part::Quoted(text) => (*text).to_owned(),
                Part::Variable(name) => format!(":'{name}'"),
            }).collect();
            prop_assert_eq!(all, sql);
        }

        #[test]
        fn no_value_is_read_as_sql(value in "([a-eE$:'\"/*\\\\;\n-]|é|--|\\$\\$){0,20}") {
            let sql = replaced("SELECT :'a' AS x", |_| Some(&value));
            let parts = parts(&sql);
            prop_assert!(matches!(parts[..], [
                Part::Code("SELECT " | "SELECT  E"), Part::Quoted(_), Part::Code(" AS x")
            ]), "{:?}", parts);
        }

        #[test]
        fn quoted_text_stays(text in "[a-e:\" \n]{0,12}(:'a')?[a-e \n]{0,12}") {
            for (open, close) in [("$x$", "$x$"), ("/* ", " */"), ("'", "'")] {
                let text = match open { "'" => text.replace('\'', "''"), _ => text.clone() };
                let sql = format!("SELECT {open}{text}{close}");
                prop_assert_eq!(shown(&sql), sql);
            }
        }
    }
}
