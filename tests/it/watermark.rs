//! Watermarks: only what is new is read, and no row is missed.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;

use crate::support::{
    Connection, Databases, Job, Outcome, assert_committed, assert_refused, databases, job, only_t,
    run, run_alone,
};

fn jobs(mode: &str, of_table: &str) -> String {
    only_t(mode, "analyze = false\n", of_table)
}

fn read(outcome: &Outcome) -> u64 {
    assert_committed(outcome)[0]["rows_read"].as_u64().unwrap()
}

#[rstest]
#[case("bigint", "i", "")]
#[case("smallint", "i", "watermark_overlap = 0")]
#[case("numeric", "i + 0.5", "watermark_overlap = 0")]
#[case("date", "date '2026-01-01' + i", "")]
#[case(
    "timestamp",
    "timestamp '2026-01-01' + i * interval '1 us'",
    "watermark_overlap = '0s'"
)]
#[case("timestamptz", "timestamptz '2026-01-01' + i * interval '1 day'", "")]
fn only_what_is_new_is_read(
    #[case] ty: &str,
    #[case] value: &str,
    #[case] more: &str,
    #[values("upsert", "append")] mode: &str,
) {
    let db = databases("watermark");
    db.both(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, w {ty}, v text)"
    ));
    let insert = |from: i32, to: i32| {
        format!("INSERT INTO t SELECT i, {value}, 'v' FROM generate_series({from}, {to}) i")
    };
    db.source.sql(&insert(1, 1000));
    let jobs = jobs(mode, &format!("watermark = 'w'\n{more}"));
    assert_eq!(read(&run_alone(&db, &jobs)), 1000);

    // What has the last value is read again: another row may have got it since.
    let nothing_new = run_alone(&db, &jobs);
    assert_eq!(read(&nothing_new), 1, "{nothing_new}");
    assert_eq!(nothing_new.report()["tables"][0]["rows_updated"], 0);
    db.source.sql(&insert(1001, 1010));
    let some_new = run_alone(&db, &jobs);
    assert_eq!(read(&some_new), 11, "{some_new}");
    assert_eq!(some_new.report()["tables"][0]["rows_inserted"], 10);
    db.assert_same("t");

    let value = db
        .target
        .value("SELECT value::json ->> 'value' FROM tableferry.watermark");
    assert_eq!(value, db.source.value("SELECT max(w)::text FROM t"));
    let full = job(&db, &jobs).run(&["run", "j", "--json", "--full"]);
    assert_eq!(read(&full), 1010, "{full}");
    db.assert_same("t");
}

#[rstest]
fn a_transaction_that_commits_late_arrives_with_the_next_run(
    #[values("upsert", "append")] mode: &str,
    #[values("", "SAVEPOINT s;")] savepoint: &str,
) {
    let db = databases("late");
    db.both(
        "CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), v text)",
    );
    db.source
        .sql("INSERT INTO t (v) SELECT 'early' FROM generate_series(1, 100)");
    let late = db.source.connect();
    late.sql(&format!(
        "BEGIN; {savepoint} INSERT INTO t (v) VALUES ('late')"
    ));
    let later = db.source.connect();
    later.sql("BEGIN; SELECT now()");
    db.source.sql("INSERT INTO t (v) VALUES ('quick')");
    db.source.sql("VACUUM t");
    let jobs = jobs(mode, "watermark = 'at'");
    assert_eq!(read(&run(&db, &jobs)), 101);

    late.sql("COMMIT");
    later.sql("INSERT INTO t (at, v) VALUES (now(), 'later'), (NULL, 'never'), ('-infinity', 'first'); COMMIT");
    db.source.sql("VACUUM (FREEZE) t");

    assert_committed(&run(&db, &jobs));
    db.assert_same("t");
}

