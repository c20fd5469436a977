//! The status of jobs for people: a line for each job, and lines below it for what needs attention. (pure)

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::colours::Tone;
use crate::cli::out::{Cell, ColumnRow, Line, in_columns, in_short};
use crate::daemon::control::{JobStatusReply, NotifierStatusReply};
use crate::report::Outcome;
use crate::wording::brief;

/// The lines of these jobs, none wider than `width` (of at least 80).
pub(super) fn lines(jobs: &[&JobStatusReply], now: Timestamp, width: usize) -> Vec<Line> {
    let rows: Vec<ColumnRow<4>> = jobs.iter().map(|job| row(job, now)).collect();
    in_columns(["job", "state", "last run", "next run"], &rows, width)
}

/// Notifiers whose last notice could not be sent.
pub(super) fn silent(notifiers: &[NotifierStatusReply]) -> impl Iterator<Item = String> {
    notifiers.iter().filter_map(|notifier| {
        let error = notifier.last_error.as_ref()?;
        let name = &notifier.notifier;
        Some(format!(
            "notifier `{name}`: the last notice could not be sent: {error}"
        ))
    })
}

/// What a person should see first has the lowest number.
pub(super) fn urgency(job: &JobStatusReply) -> u8 {
    match job {
        _ if has_failed(job) || job.attempt_error.is_some() => 0,
        _ if job.stale == Some(true) => 1,
        _ if job.state == "running" => 2,
        _ if job.state != "idle" => 3,
        _ => 4,
    }
}

fn has_failed(job: &JobStatusReply) -> bool {
    matches!(
        job.last_outcome,
        Some(Outcome::RolledBack | Outcome::InDoubt)
    )
}

fn row(job: &JobStatusReply, now: Timestamp) -> ColumnRow<4> {
    let since = |at: Timestamp| brief(now.duration_since(at).unsigned_abs());
    // The first of these; the lines below the row say all.
    let flag = job.removed.then(|| "removed".to_owned());
    let flag = flag
        .or_else(|| Some(format!("attempt {}", job.attempt?)))
        .or_else(|| job.paused_since.map(|_| "paused".to_owned()))
        .or_else(|| (job.stale == Some(true)).then(|| "stale".to_owned()));
    let state = match (flag, job.since) {
        (Some(flag), _) => format!("{}, {flag}", job.state),
        (None, Some(at)) => format!("{} {}", job.state, since(at)),
        (None, None) => job.state.clone(),
    };
    let outcome = job.last_outcome.map(Outcome::as_str);
    let last = match (outcome, job.last_finished_at) {
        (Some(outcome), Some(at)) => format!("{outcome} {} ago", since(at)),
        (Some(outcome), None) => outcome.to_owned(),
        (None, _) => "-".to_owned(),
    };
    let next = match job.next_run_at {
        Some(at) if at > now => format!("in {}", since(at)),
        Some(_) => "now".to_owned(),
        None => "-".to_owned(),
    };
    let tone = match job.last_outcome {
        Some(Outcome::Committed) => Tone::Good,
        Some(Outcome::RolledBack | Outcome::InDoubt) => Tone::Bad,
        Some(Outcome::Cancelled | Outcome::Skipped) => Tone::Notice,
        None => Tone::Plain,
    };
    ColumnRow {
        cells: [job.job.clone(), state, last, next].map(Cell::text),
        tone: (2, tone),
        below: below(job, now),
    }
}

