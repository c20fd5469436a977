use jiff::SignedDuration;
use rstest::rstest;

use super::*;
use crate::config::spec::{Config, History, Missed};
use crate::daemon::event::{Orphan, RunOrder};

mod clock;
mod elsewhere;
mod fixtures;
mod pauses;
mod properties;

use fixtures::*;

#[rstest]
#[case::fires_on_time_and_only_then(config(4, vec![minutely("a")]), vec![
    ("10:00:59", DaemonEvent::Tick, ""),
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:01:20", committed("a"), ""),
    ("10:01:59", DaemonEvent::Tick, ""),
    ("10:02:00.2", DaemonEvent::Tick, "start a Schedule 10:02:00"),
])]
#[case::overlap_skip_lets_the_fire_go(config(4, vec![minutely("a")]), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:02:00", DaemonEvent::Tick, "skip a StillRunning 10:02:00"),
    ("10:02:30", committed("a"), ""),
    ("10:03:00", DaemonEvent::Tick, "start a Schedule 10:03:00"),
])]
#[case::overlap_queue_keeps_one(config(4, vec![queueing("a")]), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:02:00", DaemonEvent::Tick, ""),
    ("10:03:00", DaemonEvent::Tick, "skip a StillWaiting 10:02:00"),
    ("10:03:30", finished("a", Outcome::RolledBack), "start a Schedule 10:03:00 after an orphan"),
    ("10:03:40", committed("a"), ""),
])]
#[case::waiting_for_a_permit_is_one_run(config(1, vec![minutely("a"), minutely("b")]), vec![
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
    ("10:02:00", DaemonEvent::Tick, "skip a StillRunning 10:02:00, skip b StillWaiting 10:01:00"),
    ("10:02:10", committed("a"), "start b Schedule 10:02:00"),
])]
#[case::short_periods_are_not_made_up_for(
    config(4, vec![job("a", |j| j.schedule.every = Some(Duration::from_secs(2)))]), vec![
    ("10:00:09", DaemonEvent::Tick, "start a Schedule 10:00:08"),
    ("10:00:09.5", committed("a"), ""),
    ("10:00:10", DaemonEvent::Tick, "start a Schedule 10:00:10"),
])]
#[case::a_machine_that_slept_catches_up_once(config(4, vec![minutely("a")]), vec![
    ("10:31:30", DaemonEvent::Tick, "start a Missed 10:31:00"),
    ("10:31:40", committed("a"), ""),
    ("10:32:00", DaemonEvent::Tick, "start a Schedule 10:32:00"),
])]
#[case::or_not_if_missed_is_skip(
    config(4, vec![job("a", |j| {
        j.schedule.cron = Some("0 * * * *".to_owned());
        j.schedule.missed = Missed::Skip;
    })]), vec![
    ("11:05:00", DaemonEvent::Tick, "skip a Missed 11:00:00"),
    ("12:00:01", DaemonEvent::Tick, "start a Schedule 12:00:00"),
])]
#[case::a_clock_set_back_a_little_runs_nothing_twice(config(4, vec![minutely("a")]), vec![
    ("10:05:00", DaemonEvent::Tick, "start a Missed 10:05:00"),
    ("10:05:10", committed("a"), ""),
    ("10:04:00", DaemonEvent::Tick, ""),
    ("10:06:00", DaemonEvent::Tick, "start a Schedule 10:06:00"),
])]
#[case::a_clock_set_back_a_day_starts_over(config(4, vec![minutely("a")]), vec![
    ("20:00:00", DaemonEvent::Tick, "start a Missed 20:00:00"),
    ("10:00:30", committed("a"), ""),
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
])]
fn fire_times(#[case] config: Config, #[case] steps: Vec<Step>) {
    check(&mut table(config), steps);
}

