//! kill -9, and files that change while they are read.

use std::fs;
use std::io::Write as _;
use std::time::Instant;

use nix::sys::signal::Signal;
use rstest::rstest;

use super::{bytes, directory, from_file, job, listed, put, run};
use crate::support::hang::{hang_at_commit, wait_waiting};
use crate::support::{
    Database, Databases, Job, PATIENCE, assert_committed, assert_refused, databases, wait_until,
};

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

/// Waits until a session of the program waits for a lock on this side.
fn wait_for_lock(db: &Database<'_>) {
    let waiting = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%' AND wait_event_type = 'Lock'";
    wait_until(PATIENCE, || db.count(waiting) > 0);
}

#[test]
fn an_export_that_is_killed_while_it_plans_leaves_nothing() {
    let db = databases("killed_plan");
    db.source
        .sql("CREATE TABLE a (id int); INSERT INTO a VALUES (1)");
    let jobs = "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"truncate\"\ntables = [\"public.a\"]\n";
    let job = job(&db, jobs);
    put(&job, "public.a.csv", "old");
    let holder = db.source.connect();
    holder.sql("BEGIN; LOCK TABLE a");
    let running = job.spawn(&["run", "j"]);
    wait_for_lock(&db.source);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    assert_eq!(listed(&job), ["public.a.csv"]);
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"old");
    drop(holder);
    assert_committed(&run(&job));
    assert_eq!(listed(&job), ["public.a.csv"]);
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"id\n1\n");
}

/// Kills a run that waits for a session that has done this. The target's only row stays.
#[track_caller]
fn kill_behind(hold: &str, db: &Databases<'_>, job: &Job) {
    let holder = db.target.connect();
    holder.sql(hold);
    let running = job.spawn(&["run", "j"]);
    wait_for_lock(&db.target);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    drop(holder);
    db.wait_until_left();
    assert_eq!(db.target.value("SELECT string_agg(v, ',') FROM t"), "old");
}

/// Killed between the plan and the first row, where the target's lock is waited for.
#[rstest]
#[case("append")]
#[case("truncate")]
#[case("swap")]
#[case("merge")]
#[case("upsert")]
fn a_load_that_is_killed_before_its_first_row_leaves_the_target_as_it_was(#[case] mode: &str) {
    let db = databases("killed_lock");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (-1, 'old')");
    let job = job(&db, &from_file(mode, "file = \"t.csv\""));
    put(&job, "t.csv", "id,v\n1,new\n");
    kill_behind("BEGIN; LOCK TABLE t", &db, &job);
    assert_committed(&run(&job));
    let stays = matches!(mode, "append" | "upsert");
    let expected = if stays { "old,new" } else { "new" };
    let now = "SELECT string_agg(v, ',' ORDER BY id) FROM t";
    assert_eq!(db.target.value(now), expected);
}

/// Killed while it waits for another session: `merge` and `upsert` in the statement that writes the rows, `swap` for
/// the table's lock, and all with the rows in another table.
#[rstest]
#[case("swap", "", "BEGIN; SELECT FROM t")]
#[case("merge", "", "BEGIN; UPDATE t SET v = 'held'")]
#[case("upsert", "", "BEGIN; UPDATE t SET v = 'held'")]
#[case(
    "upsert",
    "on_error = \"quarantine\"",
    "BEGIN; UPDATE t SET v = 'held'"
)]
fn a_load_that_is_killed_between_its_last_row_and_commit_leaves_the_target_as_it_was(
    #[case] mode: &str,
    #[case] more: &str,
    #[case] hold: &str,
) {
    let db = databases("killed_writing");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'bad')); INSERT INTO t VALUES (1, 'old')");
    let jobs =
        from_file(mode, "file = \"t.csv\"").replace("[jobs.j]", &format!("[jobs.j]\n{more}"));
    let job = job(&db, &jobs);
    let bad = if more.is_empty() { "" } else { "3,bad\n" };
    put(&job, "t.csv", format!("id,v\n1,new\n2,new\n{bad}"));
    kill_behind(hold, &db, &job);
    assert_eq!(db.target.count("tableferry.rejected"), 0);
    let outcome = run(&job);
    let rejected = u64::from(!more.is_empty());
    assert_eq!(assert_committed(&outcome)[0]["rows_rejected"], rejected);
    assert_eq!(db.target.count("tableferry.rejected"), rejected);
    let now = "SELECT string_agg(v, ',' ORDER BY id) FROM t";
    assert_eq!(db.target.value(now), "new,new");
}

/// Killed while bad rows are set aside: neither the good rows nor the rejected ones are there.
#[rstest]
#[case("append")]
#[case("truncate")]
#[case("merge")]
#[case("upsert")]
fn a_load_that_is_killed_while_it_rejects_rows_leaves_no_row_and_no_rejected_one(
    #[case] mode: &str,
) {
    let db = databases("killed_rejecting");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'bad')); INSERT INTO t VALUES (-1, 'old')");
    let jobs = from_file(mode, "file = \"t.csv\"");
    let of_job = "[jobs.j]\non_error = \"quarantine\"\nguard = { max_shrink = \"100%\" }\n";
    let job = job(
        &db,
        &jobs.replace("[jobs.j]", &format!("{of_job}rate_limit = \"2MB\"")),
    );
    let value = |n: u32| if n == 10 { "bad" } else { "good" };
    let rows: String = (1..200_000)
        .map(|n| format!("{n},{}\n", value(n)))
        .collect();
    put(&job, "t.csv", format!("id,v\n{rows}"));
    let running = job.spawn(&["run", "j"]);
    // The first block failed, and was copied again in parts.
    let set_aside = "pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'rejected' AND l.mode = 'RowExclusiveLock' \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_until(PATIENCE, || db.target.count(set_aside) > 0);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    db.wait_until_left();
    assert_eq!(db.target.value("SELECT string_agg(v, ',') FROM t"), "old");
    assert_eq!(db.target.count("tableferry.rejected"), 0);
    let fast = fs::read_to_string(job.configuration()).unwrap();
    fs::write(
        job.configuration(),
        fast.replace("rate_limit", "# rate_limit"),
    )
    .unwrap();
    assert_committed(&run(&job));
    assert_eq!(db.target.count("tableferry.rejected WHERE line = 11"), 1);
    assert_eq!(db.target.count("t WHERE v = 'good'"), 199_998);
}

