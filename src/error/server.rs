//! A server's error message, and which parts of it may be shown to everybody.

use tokio_postgres::error::DbError;

use super::ErrorKind;

/// The fields of an ErrorResponse that are of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    message: String,
    detail: Option<String>,
    pub(super) hint: Option<String>,
    context: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

/// What COPY says of a row with too few and with too many values.
const MISSING: &str = "missing data for column \"";
const EXTRA: &str = "extra data after last expected column";

impl From<&DbError> for ServerError {
    fn from(db: &DbError) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        ServerError {
            code: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: owned(db.detail()),
            hint: owned(db.hint()),
            context: owned(db.where_()),
            column: owned(db.column()),
            constraint: owned(db.constraint()),
        }
        .reviewed()
    }
}

impl ServerError {
    /// Reads the body of an ErrorResponse: a byte for the field, its text, a zero byte, and so on.
    pub fn parse(body: &[u8]) -> Self {
        let mut error = ServerError::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, text)) = field.split_first() else {
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'W' => error.context = Some(text),
                b'c' => error.column = Some(text),
                b'n' => error.constraint = Some(text),
                _ => {}
            }
        }
        error.reviewed()
    }

    /// A hint is always shown, so it is kept only if it cannot contain a value.
    fn reviewed(mut self) -> Self {
        if !self.speaks_of_names_only() {
            self.hint = None;
        }
        self
    }

    /// Do the server's messages for this class of errors name relations and settings, but no values?
    fn speaks_of_names_only(&self) -> bool {
        const CLASSES: [&str; 15] = [
            "08", "0A", "25", "28", "2B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
            "XX",
        ];
        self.code
            .get(..2)
            .is_some_and(|class| CLASSES.contains(&class))
    }

    /// The kind that the SQLSTATE stands for.
    pub fn kind(&self) -> ErrorKind {
        match self.code.as_str() {
            "28000" | "28P01" => ErrorKind::Auth,
            "42501" => ErrorKind::Permission,
            "55P03" => ErrorKind::Locked,
            "57014" => ErrorKind::Cancelled,
            "25P03" | "25P04" => ErrorKind::Timeout,
            "40001" | "40P01" => ErrorKind::Conflict,
            "25006" | "57P01" | "57P02" | "57P03" | "57P05" => ErrorKind::ServerShutdown,
            "57P04" => ErrorKind::Config,
            code => match code.get(..2) {
                Some("08" | "53" | "58") => ErrorKind::Unreachable,
                Some("0A" | "2B" | "3D" | "3F" | "42" | "55") => ErrorKind::SchemaMismatch,
                _ => ErrorKind::DataRejected,
            },
        }
    }

    /// All that the server said: may hold cell values.
    pub(super) fn full_text(&self) -> String {
        let mut words = self.message.clone();
        for (label, text) in [("detail", &self.detail), ("context", &self.context)] {
            if let Some(text) = text {
                words.push_str(&format!("; {label}: {text}"));
            }
        }
        words
    }

    /// What may be said without showing a row.
    pub(super) fn public_message(&self) -> String {
        let mut text = self.reason();
        if let Some(line) = self.context.as_deref().and_then(copy_line) {
            text.push_str(&format!(" at {line}"));
        }
        text
    }

    /// The same without the line.
    pub fn reason(&self) -> String {
        if self.speaks_of_names_only() {
            self.message.clone()
        } else {
            self.value_free_message()
        }
    }

    /// The row of a COPY that it is about, counted from 1.
    pub fn line(&self) -> Option<usize> {
        let line = self.context.as_deref().and_then(copy_line)?;
        line.trim_start_matches("line ").parse().ok()
    }

    /// The column that it is about.
    pub fn column_name(&self) -> Option<&str> {
        let in_context = || self.context.as_deref().and_then(copy_column);
        let column = self.column.as_deref().or_else(in_context);
        column.or_else(|| self.missing_column())
    }

    /// The first column for which a row of COPY has no value.
    fn missing_column(&self) -> Option<&str> {
        let quoted = self.message.strip_prefix(MISSING)?.strip_suffix('"')?;
        (self.code == "22P04").then_some(quoted)
    }

    /// The same about a constraint that has another name, if any.
    #[must_use]
    pub fn renamed(self, constraint: Option<String>) -> Self {
        ServerError {
            constraint: constraint.or(self.constraint),
            ..self
        }
    }

    /// The constraint that is violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn value_free_message(&self) -> String {
        let mut text = match (self.code.as_str(), &self.constraint) {
            // Any other violation names its constraint.
            ("23514", None) => "a row does not fit the partitions of the table".to_owned(),
            ("22P04", _) if self.message == EXTRA || self.missing_column().is_some() => {
                return self.message.clone();
            }
            (code, _) => condition(code).to_owned(),
        };
        if let Some(constraint) = &self.constraint {
            text.push_str(&format!(", constraint \"{constraint}\""));
        }
        if let Some(column) = self.column_name() {
            text.push_str(&format!(", column \"{column}\""));
        }
        text
    }
}

