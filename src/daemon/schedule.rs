//! When a job fires: a pure function of the job's name, its schedule and the time. So a restart, a reload and
//! another machine compute the same fire times.

use std::hash::Hasher;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use siphasher::sip::SipHasher13;

use crate::config::CronSyntaxError;
use crate::config::spec::{Missed, ScheduleSpec};
use crate::daemon::cron::{CronTimes, Expressions};

/// A fire that is handled no later than this is on time, and `missed` does not apply.
pub const ON_TIME: SignedDuration = SignedDuration::from_secs(60);

/// The fire times of one job, its jitter included.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    delay: SignedDuration,
    missed: Missed,
    catchup_window: SignedDuration,
}

#[derive(Clone, Debug)]
enum Times {
    OnDemand,
    Every { period_ns: i128 },
    Cron(Box<CronTimes>),
}

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("job `{job}`: `{text}` is not a cron expression: {why}")]
    Cron {
        job: String,
        text: String,
        /// What is wrong with it.
        why: CronSyntaxError,
    },
    /// The time zone is not in the machine's database.
    #[error("job `{job}`: time zone `{zone}` is not known on this machine (is tzdata installed?)")]
    Zone { job: String, zone: String },
    /// `every = "0s"`, or `cron` and `every` together.
    #[error("job `{job}`: {why}")]
    Every {
        job: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What to do about fire times that have passed without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// None passed.
    Nothing,
    /// Run once, in place of the latest of them.
    Run(Timestamp),
    /// `missed = "skip"`: the latest fire and all before it are skipped.
    Unwanted(Timestamp),
    /// The latest fire is older than `catchup_window`.
    TooOld(Timestamp),
}

impl Schedule {
    /// The schedule of the job with this name. `default_zone` is the time zone of `cron` if the job does not
    /// set one.
    pub fn new(
        job: &str,
        spec: &ScheduleSpec,
        default_zone: &TimeZone,
    ) -> Result<Self, ScheduleError> {
        Schedule::sharing(job, spec, default_zone, &mut Expressions::default())
    }

    /// The same for one of many jobs, which share parsed expressions.
    pub fn sharing(
        job: &str,
        spec: &ScheduleSpec,
        default_zone: &TimeZone,
        expressions: &mut Expressions,
    ) -> Result<Self, ScheduleError> {
        let wrong = |why| ScheduleError::Every {
            job: job.to_owned(),
            why,
        };
        let times = match (&spec.cron, spec.every) {
            (None, None) => Times::OnDemand,
            (Some(_), Some(_)) => return Err(wrong("`cron` and `every` exclude each other")),
            (None, Some(Duration::ZERO)) => return Err(wrong("`every` must be longer than 0s")),
            (None, Some(period)) => Times::Every {
                period_ns: signed(period).as_nanos(),
            },
            (Some(text), None) => {
                let zone = match &spec.timezone {
                    None => default_zone.clone(),
                    Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::Zone {
                        job: job.to_owned(),
                        zone: name.clone(),
                    })?,
                };
                let wrong = |why| ScheduleError::Cron {
                    job: job.to_owned(),
                    text: text.clone(),
                    why,
                };
                let times = CronTimes::parse(text, zone, expressions).map_err(wrong)?;
                Times::Cron(Box::new(times))
            }
        };
        Ok(Schedule {
            times,
            delay: jitter_delay(job, spec.jitter),
            missed: spec.missed,
            catchup_window: signed(spec.catchup_window),
        })
    }

    /// The first fire time later than `after`; `None` for a job that runs on demand only.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.checked_sub(self.delay).ok()?;
        let planned = match &self.times {
            Times::OnDemand => return None,
            Times::Every { period_ns } => {
                multiple(after.as_nanosecond().div_euclid(*period_ns) + 1, *period_ns)?
            }
            Times::Cron(cron) => cron.next_after(after)?,
        };
        planned.checked_add(self.delay).ok()
    }

    /// Does the job run again at repeated times if the clock is set back? Otherwise each of its fixed times
    /// runs once.
    pub fn follows_clock(&self) -> bool {
        match &self.times {
            Times::OnDemand | Times::Every { .. } => true,
            Times::Cron(cron) => cron.follows_clock(),
        }
    }

    /// The next `count` fire times later than `after`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let next = |t: &Timestamp| self.next_after(*t);
        std::iter::successors(next(&after), next)
            .take(count)
            .collect()
    }

    /// The latest fire time later than `after` and not later than `until`.
    pub fn latest_between(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::OnDemand => None,
            Times::Every { period_ns } => {
                let planned = until.checked_sub(self.delay).ok()?;
                let count = planned.as_nanosecond().div_euclid(*period_ns);
                let fire = multiple(count, *period_ns)?.checked_add(self.delay).ok()?;
                (fire > after).then_some(fire)
            }
            // Searches twice as far back each time: years of missed minutes take a few steps.
            Times::Cron(_) => {
                let mut back = SignedDuration::from_mins(1);
                loop {
                    let from = until.checked_sub(back).map_or(after, |t| t.max(after));
                    let next = |t: &Timestamp| self.next_after(*t).filter(|fire| *fire <= until);
                    match std::iter::successors(next(&from), next).last() {
                        Some(fire) => return Some(fire),
                        None if from <= after => return None,
                        None => back = back.checked_mul(2)?,
                    }
                }
            }
        }
    }

    /// What to do at `now`, if fire times up to `last` have been handled.
    pub fn catch_up(&self, last: Timestamp, now: Timestamp) -> CatchUp {
        match (self.latest_between(last, now), self.missed) {
            (None, _) => CatchUp::Nothing,
            (Some(due), Missed::Skip) => CatchUp::Unwanted(due),
            (Some(due), Missed::Once) if now.duration_since(due) > self.catchup_window => {
                CatchUp::TooOld(due)
            }
            (Some(due), Missed::Once) => CatchUp::Run(due),
        }
    }
}

