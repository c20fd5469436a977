//! Limits on purpose: `rate_limit`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Database, Databases, PATIENCE, databases, job, wait_until};

const OURS: &str = "pg_stat_activity WHERE datname = current_database() \
                    AND application_name LIKE 'tableferry%'";

fn jobs(more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\ntables = ['public.*']\n\
         retry = {{ max = 0 }}\nanalyze = false\n{more}\n"
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
    let burst = tableferry::run::pipe::limit::BURST;
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
