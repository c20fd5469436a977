//! Somebody sets the clock.

use proptest::prelude::*;

use super::*;

fn set(minutes: i64) -> DaemonEvent {
    DaemonEvent::ClockSet {
        by: SignedDuration::from_mins(minutes),
    }
}

fn set_seconds(seconds: i64) -> DaemonEvent {
    DaemonEvent::ClockSet {
        by: SignedDuration::from_secs(seconds),
    }
}

fn every(seconds: u64) -> JobSpec {
    job("a", |j| {
        j.schedule.every = Some(Duration::from_secs(seconds));
    })
}

fn cron(text: &str) -> JobSpec {
    job("a", |j| j.schedule.cron = Some(text.to_owned()))
}

#[rstest]
#[case::every_follows_it_back(minutely("a"), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:01:05", committed("a"), ""),
    ("09:01:10", set(-60), ""),
    ("09:02:00", DaemonEvent::Tick, "start a Schedule 09:02:00"),
    ("09:02:05", committed("a"), ""),
    ("09:03:00", DaemonEvent::Tick, "start a Schedule 09:03:00"),
])]
#[case::stars_follow_it_back(cron("*/5 * * * *"), vec![
    ("10:05:00", DaemonEvent::Tick, "start a Schedule 10:05:00"),
    ("10:05:05", committed("a"), ""),
    ("09:51:00", set(-15), ""),
    ("09:55:00", DaemonEvent::Tick, "start a Schedule 09:55:00"),
])]
#[case::stars_follow_it_back_by_hours(cron("0 * * * *"), vec![
    ("11:00:00", DaemonEvent::Tick, "start a Schedule 11:00:00"),
    ("11:00:05", committed("a"), ""),
    ("09:30:00", set(-91), ""),
    ("10:00:00", DaemonEvent::Tick, "start a Schedule 10:00:00"),
])]
#[case::a_fixed_time_runs_once(cron("30 10 * * *"), vec![
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
    ("10:30:05", committed("a"), ""),
    ("09:31:00", set(-60), ""),
    ("10:30:00", DaemonEvent::Tick, ""),
    ("11:30:00", DaemonEvent::Tick, ""),
])]
#[case::a_fixed_time_that_has_not_come_runs_once(cron("30 10 * * *"), vec![
    ("09:10:00", set(-60), ""),
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
])]
#[case::a_fixed_time_runs_again_on_another_day(cron("30 10 * * *"), vec![
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
    ("10:30:05", committed("a"), ""),
    ("06:31:00", set(-240), ""),
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
])]
#[case::steps_add_up(cron("30 10 * * *"), vec![
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
    ("10:30:05", committed("a"), ""),
    ("08:31:00", set(-120), ""),
    ("06:32:00", set(-120), ""),
    ("10:30:00", DaemonEvent::Tick, "start a Schedule 10:30:00"),
])]
#[case::a_few_seconds_repeat_nothing(minutely("a"), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:01:05", committed("a"), ""),
    ("10:00:58", set_seconds(-7), ""),
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:02:00", DaemonEvent::Tick, "start a Schedule 10:02:00"),
])]
#[case::unless_they_are_more_than_the_period(every(2), vec![
    ("10:00:10", DaemonEvent::Tick, "start a Schedule 10:00:10"),
    ("10:00:10.1", committed("a"), ""),
    ("10:00:03.2", set_seconds(-7), ""),
    ("10:00:04", DaemonEvent::Tick, "start a Schedule 10:00:04"),
])]
#[case::forward_is_caught_up_once(minutely("a"), vec![
    ("11:00:30", set(60), "start a Missed 11:00:00"),
    ("11:00:35", committed("a"), ""),
    ("11:01:00", DaemonEvent::Tick, "start a Schedule 11:01:00"),
])]
#[case::a_fixed_time_is_skipped_over_and_caught_up(cron("30 10 * * *"), vec![
    ("11:00:30", set(60), "start a Missed 10:30:00"),
    ("11:00:35", committed("a"), ""),
    ("10:00:40", set(-60), ""),
    ("10:30:00", DaemonEvent::Tick, ""),
])]
#[case::a_reload_reckons_anew(minutely("a"), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:01:05", committed("a"), ""),
    ("09:02:10", DaemonEvent::Reload(scheduled(config(4, vec![minutely("a")]))), "reloaded +[] -[] ~[]"),
    ("09:03:00", DaemonEvent::Tick, "start a Schedule 09:03:00"),
])]
#[case::what_runs_elsewhere_is_looked_at_in_time(minutely("a"), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:01:01", at_work_elsewhere("a"), ""),
    ("09:01:10", set(-60), ""),
    ("09:01:11", DaemonEvent::Tick, "start a Schedule 10:01:00"),
])]
#[case::the_grace_is_no_longer(minutely("a"), vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("09:00:10", set(-60), ""),
    ("09:01:01", DaemonEvent::Tick, ""),
    ("09:01:02", DaemonEvent::Tick, "cancel a"),
    ("08:01:05", set(-60), ""),
    ("08:01:32", DaemonEvent::Tick, "exit"),
])]
#[case::and_no_shorter(minutely("a"), vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("11:00:10", set(60), ""),
    ("11:01:01", DaemonEvent::Tick, ""),
    ("11:01:02", DaemonEvent::Tick, "cancel a"),
])]
fn the_clock_is_set(#[case] spec: JobSpec, #[case] steps: Vec<Step>) {
    check(&mut table(config(4, vec![spec])), steps);
}

