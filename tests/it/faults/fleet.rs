//! Two daemons on one ledger, of which one is killed again and again.

use nix::sys::signal::Signal;

use crate::support::daemon::{Daemon, configuration, home};
use crate::support::dice::{Dice, any_seed, number};
use crate::support::{Databases, PATIENCE, databases, wait_until};

const JOBS: usize = 4;

/// Rows that each run adds: enough for a kill to come in their middle.
const ROWS: u64 = 10_000;

/// A tenth of the suite's faults, and at least as many as these.
const KILLS_MIN: u64 = 12;

#[test]
fn no_fire_is_published_twice_however_often_a_daemon_is_killed() {
    let seed = number("TABLEFERRY_FAULTS_SEED").unwrap_or_else(any_seed);
    let kills = number("TABLEFERRY_FAULTS").map_or(KILLS_MIN, |faults| faults / 10);
    let kills = kills.max(KILLS_MIN);
    println!("seed {seed}: {kills} kills of one of two daemons");
    let db = databases("killed_fleet");
    for n in 0..JOBS {
        db.both(&format!("CREATE TABLE t{n} (id int)"));
        let rows = format!("INSERT INTO t{n} SELECT generate_series(1, {ROWS})");
        db.source.sql(&rows);
    }
    let jobs: String = (0..JOBS).map(append_job).collect();
    let configuration = configuration(&db, &jobs);
    let homes = [home(&configuration), home(&configuration)];
    let mut daemons = homes.each_ref().map(|home| Some(Daemon::start(home)));
    let mut dice = Dice::new(seed);
    for _ in 0..kills {
        let victim = usize::from(dice.once_in(2));
        let daemon = daemons[victim].take().unwrap();
        wait_until(PATIENCE, || is_at_work(&db, &daemon));
        daemon.kill(Signal::SIGKILL);
        daemon.wait();
        check(&db, "after a kill");
        daemons[victim] = Some(Daemon::start(&homes[victim]));
    }
    let before = committed(&db);
    wait_until(PATIENCE, || committed(&db) > before + JOBS as u64);
    for daemon in daemons.into_iter().flatten() {
        daemon.stop();
    }
    check(&db, "in the end");
    assert!(
        db.target.count("tableferry.run WHERE state = 'lost'") > 0,
        "no kill came in the middle of a run"
    );
}

fn append_job(n: usize) -> String {
    format!(
        "[jobs.j{n}]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['public.t{n}']\n\
         analyze = false\nevery = '1s'\noverlap = 'queue'\n"
    )
}

fn is_at_work(db: &Databases<'_>, daemon: &Daemon<'_>) -> bool {
    let pid = daemon.running.pid();
    // The ledger is there when the first run has begun.
    db.target
        .value("SELECT to_regclass('tableferry.fire') IS NOT NULL")
        == "t"
        && db.target.count(&format!(
            "tableferry.run WHERE state = 'running' AND instance LIKE '%:{pid}'"
        )) > 0
}

fn committed(db: &Databases<'_>) -> u64 {
    db.target.count("tableferry.run WHERE state = 'committed'")
}

/// A run that the ledger calls committed is there once, and no other.
#[track_caller]
fn check(db: &Databases<'_>, when: &str) {
    let twice = "SELECT job, due_at FROM tableferry.run WHERE state = 'committed' \
                 GROUP BY job, due_at HAVING count(*) > 1";
    let twice = db.target.rows(twice);
    assert!(twice.is_empty(), "{when}: {twice:?}");
    for n in 0..JOBS {
        // One snapshot for both.
        let differ = db.target.value(&format!(
            "SELECT (SELECT count(*) FROM t{n}) - {ROWS} * (SELECT count(*) FROM tableferry.run \
             WHERE job = 'j{n}' AND state = 'committed')"
        ));
        assert_eq!(differ, "0", "{when}: rows of j{n} that no run accounts for");
    }
}
