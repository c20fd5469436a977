//! Several daemons: what one makes of a run that another has taken, or that was left in doubt.

use super::*;
use crate::daemon::event::Elsewhere;

fn with_ledger(jobs: Vec<JobSpec>) -> JobTable {
    let mut config = config(4, jobs);
    config.daemon.history = History::Target;
    table(config)
}

fn completed(actions: &[Action]) -> Vec<String> {
    let completed = actions.iter().filter_map(|action| match action {
        Action::FireCompleted { job, due_at } => {
            Some(format!("{job} {}", due_at.strftime("%H:%M:%S")))
        }
        _ => None,
    });
    completed.collect()
}

#[test]
fn what_is_at_work_elsewhere_is_looked_at_until_it_is_done() {
    let mut table = with_ledger(vec![queueing("a")]);
    check(
        &mut table,
        vec![
            ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
            ("10:01:01", skipped("a", Elsewhere::AtWork), ""),
            ("10:01:10", DaemonEvent::Tick, ""),
        ],
    );
    let state = table.status().next().unwrap().state;
    assert_eq!(state, JobState::Elsewhere(at("10:01:00")));
    check(
        &mut table,
        vec![
            ("10:01:11", DaemonEvent::Tick, "start a Schedule 10:01:00"),
            ("10:01:12", skipped("a", Elsewhere::AtWork), ""),
            ("10:01:22", DaemonEvent::Tick, "start a Schedule 10:01:00"),
        ],
    );
    assert_eq!(table.wake_at(), Some(at("10:02:00")));
    let done = table.handle(skipped("a", Elsewhere::Committed), at("10:01:23"));
    assert_eq!(completed(&done), ["a 10:01:00"]);
    assert_eq!(table.wake_at(), Some(at("10:02:00")), "nothing to look at");
}

#[rstest]
#[case::the_next_fire_stands_for_both(
    queueing("a"),
    "start a Schedule 10:02:00",
    ["a 10:02:00"]
)]
#[case::with_overlap_skip_the_next_fire_is_let_go(
    minutely("a"),
    "skip a StillRunning 10:02:00, start a Schedule 10:01:00",
    ["a 10:02:00"]
)]
fn a_fire_while_the_job_runs_elsewhere(
    #[case] job: JobSpec,
    #[case] at_the_next: &str,
    #[case] completes: [&str; 1],
) {
    let mut table = with_ledger(vec![job]);
    table.handle(DaemonEvent::Tick, at("10:01:00"));
    table.handle(skipped("a", Elsewhere::AtWork), at("10:01:55"));
    let actions = [
        table.handle(DaemonEvent::Tick, at("10:02:00")),
        table.handle(DaemonEvent::Tick, at("10:02:05")),
    ];
    assert_eq!(show(&actions.concat()), at_the_next);
    let done = table.handle(skipped("a", Elsewhere::Ended), at("10:02:06"));
    assert_eq!(completed(&done), completes);
}

#[test]
fn a_run_in_doubt_is_settled_by_the_next_look() {
    let mut table = with_ledger(vec![job("a", |_| ())]);
    let still = DaemonEvent::Finished {
        job: "a".into(),
        run_id: Uuid::from_u128(2),
        outcome: Outcome::InDoubt,
        elsewhere: Some(Elsewhere::AtWork),
    };
    check(
        &mut table,
        vec![
            ("10:00:00", trigger(&["a"], 1), "start a Manual"),
            (
                "10:00:01",
                finished("a", Outcome::InDoubt),
                "answer 1 a Ended(InDoubt)",
            ),
            ("10:00:11", DaemonEvent::Tick, "start a Manual again"),
            ("10:00:12", still, ""),
            ("10:00:22", DaemonEvent::Tick, "start a Manual again"),
        ],
    );
    assert_eq!(table.running["a"].orphan, Some(RUN), "the first one, still");
    table.handle(skipped("a", Elsewhere::Committed), at("10:00:23"));
    assert_eq!(table.wake_at(), None);
}

