//! The kinds of values that keys take, and the errors for other values.

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeValue};

use super::syntax::Syntax;

/// The type of a key's value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// true or false.
    Bool,
    /// A whole number from `min` up to what 32 bits hold.
    Integer { min: i64 },
    /// One of these values.
    Choice(&'static [&'static str]),
    /// A text of a certain form.
    Text(&'static Syntax),
    /// The same, but a number may be written without quotes.
    TextOrNumber(&'static Syntax),
    /// A text of a certain form, or a list of them.
    TextOrTexts(&'static Syntax),
    /// A list of at least `min` texts.
    Texts { each: &'static Syntax, min: usize },
    /// A text that no message may show.
    Secret(&'static Syntax),
}

/// Why a value does not fit.
pub(super) struct Misfit {
    /// "must be …, got …".
    pub message: String,
    /// The byte of the file where the value (or the list's element) starts.
    pub offset: Option<usize>,
}

const INTEGER_MAX: i64 = u32::MAX as i64;

impl Kind {
    /// What to write, for a person: "a duration such as "30s"".
    pub fn expected(self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer { min } => format!("a whole number from {min} to {INTEGER_MAX}"),
            Kind::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Kind::Text(syntax)
            | Kind::TextOrNumber(syntax)
            | Kind::TextOrTexts(syntax)
            | Kind::Secret(syntax) => syntax.expected.to_owned(),
            Kind::Texts { each, .. } => format!("a list, each {}", each.expected),
        }
    }

    /// Checks a value of a file. Numbers that stand for a text become one.
    pub fn check(self, value: &Spanned<DeValue>) -> Result<Value, Misfit> {
        let made: ValueKind = match (self, value.get_ref()) {
            (Kind::Bool, DeValue::Boolean(flag)) => (*flag).into(),
            (Kind::Integer { min }, DeValue::Integer(number))
                if integer(number).is_some_and(|n| (min..=INTEGER_MAX).contains(&n)) =>
            {
                integer(number).into()
            }
            (Kind::Choice(choices), DeValue::String(word)) if choices.contains(&word.as_ref()) => {
                word.as_ref().into()
            }
            (
                Kind::Text(syntax)
                | Kind::TextOrNumber(syntax)
                | Kind::TextOrTexts(syntax)
                | Kind::Secret(syntax),
                DeValue::String(text),
            ) => self.check_syntax(syntax, text, value)?,
            (Kind::TextOrNumber(syntax), DeValue::Integer(number)) => {
                self.check_syntax(syntax, &number.to_string(), value)?
            }
            (Kind::TextOrNumber(syntax), DeValue::Float(number)) => {
                self.check_syntax(syntax, number.as_str(), value)?
            }
            (Kind::TextOrTexts(each), DeValue::Array(_)) => {
                return Kind::Texts { each, min: 1 }.check(value);
            }
            (Kind::Texts { each, min }, DeValue::Array(list)) if list.len() >= min => {
                let element = Kind::Text(each);
                let checked: Result<Vec<_>, _> = list.iter().map(|e| element.check(e)).collect();
                checked?.into()
            }
            _ => return Err(self.misfit(value, "")),
        };
        Ok(Value::new(None, made))
    }

    /// Checks a text of the environment, a flag or the table of defaults, which have no types:
    /// the key's kind says how to read it, so that a password `0012` stays as it is.
    pub fn check_text(self, text: &str) -> Result<Value, Misfit> {
        let as_text = || DeValue::String(text.into());
        // As TOML writes it: without leading zeros.
        let number = text.parse::<i64>().map(|number| number.to_string());
        let value = match self {
            Kind::Bool => text.parse().map_or_else(|_| as_text(), DeValue::Boolean),
            Kind::Integer { .. } => number.as_deref().map_or_else(|_| as_text(), parsed),
            // TOML's brackets where an element holds a comma, else just commas.
            Kind::Texts { .. } if text.trim_start().starts_with('[') => parsed(text),
            Kind::Texts { .. } => {
                let elements = text.split(',').map(str::trim);
                let mut list = DeArray::new();
                for element in elements.filter(|element| !element.is_empty()) {
                    list.push(unplaced(DeValue::String(element.into())));
                }
                DeValue::Array(list)
            }
            Kind::TextOrTexts(each) if text.contains([',', '[']) => {
                return Kind::Texts { each, min: 1 }.check_text(text);
            }
            Kind::Choice(_)
            | Kind::Text(_)
            | Kind::TextOrNumber(_)
            | Kind::TextOrTexts(_)
            | Kind::Secret(_) => as_text(),
        };
        self.check(&unplaced(value)).map_err(|misfit| Misfit {
            offset: None,
            ..misfit
        })
    }

    /// The message for something that is no value at all.
    pub fn not(self, got: &str) -> String {
        format!("must be {}, got {got}", self.expected())
    }

    fn check_syntax(
        self,
        syntax: &Syntax,
        text: &str,
        value: &Spanned<DeValue>,
    ) -> Result<ValueKind, Misfit> {
        match (syntax.check)(text) {
            Ok(()) => Ok(text.into()),
            Err(reason) => Err(self.misfit(value, &reason)),
        }
    }

    fn misfit(self, value: &Spanned<DeValue>, reason: &str) -> Misfit {
        let mut message = match self {
            Kind::Secret(_) => self.not(value.get_ref().type_str()),
            _ => self.not(&show(value.get_ref())),
        };
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        Misfit {
            message,
            offset: Some(value.span().start),
        }
    }
}

fn integer(number: &DeInteger) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value that stands in no file.
fn unplaced(value: DeValue) -> Spanned<DeValue> {
    Spanned::new(0..0, value)
}

/// The value that TOML reads in a text; what it can't read is a text.
fn parsed(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner)
}

/// The value as a message shows it.
fn show(value: &DeValue) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    match value {
        DeValue::String(text) => {
            let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("{cut:?}{more}")
        }
        DeValue::Integer(number) => format!("integer {number}"),
        DeValue::Float(number) => format!("float {number}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(list) if list.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax;
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Kind::Bool, "1", "must be true or false, got integer 1")]
    #[case(Kind::Integer { min: 1 }, "0", "must be a whole number from 1 to 4294967295, got integer 0")]
    #[case(Kind::Integer { min: 1 }, "1.5", "must be a whole number from 1 to 4294967295, got float 1.5")]
    #[case(Kind::Choice(&["skip", "queue"]), "'que'", r#"must be one of "skip", "queue", got "que""#)]
    #[case(Kind::Text(&syntax::DURATION), "30", r#"must be a duration such as "30s", got integer 30"#)]
    #[case(Kind::Text(&syntax::DURATION), "'30'", r#"must be a duration such as "30s", got "30""#)]
    #[case(Kind::Text(&syntax::DURATION), "'-1s'", r#"must be a duration such as "30s", got "-1s": it is negative"#)]
    #[case(Kind::Text(&syntax::CRON), "'* * *'", r#"must be a cron expression of five fields such as "*/15 * * * *", got "* * *": it has 3 fields"#)]
    #[case(Kind::TextOrNumber(&syntax::SHARE), "50", r#"must be a share such as "50%" or 0.5, got integer 50: it is not between 0% and 100%"#)]
    #[case(Kind::Texts { each: &syntax::COLUMN, min: 1 }, "[]", "must be a list, each a column's name (in double quotes where it has capitals or blanks), got an empty list")]
    #[case(Kind::Secret(&syntax::TEXT), "['hunter2']", "must be a text, got array")]
    fn a_misfit_says_what_was_expected(
        #[case] kind: Kind,
        #[case] toml: &str,
        #[case] message: &str,
    ) {
        let misfit = kind.check(&DeValue::parse(toml).unwrap()).err().unwrap();
        assert_eq!(misfit.message, message);
    }

    #[rstest]
    #[case(Kind::Bool, "true", ValueKind::Boolean(true))]
    #[case(Kind::Integer { min: 0 }, "12", ValueKind::I64(12))]
    #[case(Kind::Secret(&syntax::TEXT), "0012", ValueKind::String("0012".into()))]
    #[case(Kind::Text(&syntax::TEXT), "true", ValueKind::String("true".into()))]
    #[case(Kind::TextOrNumber(&syntax::SHARE), "0.5", ValueKind::String("0.5".into()))]
    fn a_text_is_read_as_its_key_says(
        #[case] kind: Kind,
        #[case] text: &str,
        #[case] expected: ValueKind,
    ) {
        assert_eq!(kind.check_text(text).ok().unwrap().kind, expected);
    }

    #[rstest]
    #[case("public.a, public.b", &["public.a", "public.b"])]
    #[case(r#"['public."a,b"']"#, &["public.\"a,b\""])]
    fn a_text_can_be_a_list(#[case] text: &str, #[case] expected: &[&str]) {
        let value = Kind::Texts {
            each: &syntax::PATTERN,
            min: 1,
        }
        .check_text(text)
        .ok()
        .unwrap();
        let list: Vec<String> = value.try_deserialize().unwrap();
        assert_eq!(list, expected);
    }
}
