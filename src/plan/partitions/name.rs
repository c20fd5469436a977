//! Names for new partitions: what the names of their neighbours make of the bounds.

use jiff::civil::DateTime;

use super::bound::{Extent, Point};

/// How dates stand in names; the more of a date, the earlier.
const FORMATS: [&str; 16] = [
    "%Y_%m_%d_%H",
    "%Y%m%d_%H",
    "%Y%m%d%H",
    "%Y_%m_%d",
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y_%m",
    "%Y-%m",
    "%Y%m",
    "%Ym%m",
    "%Yq%Q",
    "%Y_q%Q",
    "%Gw%V",
    "%G_w%V",
    "%Y",
    "%y%m",
];

/// How numbers stand in names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    From,
    To,
    Last,
    /// Of ranges of one width, from 0 or from 1.
    Place(i64),
}

/// A name with a place for what comes from the bound.
#[derive(Clone, Debug, PartialEq)]
struct Pattern {
    before: String,
    after: String,
    middle: Middle,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Middle {
    Date(&'static str),
    /// With so many digits at least.
    Number(Count, usize),
}

/// The name of a new range, after those of its neighbours; else made of the parent's name.
pub(super) fn of_range(parent: &str, neighbours: &[(&str, Extent)], new: Extent) -> Option<String> {
    let (first, extent) = neighbours.first()?;
    let fits = |pattern: &Pattern| {
        let made = |extent: Extent| pattern.of(extent);
        neighbours.iter().all(|(name, extent)| made(*extent).as_deref() == Some(name))
            // Else it says too little.
            && made(new).is_some_and(|name| neighbours.iter().all(|(other, _)| *other != name))
    };
    let found = patterns(first, *extent).into_iter().find(fits);
    let own = found.and_then(|pattern| pattern.of(new));
    own.or_else(|| {
        let bound = match new.from? {
            Point::Number(number) => number.to_string().replace('-', "m"),
            Point::Time(time) if time.time() == jiff::civil::Time::midnight() => {
                render("%Y%m%d", time)
            }
            Point::Time(time) => render("%Y%m%d_%H%M%S", time),
        };
        Some(format!("{parent}_{bound}"))
    })
}

/// The name of a new list of one value, after those of lists of one value.
pub(super) fn of_value(
    parent: &str,
    neighbours: &[(&str, Option<&str>)],
    value: Option<&str>,
) -> String {
    let forms: [fn(&str) -> String; 4] = [
        str::to_owned,
        str::to_lowercase,
        |value| plain(value),
        |value| plain(&value.to_lowercase()),
    ];
    let new = value.unwrap_or("null");
    for form in forms {
        let split = |(name, value): &(&str, Option<&str>)| {
            let value = form(value.unwrap_or("null"));
            let at = name.rfind(&value).filter(|_| !value.is_empty())?;
            Some((name[..at].to_owned(), name[at + value.len()..].to_owned()))
        };
        let mut all = neighbours.iter().map(split);
        if let Some(Some((before, after))) = all.next()
            && all.all(|other| other.as_ref() == Some(&(before.clone(), after.clone())))
        {
            // A name is not as free as a value.
            let own = form(new);
            let own = match own.chars().all(|c| c.is_alphanumeric() || c == '_') {
                true => own,
                false => plain(&own),
            };
            return format!("{before}{own}{after}");
        }
    }
    format!("{parent}_{}", plain(&new.to_lowercase()))
}

/// Letters and digits, and what else there is as underscores.
fn plain(value: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() { c } else { '_' };
    value.chars().map(kept).collect()
}

fn patterns(name: &str, extent: Extent) -> Vec<Pattern> {
    match (extent.from, extent.to) {
        (Some(Point::Time(from)), _) => {
            let dated = FORMATS.iter().filter_map(|format| {
                let date = render(format, from);
                let at = name.rfind(&date)?;
                let (before, after) = (&name[..at], &name[at + date.len()..]);
                // Not a part of a longer number.
                let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
                let torn = digit(before.chars().next_back()) || digit(after.chars().next());
                (!torn).then(|| Pattern {
                    before: before.to_owned(),
                    after: after.to_owned(),
                    middle: Middle::Date(format),
                })
            });
            dated.collect()
        }
        (Some(Point::Number(_)), Some(Point::Number(_))) => numbered(name),
        _ => Vec::new(),
    }
}

fn numbered(name: &str) -> Vec<Pattern> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut list = Vec::new();
    let mut end = name.len();
    while let Some(last) = name[..end].rfind(is_digit) {
        let begin = name[..=last].trim_end_matches(is_digit).len();
        let digits = &name[begin..=last];
        let padded = if digits.starts_with('0') {
            digits.len()
        } else {
            1
        };
        for count in [
            Count::From,
            Count::To,
            Count::Last,
            Count::Place(0),
            Count::Place(1),
        ] {
            list.push(Pattern {
                before: name[..begin].to_owned(),
                after: name[last + 1..].to_owned(),
                middle: Middle::Number(count, padded),
            });
        }
        end = begin;
    }
    list
}

impl Pattern {
    fn of(&self, extent: Extent) -> Option<String> {
        let middle = match (self.middle, extent.from?, extent.to?) {
            (Middle::Date(format), Point::Time(from), _) => render(format, from),
            (Middle::Number(count, width), Point::Number(from), Point::Number(to)) => {
                let number = match count {
                    Count::From => from,
                    Count::To => to,
                    Count::Last => to - 1,
                    Count::Place(first) => from.div_euclid(to - from) + first,
                };
                // A minus has no place in a name.
                (number >= 0).then(|| format!("{number:0width$}"))?
            }
            _ => return None,
        };
        Some(format!("{}{middle}{}", self.before, self.after))
    }
}

fn render(format: &str, time: DateTime) -> String {
    let quarter = (time.month() - 1) / 3 + 1;
    let format = format.replace("%Q", &quarter.to_string());
    time.strftime(&format).to_string()
}