#[test]
fn updates_reach_the_target_and_only_them() {
    let db = databases("watermark_update");
    db.both("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text)");
    db.both("INSERT INTO t SELECT i, timestamptz '2026-01-01' + i * interval '1 s', 'x' FROM generate_series(1, 500) i");
    let jobs = jobs("upsert", "watermark = 'at'\nwatermark_overlap = '10s'");
    assert_eq!(read(&run_alone(&db, &jobs)), 500);
    db.source.sql(
        "UPDATE t SET v = 'y', at = '2026-02-01' WHERE id = 7; UPDATE t SET v = 'z' WHERE id = 8",
    );

    let outcome = run_alone(&db, &jobs);

    // The two, and ten seconds back from the last value of the first run.
    assert_eq!(read(&outcome), 13, "{outcome}");
    assert_eq!(outcome.report()["tables"][0]["rows_updated"], 2);
    db.assert_same("t");
}

#[test]
fn a_failed_run_leaves_the_watermark_where_it_was() {
    let db = databases("watermark_failed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i");
    let jobs = jobs("append", "watermark = 'id'");
    assert_committed(&run(&db, &jobs));
    db.source
        .sql("INSERT INTO t SELECT i, 'y' FROM generate_series(11, 20) i");
    db.target
        .sql("ALTER TABLE t ADD CONSTRAINT no_y CHECK (v <> 'y') NOT VALID");
    assert_eq!(run(&db, &jobs).code, Some(1));
    db.target.sql("ALTER TABLE t DROP CONSTRAINT no_y");

    let outcome = run(&db, &jobs);

    assert_eq!(
        assert_committed(&outcome)[0]["rows_inserted"],
        10,
        "{outcome}"
    );
    db.assert_same("t");
}

#[test]
fn another_query_or_another_source_starts_over() {
    let db = databases("watermark_over");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i");
    assert_eq!(
        read(&run(
            &db,
            &jobs("upsert", "watermark = 'id'\nwhere = 'id > 5'")
        )),
        5
    );

    let outcome = run(&db, &jobs("upsert", "watermark = 'id'"));
    assert_eq!(read(&outcome), 10, "{outcome}");
    assert!(outcome.stderr.contains("has changed since"), "{outcome}");
    db.assert_same("t");

    db.target.sql(
        "UPDATE tableferry.watermark SET value = replace(value, 'system\":\"', 'system\":\"9')",
    );
    let outcome = run(&db, &jobs("upsert", "watermark = 'id'"));
    assert_eq!(read(&outcome), 10, "{outcome}");
    assert!(outcome.stderr.contains("a different cluster"), "{outcome}");
}

#[test]
fn a_query_or_view_needs_an_overlap() {
    let db = databases("watermark_view");
    db.source
        .sql("CREATE TABLE base (id int, v text); CREATE VIEW t AS SELECT * FROM base");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO base SELECT i, 'x' FROM generate_series(1, 100) i");
    let query = "query = 'SELECT * FROM public.base'\nwatermark = 'id'\n";

    assert_refused(
        &run_alone(&db, &jobs("upsert", "watermark = 'id'")),
        "schema_mismatch",
        &["view", "watermark_overlap"],
    );
    assert_refused(
        &run_alone(&db, &jobs("upsert", query)),
        "schema_mismatch",
        &["query", "watermark_overlap"],
    );

    let jobs = jobs("append", &format!("{query}watermark_overlap = 20"));
    assert_eq!(read(&run_alone(&db, &jobs)), 100);
    db.source.sql("INSERT INTO base VALUES (101, 'y')");
    assert_eq!(read(&run_alone(&db, &jobs)), 22);
    db.assert_same("t");
}

#[rstest]
#[case("append", "CREATE TABLE t (id int, at date)", "watermark = 'at'", &["append", "key"])]
#[case("upsert", "CREATE TABLE t (id int PRIMARY KEY, at date)", "watermark = 'nope'", &["nope"])]
#[case("upsert", "CREATE TABLE t (id int PRIMARY KEY, at text)", "watermark = 'at'", &["text", "watermark"])]
#[case("upsert", "CREATE TABLE t (id int PRIMARY KEY, at date)", "watermark = 'at'\nwatermark_overlap = 5", &["duration"])]
#[case("upsert", "CREATE TABLE t (id int PRIMARY KEY, at date)", "watermark = 'id'\nwatermark_overlap = '5s'", &["number"])]
fn what_cannot_be_exact_is_refused(
    #[case] mode: &str,
    #[case] create: &str,
    #[case] more: &str,
    #[case] parts: &[&str],
) {
    let db = databases("watermark_refused");
    db.both(create);
    assert_refused(&run(&db, &jobs(mode, more)), "schema_mismatch", parts);
}

