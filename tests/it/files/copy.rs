//! `tableferry copy`.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rstest::rstest;

use super::{bytes, job};
use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{
    Databases, Job, Outcome, PATIENCE, Proxy, assert_refused, databases, job_between, wait_until,
};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, name text)";

fn fed(job: &Job, arguments: &[&str], stdin: &[u8]) -> Outcome {
    let path = job.file("stdin", stdin);
    job.run_fed(arguments, File::open(path).unwrap())
}

fn into_t(db: &Databases<'_>) -> String {
    format!("{}#public.t", db.target.uri())
}

#[test]
fn standard_input_into_a_table_and_a_table_to_standard_output() {
    let db = databases("std");
    db.target.sql(T);
    let job = job(&db, "");
    let outcome = fed(
        &job,
        &["copy", "-", "target#public.t", "--json"],
        b"id,name\n1,a\n2,\"b\nc\"\n",
    );
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["job"], "copy");
    assert_eq!(outcome.report()["tables"][0]["rows_written"], 2);
    let outcome = job.run(&["copy", &into_t(&db), "-"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.stdout, "id,name\n1,a\n2,\"b\nc\"\n");
    let outcome = job.run(&[
        "copy",
        "target",
        "-",
        "--query",
        "SELECT id + 1 AS n FROM public.t",
        "--format",
        "text",
    ]);
    assert_eq!(outcome.stdout, "2\n3\n", "{outcome}");
    // Nothing of the program's own is left in the database.
    assert_eq!(
        db.target.count("pg_namespace WHERE nspname = 'tableferry'"),
        0
    );
}

#[rstest]
#[case::quote(b"id,name\n1,a\n2,\"b\n".to_vec(), &[])]
#[case::newline(b"id,name\n1,a\n2,b".to_vec(), &[])]
#[case::gzip(cut(include_bytes!("rows.csv.gz")), &[])]
#[case::zstd(cut(&zstd::encode_all(&b"id,name\n1,a\n"[..], 3).unwrap()), &[])]
#[case::binary(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x01a".to_vec(), &["--format", "binary"])]
#[case::nothing(Vec::new(), &[])]
#[case::fewer_rows(b"id,name\n1,a\n".to_vec(), &["--rows", "2"])]
fn nothing_is_published_before_a_clean_end(#[case] stdin: Vec<u8>, #[case] more: &[&str]) {
    let db = databases("clean_end");
    db.target.sql(T);
    let job = job(&db, "");
    let target = into_t(&db);
    let outcome = fed(&job, &[&["copy", "-", &target], more].concat(), &stdin);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(db.target.count("t"), 0);
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() - 3].to_vec()
}

#[test]
fn compressed_input_is_known_by_its_first_bytes() {
    let db = databases("first_bytes");
    db.target.sql(T);
    let job = job(&db, "");
    let packed = zstd::encode_all(&b"id,name\n1,a\n"[..], 3).unwrap();
    let outcome = fed(&job, &["copy", "-", &into_t(&db), "--rows", "1"], &packed);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let outcome = fed(
        &job,
        &["copy", "-", &into_t(&db)],
        include_bytes!("rows.csv.gz"),
    );
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(
        db.target
            .value("SELECT string_agg(name, ',' ORDER BY id) FROM t"),
        "a,x,y"
    );
}

#[test]
fn a_program_that_is_killed_within_a_row_leaves_nothing() {
    let db = databases("killed_producer");
    db.target.sql(T);
    let job = job(&db, "");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let running = job.spawn_fed(&["copy", "-", &into_t(&db)], Stdio::from(reader));
    let rows: String = (0..20_000).map(|n| format!("{n},name {n}\n")).collect();
    writer
        .write_all(format!("id,name\n{rows}99999,na").as_bytes())
        .unwrap();
    drop(writer);
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("line 20002"), "{outcome}");
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn an_interrupt_ends_a_copy_that_waits_for_its_input() {
    let db = databases("interrupted");
    db.target.sql(T);
    let job = job(&db, "");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let running = job.spawn_fed(&["copy", "-", &into_t(&db)], Stdio::from(reader));
    writer.write_all(b"id,name\n1,a\n").unwrap();
    wait_until(PATIENCE, || {
        db.target
            .count("pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %'")
            == 1
    });
    running.kill(Signal::SIGINT);
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    drop(writer);
    db.wait_until_left();
    assert_eq!(db.target.count("t"), 0);
}

