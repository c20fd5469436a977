//! SQL identifiers as types, so that no other code quotes them.

use std::fmt;

use crate::harmless;

/// One SQL identifier, as the catalogs store it (folded, unquoted).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(String);

/// A relation's name with its schema, as the catalogs store both.
///
/// `Display` is for people: it quotes only where necessary and is valid SQL. [`QualifiedName::sql`] always
/// quotes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    pub schema: Ident,
    /// The relation.
    pub name: Ident,
}

/// Why a text is not an SQL identifier or qualified name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentError {
    /// Nothing between two dots, or an empty text.
    #[error("an identifier is empty in `{0}`")]
    Empty(String),
    /// A double quote without its partner.
    #[error("a double quote is not closed in `{0}`")]
    Unclosed(String),
    /// A character that needs quoting.
    #[error("`{character}` in `{text}` needs double quotes around the identifier")]
    Character {
        /// The whole text.
        text: String,
        character: char,
    },
    /// More than PostgreSQL's 63 bytes: the server would silently cut it.
    #[error("the identifier `{0}` is longer than 63 bytes")]
    TooLong(String),
    /// Not exactly `schema.name`.
    #[error("`{0}` is not of the form schema.name")]
    NotQualified(String),
}

/// PostgreSQL's NAMEDATALEN - 1.
pub const IDENT_BYTES_MAX: usize = 63;

impl Ident {
    /// An identifier taken from a catalog, unchanged.
    pub fn new(name: impl Into<String>) -> Self {
        Ident(name.into())
    }

    /// Reads one identifier as SQL would: folded to lower case unless quoted.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        match <[Ident; 1]>::try_from(parse_dotted(text)?) {
            Ok([ident]) => Ok(ident),
            Err(_) => Err(IdentError::Character {
                text: text.to_owned(),
                character: '.',
            }),
        }
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in double quotes, ready for SQL.
    pub fn sql(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }

    /// SQL's notation for characters that can't be shown: `U&"a\001b"`.
    fn fmt_escaped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("U&\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\"\"")?,
                '\\' => f.write_str("\\\\")?,
                c if harmless::is_harmful(c) => write!(f, "\\{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }

    fn is_plain(&self) -> bool {
        let mut characters = self.0.chars();
        characters
            .next()
            .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
            && characters
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$')
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            f.write_str(&self.0)
        } else if self.0.contains(harmless::is_harmful) {
            self.fmt_escaped(f)
        } else {
            f.write_str(&self.sql())
        }
    }
}

impl QualifiedName {
    /// A name taken from a catalog, unchanged.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName {
            schema: Ident::new(schema),
            name: Ident::new(name),
        }
    }

    /// Reads `schema.name` as SQL would.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        match <[Ident; 2]>::try_from(parse_dotted(text)?) {
            Ok([schema, name]) => Ok(QualifiedName { schema, name }),
            Err(_) => Err(IdentError::NotQualified(text.to_owned())),
        }
    }

    /// A number that stands for the name, the same on every machine and in every release.
    pub fn digest(&self) -> u64 {
        fnv1a(self.sql().as_bytes())
    }

    /// `"schema"."name"`, ready for SQL.
    pub fn sql(&self) -> String {
        format!("{}.{}", self.schema.sql(), self.name.sql())
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl serde::Serialize for QualifiedName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A string literal, ready for SQL, whatever `standard_conforming_strings` says.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every release.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Splits `a."B".c` into identifiers.
fn parse_dotted(text: &str) -> Result<Vec<Ident>, IdentError> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (ident, after) = parse_one(text, rest)?;
        if ident.len() > IDENT_BYTES_MAX {
            return Err(IdentError::TooLong(ident));
        }
        parts.push(Ident(ident));
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => {
                let character = after.chars().next().unwrap_or('.');
                return Err(IdentError::Character {
                    text: text.to_owned(),
                    character,
                });
            }
        }
    }
}

fn parse_one<'t>(whole: &str, rest: &'t str) -> Result<(String, &'t str), IdentError> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut name = String::new();
        let mut characters = quoted.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            if c != '"' {
                name.push(c);
            } else if matches!(characters.peek(), Some((_, '"'))) {
                name.push('"');
                characters.next();
            } else if name.is_empty() {
                return Err(IdentError::Empty(whole.to_owned()));
            } else {
                return Ok((name, &quoted[at + 1..]));
            }
        }
        return Err(IdentError::Unclosed(whole.to_owned()));
    }
    let end = rest.find('.').unwrap_or(rest.len());
    let bare = &rest[..end];
    let first = bare
        .chars()
        .next()
        .ok_or_else(|| IdentError::Empty(whole.to_owned()))?;
    let wrong = if first.is_ascii_digit() || first == '$' {
        Some(first)
    } else {
        bare.chars()
            .find(|c| !(c.is_alphanumeric() || *c == '_' || *c == '$'))
    };
    match wrong {
        Some(character) => Err(IdentError::Character {
            text: whole.to_owned(),
            character,
        }),
        // SQL folds ASCII only where the encoding is multi-byte.
        None => Ok((bare.to_ascii_lowercase(), &rest[end..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("public.orders", "public", "orders", "public.orders")]
    #[case("Sales.Orders", "sales", "orders", "sales.orders")]
    #[case(r#"public."Order""#, "public", "Order", r#"public."Order""#)]
    #[case(r#""a.b"."c""d""#, "a.b", "c\"d", r#""a.b"."c""d""#)]
    #[case("public.größe", "public", "größe", r#"public."größe""#)]
    fn qualified_names_fold_as_sql_does(
        #[case] text: &str,
        #[case] schema: &str,
        #[case] name: &str,
        #[case] shown: &str,
    ) {
        let parsed = QualifiedName::parse(text).unwrap();
        assert_eq!(parsed, QualifiedName::new(schema, name));
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(QualifiedName::parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[rstest]
    #[case("a\x1b[2J", r#"U&"a\001b[2J""#)]
    #[case("a\"b\\c\n", r#"U&"a""b\\c\000a""#)]
    #[case("a\u{202e}", r#"U&"a\202e""#)]
    #[case("a\\b", r#""a\b""#)]
    fn names_that_cannot_be_shown_are_still_sql(#[case] name: &str, #[case] shown: &str) {
        assert_eq!(Ident::new(name).to_string(), shown);
    }

    #[rstest]
    #[case("orders")]
    #[case("a.b.c")]
    #[case("")]
    #[case("a.")]
    #[case(r#"a."b"#)]
    #[case("a.b c")]
    #[case("a.1b")]
    #[case("a.b;drop table c")]
    fn what_is_not_a_qualified_name_is_refused(#[case] text: &str) {
        assert!(QualifiedName::parse(text).is_err());
    }

    #[test]
    fn identifiers_longer_than_the_server_keeps_are_refused() {
        assert!(Ident::parse(&"x".repeat(63)).is_ok());
        assert_eq!(
            Ident::parse(&"x".repeat(64)),
            Err(IdentError::TooLong("x".repeat(64)))
        );
    }

    #[rstest]
    #[case("it's", "'it''s'")]
    #[case(r"a\b", r" E'a\\b'")]
    fn literals_are_quoted(#[case] text: &str, #[case] sql: &str) {
        assert_eq!(quote_literal(text), sql);
    }
}