fn below(job: &JobStatusReply, now: Timestamp) -> Vec<(String, Tone)> {
    let mut below = Vec::new();
    let since = |at: Timestamp| brief(now.duration_since(at).unsigned_abs());
    if let Some(at) = job.paused_since {
        let name = &job.job;
        below.push((
            format!(
                "paused for {}; `tableferry resume {name}` ends that",
                since(at)
            ),
            Tone::Notice,
        ));
    }
    if job.stale == Some(true) {
        let age = match job.snapshot_at {
            Some(at) => format!("the data are {} old", since(at)),
            None => "the job has never committed".to_owned(),
        };
        let seconds = job.fresh_within_seconds.unwrap_or_default();
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        below.push((
            format!("stale: {age}, and `fresh_within` is {}", brief(limit)),
            Tone::Bad,
        ));
    }
    if let Some(not_copied) = job.not_copied.in_words() {
        below.push((not_copied, Tone::Notice));
    }
    if job.removed {
        below.push((
            "a reload has removed the job; its run goes on".to_owned(),
            Tone::Notice,
        ));
    }
    match (job.attempt, &job.attempt_error, &job.last_error) {
        (Some(attempt), Some(error), _) => below.push((
            format!(
                "attempt {attempt}; the one before failed: {}",
                in_short(error)
            ),
            Tone::Bad,
        )),
        (_, _, Some(error)) => below.push((format!("error: {}", in_short(error)), Tone::Bad)),
        _ => {}
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::drift::NotCopied;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn idle(name: &str) -> JobStatusReply {
        JobStatusReply {
            job: name.to_owned(),
            state: "idle".to_owned(),
            since: None,
            removed: false,
            attempt: None,
            attempt_error: None,
            last_outcome: None,
            last_finished_at: None,
            last_error: None,
            next_run_at: None,
            paused_since: None,
            snapshot_at: None,
            fresh_within_seconds: None,
            stale: None,
            not_copied: NotCopied::default(),
        }
    }

    fn jobs() -> Vec<JobStatusReply> {
        vec![
            idle("a"),
            JobStatusReply {
                last_outcome: Some(Outcome::Committed),
                last_finished_at: Some(at(10_000 - 180)),
                next_run_at: Some(at(10_000 + 240)),
                ..idle("catalogue")
            },
            JobStatusReply {
                state: "running".to_owned(),
                since: Some(at(10_000 - 12)),
                attempt: Some(2),
                attempt_error: Some("job `orders`: connecting to `shop` failed:\nconnection refused".to_owned()),
                ..idle("orders")
            },
            JobStatusReply {
                last_outcome: Some(Outcome::RolledBack),
                last_finished_at: Some(at(10_000 - 7200)),
                last_error: Some("COPY into `sales.orders` failed: null value in column \"sku\" violates not-null constraint (23502)\u{1b}[2J".to_owned()),
                next_run_at: Some(at(9_000)),
                paused_since: Some(at(10_000 - 3600)),
                stale: Some(true),
                snapshot_at: Some(at(10_000 - 9000)),
                fresh_within_seconds: Some(7200.0),
                ..idle("a_name_that_is_so_long_that_it_needs_a_line_of_its_own_in_eighty_columns")
            },
        ]
    }

    fn shown(jobs: &[JobStatusReply], width: usize) -> Vec<String> {
        let jobs: Vec<&JobStatusReply> = jobs.iter().collect();
        lines(&jobs, at(10_000), width)
            .iter()
            .map(Line::text)
            .collect()
    }

    #[test]
    fn eighty_columns_hold_what_a_person_needs() {
        let expected = [
            "job                            state               last run             next run",
            "a                              idle                -                    -",
            "catalogue                      idle                committed 3 min ago  in 4 min",
            "orders                         running, attempt 2  -                    -",
            "    attempt 2; the one before failed: job `orders`: connecting to `shop` failed:",
            "      connection refused",
            "a_name_that_is_so_long_that_it_needs_a_line_of_its_own_in_eighty_columns",
            "                               idle, paused        rolled_back 2 h ago  now",
            "    paused for 1 h; `tableferry resume",
            "      a_name_that_is_so_long_that_it_needs_a_line_of_its_own_in_eighty_columns`",
            "      ends that",
            "    stale: the data are 2 h old, and `fresh_within` is 2 h",
            "    error: COPY into `sales.orders` failed: null value in column \"sku\" violates",
            "      not-null constraint (23502)\\x1b[2J",
        ];
        let lines = shown(&jobs(), 80);
        assert_eq!(lines.join("\n"), expected.join("\n"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_failure_comes_first() {
        let jobs = jobs();
        let ranks: Vec<u8> = jobs.iter().map(urgency).collect();
        assert_eq!(ranks, [4, 4, 0, 0]);
        let mut stale = JobStatusReply {
            stale: Some(true),
            ..idle("s")
        };
        assert_eq!(urgency(&stale), 1);
        stale.not_copied.columns = vec!["public.t.note".to_owned()];
        let lines = shown(&[stale], 80);
        let expected = "    1 column of the source is not copied: public.t.note";
        assert_eq!(lines.last().map(String::as_str), Some(expected));
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            name in "[a-z_]{1,100}",
            state in "idle|waiting|running|elsewhere",
            error in proptest::option::of("[ -~]{0,300}"),
            flags in proptest::array::uniform3(proptest::bool::ANY),
        ) {
            let [paused, stale, removed] = flags;
            let job = JobStatusReply {
                state,
                since: Some(at(0)),
                removed,
                last_outcome: Some(Outcome::RolledBack),
                last_finished_at: Some(at(5000)),
                last_error: error,
                next_run_at: Some(at(20_000)),
                paused_since: paused.then(|| at(0)),
                stale: Some(stale),
                ..idle(&name)
            };
            let lines = shown(&[job], 80);
            proptest::prop_assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        }
    }
}