#[test]
fn a_partitioned_source_and_history_off_work_too() {
    let db = databases("watermark_partitioned");
    db.source.sql("CREATE TABLE t (id int, v text) PARTITION BY LIST (v); CREATE TABLE t1 PARTITION OF t DEFAULT");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) i");
    let jobs = format!(
        "[daemon]\nhistory = 'off'\n{}",
        jobs("append", "watermark = 'id'")
    );
    assert_eq!(read(&run_alone(&db, &jobs)), 100);
    db.source
        .sql("INSERT INTO t VALUES (-5, 'late'), (200, 'new')");

    assert_eq!(read(&run_alone(&db, &jobs)), 3);
    db.assert_same("t");
    let plan = job(&db, &jobs).run(&["plan", "j", "--sql"]);
    assert!(plan.stdout.contains(r#""id" >= '200'"#), "{plan}");
}

/// Something that one of several writers does, or a run.
#[derive(Clone, Debug)]
enum Step {
    Write {
        writer: usize,
        value: i32,
        savepoint: bool,
    },
    Change {
        writer: usize,
        id: i32,
        value: i32,
    },
    Commit(usize),
    RollBack(usize),
    Vacuum,
    Run,
}

const WRITERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let writer = 0..WRITERS;
    prop_oneof![
        4 => (writer.clone(), -50..50, any::<bool>())
            .prop_map(|(writer, value, savepoint)| Step::Write { writer, value, savepoint }),
        2 => (writer.clone(), 1..30, -50..50)
            .prop_map(|(writer, id, value)| Step::Change { writer, id, value }),
        4 => writer.clone().prop_map(Step::Commit),
        1 => writer.prop_map(Step::RollBack),
        1 => Just(Step::Vacuum),
        3 => Just(Step::Run),
    ]
}

/// However writers and runs take turns: when all writers have ended, one more run has it all.
#[rstest]
#[case("upsert", "at")]
#[case("upsert", "id")]
#[case("append", "id")]
fn no_interleaving_of_writers_and_runs_loses_a_row(#[case] mode: &str, #[case] column: &str) {
    let db = databases("interleaved");
    db.both("CREATE TABLE t (id serial PRIMARY KEY, at int, v text)");
    let job = job(&db, &jobs(mode, &format!("watermark = '{column}'")));
    let writers: Vec<Connection> = (0..WRITERS).map(|_| db.source.connect()).collect();
    let mut runner = TestRunner::new(Config {
        cases: 8,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = proptest::collection::vec(step(), 5..25);
    runner
        .run(&steps, |steps| {
            play(&db, mode, &job, &writers, &steps);
            Ok(())
        })
        .unwrap();
}

fn play(db: &Databases<'_>, mode: &str, job: &Job, writers: &[Connection], steps: &[Step]) {
    writers
        .iter()
        .for_each(|writer| writer.sql("ROLLBACK; BEGIN"));
    for step in steps {
        match step {
            Step::Write {
                writer,
                value,
                savepoint,
            } => {
                let savepoint = if *savepoint { "SAVEPOINT s;" } else { "" };
                writers[*writer].sql(&format!(
                    "{savepoint} INSERT INTO t (at, v) VALUES ({value}, 'w')"
                ));
            }
            Step::Change { writer, id, value } => {
                // `append` never changes a row. A row that another writer holds is let alone.
                if mode == "upsert" {
                    writers[*writer].sql(&format!(
                        "UPDATE t SET at = {value} WHERE id IN (SELECT id FROM t WHERE id = {id} FOR UPDATE SKIP LOCKED)"
                    ));
                }
            }
            Step::Commit(writer) => writers[*writer].sql("COMMIT; BEGIN"),
            Step::RollBack(writer) => writers[*writer].sql("ROLLBACK; BEGIN"),
            Step::Vacuum => db.source.sql("VACUUM (FREEZE) t"),
            Step::Run => drop(assert_committed(&job.run(&["run", "j", "--json"]))),
        }
    }
    writers.iter().for_each(|writer| writer.sql("COMMIT"));
    assert_committed(&job.run(&["run", "j", "--json"]));
    db.assert_same("t");
}
