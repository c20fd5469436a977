//! Parsers for values that are written as text: durations, sizes, fractions, schedules, names.

use std::str::FromStr;
use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::tz::TimeZone;

use super::cron::parse_cron;
use super::pattern::TablePattern;
use super::spec::{NoticeKind, RejectLimit};
use super::target_names::TargetNames;
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::proxy;
use crate::pg::variables;

/// A kind of text: what to call it in a message, and how to tell.
pub(super) struct Syntax {
    /// "a duration such as "30s"".
    pub expected: &'static str,
    /// The reason why a text is not one; empty where `expected` says it all.
    pub check: fn(&str) -> Result<(), String>,
}

/// Any text but an empty one.
pub(super) const TEXT: Syntax = Syntax {
    expected: "a text",
    check: |text| match text.trim().is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(()),
    },
};
/// A statement that runs within a transaction, or as one.
pub(super) const STATEMENT: Syntax = Syntax {
    expected: "an SQL statement",
    check: |text| match variables::wrong_in_transaction(text) {
        Some(wrong) => Err(wrong.to_owned()),
        None => plain(!text.contains('\0')),
    },
};
/// The value of a parameter.
pub(super) const PARAM: Syntax = Syntax {
    expected: "a text without NUL",
    check: |text| plain(!text.contains('\0')),
};
/// Any text at all.
pub(super) const ANY_TEXT: Syntax = Syntax {
    expected: "a text",
    check: |_| Ok(()),
};
/// What COPY takes for a delimiter, a quote or an escape.
pub(super) const ONE_BYTE: Syntax = Syntax {
    expected: "one ASCII character such as \";\"",
    check: |text| plain(text.len() == 1 && text.is_ascii()),
};
/// A file beneath a directory.
pub(super) const FILE: Syntax = Syntax {
    expected: "the name of a file beneath the server's `dir`, such as \"orders.csv.zst\"",
    check: |text| crate::files::directory::check_name(text),
};
/// Where a database is; `pg` reads it.
pub(super) const CONNINFO: Syntax = Syntax {
    expected: "a text such as \"postgresql://user@host/database\"",
    ..TEXT
};
/// A program that connects.
pub(super) const PROXY_COMMAND: Syntax = Syntax {
    expected: "a command such as \"ssh -W %h:%p bastion\"",
    check: |text| proxy::words(text).map(drop),
};
/// The name that a server or a job is given.
pub(super) const NAME: Syntax = Syntax {
    expected: "of lower-case letters, digits and single underscores, a letter first",
    check: |text| plain(is_name(text)),
};
/// The name of a server that is configured; which there are is known later.
pub(super) const SERVER: Syntax = Syntax {
    expected: "the NAME of a `[servers.NAME]`",
    ..TEXT
};
/// The name of a job that is configured.
pub(super) const JOB: Syntax = Syntax {
    expected: "the NAME of a `[jobs.NAME]`",
    ..TEXT
};
/// Jobs by their names.
pub(super) const JOB_PATTERN: Syntax = Syntax {
    expected: "a job's name, in which * is a wildcard",
    check: |text| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_*".contains(c);
        plain(!text.is_empty() && text.chars().all(fits))
    },
};
/// What a notifier is told of.
pub(super) const NOTICE: Syntax = Syntax {
    expected: "\"failed\", \"recovered\", \"stale\" or \"in_doubt\"",
    check: |text| plain(NoticeKind::parse(text).is_some()),
};
/// A stretch of time.
pub(super) const DURATION: Syntax = Syntax {
    expected: "a duration such as \"30s\"",
    check: |text| duration(text).map(drop),
};
/// A stretch of time that is not nothing.
pub(super) const SOME_DURATION: Syntax = Syntax {
    expected: DURATION.expected,
    check: |text| match duration(text)?.is_zero() {
        true => Err("it must be above zero".to_owned()),
        false => Ok(()),
    },
};
/// What a watermark goes back by.
pub(super) const DURATION_OR_NUMBER: Syntax = Syntax {
    expected: "a duration such as \"1m\" or a number such as 1000",
    check: |text| match text.parse::<u64>() {
        Ok(_) => Ok(()),
        Err(_) => duration(text).map(drop),
    },
};
/// A number of bytes.
pub(super) const BYTES: Syntax = Syntax {
    expected: "a size such as \"50MB\"",
    check: |text| plain(bytes(text)? > 0),
};
/// A part of a whole.
pub(super) const SHARE: Syntax = Syntax {
    expected: "a share such as \"50%\" or 0.5",
    check: |text| share(text).map(drop),
};
/// How many rows may be rejected.
pub(super) const REJECT_LIMIT: Syntax = Syntax {
    expected: "a number of rows such as 100, or a share such as \"0.1%\"",
    check: |text| reject_limit(text).map(drop),
};
/// An address to listen on.
pub(super) const ADDRESS: Syntax = Syntax {
    expected: "an address with a port such as \"127.0.0.1:9632\"",
    check: |text| plain(std::net::SocketAddr::from_str(text).is_ok()),
};
/// A time zone.
pub(super) const TIMEZONE: Syntax = Syntax {
    expected: "an IANA time zone such as \"Europe/Berlin\"",
    check: |text| plain(timezone(text).is_ok()),
};
/// When to run.
pub(super) const CRON: Syntax = Syntax {
    expected: "a cron expression of five fields such as \"*/15 * * * *\"",
    check: |text| match parse_cron(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    },
};
/// A real-time signal.
pub(super) const SIGNAL: Syntax = Syntax {
    expected: "a real-time signal from \"RTMIN+0\" to \"RTMIN+30\"",
    check: |text| signal(text).map(drop),
};
/// A PostgreSQL encoding.
pub(super) const ENCODING: Syntax = Syntax {
    expected: "a PostgreSQL encoding such as \"LATIN1\"",
    check: |text| {
        plain(
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
        )
    },
};
/// A column.
pub(super) const COLUMN: Syntax = Syntax {
    expected: "a column's name (in double quotes where it has capitals or blanks)",
    check: |text| Ident::parse(text).map(drop).map_err(|e| e.to_string()),
};
/// A relation with its schema.
pub(super) const RELATION: Syntax = Syntax {
    expected: "a relation with its schema such as \"public.orders\"",
    check: |text| {
        QualifiedName::parse(text)
            .map(drop)
            .map_err(|e| e.to_string())
    },
};
/// Relations with their schema.
pub(super) const PATTERN: Syntax = Syntax {
    expected: "a relation or a pattern such as \"public.orders\" or \"sales.*\"",
    check: |text| {
        TablePattern::parse(text)
            .map(drop)
            .map_err(|e| e.to_string())
    },
};

