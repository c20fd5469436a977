//! The fire times of a cron expression. Daylight saving time is handled as in Vixie cron.
//!
//! croner treats only single times (`30 2 * * *`) as fixed. With it alone, `0 2,14 * * *` would be skipped when
//! the clock skips two o'clock, and run twice when two o'clock comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use croner::{Cron, CronDateTime};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::config::{CronSyntaxError, parse_cron};

/// A cron expression of five fields in a time zone.
#[derive(Clone, Debug)]
pub struct CronTimes {
    cron: Arc<Cron>,
    zone: TimeZone,
    follows: Follows,
}

/// Cron expressions by their text. Each takes 5 kB (croner keeps a byte for every year), and thousands of
/// jobs share a handful of them.
#[derive(Debug, Default)]
pub struct Expressions(BTreeMap<String, Arc<Cron>>);

impl Expressions {
    fn get(&mut self, text: &str) -> Result<Arc<Cron>, CronSyntaxError> {
        if let Some(cron) = self.0.get(text) {
            return Ok(cron.clone());
        }
        let cron = Arc::new(parse_cron(text)?);
        self.0.insert(text.to_owned(), cron.clone());
        Ok(cron)
    }
}

/// What a job does when the clock is set forward or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// The minute or the hour is `*` or `*/n`: the job follows the wall clock, so it fires twice in a
    /// repeated hour and not in a skipped one.
    WallClock,
    /// Minute and hour are given: the job fires once for each calendar time. A skipped time fires right
    /// after the gap; a repeated time fires only the first time.
    Calendar,
}

impl CronTimes {
    /// Parses `minute hour day month weekday`, or reuses an expression that was parsed before.
    pub fn parse(
        text: &str,
        zone: TimeZone,
        read: &mut Expressions,
    ) -> Result<Self, CronSyntaxError> {
        // Vixie cron also checks only the first character of these two fields.
        let star = text
            .split_whitespace()
            .take(2)
            .any(|field| field.starts_with('*'));
        let follows = if star {
            Follows::WallClock
        } else {
            Follows::Calendar
        };
        Ok(CronTimes {
            cron: read.get(text)?,
            zone,
            follows,
        })
    }

    /// Whether minute or hour is `*` or `*/n`.
    pub fn follows_clock(&self) -> bool {
        self.follows == Follows::WallClock
    }

