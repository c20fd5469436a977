//! Table patterns: `schema.name` with wildcards.

use crate::pg::ident::{Ident, IdentError, QualifiedName};

/// `schema.name` where each part may hold `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    /// As written, for messages.
    pub text: String,
    /// The schema's pattern, folded; `*` stands for any run of characters.
    pub schema: PatternPart,
    /// The relation's pattern, folded.
    pub name: PatternPart,
}

/// One part of a pattern: a quoted identifier is literal, an unquoted one may hold `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPart {
    /// Exactly this identifier.
    Literal(Ident),
    /// The runs of characters between the stars.
    Wildcard(Vec<String>),
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not exactly `schema.name`.
    #[error("it is not of the form schema.name")]
    NotQualified,
    /// A part without a star is not an identifier.
    #[error(transparent)]
    Ident(#[from] IdentError),
    /// A character that cannot stand beside a star.
    #[error("`{0}` cannot be part of a pattern")]
    Character(char),
}

impl TablePattern {
    /// Reads `public.orders`, `sales.*`, `public."Order"`. A star in double quotes is no wildcard.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let trimmed = text.trim();
        let mut quoted = false;
        let mut dots = trimmed.char_indices().filter(|(_, c)| {
            quoted ^= *c == '"';
            *c == '.' && !quoted
        });
        let (Some((dot, _)), None) = (dots.next(), dots.next()) else {
            return Err(PatternError::NotQualified);
        };
        Ok(TablePattern {
            text: text.to_owned(),
            schema: parse_part(&trimmed[..dot])?,
            name: parse_part(&trimmed[dot + 1..])?,
        })
    }

    /// Does the relation's name fit?
    pub fn matches(&self, relation: &QualifiedName) -> bool {
        self.schema.matches(&relation.schema) && self.name.matches(&relation.name)
    }

    /// The one relation that is meant, where nothing is left open.
    pub fn literal(&self) -> Option<QualifiedName> {
        match (&self.schema, &self.name) {
            (PatternPart::Literal(schema), PatternPart::Literal(name)) => Some(QualifiedName {
                schema: schema.clone(),
                name: name.clone(),
            }),
            _ => None,
        }
    }
}

impl PatternPart {
    fn matches(&self, ident: &Ident) -> bool {
        match self {
            PatternPart::Literal(literal) => literal == ident,
            PatternPart::Wildcard(runs) => wildcard_matches(runs, ident.as_str()),
        }
    }
}

fn parse_part(text: &str) -> Result<PatternPart, PatternError> {
    if text.starts_with('"') || !text.contains('*') {
        return Ok(PatternPart::Literal(Ident::parse(text)?));
    }
    let fits = |c: char| c.is_alphanumeric() || "_$*".contains(c);
    match text.chars().find(|c| !fits(*c)) {
        Some(character) => Err(PatternError::Character(character)),
        None => Ok(PatternPart::Wildcard(
            text.to_ascii_lowercase()
                .split('*')
                .map(str::to_owned)
                .collect(),
        )),
    }
}

/// The first run is a prefix, the last a suffix, the others follow each other in between.
pub(super) fn wildcard_matches(runs: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = runs else {
        return false;
    };
    let Some(mut rest) = text
        .strip_prefix(first.as_str())
        .and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    for run in middle {
        let Some(at) = rest.find(run.as_str()) else {
            return false;
        };
        rest = &rest[at + run.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("public.orders", "public", "orders", true)]
    #[case("Public.Orders", "public", "orders", true)]
    #[case("sales.*", "sales", "anything at all", true)]
    #[case("sales.*", "public", "orders", false)]
    #[case("*.orders", "public", "orders", true)]
    #[case("public.order_*", "public", "order_2024", true)]
    #[case("public.order_*", "public", "orders", false)]
    #[case("public.*2024*x", "public", "a2024bx", true)]
    #[case("public.a*a", "public", "a", false)]
    #[case("public.a*b*c", "public", "abbc", true)]
    #[case("public.a*b*b*c", "public", "abc", false)]
    #[case(r#"public."a*""#, "public", "a*", true)]
    #[case(r#"public."a*""#, "public", "ab", false)]
    #[case(r#""a.b"."C""#, "a.b", "C", true)]
    fn patterns_match(
        #[case] pattern: &str,
        #[case] schema: &str,
        #[case] name: &str,
        #[case] expected: bool,
    ) {
        let pattern = TablePattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&QualifiedName::new(schema, name)), expected);
    }

    #[rstest]
    #[case("orders")]
    #[case("*")]
    #[case("a.b.c")]
    #[case("a.b;*")]
    #[case(r#"a."b"#)]
    #[case("")]
    #[case("a.")]
    fn what_is_no_pattern_is_refused(#[case] text: &str) {
        assert!(TablePattern::parse(text).is_err());
    }
}
