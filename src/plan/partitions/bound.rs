//! The bounds of partitions as values: what lies between two of them, and which come next.

use jiff::Span;
use jiff::civil::DateTime;

use crate::pg::ident::quote_literal;

/// A place on the scale of a range key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// Of an integer, or a numeric without fractions.
    Number(i64),
    /// Of a date or timestamp; of a timestamp with time zone in UTC.
    Time(DateTime),
}

/// What lies between the bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// So many integers.
    Numbers(i64),
    /// So many months, from a day that each month has.
    Months(i64),
    /// So many seconds.
    Seconds(i64),
}

/// A partition of a range; None is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub from: Option<Point>,
    pub to: Option<Point>,
}

/// The values in `FOR VALUES FROM (…) TO (…)` or `FOR VALUES IN (…)`, in their order; None for what is not a
/// literal (NULL, MINVALUE, MAXVALUE). No values for DEFAULT.
pub(super) fn literals(bound: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let mut rest = bound.chars().peekable();
    let mut depth = 0;
    while let Some(c) = rest.next() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' => {
                let mut text = String::new();
                while let Some(c) = rest.next() {
                    match c {
                        '\'' if rest.next_if_eq(&'\'').is_none() => break,
                        c => text.push(c),
                    }
                }
                found.push(Some(text));
            }
            ',' | ' ' => {}
            c if depth > 0 => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| !matches!(c, ',' | ')')) {
                    word.push(c);
                }
                let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic());
                // PostgreSQL writes booleans without quotes.
                let is_value = !is_word || matches!(word.as_str(), "true" | "false");
                found.push(is_value.then_some(word));
            }
            _ => {}
        }
    }
    found
}

impl Point {
    /// Reads a value of this type as PostgreSQL writes it; None for infinity, fractions and the like.
    pub fn parse(ty: &str, text: &str) -> Option<Self> {
        match ty {
            "smallint" | "integer" | "bigint" | "numeric" => text.parse().ok().map(Point::Number),
            "date" | "timestamp without time zone" => text.parse().ok().map(Point::Time),
            // The sessions' time zone is UTC.
            "timestamp with time zone" => text.strip_suffix("+00")?.parse().ok().map(Point::Time),
            _ => None,
        }
    }

    /// The value as a literal of this type.
    pub fn sql(self, ty: &str) -> String {
        let text = match (self, ty) {
            (Point::Number(number), _) => return number.to_string(),
            (Point::Time(time), "date") => time.date().to_string(),
            (Point::Time(time), "timestamp with time zone") => format!("{time}+00"),
            (Point::Time(time), _) => time.to_string(),
        };
        quote_literal(&text).trim_start().to_owned()
    }

    /// What comes `times` widths later.
    fn after(self, width: Width, times: i64) -> Option<Self> {
        match (self, width) {
            (Point::Number(from), Width::Numbers(width)) => from
                .checked_add(width.checked_mul(times)?)
                .map(Point::Number),
            (Point::Time(from), Width::Months(width)) => {
                let span = Span::new().try_months(width.checked_mul(times)?).ok()?;
                from.checked_add(span).ok().map(Point::Time)
            }
            (Point::Time(from), Width::Seconds(width)) => {
                let span = Span::new().try_seconds(width.checked_mul(times)?).ok()?;
                from.checked_add(span).ok().map(Point::Time)
            }
            _ => None,
        }
    }
}

impl Extent {
    pub fn holds(&self, key: Point) -> bool {
        self.from.is_none_or(|from| from <= key) && self.to.is_none_or(|to| key < to)
    }

    pub fn overlaps(&self, other: &Extent) -> bool {
        let before = |end: Option<Point>, begin: Option<Point>| match (end, begin) {
            (Some(end), Some(begin)) => end <= begin,
            _ => false,
        };
        !before(self.to, other.from) && !before(other.to, self.from)
    }

    /// What may be called its width: a month may be 30 days.
    pub fn widths(&self) -> Vec<Width> {
        match (self.from, self.to) {
            (Some(Point::Number(from)), Some(Point::Number(to))) => to
                .checked_sub(from)
                .map(Width::Numbers)
                .into_iter()
                .collect(),
            (Some(Point::Time(from)), Some(Point::Time(to))) => {
                let month = |time: DateTime| i64::from(time.year()) * 12 + i64::from(time.month());
                let months = month(to) - month(from);
                let regular =
                    from.day() == to.day() && from.day() <= 28 && from.time() == to.time();
                let seconds = from.until((jiff::Unit::Second, to)).ok();
                // Fractions of a second have no place in bounds.
                let seconds =
                    seconds.filter(|span| from.checked_add(*span).is_ok_and(|end| end == to));
                let months = (regular && months > 0).then_some(Width::Months(months));
                let seconds = seconds.map(|span| Width::Seconds(span.get_seconds()));
                months.into_iter().chain(seconds).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The one of these neighbouring ranges of one width, counted from `base`, that holds the key.
    pub fn around(key: Point, base: Point, width: Width) -> Option<Self> {
        let guess = match (key, base, width) {
            (Point::Number(key), Point::Number(base), Width::Numbers(width)) => {
                key.checked_sub(base)?.div_euclid(width)
            }
            (Point::Time(key), Point::Time(base), Width::Months(width)) => {
                let years = i64::from(key.year()) - i64::from(base.year());
                (years * 12 + i64::from(key.month()) - i64::from(base.month())).div_euclid(width)
            }
            (Point::Time(key), Point::Time(base), Width::Seconds(width)) => {
                let seconds = base.until((jiff::Unit::Second, key)).ok()?.get_seconds();
                seconds.div_euclid(width)
            }
            _ => return None,
        };
        let nth = |times: i64| {
            Some(Extent {
                from: Some(base.after(width, times)?),
                to: Some(base.after(width, times.checked_add(1)?)?),
            })
        };
        // The day of the month, or a part of a second, decides between two.
        let near = [guess, guess.checked_sub(1)?, guess.checked_add(1)?];
        near.into_iter()
            .filter_map(nth)
            .find(|extent| extent.holds(key))
    }
}