/// The condition that a SQLSTATE stands for, without values.
fn condition(code: &str) -> &'static str {
    match code {
        "23502" => "null value violates a not-null constraint",
        "23503" => "a foreign key is violated",
        "23505" => "duplicate key value violates a unique constraint",
        "23514" => "a check constraint is violated",
        "23P01" => "an exclusion constraint is violated",
        "22P02" | "22P03" => "invalid text or binary representation of a value",
        "22003" => "a numeric value is out of range",
        "22001" => "a value is too long for its column",
        "22021" => "a character does not fit the encoding",
        "22P05" => "a character has no equivalent in the other encoding",
        "22P04" => "bad COPY format",
        "22007" | "22008" => "a date or time value is invalid or out of range",
        "P0001" => "a trigger or function raised an exception",
        code if code.starts_with("22") => "a value is not valid for its type or operation",
        code if code.starts_with("23") => "a constraint is violated",
        code if code.starts_with("44") => "a view's check option is violated",
        _ => "the server reported an error",
    }
}

/// `line 12` out of `COPY t, line 12, column a: "…"`.
fn copy_line(context: &str) -> Option<String> {
    let rest = &context[context.find("COPY ")?..];
    let at = rest.find(", line ")?;
    let digits: String = rest[at + 7..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (!digits.is_empty()).then(|| format!("line {digits}"))
}

/// `a` out of `COPY t, line 12, column a: "…"`. A column's name may hold anything: what follows a
/// colon could be a value, so the name ends there.
fn copy_column(context: &str) -> Option<&str> {
    let rest = &context[context.find("COPY ")?..];
    let at = rest.find(", column ")?;
    rest[at + 9..].split([':', '\n']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn body(fields: &[(u8, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, text) in fields {
            body.push(*kind);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        body
    }

    #[rstest]
    #[case(
        &[(b'S', "ERROR"), (b'C', "23505"), (b'M', "duplicate key value violates unique constraint \"t_pkey\""),
          (b'D', "Key (id)=(31337) already exists."), (b'W', "COPY t, line 3"), (b'n', "t_pkey")],
        "duplicate key value violates a unique constraint, constraint \"t_pkey\" at line 3",
        ErrorKind::DataRejected
    )]
    #[case(
        &[(b'C', "22P02"), (b'M', "invalid input syntax for type integer: \"secret\""),
          (b'W', "COPY t, line 2, column a: \"secret\"")],
        "invalid text or binary representation of a value, column \"a\" at line 2",
        ErrorKind::DataRejected
    )]
    #[case(
        &[(b'C', "57P01"), (b'M', "terminating connection due to administrator command")],
        "terminating connection due to administrator command",
        ErrorKind::ServerShutdown
    )]
    #[case(
        &[(b'C', "ZZ001"), (b'M', "customer 31337 is bad"), (b'H', "see 31337")],
        "the server reported an error",
        ErrorKind::DataRejected
    )]
    #[case(
        &[(b'C', "22P04"), (b'M', "missing data for column \"a b\""), (b'W', "COPY t, line 2: \"secret\"")],
        "missing data for column \"a b\" at line 2",
        ErrorKind::DataRejected
    )]
    #[case(
        &[(b'C', "22P04"), (b'M', "extra data after last expected column"), (b'W', "COPY t, line 2: \"secret\"")],
        "extra data after last expected column at line 2",
        ErrorKind::DataRejected
    )]
    #[case(&[], "the server reported an error", ErrorKind::DataRejected)]
    fn values_stay_out_of_what_everybody_reads(
        #[case] fields: &[(u8, &str)],
        #[case] message: &str,
        #[case] kind: ErrorKind,
    ) {
        let error = ServerError::parse(&body(fields));
        assert_eq!(error.public_message(), message);
        assert_eq!(error.kind(), kind);
        assert!(error.hint.is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body: Vec<u8>) {
            let error = ServerError::parse(&body);
            let _ = (error.kind(), error.public_message(), error.full_text());
        }
    }
}