fn at_work_elsewhere(job: &str) -> DaemonEvent {
    DaemonEvent::Finished {
        job: job.into(),
        run_id: RUN,
        outcome: Outcome::Skipped,
        elsewhere: Some(crate::report::Elsewhere::AtWork),
    }
}

fn due(actions: &[Action]) -> Vec<Timestamp> {
    let starts = actions.iter().filter_map(|action| match action {
        Action::Start(start) => start.due_at,
        _ => None,
    });
    starts.collect()
}

/// The ledger would take a second fire of that time for the first.
#[test]
fn a_fire_that_comes_again_has_another_time() {
    let mut table = table(config(4, vec![minutely("a")]));
    let mut passed = Vec::new();
    for _ in 0..3 {
        passed.extend(due(&table.handle(DaemonEvent::Tick, at("10:01:00"))));
        table.handle(committed("a"), at("10:01:10"));
        table.handle(set_seconds(-100), at("09:59:30"));
    }
    passed.extend(due(&table.handle(DaemonEvent::Tick, at("10:02:00"))));
    let expected = ["10:01:00", "10:01:00.000001", "10:01:00.000002", "10:02:00"];
    assert_eq!(passed, expected.map(at));
}

#[test]
fn a_daemon_that_starts_in_an_hour_that_comes_again_knows_it() {
    let saved = |due_at: &str| SavedJob {
        due_at: Some(at(due_at)),
        ..SavedJob::default()
    };
    let fixed = job("b", |j| j.schedule.cron = Some("30 10 * * *".to_owned()));
    let scheduled = scheduled(config(4, vec![minutely("a"), fixed]));
    let saved = BTreeMap::from([
        ("a".to_owned(), saved("10:59:00")),
        ("b".to_owned(), saved("10:30:00")),
    ]);
    let (mut table, actions) = JobTable::new(scheduled, workers, &saved, at("10:00:20"));
    assert_eq!(show(&actions), "");
    let again = at("10:01:00.000001");
    assert_eq!(
        due(&table.handle(DaemonEvent::Tick, at("10:01:00"))),
        [again]
    );
    table.handle(committed("a"), at("10:01:10"));
    let fires = due(&table.handle(DaemonEvent::Tick, at("10:30:00")));
    assert_eq!(fires, [at("10:30:00.000001")], "of `a` alone");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// By whatever steps the clock goes: a job with a period of a minute starts at most two of them
    /// after its last start or the last step, no fire has the time of another, and within three hours a fixed time runs once.
    #[test]
    fn schedules_go_on_and_no_fire_is_taken_for_another(
        steps in prop::collection::vec((1..400_u32, -7200..7200_i64), 1..12),
    ) {
        let fixed = job("b", |j| j.schedule.cron = Some("30 10 * * *".to_owned()));
        let mut table = table(config(4, vec![minutely("a"), fixed]));
        let (mut now, mut since_start) = (at("10:00:00"), 0);
        let mut seen = BTreeSet::new();
        let mut fixed_starts = 0;
        let (mut lowest, mut highest) = (now, now);
        for (seconds, by) in steps {
            for second in 0..=seconds {
                since_start += 1;
                let event = if second == seconds {
                    since_start = 0;
                    now += SignedDuration::from_secs(by);
                    set_seconds(by)
                } else {
                    now += SignedDuration::from_secs(1);
                    DaemonEvent::Tick
                };
                (lowest, highest) = (lowest.min(now), highest.max(now));
                for action in table.handle(event, now) {
                    let Action::Start(start) = action else { continue };
                    prop_assert!(seen.insert((start.job.clone(), start.due_at)), "{start:?}");
                    match &*start.job {
                        "a" => since_start = 0,
                        _ => fixed_starts += 1,
                    }
                    table.handle(committed(&start.job), now);
                }
                prop_assert!(since_start <= 120, "{since_start} s without a run");
            }
        }
        if highest.duration_since(lowest) <= SignedDuration::from_hours(3) {
            prop_assert!(fixed_starts <= 1, "{fixed_starts}");
        }
    }
}