/// Names of targets.
pub(super) const TARGET_NAMES: Syntax = Syntax {
    expected: "a name such as \"mirror.{schema}_{table}\"",
    check: |text| {
        TargetNames::parse(text)
            .map(drop)
            .map_err(|e| e.to_string())
    },
};

/// The time zone of this name. UTC, the default, needs no database of time zones: looking for one reads directories.
pub(super) fn timezone(name: &str) -> Result<TimeZone, jiff::Error> {
    match name {
        "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name),
    }
}

fn plain(holds: bool) -> Result<(), String> {
    holds.then_some(()).ok_or_else(String::new)
}

/// `[a-z][a-z0-9_]*` without `__`, which separates keys in environment variables.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.contains("__")
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `30s`, `1h30m`, `250ms`, `1d` (24 hours).
pub fn duration(text: &str) -> Result<Duration, String> {
    let reason = |e: jiff::Error| e.to_string();
    let span: jiff::Span = text.parse().map_err(|_| String::new())?;
    let signed = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(reason)?;
    Duration::try_from(signed).map_err(|_| "it is negative".to_owned())
}

/// `50MB` (10^6), `50MiB` (2^20), `1000B`. A number without a unit is refused: `50` hardly means bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    if text.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err("it has no unit (B, kB, MB, GB, KiB, MiB, GiB)".to_owned());
    }
    bytesize::ByteSize::from_str(text)
        .map(|size| size.as_u64())
        .map_err(|_| String::new())
}