#[rstest]
#[case::answered_with_the_outcome(config(4, vec![job("a", |_| ())]), vec![
    ("10:00:01", trigger(&["a"], 7), "start a Manual"),
    ("10:00:09", finished("a", Outcome::RolledBack), "answer 7 a Ended(RolledBack)"),
])]
#[case::several_before_the_start_are_one_run(config(1, vec![job("a", |_| ()), job("b", |_| ())]), vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", trigger(&["b"], 2), ""),
    ("10:00:03", trigger(&["b", "b"], 3), ""),
    ("10:00:04", committed("a"), "answer 1 a Ended(Committed), start b Manual"),
    ("10:00:05", committed("b"), "answer 2 b Ended(Committed), answer 3 b Ended(Committed)"),
])]
#[case::while_running_one_more_whatever_overlap_says(config(4, vec![minutely("a")]), vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", trigger(&["a"], 2), ""),
    ("10:00:03", trigger(&["a"], 3), ""),
    ("10:00:04", committed("a"), "answer 1 a Ended(Committed), start a Manual"),
    ("10:00:05", committed("a"), "answer 2 a Ended(Committed), answer 3 a Ended(Committed)"),
])]
#[case::a_fire_joins_the_waiting_trigger(config(4, vec![minutely("a")]), vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", trigger(&["a"], 2), ""),
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:01:10", committed("a"), "answer 1 a Ended(Committed), start a Manual 10:01:00"),
])]
#[case::unknown_jobs_are_answered(config(4, vec![job("a", |_| ())]), vec![
    ("10:00:01", trigger(&["a", "x"], 1), "skip x Unknown, answer 1 x Refused(Unknown), start a Manual"),
])]
#[case::on_demand_runs_those_that_allow_it(
    config(4, vec![job("a", |_| ()), job("b", |j| j.schedule.on_demand = false), minutely("c")]), vec![
    ("10:00:01", DaemonEvent::OnDemand, "start a Signal, start c Signal"),
    ("10:00:02", DaemonEvent::OnDemand, ""),
    ("10:00:03", committed("a"), "start a Signal"),
])]
#[case::a_jobs_own_signal(
    config(4, vec![job("a", |j| j.schedule.signal = Some(3)), job("b", |_| ())]), vec![
    ("10:00:01", DaemonEvent::Signal(3), "start a Signal"),
    ("10:00:02", DaemonEvent::Signal(4), ""),
])]
#[case::an_end_that_nobody_awaits_is_ignored(config(4, vec![job("a", |_| ())]), vec![
    ("10:00:01", committed("a"), ""),
])]
fn triggers(#[case] config: Config, #[case] steps: Vec<Step>) {
    check(&mut table(config), steps);
}

#[rstest]
#[case::runs_in_all(config(2, vec![job("a", |_| ()), job("b", |_| ()), job("c", |_| ())]), vec![
    ("10:00:01", trigger(&["a", "b", "c"], 1), "start a Manual, start b Manual"),
    ("10:00:02", committed("b"), "answer 1 b Ended(Committed), start c Manual"),
])]
#[case::a_slow_server_holds_up_its_own_jobs_only(config(4, vec![
    between("a", "slow", "t", 1), between("b", "slow", "t", 1), between("c", "s", "t", 1)]), vec![
    ("10:00:01", trigger(&["a", "b", "c"], 1), "start a Manual, start c Manual"),
    ("10:00:02", committed("c"), "answer 1 c Ended(Committed)"),
    ("10:00:03", trigger(&["c"], 2), "start c Manual"),
    ("10:00:04", committed("a"), "answer 1 a Ended(Committed), start b Manual"),
])]
#[case::many_workers_are_not_overtaken_for_ever(config(9, vec![
    between("a", "wide", "t", 1), between("b", "wide", "t", 4), between("c", "wide", "t", 1),
    between("d", "s", "t", 1)]), vec![
    ("10:00:01", trigger(&["a", "b", "c", "d"], 1), "start a Manual, start d Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed), start b Manual"),
    ("10:00:03", committed("b"), "answer 1 b Ended(Committed), start c Manual"),
])]
#[case::more_workers_than_connections_take_all(config(9, vec![
    between("a", "slow", "t", 8), between("b", "slow", "slow", 1)]), vec![
    ("10:00:01", trigger(&["a", "b"], 1), "start a Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed), start b Manual"),
])]
#[case::both_sides_on_one_server_count_twice(config(9, vec![
    between("a", "wide", "wide", 1), between("b", "wide", "wide", 1), between("c", "wide", "wide", 1)]), vec![
    ("10:00:01", trigger(&["a", "b", "c"], 1), "start a Manual, start b Manual"),
])]
fn permits(#[case] config: Config, #[case] steps: Vec<Step>) {
    check(&mut table(config), steps);
}

