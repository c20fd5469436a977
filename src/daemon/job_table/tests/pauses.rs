//! Paused jobs and requested runs.

use super::*;
use crate::daemon::event::Elsewhere;

/// A look into the ledger of jobs `a` and `b` that finds these paused and these requested.
fn looked(paused: &[&str], requested: &[&str]) -> DaemonEvent {
    DaemonEvent::Looked {
        jobs: vec!["a".into(), "b".into()],
        paused: paused
            .iter()
            .map(|job| ((*job).to_owned(), at("10:00:00")))
            .collect(),
        requested: requested.iter().map(|job| (*job).to_owned()).collect(),
    }
}

fn with_ledger(max_running_jobs: usize, jobs: Vec<JobSpec>) -> JobTable {
    let mut config = config(max_running_jobs, jobs);
    config.daemon.history = History::Target;
    table(config)
}

#[rstest]
#[case::fires_of_a_paused_job_are_let_go(vec![minutely("a"), job("b", |_| ())], vec![
    ("10:00:30", looked(&["a"], &[]), ""),
    ("10:01:00", DaemonEvent::Tick, "skip a Paused 10:01:00"),
    ("10:02:00", DaemonEvent::Tick, "skip a Paused 10:02:00"),
    ("10:02:30", looked(&["b"], &[]), ""),
    ("10:03:00", DaemonEvent::Tick, "start a Schedule 10:03:00"),
])]
#[case::a_trigger_is_refused(vec![job("a", |_| ()), job("b", |_| ())], vec![
    ("10:00:01", looked(&["a"], &[]), ""),
    ("10:00:02", trigger(&["a"], 7), "skip a Paused, answer 7 a Refused(Paused)"),
    ("10:00:03", DaemonEvent::OnDemand, "skip a Paused, start b Signal"),
])]
#[case::a_run_that_finds_the_pause_ends_it(vec![job("a", |_| ())], vec![
    ("10:00:01", trigger(&["a"], 7), "start a Manual"),
    ("10:00:02", skipped("a", Elsewhere::Paused), "answer 7 a Refused(Paused)"),
    ("10:01:00", DaemonEvent::Tick, ""),
])]
#[case::a_request_is_one_run(vec![job("a", |_| ())], vec![
    ("10:00:01", looked(&[], &["a"]), "start a Request"),
    ("10:00:11", looked(&[], &["a"]), ""),
    ("10:00:12", committed("a"), ""),
    ("10:00:21", looked(&[], &[]), ""),
    ("10:00:31", looked(&[], &["a"]), "start a Request"),
])]
#[case::a_request_that_another_run_has_claimed(vec![job("a", |_| ())], vec![
    ("10:00:01", looked(&[], &["a"]), "start a Request"),
    ("10:00:02", skipped("a", Elsewhere::Ended), ""),
    ("10:01:00", DaemonEvent::Tick, ""),
])]
#[case::a_request_during_another_run_waits_for_its_end(vec![job("a", |_| ())], vec![
    ("10:00:01", trigger(&["a"], 7), "start a Manual"),
    ("10:00:02", looked(&[], &["a"]), ""),
    ("10:00:03", committed("a"), "answer 7 a Ended(Committed), start a Request"),
])]
#[case::of_other_jobs_nothing_is_run(vec![job("a", |_| ())], vec![
    ("10:00:01", looked(&[], &["b", "nobody"]), ""),
])]
#[case::nothing_starts_in_a_daemon_that_stops(vec![job("a", |_| ()), job("b", |_| ())], vec![
    ("10:00:01", trigger(&["b"], 7), "start b Manual"),
    ("10:00:02", DaemonEvent::Stop, ""),
    ("10:00:03", looked(&[], &["a"]), ""),
])]
fn what_the_ledger_says_is_obeyed(#[case] jobs: Vec<JobSpec>, #[case] steps: Vec<Step>) {
    check(&mut with_ledger(4, jobs), steps);
}

#[test]
fn who_asks_by_hand_gets_a_run_whoever_claims_the_request() {
    let mut table = with_ledger(1, vec![job("a", |_| ()), job("b", |_| ())]);
    check(
        &mut table,
        vec![
            ("10:00:00", trigger(&["b"], 1), "start b Manual"),
            ("10:00:01", looked(&[], &["a"]), ""),
            ("10:00:02", trigger(&["a"], 2), ""),
            (
                "10:00:03",
                committed("b"),
                "answer 1 b Ended(Committed), start a Manual",
            ),
        ],
    );
}

#[test]
fn without_a_ledger_no_pause_is_in_force() {
    let mut table = table(config(1, vec![minutely("a")]));
    check(
        &mut table,
        vec![
            ("10:00:30", looked(&["a"], &[]), ""),
            ("10:01:00", DaemonEvent::Tick, "start a Schedule 10:01:00"),
        ],
    );
}