/// `50%` or `0.5`, as 0.5.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(part) if (0.0..=whole).contains(&part) => Ok(part / whole),
        Ok(_) => Err("it is not between 0% and 100%".to_owned()),
        Err(_) => Err(String::new()),
    }
}

/// `100` or `0.1%`. *Errors:* what is wrong with a share, else nothing.
pub fn reject_limit(text: &str) -> Result<RejectLimit, String> {
    match text.ends_with('%') {
        true => share(text).map(RejectLimit::Share),
        false => text
            .parse()
            .map(RejectLimit::Rows)
            .map_err(|_| String::new()),
    }
}

/// `RTMIN+3`, as 3.
pub(super) fn signal(text: &str) -> Result<u8, String> {
    let digits = text
        .strip_prefix("SIG")
        .unwrap_or(text)
        .strip_prefix("RTMIN+");
    match digits.map(u8::from_str) {
        Some(Ok(n)) if n <= 30 => Ok(n),
        _ => Err(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("30s", Some(30_000))]
    #[case("5m", Some(300_000))]
    #[case("1h30m", Some(5_400_000))]
    #[case("1h 30m", Some(5_400_000))]
    #[case("250ms", Some(250))]
    #[case("0s", Some(0))]
    #[case("1d", Some(86_400_000))]
    #[case("30", None)]
    #[case("", None)]
    #[case("-5s", None)]
    #[case("5s ago", None)]
    #[case("1 month", None)]
    #[case("99999999999999999999s", None)]
    fn durations(#[case] text: &str, #[case] millis: Option<u64>) {
        let parsed = duration(text).ok();
        assert_eq!(parsed, millis.map(Duration::from_millis));
    }

    #[rstest]
    #[case("50MB", Some(50_000_000))]
    #[case("1 GiB", Some(1 << 30))]
    #[case("1000 B", Some(1000))]
    #[case("1000", None)]
    #[case("1000.", None)]
    #[case("fast", None)]
    fn sizes(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(bytes(text).ok(), expected);
    }

    #[rstest]
    #[case("50%", Some(0.5))]
    #[case("0.5", Some(0.5))]
    #[case("100%", Some(1.0))]
    #[case("0", Some(0.0))]
    #[case("101%", None)]
    #[case("50", None)]
    #[case("NaN", None)]
    #[case("-1%", None)]
    fn shares(#[case] text: &str, #[case] expected: Option<f64>) {
        assert_eq!(share(text).ok(), expected);
    }

    #[rstest]
    #[case("0", Some(RejectLimit::Rows(0)))]
    #[case("100", Some(RejectLimit::Rows(100)))]
    #[case("0.5%", Some(RejectLimit::Share(0.005)))]
    #[case("100%", Some(RejectLimit::Share(1.0)))]
    #[case("101%", None)]
    #[case("0.1", None)]
    #[case("-1", None)]
    #[case("many", None)]
    fn reject_limits(#[case] text: &str, #[case] expected: Option<RejectLimit>) {
        assert_eq!(reject_limit(text).ok(), expected);
    }

    #[rstest]
    #[case("RTMIN+0", Some(0))]
    #[case("RTMIN+30", Some(30))]
    #[case("SIGRTMIN+3", Some(3))]
    #[case("RTMIN+31", None)]
    #[case("RTMIN", None)]
    #[case("USR1", None)]
    fn signals(#[case] text: &str, #[case] expected: Option<u8>) {
        assert_eq!(signal(text).ok(), expected);
    }

    #[rstest]
    #[case("orders", true)]
    #[case("orders_2", true)]
    #[case("orders__2", false)]
    #[case("Orders", false)]
    #[case("2orders", false)]
    #[case("or-ders", false)]
    #[case("", false)]
    fn names(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(is_name(text), valid);
    }
}