#[rstest]
#[case("out.csv")]
#[case("out.csv.gz")]
#[case("out.csv.zst")]
#[case("out.bin")]
#[case("out.txt.zst")]
fn a_table_goes_to_a_file_and_comes_back(#[case] name: &str) {
    let db = databases("round");
    db.both(&T.replace("id int", "id int DEFAULT 1"));
    db.source.sql("INSERT INTO t SELECT n, CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '\\.' ELSE E'\\n\"' || n END FROM generate_series(1, 5000) n");
    let job = job(&db, "");
    let from = format!("{}#public.t", db.source.uri());
    let outcome = job.run(&["copy", &from, name]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(!bytes(job.directory().join(name)).is_empty());
    for (mode, inserted) in [("merge", 5000), ("merge", 0), ("swap", 5000)] {
        let outcome = job.run(&["copy", name, "target#public.t", "--mode", mode, "--json"]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.report()["tables"][0]["rows_inserted"], inserted);
        db.assert_same("public.t");
    }
}

#[test]
fn a_table_is_copied_into_another_one() {
    let db = databases("tables");
    db.source.sql(T);
    db.source
        .sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
    db.target
        .sql("CREATE TABLE u (id int PRIMARY KEY, name text)");
    let job = job(&db, "");
    let ends = ["copy", "source#public.t", "target#public.u"];
    let outcome = job.run(&[&ends[..], &["--where", "id > 1"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let outcome = job.run(&[&ends[..], &["--mode", "upsert", "--key", "id"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(db.target.count("u"), 3);
}

#[rstest]
#[case(&["a.csv", "b.csv"], "both ends are files")]
#[case(&["-", "target#public.t", "--where", "id = 1"], "`--where` has no meaning here")]
#[case(&["-", "target#public.t", "--delimiter", "ab"], "one ASCII character")]
#[case(&["-", "target#public.t", "--mode", "replace"], "is none of append")]
#[case(&["target#public.t", "a.dat"], "the ending says no format")]
#[case(&["target#public.t", "a.csv", "--mode", "append"], "a file is written whole")]
#[case(&["target#public.t", "-", "--json"], "standard output")]
#[case(&["target", "a.csv"], "both ends are files")]
#[case(&["source#public.t", "target#public.t", "--null", "x"], "both ends are tables")]
#[case(&["nowhere#public.t", "a.csv"], "there is no server `nowhere`")]
#[case(&["files#public.t", "target#public.t"], "is a directory")]
fn wrong_arguments_are_named(#[case] arguments: &[&str], #[case] part: &str) {
    let db = databases("arguments");
    let job = job(&db, "");
    let outcome = job.run(&[&["copy"], arguments].concat());
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains(part), "{outcome}");
}

/// A pipe says nothing while its program works, and ends when it dies: so silence is bounded by
/// `--stall-timeout` alone, and the error says so.
#[rstest]
#[case::before_the_header("")]
#[case::within_the_header("id,na")]
#[case::after_a_row("id,name\n1,a\n")]
#[case::within_a_row("id,name\n1,a\n2,")]
fn a_silent_program_is_waited_for_as_long_as_the_option_says(#[case] written: &str) {
    let db = databases("silent");
    db.target.sql(T);
    let job = job(&db, "");
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(written.as_bytes()).unwrap();
    let arguments = ["copy", "-", &into_t(&db), "--json", "--stall-timeout", "1s"];
    let outcome = job
        .spawn_fed(&arguments, Stdio::from(reader))
        .wait(PATIENCE);
    assert_refused(&outcome, "stalled", &["standard input", "1 s"]);
    assert!(outcome.stderr.contains("--stall-timeout"), "{outcome}");
    assert_eq!(db.target.count("t"), 0);
    drop(writer);
    for wrong in ["0s", "5", "soon"] {
        let outcome = job.run(&["copy", "-", &into_t(&db), "--stall-timeout", wrong]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
    }
}

/// A row that comes after a pause is a row like any other.
#[test]
fn a_slow_program_is_waited_for() {
    let db = databases("slow");
    db.target.sql(T);
    let job = job(&db, "");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let running = job.spawn_fed(&["copy", "-", &into_t(&db)], Stdio::from(reader));
    writer.write_all(b"id,name\n1,a\n").unwrap();
    wait_until(PATIENCE, || {
        db.target
            .count("pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %'")
            == 1
    });
    writer.write_all(b"2,b\n").unwrap();
    drop(writer);
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(db.target.count("t"), 2);
}

#[test]
fn nobody_who_reads_the_standard_output_is_waited_for_as_long_as_the_option_says() {
    let db = databases("unread");
    db.source
        .sql("CREATE TABLE t AS SELECT n, md5(n::text) AS v FROM generate_series(1, 200000) n");
    let script = "{ \"$@\"; echo $? >code; } | { while [ ! -e code ]; do sleep 0.1; done; }";
    let job = job(&db, "").through(&["sh", "-c", script, "sh"]);
    let outcome = job.run(&["copy", "source#public.t", "-", "--stall-timeout", "1s"]);
    assert!(
        outcome
            .stderr
            .contains("nobody read the standard output for 1 s"),
        "{outcome}"
    );
    assert_eq!(bytes(job.directory().join("code")), b"1\n");
}

/// A copy whose source is lost half-way is not begun again: its reader has the first rows already.
#[test]
fn what_went_to_the_standard_output_is_not_written_twice() {
    let db = databases("once");
    db.source
        .sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 100000) n");
    let proxy = Proxy::start(db.source.cluster.port());
    let conninfo = proxy.conninfo(&db.source.conninfo());
    let job = job_between(&conninfo, &db.target.conninfo(), "");
    let cut = proxy.arm(Rule::new(
        Way::ToClient,
        Trigger::Typed(b'd', 50_000),
        Fault::Cut,
    ));
    let outcome = job.run(&["copy", "source#public.t", "-"]);
    cut.wait(PATIENCE);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.stdout.matches("n\n").count(), 1);
    assert_eq!(
        outcome.stdout.lines().filter(|line| *line == "1").count(),
        1
    );
}

/// A program that is killed within a row, by its own signal and not by a closed pipe of the test.
#[test]
fn a_producer_that_is_killed_leaves_nothing() {
    let db = databases("killed_program");
    db.target.sql(T);
    let job = job(&db, "");
    let mut producer = Command::new("sh")
        .args(["-c", "printf 'id,name\\n1,a\\n2,b\\n3,\"c'; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = producer.stdout.take().unwrap();
    let running = job.spawn_fed(&["copy", "-", &into_t(&db)], Stdio::from(stdout));
    wait_until(PATIENCE, || {
        db.target
            .count("pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %'")
            == 1
    });
    producer.kill().unwrap();
    producer.wait().unwrap();
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("line 4"), "{outcome}");
    assert_eq!(db.target.count("t"), 0);
}

/// kill -9 while the header is waited for, which is while the copy is planned.
#[test]
fn a_copy_that_is_killed_while_it_waits_for_its_header_leaves_nothing() {
    let db = databases("killed_waiting");
    db.target.sql(T);
    let job = job(&db, "");
    let (reader, writer) = std::io::pipe().unwrap();
    let arguments = ["copy", "-", &into_t(&db), "--mode", "truncate"];
    let running = job.spawn_fed(&arguments, Stdio::from(reader));
    let session = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%' AND state = 'idle'";
    wait_until(PATIENCE, || db.target.count(session) == 1);
    // Nothing is locked meanwhile.
    db.target
        .sql("SET lock_timeout = '5s'; LOCK TABLE t; INSERT INTO t VALUES (7, 'old')");
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    drop(writer);
    db.wait_until_left();
    assert_eq!(db.target.count("t"), 1);
    let outcome = fed(&job, &arguments, b"id,name\n1,a\n");
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(db.target.count("t WHERE name = 'a'"), 1);
}
