//! Limits on purpose: `rate_limit` and `max_snapshot_age`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bounds::documented;
use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{
    Database, Databases, Outcome, PATIENCE, Proxy, databases, job, job_between, wait_until,
};

const OURS: &str = "pg_stat_activity WHERE datname = current_database() \
                    AND application_name LIKE 'tableferry%'";

fn jobs(more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\ntables = ['public.*']\n\
         retry = {{ max = 2, backoff = '10ms' }}\nanalyze = false\n{more}\n"
    )
}

/// Two tables with so many rows of so many bytes on the source, and one old row on the target.
fn tables(name: &str, rows: u32, bytes: u32) -> Databases<'static> {
    let db = databases(name);
    for table in ["t", "u"] {
        db.both(&format!("CREATE TABLE {table} (id int, filler text)"));
        db.source.sql(&format!(
            "INSERT INTO {table} SELECT i, repeat('x', {bytes}) FROM generate_series(1, {rows}) i"
        ));
        db.target
            .sql(&format!("INSERT INTO {table} VALUES (-1, 'old')"));
    }
    db
}

fn assert_nothing_left(db: &Databases<'_>) {
    wait_until(PATIENCE, || {
        db.source.count(OURS) == 0 && db.target.count(OURS) == 0
    });
}

#[test]
fn no_more_than_rate_limit_is_read_a_second_by_all_copies_together() {
    let db = tables("rate", 800, 1000);
    let job = job(&db, &jobs("rate_limit = '800kB'"));
    let began = Instant::now();

    let outcome = job.run(&["run", "j", "--json"]);

    let elapsed = began.elapsed();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let tables = outcome.report()["tables"].as_array().unwrap();
    let bytes: u64 = tables.iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert!(bytes > 1_600_000, "{outcome}");
    let burst = documented("run/pipe/limit.rs", "BURST");
    assert!(
        elapsed + burst >= Duration::from_millis(bytes / 800),
        "{bytes} bytes in {elapsed:?}"
    );
    db.assert_same("t");
    db.assert_same("u");
}

#[test]
fn a_pause_for_rate_limit_is_no_stall() {
    // Each row is more than two seconds' worth.
    let db = tables("pause", 1, 2_500_000);
    let job = job(&db, &jobs("rate_limit = '1MB'\nstall_timeout = '1s'"));

    let outcome = job.run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["attempts"], 1, "{outcome}");
    db.assert_same("t");
    db.assert_same("u");
}

#[test]
fn a_run_that_pauses_for_rate_limit_is_cancelled_at_once() {
    // At this rate, the first block alone takes longer than any test.
    let db = tables("cancel", 4000, 1000);
    let running = job(&db, &jobs("rate_limit = '10B'"));
    let running = running.spawn(&["run", "j", "--json"]);
    let waits = |db: &Database<'_>, what: &str| {
        db.count(&format!(
            "{OURS} AND query LIKE 'COPY%{what}%' AND wait_event LIKE 'Client%'"
        )) == 1
    };
    wait_until(PATIENCE, || {
        waits(&db.source, "TO STDOUT") && waits(&db.target, "FROM STDIN")
    });

    running.kill(Signal::SIGTERM);

    let outcome = running.wait(Duration::from_secs(30));
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert_nothing_left(&db);
    assert_eq!(db.target.count("t WHERE id = -1"), 1);
}

/// Sessions that keep the source's vacuum from removing rows.
const HOLDING: &str = "pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL \
                       AND pid <> pg_backend_pid()";

/// Given up at the first attempt for the snapshot's age, and nothing of it is left on either server.
#[track_caller]
fn assert_too_old(db: &Databases<'_>, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let report = outcome.report();
    assert_eq!(report["outcome"], "rolled_back", "{outcome}");
    assert_eq!(report["attempts"], 1, "{outcome}");
    let error = &report["error"];
    assert_eq!(error["kind"], "timeout", "{outcome}");
    assert_eq!(error["side"], "source", "{outcome}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("max_snapshot_age"), "{outcome}");
    assert_nothing_left(db);
    assert_eq!(db.source.count(HOLDING), 0);
}

#[track_caller]
fn wait_for_the_lock(db: &Databases<'_>) {
    let waiting = format!("{OURS} AND wait_event_type = 'Lock'");
    wait_until(PATIENCE, || db.target.count(&waiting) == 1);
}

#[test]
fn a_run_that_waits_for_a_lock_gives_up_its_snapshot_in_time() {
    let db = tables("age", 10, 10);
    let other = db.target.connect();
    other.sql("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let running = job(&db, &jobs("max_snapshot_age = '3s'\nlock_timeout = '10m'"));
    let running = running.spawn(&["run", "j", "--json"]);
    wait_for_the_lock(&db);
    assert_eq!(db.source.count(HOLDING), 1);

    let outcome = running.wait(PATIENCE);

    assert_too_old(&db, &outcome);
    assert_eq!(db.target.count("t WHERE id = -1"), 1);
}

#[test]
fn a_run_whose_target_falls_silent_gives_up_its_snapshot_in_time() {
    let db = tables("age", 4000, 1000);
    let proxy = Proxy::start(db.target.cluster.port());
    let rule = Rule::new(Way::ToServer, Trigger::Typed(b'd', 3), Fault::Stall).on_connection(1);
    let stalled = proxy.arm(rule);
    let began = Instant::now();
    let running = job_between(
        &db.source.conninfo(),
        &proxy.conninfo(&db.target.conninfo()),
        &jobs("max_snapshot_age = '3s'\nstall_timeout = '10m'"),
    );

    let outcome = running.run(&["run", "j", "--json"]);

    assert!(stalled.has_struck());
    assert!(began.elapsed() >= Duration::from_secs(3));
    wait_until(PATIENCE, || db.source.count(OURS) == 0);
    // As long as the network hides that we are gone, the target's backend can't know.
    proxy.cut();
    assert_too_old(&db, &outcome);
    assert_eq!(db.target.count("t WHERE id = -1"), 1);
}

#[test]
fn the_snapshot_is_let_go_before_the_target_does_its_part_but_not_before_a_checksum() {
    let db = tables("age", 10, 10);
    db.target.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(4731); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION wait()",
    );
    let other = db.target.connect();
    other.sql("SELECT pg_advisory_lock(4731)");
    for verify in ["checksum", "count"] {
        let config = format!("max_snapshot_age = '3s'\nlock_timeout = '10m'\nverify = '{verify}'");
        let job = job(&db, &jobs(&config));
        let running = job.spawn(&["run", "j", "--json"]);
        wait_for_the_lock(&db);
        if verify == "checksum" {
            assert_eq!(db.source.count(HOLDING), 1);
            assert_too_old(&db, &running.wait(PATIENCE));
        } else {
            assert_eq!(db.source.count(HOLDING), 0);
            other.sql("SELECT pg_advisory_unlock(4731)");
            let outcome = running.wait(PATIENCE);
            assert_eq!(outcome.code, Some(0), "{outcome}");
            db.assert_same("t");
        }
    }
}

#[test]
fn tables_that_were_published_one_by_one_stay_when_the_snapshot_grows_too_old() {
    let db = tables("age", 10, 10);
    let other = db.target.connect();
    other.sql("BEGIN; LOCK TABLE u IN ACCESS SHARE MODE");
    let config = "max_snapshot_age = '3s'\nlock_timeout = '10m'\natomic = false";

    let outcome = job(&db, &jobs(config)).run(&["run", "j", "--json"]);

    assert_too_old(&db, &outcome);
    db.assert_same("t");
    assert_eq!(db.target.count("u WHERE id = -1"), 1);
}