#[rstest]
#[case::when_all_have_committed(
    vec![job("a", |_| ()), job("b", |_| ()), after("c", &["a", "b"])], vec![
    ("10:00:01", trigger(&["a", "b"], 1), "start a Manual, start b Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed)"),
    ("10:00:03", finished("b", Outcome::RolledBack), "answer 1 b Ended(RolledBack)"),
    ("10:00:04", trigger(&["b"], 2), "start b Manual after an orphan"),
    ("10:00:05", committed("b"), "answer 2 b Ended(Committed), start c After"),
    ("10:00:06", trigger(&["a"], 3), "start a Manual"),
    ("10:00:07", committed("a"), "answer 3 a Ended(Committed)"),
])]
#[case::a_chain(vec![job("a", |_| ()), after("b", &["a"]), after("c", &["b"])], vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed), start b After"),
    ("10:00:03", committed("b"), "start c After"),
    ("10:00:04", committed("c"), ""),
])]
#[case::a_commit_during_its_run_runs_it_once_more(vec![job("a", |_| ()), after("b", &["a"])], vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed), start b After"),
    ("10:00:03", trigger(&["a"], 2), "start a Manual"),
    ("10:00:04", committed("a"), "answer 2 a Ended(Committed)"),
    ("10:00:05", committed("b"), "start b After"),
    ("10:00:06", committed("b"), ""),
])]
#[case::its_own_start_resets_the_count(
    vec![job("a", |_| ()), job("b", |_| ()), after("c", &["a", "b"])], vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", committed("a"), "answer 1 a Ended(Committed)"),
    ("10:00:03", trigger(&["c", "b"], 2), "start b Manual, start c Manual"),
    ("10:00:04", committed("b"), "answer 2 b Ended(Committed)"),
    ("10:00:05", committed("c"), "answer 2 c Ended(Committed)"),
])]
fn jobs_after_jobs(#[case] jobs: Vec<JobSpec>, #[case] steps: Vec<Step>) {
    check(&mut table(config(4, jobs)), steps);
}

#[rstest]
#[case::nothing_to_wait_for(vec![
    ("10:00:01", DaemonEvent::Stop, "exit"),
    ("10:01:00", DaemonEvent::Tick, ""),
])]
#[case::drains_and_starts_nothing(vec![
    ("10:00:01", trigger(&["a", "b", "c"], 1), "start a Manual, start b Manual"),
    ("10:00:02", DaemonEvent::Stop, "skip c Stopping, answer 1 c Refused(Stopping)"),
    ("10:00:03", trigger(&["a"], 2), "skip a Stopping, answer 2 a Refused(Stopping)"),
    ("10:00:59", committed("b"), "answer 1 b Ended(Committed)"),
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:01:01", committed("a"), "answer 1 a Ended(Committed), exit"),
    ("10:01:02", DaemonEvent::Stop, ""),
])]
#[case::cancels_after_the_grace(vec![
    ("10:00:01", trigger(&["a", "b"], 1), "start a Manual, start b Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("10:01:01", DaemonEvent::Tick, ""),
    ("10:01:02", DaemonEvent::Tick, "cancel a, cancel b"),
    ("10:01:03", finished("a", Outcome::Cancelled), "answer 1 a Ended(Cancelled)"),
    ("10:01:04", finished("b", Outcome::Cancelled), "answer 1 b Ended(Cancelled), exit"),
])]
#[case::a_second_stop_cancels_at_once(vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("10:00:03", DaemonEvent::Stop, "cancel a"),
    ("10:00:04", DaemonEvent::Stop, ""),
    ("10:00:05", finished("a", Outcome::Cancelled), "answer 1 a Ended(Cancelled), exit"),
])]
#[case::does_not_wait_for_ever(vec![
    ("10:00:01", trigger(&["a"], 1), "start a Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("10:00:03", DaemonEvent::Stop, "cancel a"),
    ("10:00:33", DaemonEvent::Tick, "exit"),
])]
fn stopping(#[case] steps: Vec<Step>) {
    let jobs = vec![minutely("a"), minutely("b"), job("c", |_| ())];
    check(&mut table(config(2, jobs)), steps);
}

fn reload(jobs: Vec<JobSpec>) -> DaemonEvent {
    DaemonEvent::Reload(scheduled(config(2, jobs)))
}

