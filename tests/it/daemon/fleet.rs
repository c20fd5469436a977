//! Several daemons with the same jobs and one ledger: each fire runs once, whoever dies.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::filled;
use crate::support::daemon::{
    Daemon, assert_nothing_left, configuration, held, hold, home, release, truncate_job, wait_held,
};
use crate::support::pooler::Pooler;
use crate::support::{
    Cluster, ClusterOptions, Databases, Job, PATIENCE, databases, databases_on, wait_until,
};

/// A job that adds the source's only row to `public.t<n>`.
fn append_job(n: usize, more: &str) -> String {
    format!(
        "[jobs.j{n}]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['public.t{n}']\n\
         analyze = false\n{more}\n"
    )
}

fn many_tables(db: &Databases<'_>, count: usize) {
    for n in 0..count {
        for side in [&db.source, &db.target] {
            side.sql(&format!("CREATE TABLE t{n} (id int)"));
        }
        db.source.sql(&format!("INSERT INTO t{n} VALUES (1)"));
    }
}

#[test]
fn of_two_daemons_one_runs_each_fire() {
    let db = databases("fleet");
    each_fire_runs_once(&db, &|configuration| configuration);
}

#[test]
fn behind_a_pooler_in_transaction_mode_too() {
    let db = databases("pooled");
    let Some(pooler) = Pooler::before(&db) else {
        return;
    };
    each_fire_runs_once(&db, &|configuration| {
        configuration
            .replace(&db.source.conninfo(), &pooler.source())
            .replace(&db.target.conninfo(), &pooler.target())
    });
    drop(pooler);
}

/// Two daemons share jobs that fire together. A run that took longer than the period would let the
/// next fire stand for two.
#[track_caller]
fn each_fire_runs_once(db: &Databases<'_>, through: &dyn Fn(String) -> String) {
    const JOBS: usize = 25;
    const FIRES: u64 = 100;
    many_tables(db, JOBS);
    let jobs: String = (0..JOBS)
        .map(|n| append_job(n, "every = '8s'\noverlap = 'queue'"))
        .collect();
    let configuration = through(configuration(db, &jobs));
    let homes = [home(&configuration), home(&configuration)];
    let daemons = homes.each_ref().map(Daemon::start);
    wait_until(PATIENCE, || {
        db.target
            .value("SELECT to_regclass('tableferry.fire') IS NOT NULL")
            == "t"
            && db.target.count("tableferry.run WHERE state = 'committed'") >= FIRES
    });
    let outcomes = daemons.map(Daemon::stop);

    assert_eq!(
        db.target.count("tableferry.run WHERE state <> 'committed'"),
        0
    );
    let twice = "SELECT job, due_at FROM tableferry.run GROUP BY job, due_at HAVING count(*) > 1";
    let twice = db.target.rows(twice);
    assert!(twice.is_empty(), "{twice:?}");
    // Each run added one row: those who say so agree with those who hold it.
    for n in 0..JOBS {
        let runs = db
            .target
            .count(&format!("tableferry.run WHERE job = 'j{n}'"));
        assert_eq!(db.target.count(&format!("t{n}")), runs, "j{n}");
    }
    let instances = "SELECT count(DISTINCT instance) FROM tableferry.run";
    assert_eq!(db.target.value(instances), "2", "both had their share");
    // Every fire was somebody's, from the first to the last.
    let gaps = "SELECT count(*) FROM (SELECT due_at - lag(due_at) OVER (PARTITION BY job ORDER BY due_at) AS gap \
                FROM tableferry.run) AS g WHERE gap > '8s'";
    assert_eq!(db.target.value(gaps), "0", "{outcomes:?}");
}

/// A backend that waits in COPY for a long time keeps the server from dropping any database, and so
/// would hold up the other tests.
fn own_servers() -> [Cluster; 2] {
    [
        Cluster::start_with(&ClusterOptions::default().source()),
        Cluster::start_with(&ClusterOptions::default().target()),
    ]
}

/// Two that find, when they start, that a fire was missed: the same one for both, and no other comes.
fn two_that_missed_a_fire(db: &Databases<'_>) -> [Job; 2] {
    let times = "every = '1000h'\ncatchup_window = '2000h'";
    let jobs = format!("{}{}", truncate_job("j", times), held("j"));
    let configuration = configuration(db, &jobs);
    let homes = [home(&configuration), home(&configuration)];
    for home in &homes {
        let past = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1001);
        let line = format!("{{\"job\":\"j\",\"due_at\":\"{past}\"}}");
        home.file("state/past.jsonl", format!("{{\"version\":1}}\n{line}\n"));
    }
    homes
}

#[test]
fn the_fire_of_a_daemon_that_is_killed_in_mid_copy_is_published_by_another() {
    let [source, target] = own_servers();
    let db = filled(databases_on(&source, &target, "taken_over"));
    hold(&db);
    let jobs = format!(
        "{}{}",
        truncate_job("j", "every = '1h'\njitter = '0s'"),
        held("j")
    );
    // A fire that both have missed comes at once, and is the same one for both.
    let configuration = configuration(&db, &jobs);
    let homes = [home(&configuration), home(&configuration)];
    for home in &homes {
        // As of an hour and a half ago.
        let past = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(90);
        home.file(
            "state/past.jsonl",
            format!("{{\"version\":1}}\n{{\"job\":\"j\",\"due_at\":\"{past}\"}}\n"),
        );
    }
    let first = Daemon::start(&homes[0]);
    wait_held(&db);
    let second = Daemon::start(&homes[1]);
    // It has looked, and seen that the first is at work.
    wait_until(PATIENCE, || {
        second
            .ask(&["status", "--json"])
            .stdout
            .contains("\"state\":\"elsewhere\"")
    });
    first.kill(Signal::SIGKILL);
    first.wait();
    release(&db);
    super::assert_old(&db);

    wait_until(2 * PATIENCE, || second.count("committed", "j") == 1);
    db.assert_same("t");
    let runs = db.target.rows("SELECT state, due_at = (SELECT due_at FROM tableferry.fire) FROM tableferry.run ORDER BY started_at");
    let row = |state: &str| vec![Some(state.to_owned()), Some("t".to_owned())];
    assert_eq!(runs, [row("lost"), row("committed")]);
    second.stop();

    // The first comes back, and has nothing to do.
    let first = Daemon::start(&homes[0]);
    first.wait_for(1, "not run: ", "j");
    assert_eq!(first.count("started", "j"), 0);
    first.stop();
    assert_nothing_left(&db);
}

#[test]
fn a_daemon_that_was_stopped_in_mid_copy_cannot_publish_what_another_has_taken_over() {
    let [source, target] = own_servers();
    let db = filled(databases_on(&source, &target, "frozen"));
    hold(&db);
    let homes = two_that_missed_a_fire(&db);
    let frozen = Daemon::start(&homes[0]);
    wait_held(&db);
    frozen.kill(Signal::SIGSTOP);
    let second = Daemon::start(&homes[1]);
    release(&db);
    // Its backend holds the table's lock, and is ended.
    wait_until(Duration::from_secs(120), || {
        second.count("committed", "j") == 1
    });
    db.assert_same("t");
    db.target.sql("DELETE FROM t WHERE id = 1");

    frozen.kill(Signal::SIGCONT);
    frozen.wait_for(1, "not run: ", "j");
    assert_eq!(frozen.count("committed", "j"), 0);
    assert_eq!(
        db.target.count("t WHERE id = 1"),
        0,
        "nothing was published again"
    );
    frozen.stop();
    second.stop();
    assert_nothing_left(&db);
}
