//! Validates cron expressions: spellings that the parser does not know, and expressions that need a warning.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::wording::counted;

/// Fires that are looked at to find the shortest time between two of them.
const FIRES_MAX: usize = 32;

/// Why a text is not a cron expression.
#[derive(Debug, thiserror::Error)]
pub enum CronSyntaxError {
    /// More or fewer than minute, hour, day of month, month, day of week.
    #[error("it has {}", counted(*.0, "field"))]
    Fields(usize),
    /// A field is wrong.
    #[error("{0}")]
    Field(String),
    /// Such as 30 February.
    #[error("it never comes")]
    Never,
}

/// Reads a cron expression of five fields, with Vixie cron's meaning: where both days are
/// restricted, either will do.
pub fn parse_cron(text: &str) -> Result<Cron, CronSyntaxError> {
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(CronSyntaxError::Fields(fields));
    }
    let cron = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .dom_and_dow(false)
        .build()
        .parse(&spelled_out(text)?)
        .map_err(|e| CronSyntaxError::Field(e.to_string()))?;
    // From a fixed day, so that the answer does not depend on the clock.
    let start = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    match cron.find_next_occurrence(&start, false) {
        Ok(_) => Ok(cron),
        Err(_) => Err(CronSyntaxError::Never),
    }
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// From `first` on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fn field(name: &'static str, first: u32, last: u32, names: &'static [&'static str]) -> Field {
    Field {
        name,
        first,
        last,
        names,
    }
}

const FIELDS: [Field; 5] = [
    field("minute", 0, 59, &[]),
    field("hour", 0, 23, &[]),
    field("day of month", 1, 31, &[]),
    field("month", 1, 12, &MONTHS),
    field("day of week", 0, 6, &DAYS),
];

impl Field {
    /// A number, or a name of a month or a day. Sunday is 0 and 7.
    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.names.iter().position(|word| *word == lower) {
            return Some(self.first + u32::try_from(at).ok()?);
        }
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits)?;
        let last = if self.last == 6 { 7 } else { self.last };
        (self.first..=last).contains(&value).then_some(value)
    }

    /// `5/20` is `5-59/20`, and `fri-mon` the days from Friday on. What is not understood stays as it is.
    fn spelled_out(&self, item: &str) -> String {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        match range.split_once('-') {
            None => match (self.value(range), step) {
                (Some(from), Some(step)) => format!("{from}-{}/{step}", self.last.max(from)),
                _ => item.to_owned(),
            },
            Some((from, to)) => match (self.value(from), self.value(to)) {
                (Some(from), Some(to)) if from > to && step.is_none() => {
                    let days = (from..=self.last).chain(self.first..=to);
                    days.map(|day| day.to_string())
                        .collect::<Vec<_>>()
                        .join(",")
                }
                _ => item.to_owned(),
            },
        }
    }

    /// A step that leads out of its range at once.
    fn doubt(&self, item: &str) -> Option<String> {
        let (range, step) = item.split_once('/')?;
        let step: u32 = step.parse().ok()?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            None => (self.value(range)?, self.last),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
        };
        (from <= to && step > to - from).then(|| {
            let name = self.name;
            format!("`{item}` as {name} means {from} only: its step is longer than the range")
        })
    }
}

/// The expression in the parser's own spelling. *Errors:* a list with nothing between two commas.
fn spelled_out(text: &str) -> Result<String, CronSyntaxError> {
    let mut fields = Vec::new();
    for (field, text) in FIELDS.iter().zip(text.split_whitespace()) {
        let mut items = Vec::new();
        for item in text.split(',') {
            if item.is_empty() {
                let name = field.name;
                let why = format!("`{text}` as {name} has nothing before or after a comma");
                return Err(CronSyntaxError::Field(why));
            }
            items.push(field.spelled_out(item));
        }
        fields.push(items.join(","));
    }
    Ok(fields.join(" "))
}

/// What is allowed, but hardly meant.
pub(super) fn doubts(text: &str) -> Vec<String> {
    let fields = FIELDS.iter().zip(text.split_whitespace());
    let items = fields.flat_map(|(field, text)| text.split(',').map(move |item| (field, item)));
    items
        .filter_map(|(field, item)| field.doubt(item))
        .collect()
}

/// The shortest time between two of the first fires of a year.
pub(super) fn shortest_period(text: &str) -> Option<jiff::SignedDuration> {
    let cron = parse_cron(text).ok()?;
    let start = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let next = |at: &jiff::Zoned| cron.find_next_occurrence(at, false).ok();
    let fires: Vec<jiff::Zoned> = std::iter::successors(next(&start), next)
        .take(FIRES_MAX)
        .collect();
    fires
        .windows(2)
        .map(|pair| pair[1].duration_since(&pair[0]))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*/15 * * * *", true)]
    #[case("0 3 * * MON-FRI", true)]
    #[case("0 0 29 2 *", true)]
    #[case("0 0 30 2 *", false)]
    #[case("* * * *", false)]
    #[case("0 * * * * *", false)]
    #[case("61 * * * *", false)]
    #[case("@daily", false)]
    fn crons(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(parse_cron(text).is_ok(), valid);
    }

    #[rstest]
    #[case("5/20 * * * *", "5-59/20 * * * *")]
    #[case("0 22-2 * * *", "0 22,23,0,1,2 * * *")]
    #[case("0 0 * * fri-mon", "0 0 * * 5,6,0,1")]
    #[case("0 0 * * FRI-SUN", "0 0 * * 5,6,0")]
    #[case("0 0 * * 5-7", "0 0 * * 5-7")]
    #[case("0 0 * nov-Feb *", "0 0 * 11,12,1,2 *")]
    #[case("0 0 28-3 * *", "0 0 28,29,30,31,1,2,3 * *")]
    #[case("0,30 */2 L * mon#2", "0,30 */2 L * mon#2")]
    #[case("*/15 0-23/2 1W jan-mar mon-fri", "*/15 0-23/2 1W jan-mar mon-fri")]
    fn usual_spellings_are_understood(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(spelled_out(text).unwrap(), expected);
        assert!(parse_cron(text).is_ok(), "{text}");
    }

    #[rstest]
    #[case("0,,5 * * * *")]
    #[case(",5 * * * *")]
    #[case("5, * * * *")]
    #[case("0 0 * * mon,,fri")]
    #[case("65/20 * * * *")]
    #[case("0 22-2/2 * * *")]
    #[case("0 0 * * fri-moon")]
    #[case("5/0 * * * *")]
    fn typing_errors_are_refused(#[case] text: &str) {
        assert!(parse_cron(text).is_err(), "{text}");
    }

    #[rstest]
    #[case("*/70 * * * *", &["`*/70` as minute means 0 only: its step is longer than the range"])]
    #[case("50/20 * * * *", &["`50/20` as minute means 50 only: its step is longer than the range"])]
    #[case("0 */24 * * *", &["`*/24` as hour means 0 only: its step is longer than the range"])]
    #[case("*/59 */23 * * *", &[])]
    #[case("0-10/5,*/15 * * * *", &[])]
    fn a_step_without_effect_is_worth_a_word(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(doubts(text), expected);
    }

    #[rstest]
    #[case("*/5 * * * *", 5)]
    #[case("0,10 * * * *", 10)]
    #[case("0 3 * * *", 24 * 60)]
    fn periods(#[case] text: &str, #[case] minutes: i64) {
        let expected = jiff::SignedDuration::from_mins(minutes);
        assert_eq!(shortest_period(text), Some(expected));
    }
}
