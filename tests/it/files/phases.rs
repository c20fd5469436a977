//! kill -9, and files that change while they are read.

use std::fs;
use std::io::Write as _;

use nix::sys::signal::Signal;
use rstest::rstest;

use super::{bytes, directory, from_file, job, listed, put, run};
use crate::support::{PATIENCE, assert_committed, assert_refused, databases, wait_until};

#[rstest]
#[case("append")]
#[case("truncate")]
#[case("swap")]
#[case("merge")]
#[case("upsert")]
fn a_load_that_is_killed_leaves_the_target_as_it_was(#[case] mode: &str) {
    let db = databases("killed_load");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (-1, 'old')");
    let job = job(
        &db,
        &(from_file(mode, "file = \"t.csv\"")
            + "[jobs.j.guard]\nallow_empty = true\nmax_shrink = \"100%\"\n"),
    );
    let rows: String = (0..200_000).map(|n| format!("{n},value {n}\n")).collect();
    put(&job, "t.csv", format!("id,v\n{rows}"));
    let slow = fs::read_to_string(job.configuration()).unwrap();
    fs::write(
        job.configuration(),
        slow.replace("[jobs.j]", "[jobs.j]\nrate_limit = \"500kB\""),
    )
    .unwrap();
    let running = job.spawn(&["run", "j"]);
    let copying = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %' AND state = 'active'";
    wait_until(PATIENCE, || db.target.count(copying) == 1);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    db.wait_until_left();
    assert_eq!(db.target.value("SELECT string_agg(v, ',') FROM t"), "old");
    fs::write(job.configuration(), slow).unwrap();
    assert_committed(&run(&job));
    let kept = i64::from(matches!(mode, "append" | "upsert"));
    assert_eq!(
        db.target.value("SELECT count(*) FROM t"),
        (200_000 + kept).to_string()
    );
}

#[test]
fn an_export_that_is_killed_leaves_the_old_file_and_the_next_one_cleans_up() {
    let db = databases("killed_export");
    db.source
        .sql("CREATE TABLE a AS SELECT n, md5(n::text) AS v FROM generate_series(1, 100000) n");
    let jobs = "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"swap\"\ntables = [\"public.a\"]\nrate_limit = \"500kB\"\n";
    let job = job(&db, jobs);
    put(&job, "public.a.csv", "old");
    let running = job.spawn(&["run", "j"]);
    wait_until(PATIENCE, || listed(&job).len() == 2);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"old");
    assert_eq!(listed(&job).len(), 2);
    let text = fs::read_to_string(job.configuration()).unwrap();
    fs::write(
        job.configuration(),
        text.replace("rate_limit = \"500kB\"", ""),
    )
    .unwrap();
    assert_committed(&run(&job));
    assert_eq!(listed(&job), ["public.a.csv"]);
    let text = String::from_utf8(bytes(directory(&job).join("public.a.csv"))).unwrap();
    assert_eq!(text.lines().count(), 100_001);
}

#[test]
fn an_export_that_is_cancelled_leaves_nothing() {
    let db = databases("cancelled_export");
    db.source
        .sql("CREATE TABLE a AS SELECT n, md5(n::text) AS v FROM generate_series(1, 100000) n");
    let jobs = "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"swap\"\ntables = [\"public.a\"]\nrate_limit = \"500kB\"\n";
    let job = job(&db, jobs);
    let running = job.spawn(&["run", "j"]);
    wait_until(PATIENCE, || listed(&job).len() == 1);
    running.kill(Signal::SIGTERM);
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert!(listed(&job).is_empty());
}

/// What happens to a file while a slow run reads it.
#[rstest]
#[case::appended("written to", |path: &std::path::Path| {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"-5,x\n").unwrap();
})]
#[case::replaced("replaced", |path: &std::path::Path| {
    let other = path.with_extension("new");
    fs::copy(path, &other).unwrap();
    fs::rename(other, path).unwrap();
})]
#[case::truncated("", |path: &std::path::Path| {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3_000_000).unwrap();
})]
#[case::removed("removed", |path: &std::path::Path| fs::remove_file(path).unwrap())]
fn a_file_that_changes_while_it_is_read_is_an_error(
    #[case] what: &str,
    #[case] change: fn(&std::path::Path),
) {
    let db = databases("changed_file");
    db.target.sql("CREATE TABLE t (id int, v text)");
    let job = job(
        &db,
        &from_file("append", "file = \"t.csv\"")
            .replace("[jobs.j]", "[jobs.j]\nrate_limit = \"3MB\""),
    );
    let rows: String = (0..200_000)
        .map(|n| format!("{n},value number {n}\n"))
        .collect();
    let path = put(&job, "t.csv", format!("id,v\n{rows}"));
    let running = job.spawn(&["run", "j", "--json"]);
    let copying = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %' AND state = 'active'";
    wait_until(PATIENCE, || db.target.count(copying) == 1);
    change(&path);
    let outcome = running.wait(PATIENCE);
    if what.is_empty() {
        assert_eq!(outcome.code, Some(1), "{outcome}");
    } else {
        assert_refused(&outcome, "data_rejected", &["t.csv", what]);
    }
    assert_eq!(db.target.count("t"), 0);
}
