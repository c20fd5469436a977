//! SQL in lines that fit a terminal. (pure)

use crate::wording::wrapped as lines_of;

/// Breaks lines at blanks outside of quotes. SQL in which a blank may mean more stays as it is: comments, dollar quotes
/// and backslashes.
pub(super) fn wrapped(sql: &str, width: usize, first: &str, rest: &str) -> String {
    if let (true, Some(words)) = (!sql.contains('\n'), sql.strip_prefix("-- ")) {
        // What happens between statements.
        let lines = lines_of(words, width, &format!("{first}-- "), &format!("{rest}-- "));
        return lines.join("\n");
    }
    if sql.contains(['$', '\\', '\n']) || sql.contains("--") || sql.contains("/*") {
        return format!("{first}{sql}");
    }
    let mut text = first.to_owned();
    let mut used = first.chars().count();
    let start = rest.chars().count();
    let mut is_first = true;
    for word in words(sql) {
        let length = word.chars().count();
        if !is_first && used + 1 + length > width {
            text.push('\n');
            text.push_str(rest);
            used = start;
        } else if !is_first {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
        is_first = false;
    }
    text
}

/// What stands between blanks that are in no quotes.
fn words(sql: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    sql.split(move |c: char| {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        c == ' ' && quote.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("SELECT a, b FROM t", "> SELECT a,\n    b FROM t")]
    #[case("SELECT 'a b  c d e' x", "> SELECT\n    'a b  c d e'\n    x")]
    #[case("x \"it''s a\" b", "> x\n    \"it''s a\"\n    b")]
    #[case("SELECT 'it''s a' b", "> SELECT\n    'it''s a'\n    b")]
    #[case("-- one two three", "> -- one two\n    -- three")]
    #[case("SELECT 1 -- one, two", "> SELECT 1 -- one, two")]
    #[case("SELECT $$a  b c d$$ x", "> SELECT $$a  b c d$$ x")]
    #[case("SELECT E'\\' ' b c d", "> SELECT E'\\' ' b c d")]
    fn only_blanks_between_words_become_line_ends(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(wrapped(sql, 12, "> ", "    "), expected);
    }
}