    /// The first fire time after `after`; `None` at the end of the calendar.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let here = after.to_zoned(self.zone.clone());
        match self.follows {
            Follows::WallClock => Some(self.step(&here)?.timestamp()),
            Follows::Calendar => {
                let mut civil = here.datetime();
                loop {
                    civil = self.step(&civil)?;
                    // In the second pass of a repeated hour, the fixed times of that hour have passed.
                    let fire = self.instant_of(civil)?;
                    if fire > after {
                        return Some(fire);
                    }
                }
            }
        }
    }

    fn step<T: CronDateTime>(&self, from: &T) -> Option<T> {
        self.cron.find_next_occurrence(from, false).ok()
    }

    fn instant_of(&self, civil: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()
            }
            AmbiguousOffset::Gap { .. } => {
                let before_gap = ambiguous.earlier().ok()?;
                Some(self.zone.following(before_gap).next()?.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use rstest::rstest;

    const BERLIN: &str = "Europe/Berlin";
    const NEW_YORK: &str = "America/New_York";

    fn times(text: &str, zone: &str) -> CronTimes {
        let zone = TimeZone::get(zone).unwrap();
        CronTimes::parse(text, zone, &mut Expressions::default()).unwrap()
    }

    fn fires(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let times = times(text, zone);
        let after: Timestamp = after.parse().unwrap();
        let next = |t: &Timestamp| times.next_after(*t);
        std::iter::successors(next(&after), next)
            .take(count)
            .map(|t| {
                t.to_zoned(TimeZone::get(zone).unwrap())
                    .strftime("%m-%dT%H:%M%:z")
                    .to_string()
            })
            .collect()
    }

    #[rstest]
    // The clock goes from 02:00+01:00 to 03:00+02:00 on 2026-03-29 in Berlin.
    #[case::single_time("30 2 * * *", BERLIN, "2026-03-28T12:00Z",
        &["03-29T03:00+02:00", "03-30T02:30+02:00"])]
    #[case::listed_hours("0 2,14 * * *", BERLIN, "2026-03-28T14:00Z",
        &["03-29T03:00+02:00", "03-29T14:00+02:00", "03-30T02:00+02:00"])]
    #[case::listed_minutes_run_once_after_the_gap("15,45 2 * * *", BERLIN, "2026-03-28T12:00Z",
        &["03-29T03:00+02:00", "03-30T02:15+02:00"])]
    #[case::gap_and_own_time_coincide("0 2,3 * * *", BERLIN, "2026-03-28T12:00Z",
        &["03-29T03:00+02:00", "03-30T02:00+02:00", "03-30T03:00+02:00"])]
    #[case::stepped_range_is_fixed("0 0-23/2 * * *", BERLIN, "2026-03-29T00:30Z",
        &["03-29T03:00+02:00", "03-29T04:00+02:00"])]
    #[case::every_hour("0 * * * *", BERLIN, "2026-03-28T23:30Z",
        &["03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"])]
    #[case::every_other_hour("0 */2 * * *", BERLIN, "2026-03-28T22:30Z",
        &["03-29T00:00+01:00", "03-29T04:00+02:00", "03-29T06:00+02:00"])]
    #[case::half_hours_of_the_skipped_hour("*/30 2 * * *", BERLIN, "2026-03-28T12:00Z",
        &["03-30T02:00+02:00", "03-30T02:30+02:00"])]
    #[case::new_york("30 2 * * *", NEW_YORK, "2026-03-07T12:00Z",
        &["03-08T03:00-04:00", "03-09T02:30-04:00"])]
    #[case::new_york_every_half_hour("*/30 * * * *", NEW_YORK, "2026-03-08T06:20Z",
        &["03-08T01:30-05:00", "03-08T03:00-04:00", "03-08T03:30-04:00"])]
    #[case::gap_at_midnight("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00Z",
        &["04-24T01:00+03:00", "04-25T00:00+03:00"])]
    fn a_skipped_hour(
        #[case] text: &str,
        #[case] zone: &str,
        #[case] after: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(fires(text, zone, after, expected.len()), expected);
    }

    #[rstest]
    // The clock goes from 03:00+02:00 back to 02:00+01:00 on 2026-10-25 in Berlin.
    #[case::single_time("30 2 * * *", BERLIN, "2026-10-24T12:00Z",
        &["10-25T02:30+02:00", "10-26T02:30+01:00"])]
    #[case::listed_hours("0 2,14 * * *", BERLIN, "2026-10-24T14:00Z",
        &["10-25T02:00+02:00", "10-25T14:00+01:00"])]
    #[case::asked_in_the_second_pass("30 2 * * *", BERLIN, "2026-10-25T01:10Z",
        &["10-26T02:30+01:00"])]
    #[case::every_hour("0 * * * *", BERLIN, "2026-10-24T23:30Z",
        &["10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00"])]
    #[case::half_hours_of_the_repeated_hour("*/30 2 * * *", BERLIN, "2026-10-24T12:00Z",
        &["10-25T02:00+02:00", "10-25T02:30+02:00", "10-25T02:00+01:00", "10-25T02:30+01:00",
          "10-26T02:00+01:00"])]
    #[case::new_york("30 1 * * *", NEW_YORK, "2026-10-31T12:00Z",
        &["11-01T01:30-04:00", "11-02T01:30-05:00"])]
    #[case::new_york_every_half_hour("*/30 * * * *", NEW_YORK, "2026-11-01T05:20Z",
        &["11-01T01:30-04:00", "11-01T01:00-05:00", "11-01T01:30-05:00", "11-01T02:00-05:00"])]
    fn a_repeated_hour(
        #[case] text: &str,
        #[case] zone: &str,
        #[case] after: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(fires(text, zone, after, expected.len()), expected);
    }

    #[rstest]
    #[case::leap_day("0 0 29 2 *", "2026-01-01T00:00Z",
        &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"])]
    #[case::no_leap_day_in_2100("0 0 29 2 *", "2096-03-01T00:00Z", &["2104-02-29T00:00:00Z"])]
    #[case::the_31st("0 6 31 * *", "2026-01-31T12:00Z",
        &["2026-03-31T06:00:00Z", "2026-05-31T06:00:00Z"])]
    #[case::last_day("0 6 L * *", "2026-02-01T00:00Z",
        &["2026-02-28T06:00:00Z", "2026-03-31T06:00:00Z"])]
    #[case::day_or_weekday("0 0 13 * 5", "2026-02-07T00:00Z",
        &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"])]
    #[case::names("0 0 * JAN MON", "2026-01-01T00:00Z",
        &["2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z"])]
    #[case::sunday_is_7("0 0 * * 7", "2026-01-01T00:00Z", &["2026-01-04T00:00:00Z"])]
    #[case::fractions("0 * * * *", "2026-01-01T00:00:00.5Z", &["2026-01-01T01:00:00Z"])]
    fn the_calendar(#[case] text: &str, #[case] after: &str, #[case] expected: &[&str]) {
        let times = times(text, "UTC");
        let mut at: Timestamp = after.parse().unwrap();
        for fire in expected {
            at = times.next_after(at).unwrap();
            assert_eq!(at.to_string(), *fire);
        }
    }

    /// 2024 to 2034: a fixed job fires exactly once on each day of the calendar, a wildcard job
    /// whenever the wall clock matches.
    #[rstest]
    #[case(BERLIN)]
    #[case(NEW_YORK)]
    fn years_of_fire_times_count_up(#[case] zone: &str) {
        let start: Timestamp = "2024-01-01T12:00Z".parse().unwrap();
        let end: Timestamp = "2034-01-01T12:00Z".parse().unwrap();
        let count = |text: &str| {
            let times = times(text, zone);
            std::iter::successors(Some(start), |t| times.next_after(*t))
                .skip(1)
                .take_while(|t| *t <= end)
                .count()
        };
        let days = 3653;
        assert_eq!(count("30 1 * * *"), days);
        assert_eq!(count("30 2 * * *"), days);
        assert_eq!(count("0 2,14 * * *"), 2 * days);
        assert_eq!(count("0 * * * *"), 24 * days);
    }

    /// Vixie cron itself, minute by minute: jobs with a star follow the wall clock; for the others every
    /// minute of the calendar counts once, those that the clock skipped right after the gap.
    fn as_vixie_does(text: &str, zone: &TimeZone, from: Timestamp, hours: i64) -> Vec<Timestamp> {
        let cron = times(text, "UTC").cron;
        let star = text.split(' ').take(2).any(|field| field.starts_with('*'));
        let minute = |n: i64| from + SignedDuration::from_mins(n);
        let matches = |civil: &DateTime| cron.is_time_matching(civil).unwrap();
        let mut seen = minute(0).to_zoned(zone.clone()).datetime();
        let mut fires = Vec::new();
        for now in (1..=hours * 60).map(minute) {
            let wall = now.to_zoned(zone.clone()).datetime();
            let mut due = star && matches(&wall);
            while seen < wall {
                seen += SignedDuration::from_mins(1);
                due |= !star && matches(&seen);
            }
            if due {
                fires.push(now);
            }
        }
        fires
    }

    fn field(limit: u8) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (2..limit).prop_map(|step| format!("*/{step}")),
            (0..limit).prop_map(|at| at.to_string()),
            prop::collection::vec(0..limit, 2..5).prop_map(|list| list
                .iter()
                .map(u8::to_string)
                .collect::<Vec<_>>()
                .join(",")),
            (0..limit / 2).prop_map(move |at| format!("{at}-{}", limit / 2)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn fires_as_vixie_cron_does_around_a_change_of_the_clock(
            minute in field(60),
            hour in field(5),
            change in prop::sample::select(vec![
                (BERLIN, "2026-03-28T20:00Z"),
                (BERLIN, "2026-10-24T20:00Z"),
                (NEW_YORK, "2026-03-08T00:00Z"),
                (NEW_YORK, "2026-11-01T00:00Z"),
                ("Australia/Lord_Howe", "2026-10-03T10:00Z"), // by half an hour
                ("Australia/Lord_Howe", "2026-04-04T10:00Z"),
            ]),
        ) {
            let (zone, from) = (TimeZone::get(change.0).unwrap(), change.1.parse().unwrap());
            let text = format!("{minute} {hour} * * *");
            let times = times(&text, change.0);
            let until = from + SignedDuration::from_hours(36);
            let fires: Vec<Timestamp> = std::iter::successors(Some(from), |t| times.next_after(*t))
                .skip(1)
                .take_while(|t| *t <= until)
                .collect();
            prop_assert_eq!(fires, as_vixie_does(&text, &zone, from, 36), "{}", text);
        }
    }
}