#[rstest]
#[case::unchanged_jobs_keep_their_next_fire(vec![
    ("10:00:30", reload(vec![minutely("a"), job("b", |_| ()), minutely("d")]),
        r#"reloaded +["d"] -["c"] ~[]"#),
    ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00, start d Schedule 10:01:00"),
])]
#[case::a_fire_that_is_due_comes_before_the_reload(vec![
    ("10:01:00", reload(vec![job("b", |_| ())]),
        r#"skip a Removed 10:01:00, reloaded +[] -["a", "c"] ~[]"#),
])]
#[case::a_new_period(vec![
    ("10:00:30", reload(vec![job("a", |j| j.schedule.every = Some(Duration::from_secs(25)))]),
        r#"reloaded +[] -["b", "c"] ~["a"]"#),
    ("10:00:50", DaemonEvent::Tick, "start a Schedule 10:00:50"),
])]
#[case::a_removed_jobs_run_goes_on_and_its_return_does_not_run_twice(vec![
    ("10:00:01", trigger(&["b"], 1), "start b Manual"),
    ("10:00:02", reload(vec![minutely("a")]), r#"reloaded +[] -["b", "c"] ~[]"#),
    ("10:00:03", trigger(&["b"], 2), "skip b Unknown, answer 2 b Refused(Unknown)"),
    ("10:00:04", reload(vec![minutely("a"), job("b", |_| ())]), r#"reloaded +["b"] -[] ~[]"#),
    ("10:00:05", trigger(&["b"], 3), ""),
    ("10:00:06", committed("b"), "answer 1 b Ended(Committed), start b Manual"),
])]
#[case::a_removed_job_that_waits_is_told(vec![
    ("10:00:01", trigger(&["a", "b", "c"], 1), "start a Manual, start b Manual"),
    ("10:00:02", reload(vec![minutely("a"), job("b", |_| ())]),
        r#"skip c Removed, answer 1 c Refused(Removed), reloaded +[] -["c"] ~[]"#),
])]
#[case::fewer_conditions_may_be_met_at_once(vec![
    ("10:00:01", trigger(&["b"], 1), "start b Manual"),
    ("10:00:02", reload(vec![minutely("a"), job("b", |_| ()), after("c", &["a", "b"])]),
        r#"reloaded +[] -[] ~["c"]"#),
    ("10:00:03", committed("b"), "answer 1 b Ended(Committed)"),
    ("10:00:04", reload(vec![minutely("a"), job("b", |_| ()), after("c", &["b"])]),
        r#"reloaded +[] -[] ~["c"], start c After"#),
])]
fn reloading(#[case] steps: Vec<Step>) {
    let jobs = vec![minutely("a"), job("b", |_| ()), job("c", |_| ())];
    check(&mut table(config(2, jobs)), steps);
}

#[test]
fn a_run_keeps_the_configuration_that_it_started_with() {
    let mut table = table(config(2, vec![between("a", "s", "t", 1)]));
    let Some(Action::Start(first)) = table.handle(trigger(&["a"], 1), at("10:00:01")).pop() else {
        panic!("no start");
    };
    table.handle(
        DaemonEvent::Reload(scheduled(config(2, vec![between("a", "wide", "t", 1)]))),
        at("10:00:02"),
    );
    assert_eq!(first.config.jobs["a"].source, "s");
    assert_eq!(table.permits.in_use("s"), 1);
    table.handle(trigger(&["a"], 2), at("10:00:03"));
    let Some(Action::Start(second)) = table.handle(committed("a"), at("10:00:04")).pop() else {
        panic!("no start");
    };
    assert_eq!(second.config.jobs["a"].source, "wide");
    assert_eq!(table.permits.in_use("s"), 0);
}

#[test]
fn a_smaller_limit_waits_for_running_jobs() {
    let jobs = || vec![job("a", |_| ()), job("b", |_| ()), job("c", |_| ())];
    let mut table = table(config(2, jobs()));
    table.handle(trigger(&["a", "b", "c"], 1), at("10:00:01"));
    table.handle(
        DaemonEvent::Reload(scheduled(config(1, jobs()))),
        at("10:00:02"),
    );
    assert_eq!(table.running().count(), 2);
    check(
        &mut table,
        vec![
            ("10:00:03", committed("a"), "answer 1 a Ended(Committed)"),
            (
                "10:00:04",
                committed("b"),
                "answer 1 b Ended(Committed), start c Manual",
            ),
        ],
    );
}

#[rstest]
#[case::within_the_window(Some("09:59:30"), "start a Missed 10:00:00")]
#[case::never_ran(None, "")]
#[case::nothing_missed(Some("10:00:00"), "")]
fn start_up_catches_up(#[case] last: Option<&str>, #[case] expected: &str) {
    let saved = SavedJob {
        due_at: last.map(at),
        ..SavedJob::default()
    };
    let saved = BTreeMap::from([("a".to_owned(), saved)]);
    let scheduled = scheduled(config(4, vec![minutely("a")]));
    let (_, actions) = JobTable::new(scheduled, workers, &saved, at("10:00:20"));
    assert_eq!(show(&actions), expected);
}