#[test]
fn whoever_asks_after_a_run_in_doubt_gets_a_run() {
    let mut table = with_ledger(vec![job("a", |_| ())]);
    check(
        &mut table,
        vec![
            ("10:00:00", trigger(&["a"], 1), "start a Manual"),
            (
                "10:00:01",
                finished("a", Outcome::InDoubt),
                "answer 1 a Ended(InDoubt)",
            ),
            (
                "10:00:02",
                trigger(&["a"], 2),
                "start a Manual after an orphan",
            ),
            ("10:00:03", committed("a"), "answer 2 a Ended(Committed)"),
            ("10:00:30", DaemonEvent::Tick, ""),
        ],
    );
}

#[test]
fn without_a_ledger_nothing_can_be_looked_at() {
    let mut table = table(config(1, vec![minutely("a")]));
    table.handle(DaemonEvent::Tick, at("10:01:00"));
    let done = table.handle(finished("a", Outcome::InDoubt), at("10:01:01"));
    assert_eq!(completed(&done), ["a 10:01:00"]);
    assert_eq!(table.wake_at(), Some(at("10:02:00")));
}

#[test]
fn a_client_is_not_put_off_with_the_run_of_another_daemon() {
    let mut table = with_ledger(vec![queueing("a")]);
    check(
        &mut table,
        vec![
            ("10:00:30", trigger(&["a"], 1), "start a Manual"),
            ("10:01:00", DaemonEvent::Tick, ""),
            ("10:01:01", trigger(&["a"], 2), ""),
            (
                "10:01:02",
                committed("a"),
                "answer 1 a Ended(Committed), start a Schedule 10:01:00",
            ),
            (
                "10:01:03",
                skipped("a", Elsewhere::Committed),
                "start a Manual",
            ),
            ("10:01:04", committed("a"), "answer 2 a Ended(Committed)"),
        ],
    );
}

#[test]
fn what_comes_after_is_the_same_fire_on_every_daemon() {
    let mut both = after("c", &["a", "b"]);
    both.schedule.on_demand = false;
    let mut table = with_ledger(vec![minutely("a"), minutely("b"), both]);
    check(
        &mut table,
        vec![
            (
                "10:01:00",
                DaemonEvent::Tick,
                "start a Schedule 10:01:00, start b Schedule 10:01:00",
            ),
            ("10:01:01", committed("a"), ""),
            (
                "10:01:02",
                skipped("b", Elsewhere::Committed),
                "start c After 10:01:00",
            ),
            ("10:01:03", skipped("c", Elsewhere::AtWork), ""),
            ("10:01:13", DaemonEvent::Tick, "start c After 10:01:00"),
            ("10:01:14", committed("c"), ""),
        ],
    );
}

#[test]
fn a_run_that_nobody_saw_end_is_settled_by_the_next_one() {
    let saved = SavedJob {
        due_at: Some(at("09:59:00")),
        run_id: Some(RUN),
        ..SavedJob::default()
    };
    let scheduled = scheduled(config(1, vec![minutely("a")]));
    let saved = [("a".to_owned(), saved)].into();
    let (_, actions) = JobTable::new(scheduled, workers, &saved, at("10:00:30"));
    assert_eq!(show(&actions), "start a Missed 10:00:00 after an orphan");
}

#[test]
fn a_daemon_that_stops_leaves_what_is_not_settled_to_the_next() {
    let mut table = with_ledger(vec![minutely("a"), minutely("b")]);
    table.handle(DaemonEvent::Tick, at("10:01:00"));
    table.handle(skipped("a", Elsewhere::AtWork), at("10:01:01"));
    table.handle(DaemonEvent::Stop, at("10:01:02"));
    let left = table.handle(finished("b", Outcome::InDoubt), at("10:01:03"));
    assert_eq!(completed(&left), [""; 0]);
    assert_eq!(show(&left), "exit");
}