/// Killed while COMMIT hangs: the rows and the ledger agree, whatever the server decides, and the next run
/// finds the target as it should be.
#[rstest]
#[case("append", "2,new\n3,new\n", "old,new,new")]
#[case("truncate", "1,new\n2,new\n", "new,new")]
#[case("swap", "1,new\n2,new\n", "new,new")]
#[case("merge", "1,new\n2,new\n", "new,new")]
#[case("upsert", "1,new\n2,new\n", "new,new")]
fn a_load_that_is_killed_while_it_publishes_is_whole_or_not_there(
    #[case] mode: &str,
    #[case] rows: &str,
    #[case] loaded: &str,
) {
    let db = databases("killed_commit");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let job = job(&db, &from_file(mode, "file = \"t.csv\""));
    put(&job, "t.csv", "id,v\n1,old\n");
    assert_committed(&run(&job));
    put(&job, "t.csv", format!("id,v\n{rows}"));
    let holder = hang_at_commit(&db.target);
    let running = job.spawn(&["run", "j"]);
    wait_waiting(&db.target, "COMMIT");
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    drop(holder);
    db.wait_until_left();
    let committed = db.target.count("tableferry.run WHERE state = 'committed'");
    let now = "SELECT string_agg(v, ',' ORDER BY id) FROM t";
    let expected = if committed == 2 { loaded } else { "old" };
    assert_eq!(db.target.value(now), expected);
    let is_there_twice = mode == "append" && committed == 2;
    if !is_there_twice {
        assert_committed(&run(&job));
        assert_eq!(db.target.value(now), loaded);
    }
}

/// Many files are put into their places one after the other: a run that is killed meanwhile leaves each of
/// them old or new, and the next run removes what is left of it.
#[test]
fn an_export_that_is_killed_between_two_renames_leaves_whole_files() {
    const FILES: usize = 120;
    let db = databases("killed_renames");
    let tables: String = (0..FILES)
        .map(|n| format!("[jobs.j.table.\"public.t{n:03}\"]\nquery = \"SELECT 'new' AS v\"\n"))
        .collect();
    let jobs = "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"truncate\"\n";
    let job = job(&db, &format!("{jobs}{tables}"));
    let name = |n: usize| format!("public.t{n:03}.csv");
    for n in 0..FILES {
        put(&job, &name(n), "old");
    }
    let running = job.spawn(&["run", "j"]);
    let first = directory(&job).join(name(0));
    let began = Instant::now();
    while fs::metadata(&first).unwrap().len() == 3 {
        assert!(began.elapsed() < PATIENCE, "{}", running.stderr());
    }
    running.kill(Signal::SIGKILL);
    let outcome = running.wait(PATIENCE);
    let contents = (0..FILES).map(|n| bytes(directory(&job).join(name(n))));
    let new: Vec<bool> = contents
        .map(|contents| match contents.as_slice() {
            b"old" => false,
            b"v\nnew\n" => true,
            other => panic!("{:?} {outcome}", other.escape_ascii().to_string()),
        })
        .collect();
    assert!(new.is_sorted_by(|a, b| a >= b), "{new:?}");
    println!(
        "{} of {FILES} files are new",
        new.iter().filter(|new| **new).count()
    );
    assert_committed(&run(&job));
    assert_eq!(listed(&job).len(), FILES);
    for n in 0..FILES {
        assert_eq!(bytes(directory(&job).join(name(n))), b"v\nnew\n");
    }
}

/// The file is replaced after it was planned and before its first row is read.
#[rstest]
#[case::other_columns("v,id\nx,1\n", "replaced")]
#[case::same_columns("id,v\n2,y\n", "")]
fn a_file_that_is_replaced_before_it_is_read_is_the_one_that_was_planned_or_an_error(
    #[case] other: &str,
    #[case] part: &str,
) {
    let db = databases("replaced_early");
    db.target.sql("CREATE TABLE t (id int, v text)");
    let job = job(&db, &from_file("truncate", "file = \"t.csv\""));
    put(&job, "t.csv", "id,v\n1,x\n");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE t");
    let running = job.spawn(&["run", "j", "--json"]);
    wait_for_lock(&db.target);
    put(&job, "t.csv.new", other);
    fs::rename(
        directory(&job).join("t.csv.new"),
        directory(&job).join("t.csv"),
    )
    .unwrap();
    drop(holder);
    let outcome = running.wait(PATIENCE);
    match part {
        "" => {
            assert_committed(&outcome);
            assert_eq!(db.target.value("SELECT id || v FROM t"), "2y");
        }
        part => {
            assert_refused(&outcome, "data_rejected", &["t.csv", part]);
            assert_eq!(db.target.count("t"), 0);
        }
    }
}