/// The job's share of its jitter: spread evenly over [0, jitter) by name, in whole milliseconds.
///
/// SipHash with fixed keys, because the standard library's hasher may change with the compiler.
fn jitter_delay(job: &str, jitter: Duration) -> SignedDuration {
    let mut hasher = SipHasher13::new();
    hasher.write(job.as_bytes());
    let jitter_ms = jitter.as_millis().min(u128::from(u64::MAX));
    let share = (u128::from(hasher.finish()) * jitter_ms) >> 64;
    SignedDuration::from_millis(i64::try_from(share).unwrap_or(i64::MAX))
}

fn multiple(count: i128, period_ns: i128) -> Option<Timestamp> {
    Timestamp::from_nanosecond(count.checked_mul(period_ns)?).ok()
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use rstest::rstest;

    fn spec() -> ScheduleSpec {
        ScheduleSpec {
            catchup_window: Duration::from_secs(3600),
            ..fixtures::schedule()
        }
    }

    fn every(seconds: f64) -> ScheduleSpec {
        ScheduleSpec {
            every: Some(Duration::from_secs_f64(seconds)),
            ..spec()
        }
    }

    fn cron(text: &str) -> ScheduleSpec {
        ScheduleSpec {
            cron: Some(text.to_owned()),
            ..spec()
        }
    }

    fn schedule(spec: &ScheduleSpec) -> Schedule {
        Schedule::new("job", spec, &TimeZone::UTC).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[rstest]
    #[case::on_a_multiple(every(300.0), "2026-01-01T10:05:00Z", "2026-01-01T10:10:00Z")]
    #[case::between(every(300.0), "2026-01-01T10:07:31.2Z", "2026-01-01T10:10:00Z")]
    #[case::odd_period_counts_from_the_epoch(
        every(7.0),
        "1970-01-01T00:00:08Z",
        "1970-01-01T00:00:14Z"
    )]
    #[case::before_the_epoch(every(7.0), "1969-12-31T23:59:56Z", "1970-01-01T00:00:00Z")]
    #[case::fractions(every(0.25), "2026-01-01T10:00:00.3Z", "2026-01-01T10:00:00.5Z")]
    #[case::days_are_utc_days(every(86400.0), "2026-01-01T10:00:00Z", "2026-01-02T00:00:00Z")]
    #[case::cron(cron("*/15 * * * *"), "2026-01-01T10:07:00Z", "2026-01-01T10:15:00Z")]
    fn next_fire_is_later_than_asked(
        #[case] spec: ScheduleSpec,
        #[case] after: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(schedule(&spec).next_after(at(after)), Some(at(expected)));
    }

    #[test]
    fn an_on_demand_job_never_fires() {
        let schedule = schedule(&spec());
        assert_eq!(schedule.next_after(at("2026-01-01T00:00Z")), None);
        assert_eq!(
            schedule.catch_up(Timestamp::UNIX_EPOCH, at("2026-01-01T00:00Z")),
            CatchUp::Nothing
        );
    }

    #[test]
    fn the_jobs_own_zone_wins_over_the_default() {
        let mut spec = cron("0 6 * * *");
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let first = |spec: &ScheduleSpec| {
            Schedule::new("job", spec, &berlin)
                .unwrap()
                .next_after(at("2026-01-01T00:00Z"))
                .unwrap()
                .to_string()
        };
        assert_eq!(first(&spec), "2026-01-01T05:00:00Z");
        spec.timezone = Some("America/New_York".to_owned());
        assert_eq!(first(&spec), "2026-01-01T11:00:00Z");
    }

    #[rstest]
    #[case(ScheduleSpec { every: Some(Duration::ZERO), ..spec() }, "longer than 0s")]
    #[case(ScheduleSpec { cron: Some("0 0 * * *".into()), ..every(1.0) }, "exclude each other")]
    #[case(cron("0 0 31 4 *"), "it never comes")]
    #[case(ScheduleSpec { timezone: Some("Europe/Nowhere".into()), ..cron("0 0 * * *") }, "Europe/Nowhere")]
    fn a_schedule_that_cannot_work_is_refused(#[case] spec: ScheduleSpec, #[case] why: &str) {
        let error = Schedule::new("orders", &spec, &TimeZone::UTC).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("job `orders`: ") && text.contains(why),
            "{text}"
        );
    }

    #[rstest]
    #[case::nothing_passed(cron("0 * * * *"), "09:00", "09:59", CatchUp::Nothing)]
    #[case::one(
        cron("0 * * * *"),
        "09:00",
        "10:10",
        CatchUp::Run(at("2026-01-01T10:00Z"))
    )]
    #[case::many_count_as_one(
        cron("*/5 * * * *"),
        "03:00",
        "10:03",
        CatchUp::Run(at("2026-01-01T10:00Z"))
    )]
    #[case::exactly_now(every(60.0), "09:59", "10:00", CatchUp::Run(at("2026-01-01T10:00Z")))]
    #[case::within_the_window(
        cron("0 9 * * *"),
        "08:00",
        "10:00",
        CatchUp::Run(at("2026-01-01T09:00Z"))
    )]
    #[case::older_than_the_window(
        cron("0 9 * * *"),
        "08:00",
        "10:01",
        CatchUp::TooOld(at("2026-01-01T09:00Z"))
    )]
    #[case::not_wanted(ScheduleSpec { missed: Missed::Skip, ..every(60.0) }, "09:00", "10:00",
        CatchUp::Unwanted(at("2026-01-01T10:00Z")))]
    fn missed_fires_run_once_or_not_at_all(
        #[case] spec: ScheduleSpec,
        #[case] last: &str,
        #[case] now: &str,
        #[case] expected: CatchUp,
    ) {
        let last = at(&format!("2026-01-01T{last}Z"));
        let now = at(&format!("2026-01-01T{now}Z"));
        assert_eq!(schedule(&spec).catch_up(last, now), expected);
    }

    /// A month without a daemon, a fire each minute: still found at once.
    #[rstest]
    #[case("* * * * *", "2026-01-31T10:00:00Z")]
    #[case("0 0 1 * *", "2026-01-01T00:00:00Z")]
    #[case("* 0-11 * * *", "2026-01-30T11:59:00Z")]
    fn the_latest_of_many_missed_fires(#[case] text: &str, #[case] expected: &str) {
        let until = match text {
            "* 0-11 * * *" => at("2026-01-30T20:00Z"),
            _ => at("2026-01-31T10:00Z"),
        };
        assert_eq!(
            schedule(&cron(text)).latest_between(at("2025-12-31T10:00Z"), until),
            Some(at(expected))
        );
    }

    #[test]
    fn jitter_moves_all_fires_of_a_job_by_the_same_time() {
        let mut spec = cron("*/15 * * * *");
        let plain = schedule(&spec).upcoming(at("2026-01-01T00:07Z"), 5);
        spec.jitter = Duration::from_secs(600);
        let delayed = schedule(&spec).upcoming(at("2026-01-01T00:07Z"), 5);
        let delay = jitter_delay("job", spec.jitter);
        assert!(delay > SignedDuration::ZERO && delay < SignedDuration::from_mins(10));
        let expected: Vec<Timestamp> = plain.iter().map(|t| *t + delay).collect();
        // The fire planned for 00:00 may be delayed past 00:07.
        assert!(
            delayed == expected || delayed[1..] == expected[..4],
            "{delayed:?}"
        );
    }

    #[test]
    fn jitter_is_stable_and_spreads_similar_names_evenly() {
        // Pinned: another value would shift every fire time of every installation.
        assert_eq!(
            jitter_delay("catalogue", Duration::from_secs(3600)).as_millis(),
            PINNED_MS
        );
        let jitter = Duration::from_secs(60);
        let mut buckets = [0; 60];
        for n in 0..10_000 {
            let delay = jitter_delay(&format!("job_{n:05}"), jitter);
            buckets[usize::try_from(delay.as_secs()).unwrap()] += 1;
        }
        let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
        assert!(*least > 110 && *most < 230, "{buckets:?}");
    }

    const PINNED_MS: i128 = 3_511_562;
}
