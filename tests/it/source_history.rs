//! Marks of watermarks and of `compare = "changed"` when a source goes back: transactions that a run saw are
//! lost, their ids are given out again, or a standby has not replayed them.

use std::path::Path;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::support::service::{left_out, unprivileged};
use crate::support::{
    Cluster, ClusterOptions, Connection, Databases, Outcome, PATIENCE, Standby, assert_committed,
    databases, databases_on, job, job_between, job_toml, only_t, pair, run, wait_until,
};

fn jobs(mode: &str, of_table: &str) -> String {
    only_t(mode, "analyze = false\n", of_table)
}

fn read(outcome: &Outcome) -> u64 {
    assert_committed(outcome)[0]["rows_read"].as_u64().unwrap()
}

fn compare(outcome: &Outcome) -> String {
    let table = &assert_committed(outcome)[0];
    table["compare"].as_str().unwrap_or_default().to_owned()
}

const MERGE: &str = "analyze = false\ncompare = 'changed'\n";

/// A primary and a standby, with a table in database `d`.
fn replicated() -> Option<(Cluster, Standby)> {
    let primary = Cluster::start_with(&ClusterOptions::default().source());
    primary.administrator().sql("CREATE DATABASE d");
    primary.connect("d").sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(101, 110) i;
         CREATE UNLOGGED TABLE u (id int); CREATE ROLE plain LOGIN; GRANT SELECT ON t, u TO plain",
    );
    let standby = Standby::of(&primary)?;
    standby.catch_up(&primary);
    Some((primary, standby))
}

/// The rows, in order.
const ROWS: &str = "SELECT id, v FROM t ORDER BY id";

/// The same as a role that may only read.
fn plain(conninfo: String) -> String {
    conninfo.replace("user=postgres", "user=plain")
}

/// The standby gets nothing any more: what is committed from now on is lost with its primary.
fn stop_receiving(standby: &Standby) {
    let behind = Connection::open(&standby.conninfo("postgres"));
    behind.sql("ALTER SYSTEM SET primary_conninfo = ''");
    behind.sql("SELECT pg_reload_conf()");
    wait_until(PATIENCE, || behind.count("pg_stat_wal_receiver") == 0);
}

fn run_from(conninfo: &str, db: &Databases<'_>, jobs: &str) -> Outcome {
    job_between(conninfo, &db.target.conninfo(), jobs).run(&["run", "j", "--json"])
}

#[test]
fn a_failover_that_lost_commits_is_noticed() {
    let Some((primary, standby)) = replicated() else {
        return;
    };
    let db = databases("mark_failover");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let jobs = jobs("upsert", "watermark = 'id'");
    stop_receiving(&standby);
    let lost = primary.connect("d");
    for id in 111..160 {
        lost.sql(&format!("INSERT INTO t VALUES ({id}, 'lost')"));
    }
    assert_eq!(
        read(&run_from(&plain(primary.conninfo("d")), &db, &jobs)),
        59
    );

    primary.stop("INT");
    standby.promote();
    // The same transaction ids again, and more; with values that have been read.
    let source = Connection::open(&standby.conninfo("d"));
    for id in 1..=80 {
        source.sql(&format!("INSERT INTO t VALUES ({id}, 'after')"));
    }
    let outcome = run_from(&plain(standby.conninfo("d")), &db, &jobs);

    assert_eq!(read(&outcome), 90, "{outcome}");
    assert!(
        outcome.stderr.contains("timeline 2, and was on 1"),
        "{outcome}"
    );
    assert_eq!(db.target.count("t WHERE v = 'after'"), 80);
    // Once.
    assert!(read(&run_from(&plain(standby.conninfo("d")), &db, &jobs)) < 90);
}

#[test]
fn a_standby_is_read_from_where_the_primary_was_left() {
    let Some((primary, standby)) = replicated() else {
        return;
    };
    let db = databases("mark_standby");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int)");
    let jobs = jobs("append", "watermark = 'id'");
    assert_eq!(read(&run_from(&primary.conninfo("d"), &db, &jobs)), 10);
    primary.connect("d").sql("INSERT INTO t VALUES (5, 'new')");
    standby.catch_up(&primary);

    let outcome = run_from(&plain(standby.conninfo("d")), &db, &jobs);

    assert_eq!(read(&outcome), 2, "{outcome}");
    assert!(!outcome.stderr.contains("again"), "{outcome}");
    assert_eq!(db.target.count("t"), 11);
    // Rows of an unlogged table are not on a standby.
    let outcome = run_from(
        &standby.conninfo("d"),
        &db,
        &job_toml("append", "public.u", ""),
    );
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("public.u"), "{outcome}");
}

