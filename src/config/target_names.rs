//! `target_names`: the names of targets, made from the names of the relations that are read.

use crate::pg::ident::{IDENT_BYTES_MAX, Ident, QualifiedName};

/// A template such as `mirror.{schema}_{table}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetNames {
    /// As written, for messages.
    pub text: String,
    /// None: the schema of what is read.
    schema: Option<Vec<Piece>>,
    name: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Schema,
    Table,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetNamesError {
    #[error("unknown placeholder {{{0}}}; known are {{schema}} and {{table}}")]
    Unknown(String),
    #[error("a brace has no partner")]
    Brace,
    #[error("a double quote has no partner")]
    Quote,
    #[error("an identifier is empty")]
    Empty,
    #[error("it has more than one dot")]
    Dots,
    #[error("`{0}` needs double quotes around the identifier")]
    Character(char),
}

impl TargetNames {
    /// Reads a template. Its text is folded to lower case unless it is in double quotes; names that are put
    /// into it are not.
    pub fn parse(text: &str) -> Result<Self, TargetNamesError> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        loop {
            let (part, after) = match rest.strip_prefix('"') {
                Some(quoted) => parse_part(quoted, true)?,
                None => parse_part(rest, false)?,
            };
            parts.push(part);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None => match after.chars().next() {
                    None => break,
                    Some(other) => return Err(TargetNamesError::Character(other)),
                },
            }
        }
        let (name, schema) = (parts.pop(), parts.pop());
        match (parts.is_empty(), name) {
            (true, Some(name)) => Ok(TargetNames {
                text: text.to_owned(),
                schema,
                name,
            }),
            _ => Err(TargetNamesError::Dots),
        }
    }

    /// The target of a relation. *Errors:* its name would be longer than PostgreSQL's 63 bytes; the error is that
    /// name.
    pub fn target_of(&self, source: &QualifiedName) -> Result<QualifiedName, String> {
        let filled = |pieces: &[Piece]| -> String {
            let pieces = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Schema => source.schema.as_str(),
                Piece::Table => source.name.as_str(),
            });
            pieces.collect()
        };
        let schema = match &self.schema {
            Some(pieces) => filled(pieces),
            None => source.schema.as_str().to_owned(),
        };
        let name = filled(&self.name);
        let is_long = |part: &&String| part.len() > IDENT_BYTES_MAX;
        let long = [&schema, &name].into_iter().find(is_long);
        match long.map(|long| Ident::new(long.as_str()).to_string()) {
            Some(long) => Err(long),
            None => Ok(QualifiedName::new(schema, name)),
        }
    }
}

/// One identifier, up to the dot or the end; what follows it.
fn parse_part(text: &str, is_quoted: bool) -> Result<(Vec<Piece>, &str), TargetNamesError> {
    let mut pieces = Vec::new();
    let mut run = String::new();
    let mut rest = text;
    let end = loop {
        let Some(c) = rest.chars().next() else {
            match is_quoted {
                true => return Err(TargetNamesError::Quote),
                false => break rest,
            }
        };
        let after = &rest[c.len_utf8()..];
        match c {
            '{' => {
                let (name, after) = after.split_once('}').ok_or(TargetNamesError::Brace)?;
                if !run.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut run)));
                }
                pieces.push(match name {
                    "schema" => Piece::Schema,
                    "table" => Piece::Table,
                    other => return Err(TargetNamesError::Unknown(other.to_owned())),
                });
                rest = after;
                continue;
            }
            '}' => return Err(TargetNamesError::Brace),
            '"' if is_quoted => match after.strip_prefix('"') {
                Some(after) => {
                    run.push('"');
                    rest = after;
                    continue;
                }
                None => break after,
            },
            '.' if !is_quoted => break rest,
            c if is_quoted => run.push(c),
            c if c.is_alphanumeric() || c == '_' || c == '$' => run.push(c.to_ascii_lowercase()),
            c => return Err(TargetNamesError::Character(c)),
        }
        rest = after;
    };
    if !run.is_empty() {
        pieces.push(Piece::Text(run));
    }
    match pieces.is_empty() {
        true => Err(TargetNamesError::Empty),
        false => Ok((pieces, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("mirror.{schema}_{table}", "mirror.sales_orders")]
    #[case("Mirror.{schema}_{table}", "mirror.sales_orders")]
    #[case("{table}_copy", "sales.orders_copy")]
    #[case("{schema}.{table}", "sales.orders")]
    #[case("{table}.{schema}", "orders.sales")]
    #[case(r#""My ""x"" {schema}"."{table}.""#, r#""My ""x"" sales"."orders.""#)]
    #[case("all_in_one", "sales.all_in_one")]
    fn names_are_made(#[case] template: &str, #[case] expected: &str) {
        let template = TargetNames::parse(template).unwrap();
        let made = template.target_of(&QualifiedName::new("sales", "orders"));
        assert_eq!(made.unwrap().to_string(), expected);
    }

    #[test]
    fn names_that_are_put_in_keep_their_case_and_have_at_most_63_bytes() {
        let template = TargetNames::parse("m.{schema}_{table}").unwrap();
        let made = |table: &str| template.target_of(&QualifiedName::new("S", table));
        assert_eq!(made("T.x").unwrap(), QualifiedName::new("m", "S_T.x"));
        assert!(made(&"x".repeat(61)).is_ok());
        let long = made(&"ü".repeat(31)).unwrap_err();
        assert!(long.contains("S_ü"), "{long}");
    }

    #[rstest]
    #[case(
        "m.{name}",
        "unknown placeholder {name}; known are {schema} and {table}"
    )]
    #[case("m.{table", "a brace has no partner")]
    #[case("m.table}", "a brace has no partner")]
    #[case("a.b.{table}", "it has more than one dot")]
    #[case("m.", "an identifier is empty")]
    #[case("", "an identifier is empty")]
    #[case(r#""m"#, "a double quote has no partner")]
    #[case(r#""m"x.{table}"#, "`x` needs double quotes around the identifier")]
    #[case("m-x.{table}", "`-` needs double quotes around the identifier")]
    fn what_is_no_template_is_refused(#[case] text: &str, #[case] message: &str) {
        assert_eq!(TargetNames::parse(text).unwrap_err().to_string(), message);
    }
}