#[rstest]
#[case::committed_and_not_seen(Some("09:10:00"), Some("09:00:00"), "start b After")]
#[case::seen(Some("09:00:00"), Some("09:10:00"), "")]
#[case::never_committed(None, None, "")]
fn start_up_runs_jobs_whose_conditions_were_met_meanwhile(
    #[case] committed_at: Option<&str>,
    #[case] started_at: Option<&str>,
    #[case] expected: &str,
) {
    let a = SavedJob {
        committed_at: committed_at.map(at),
        ..SavedJob::default()
    };
    let b = SavedJob {
        started_at: started_at.map(at),
        ..SavedJob::default()
    };
    let saved = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let scheduled = scheduled(config(4, vec![job("a", |_| ()), after("b", &["a"])]));
    let (_, actions) = JobTable::new(scheduled, workers, &saved, at("10:00:20"));
    assert_eq!(show(&actions), expected);
}

fn completed(actions: &[Action]) -> String {
    let times = actions.iter().filter_map(|action| match action {
        Action::FireCompleted { job, due_at } => {
            Some(format!("{job} {}", due_at.strftime("%H:%M")))
        }
        _ => None,
    });
    times.collect::<Vec<_>>().join(", ")
}

#[rstest]
#[case::when_the_run_has_ended(vec![
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:01:30", finished("a", Outcome::RolledBack), "a 10:01"),
])]
#[case::not_if_it_was_cancelled(vec![
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:01:01", DaemonEvent::Stop, ""),
    ("10:01:30", finished("a", Outcome::Cancelled), ""),
])]
#[case::with_the_fires_let_go_meanwhile(vec![
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:02:00", DaemonEvent::Tick, ""),
    ("10:02:30", committed("a"), "a 10:02"),
])]
#[case::not_if_a_stop_cut_them_off(vec![
    ("10:00:30", trigger(&["b"], 1), ""),
    ("10:01:00", DaemonEvent::Tick, ""),
    ("10:01:01", DaemonEvent::Stop, ""),
    ("10:01:02", committed("b"), ""),
])]
#[case::at_once_if_nobody_wants_them(vec![
    ("15:00:30", DaemonEvent::Tick, "c 12:00"),
])]
fn fire_times_are_settled(#[case] steps: Vec<Step>) {
    let noon = job("c", |j| j.schedule.cron = Some("0 12 * * *".to_owned()));
    let mut table = table(config(1, vec![minutely("a"), job("b", |_| ()), noon]));
    for (time, event, expected) in steps {
        let actions = table.handle(event, at(time));
        assert_eq!(completed(&actions), expected, "at {time}");
    }
}

#[test]
fn status_tells_what_every_job_is_doing() {
    let mut table = table(config(
        1,
        vec![minutely("a"), job("b", |_| ()), job("c", |_| ())],
    ));
    table.handle(trigger(&["b"], 1), at("10:00:01"));
    table.handle(committed("b"), at("10:00:02"));
    table.handle(trigger(&["b", "c"], 1), at("10:00:03"));
    let status: Vec<JobStatus> = table.status().collect();
    let line = |job: &str, state, next_fire, last| JobStatus {
        job: job.into(),
        is_removed: false,
        state,
        next_fire,
        paused_since: None,
        last,
    };
    assert_eq!(
        status,
        [
            line("a", JobState::Idle, Some(at("10:01:00")), None),
            line(
                "b",
                JobState::Running(at("10:00:03")),
                None,
                Some((Outcome::Committed, at("10:00:02")))
            ),
            line("c", JobState::Waiting(at("10:00:03")), None, None),
        ]
    );
}

#[test]
fn a_removed_job_is_in_the_status_as_long_as_it_runs() {
    let mut table = table(config(1, vec![job("a", |_| ()), job("b", |_| ())]));
    table.handle(trigger(&["a"], 1), at("10:00:01"));
    table.handle(reload(vec![job("b", |_| ())]), at("10:00:02"));
    let status = |table: &JobTable| -> Vec<(String, bool, JobState)> {
        let line = |job: JobStatus| (job.job.to_string(), job.is_removed, job.state);
        table.status().map(line).collect()
    };
    let a = ("a".to_owned(), true, JobState::Running(at("10:00:01")));
    let b = ("b".to_owned(), false, JobState::Idle);
    assert_eq!(status(&table), [a, b.clone()]);
    table.handle(committed("a"), at("10:00:03"));
    assert_eq!(status(&table), [b]);
}

#[test]
fn the_next_wake_up_is_the_next_fire_or_the_end_of_the_grace() {
    let mut table = table(config(4, vec![minutely("a"), job("b", |_| ())]));
    assert_eq!(table.wake_at(), Some(at("10:01:00")));
    table.handle(trigger(&["b"], 1), at("10:00:10"));
    table.handle(DaemonEvent::Stop, at("10:00:20"));
    assert_eq!(table.wake_at(), Some(at("10:01:20")));
    table.handle(committed("b"), at("10:00:30"));
    assert_eq!(table.wake_at(), None);
}