/// What the primary had given transaction ids to is lost with it, and the ids are given out again.
#[test]
fn a_merge_of_what_has_changed_notices_a_failover_that_lost_commits() {
    let Some((primary, standby)) = replicated() else {
        return;
    };
    let db = databases("mark_failover_merge");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let jobs = only_t("merge", MERGE, "");
    stop_receiving(&standby);
    let lost = primary.connect("d");
    for id in 101..=110 {
        lost.sql(&format!("UPDATE t SET v = 'lost' WHERE id = {id}"));
    }
    assert_committed(&run_from(&plain(primary.conninfo("d")), &db, &jobs));
    db.target.sql("ANALYZE t");
    let outcome = run_from(&plain(primary.conninfo("d")), &db, &jobs);
    assert_eq!(compare(&outcome), "changed", "{outcome}");

    primary.stop("INT");
    standby.promote();
    // As many keys as before, by transactions that were given these ids before.
    let source = Connection::open(&standby.conninfo("d"));
    source.sql("UPDATE t SET v = 'after' WHERE id < 105");
    let outcome = run_from(&plain(standby.conninfo("d")), &db, &jobs);

    assert_eq!(compare(&outcome), "stream", "{outcome}");
    assert_eq!(db.target.rows(ROWS), source.rows(ROWS));
    let outcome = run_from(&plain(standby.conninfo("d")), &db, &jobs);
    assert_eq!(compare(&outcome), "changed", "{outcome}");
    assert_eq!(db.target.rows(ROWS), source.rows(ROWS));
}

#[test]
fn a_standby_tells_what_has_changed() {
    let Some((primary, standby)) = replicated() else {
        return;
    };
    let db = databases("mark_standby_merge");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let jobs = only_t("merge", MERGE, "");
    assert_committed(&run_from(&primary.conninfo("d"), &db, &jobs));
    primary.connect("d").sql(
        "INSERT INTO t VALUES (5, 'new'); UPDATE t SET v = 'changed' WHERE id = 103; DELETE FROM t WHERE id = 105",
    );
    standby.catch_up(&primary);

    let outcome = run_from(&standby.conninfo("d"), &db, &jobs);

    assert_eq!(compare(&outcome), "changed", "{outcome}");
    assert_eq!(
        db.target.rows(ROWS),
        Connection::open(&standby.conninfo("d")).rows(ROWS)
    );
}

/// A crash takes commits with it that were not flushed, on the same timeline.
#[test]
fn a_crash_that_lost_commits_is_noticed() {
    let source = Cluster::start_with(&ClusterOptions::default().source());
    let (_, target) = pair();
    let mut db = databases_on(&source, target, "mark_crash");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO t VALUES (1, 'v')");
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i;
         CREATE TABLE u (LIKE t INCLUDING ALL); CHECKPOINT",
    );
    let merge = only_t("merge", MERGE, "");
    let upsert = job_toml(
        "upsert",
        "",
        "analyze = false\n[jobs.j.table.'public.u']\nwatermark = 'id'\n",
    )
    .replace("jobs.j", "jobs.k");
    let configuration = format!("{merge}\n{upsert}");
    let run =
        |db: &Databases<'_>, name: &str| job(db, &configuration).run(&["run", name, "--json"]);
    assert_eq!(compare(&run(&db, "j")), "stream");
    // Nothing is flushed from here on.
    let writer = db
        .source
        .value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    let writer = Pid::from_raw(writer.parse().unwrap());
    signal::kill(writer, Signal::SIGSTOP).unwrap();
    for id in 1..=40 {
        db.source
            .sql(&format!("UPDATE t SET v = 'lost' WHERE id = {id}"));
        db.source
            .sql(&format!("INSERT INTO u VALUES ({id}, 'lost')"));
    }
    assert_eq!(compare(&run(&db, "j")), "changed");
    assert_eq!(read(&run(&db, "k")), 40);
    signal::kill(writer, Signal::SIGKILL).unwrap();
    wait_until(PATIENCE, || db.source.is_closed());
    wait_until(PATIENCE, || {
        Connection::try_open(&db.source.conninfo()).is_ok()
    });
    db.source.reconnect();
    assert_eq!(db.source.count("t WHERE v = 'lost'"), 0);
    // Some of the same transaction ids.
    for id in 50..=60 {
        db.source
            .sql(&format!("UPDATE t SET v = 'after' WHERE id = {id}"));
        db.source
            .sql(&format!("INSERT INTO u VALUES ({id} - 40, 'after')"));
    }

    let merged = run(&db, "j");
    let read_again = run(&db, "k");

    db.assert_same("t");
    assert!(read_again.stderr.contains("crash"), "{read_again}");
    assert_eq!(db.target.count("u WHERE v = 'after'"), 11);
    assert_eq!(compare(&merged), "stream", "{merged}");
    assert_eq!(compare(&run(&db, "j")), "changed");
}

