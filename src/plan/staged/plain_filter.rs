//! Does the answer of a `where` depend on nothing but the row? Only then a row that has not changed is as far
//! inside or outside of it as it was. What is understood is small: comparisons of columns with constants.

use crate::catalog::desc::{RelationDesc, TypeDesc, TypeShape};

/// Words between columns and constants.
const WORDS: [&str; 13] = [
    "and", "or", "not", "is", "null", "in", "true", "false", "between", "like", "distinct", "from",
    "unknown",
];

/// Constants of dates and times that mean another moment each day.
const MOVING: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Words that look like columns and are functions.
const FUNCTIONS: [&str; 15] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "user",
    "array",
    "row",
    "xmin",
    "ctid",
];

/// Says why the answer may change without the row; nothing where it cannot.
pub(super) fn check(filter: &str, source: &RelationDesc) -> Result<(), String> {
    let chars: Vec<char> = filter.chars().collect();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let rest = &chars[at..];
        at += match first {
            _ if first.is_whitespace() => 1,
            '(' | ')' | ',' | '=' | '<' | '>' => 1,
            '!' if rest.get(1) == Some(&'=') => 2,
            '-' if rest.get(1).is_some_and(char::is_ascii_digit) => 1,
            '0'..='9' => run_of(rest, |c| c.is_ascii_digit() || c == '.'),
            '\'' => constant(rest)?,
            '"' => {
                let length = quoted(rest, '"').ok_or_else(unclear)?;
                let name: String = rest[1..length - 1].iter().collect();
                column(&name.replace("\"\"", "\""), source)?;
                length
            }
            _ if first.is_alphabetic() || first == '_' => {
                let length = run_of(rest, |c| c.is_alphanumeric() || c == '_' || c == '$');
                let word: String = rest[..length].iter().collect();
                let after = rest[length..].iter().find(|c| !c.is_whitespace());
                is_harmless(&word.to_lowercase(), after.copied(), source)?;
                length
            }
            _ => return Err(unclear()),
        };
    }
    Ok(())
}

fn is_harmless(word: &str, after: Option<char>, source: &RelationDesc) -> Result<(), String> {
    if WORDS.contains(&word) {
        return Ok(());
    }
    if FUNCTIONS.contains(&word) || matches!(after, Some('(' | '\'' | '.')) {
        return Err(unclear());
    }
    column(word, source)
}

fn column(name: &str, source: &RelationDesc) -> Result<(), String> {
    let mut columns = source.columns.iter();
    let found = columns.find(|column| column.name.as_str() == name);
    match found {
        Some(column) if is_plain(&column.ty) && column.generated.is_none() => Ok(()),
        _ => Err(unclear()),
    }
}

fn is_plain(ty: &TypeDesc) -> bool {
    match &ty.shape {
        TypeShape::Base => ty.is_builtin() && !ty.name.name.as_str().starts_with("reg"),
        TypeShape::Enum(_) => true,
        _ => false,
    }
}

fn constant(rest: &[char]) -> Result<usize, String> {
    let length = quoted(rest, '\'').ok_or_else(unclear)?;
    let text: String = rest[..length].iter().collect::<String>().to_lowercase();
    match MOVING.iter().any(|word| text.contains(word)) {
        true => Err(unclear()),
        false => Ok(length),
    }
}

/// The length of what stands in quotes, with them.
fn quoted(rest: &[char], quote: char) -> Option<usize> {
    let mut at = 1;
    loop {
        match (*rest.get(at)? == quote, rest.get(at + 1) == Some(&quote)) {
            (true, true) => at += 2,
            (true, false) => return Some(at + 1),
            (false, _) => at += 1,
        }
    }
}

fn run_of(rest: &[char], wanted: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|c| wanted(**c)).count()
}

fn unclear() -> String {
    "`where` is more than comparisons of columns with constants, so that its answer may change without the row"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{column, table};
    use rstest::rstest;

    #[rstest]
    #[case("id > 5", true)]
    #[case("v = 'in' AND NOT (id BETWEEN -5 AND 7.5 OR \"id\" IS NULL)", true)]
    #[case("V IN ('a', 'it''s') and id <> 3", true)]
    #[case("id != 3", true)]
    #[case("v LIKE 'a%'", true)]
    #[case("id is distinct from 3", true)]
    #[case::function("lower(v) = 'in'", false)]
    #[case::function_with_a_blank("f (id)", false)]
    #[case::now("at > now()", false)]
    #[case::moving("at > 'today'", false)]
    #[case::keyword("at > CURRENT_DATE", false)]
    #[case::typed("at > date '2026-01-01'", false)]
    #[case::cast("id::text = '5'", false)]
    #[case::subquery("id IN (SELECT id FROM other)", false)]
    #[case::another_table("t.id > 5", false)]
    #[case::system("xmin = 5", false)]
    #[case::arithmetic("id % 2 = 0", false)]
    #[case::comment("id > 5 -- x", false)]
    #[case::block_comment("id > 5 /* x */", false)]
    #[case::escapes("v = E'a'", false)]
    #[case::open("v = 'a", false)]
    #[case::dollar("v = $$a$$", false)]
    #[case::user_type("c = 'a'", false)]
    #[case::unknown("nothing = 5", false)]
    fn only_comparisons_with_constants_are_sure(#[case] filter: &str, #[case] expected: bool) {
        let mut custom = column("c", "text");
        custom.ty.extension = Some("citext".to_owned());
        let columns = vec![
            column("id", "int4"),
            column("v", "text"),
            column("at", "date"),
            custom,
        ];
        assert_eq!(
            check(filter, &table("t", columns)).is_ok(),
            expected,
            "{filter}"
        );
    }
}