/// A crash that lost nothing that a run saw is none of its business.
#[test]
fn a_crash_that_lost_nothing_is_not_minded() {
    let source = Cluster::start_with(&ClusterOptions::default().source());
    let (_, target) = pair();
    let mut db = databases_on(&source, target, "mark_no_crash");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
    let merge = only_t("merge", MERGE, "");
    run(&db, &merge);
    db.source.sql("CHECKPOINT");
    run(&db, &merge);
    source.stop("QUIT");
    source.start_again();
    db.source.reconnect();
    db.source.sql("UPDATE t SET v = 'after' WHERE id < 7");
    assert_eq!(compare(&run(&db, &merge)), "changed");
    db.assert_same("t");
}

/// A transaction that stays open keeps the mark low: it does not tell how far the primary was.
#[test]
fn a_standby_that_is_behind_is_compared_whole() {
    let Some((primary, standby)) = replicated() else {
        return;
    };
    let db = databases("mark_behind");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (101, 'v')");
    let merge = only_t("merge", MERGE, "");
    let source = primary.connect("d");
    source.sql("CREATE TABLE other (id int)");
    let long = primary.connect("d");
    long.sql("BEGIN; INSERT INTO other VALUES (1)");
    assert_eq!(
        compare(&run_from(&primary.conninfo("d"), &db, &merge)),
        "stream"
    );
    source.sql("INSERT INTO other VALUES (2)");
    standby.catch_up(&primary);
    let behind = Connection::open(&standby.conninfo("d"));
    behind.sql("SELECT pg_wal_replay_pause()");
    source.sql("UPDATE t SET v = 'new' WHERE id = 103");
    assert_eq!(
        compare(&run_from(&primary.conninfo("d"), &db, &merge)),
        "changed"
    );

    let outcome = run_from(&standby.conninfo("d"), &db, &merge);

    assert_eq!(db.target.rows(ROWS), behind.rows(ROWS), "{outcome}");
    assert_eq!(compare(&outcome), "stream", "{outcome}");
    behind.sql("SELECT pg_wal_replay_resume()");
    standby.catch_up(&primary);
    let outcome = run_from(&standby.conninfo("d"), &db, &merge);
    assert_eq!(compare(&outcome), "changed", "{outcome}");
    assert_eq!(db.target.rows(ROWS), source.rows(ROWS));
}

/// A whole circle of transaction ids later, the next ones are those of the mark again.
#[test]
fn a_mark_a_circle_away_is_not_used() {
    let source = Cluster::start_with(&ClusterOptions::default().source());
    let (_, target) = pair();
    let mut db = databases_on(&source, target, "mark_circle");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
    let merge = only_t("merge", MERGE, "");
    run(&db, &merge);
    for id in 1..=20 {
        db.source
            .sql(&format!("UPDATE t SET v = 'then' WHERE id = {id}"));
    }
    assert_eq!(compare(&run(&db, &merge)), "changed");
    let bin = db
        .source
        .value("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
    let program = Path::new(&bin).join("pg_resetwal");
    if !program.exists() {
        left_out("a circle of transaction ids", "there is no pg_resetwal");
        return;
    }
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let then: u64 = db.source.value(next).parse().unwrap();
    source.stop("INT");
    let mut reset = unprivileged(program);
    let reset = reset.args(["-e", "1", "-D"]).arg(source.data_directory());
    assert!(reset.status().unwrap().success());
    source.start_again();
    db.source.reconnect();
    let now: u64 = db.source.value(next).parse().unwrap();
    assert!(now >= then + (1 << 32), "{now}");
    for id in 50..=55 {
        db.source
            .sql(&format!("UPDATE t SET v = 'now' WHERE id = {id}"));
    }

    let outcome = run(&db, &merge);

    db.assert_same("t");
    assert_eq!(compare(&outcome), "stream", "{outcome}");
    assert_eq!(compare(&run(&db, &merge)), "changed");
}
