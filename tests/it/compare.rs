//! `compare`: how `merge` and `upsert` find the rows that differ. However they are found, the target is
//! the same afterwards.

use rstest::rstest;

use crate::support::dice::Dice;
use crate::support::{
    Connection, Databases, PATIENCE, all_of_public, assert_committed, assert_refused, changes,
    databases, job, only_t, run, wait_until,
};

const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

fn jobs(mode: &str, compare: &str, of_table: &str) -> String {
    let guard = if mode == "merge" { ANY_SIZE } else { "" };
    only_t(mode, &format!("{guard}compare = '{compare}'\n"), of_table)
}

/// Keys of all orders that are known, and values that COPY writes in unusual ways.
const TABLES: [&str; 8] = [
    "CREATE TABLE t (id int PRIMARY KEY, v text, n numeric)",
    "CREATE TABLE t (v text, n numeric, id bigint PRIMARY KEY)",
    "CREATE TABLE t (id smallint, v text, n numeric, v2 text COLLATE \"C\" DEFAULT 'x', PRIMARY KEY (v2, id))",
    "CREATE TABLE t (id text PRIMARY KEY, v text, n numeric)",
    "CREATE TABLE t (id uuid PRIMARY KEY, v text, n numeric)",
    "CREATE TABLE t (id timestamptz PRIMARY KEY, v text, n numeric)",
    "CREATE TABLE t (id bytea PRIMARY KEY, v text, n numeric)",
    "CREATE TABLE t (id int, v text, n numeric, PRIMARY KEY (id)) PARTITION BY RANGE (id);
     CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (30); CREATE TABLE t2 PARTITION OF t DEFAULT",
];

/// An expression of the key's type over a number.
fn key(table: &str, number: u64) -> String {
    let number = i64::try_from(number).unwrap() - 20;
    if table.contains("uuid") {
        return format!("md5('{number}')::uuid");
    }
    if table.contains("timestamptz") {
        return format!("timestamptz '2026-01-01 12:00+00' + {number} * interval '1 day'");
    }
    if table.contains("bytea") {
        return format!("decode(md5('{number}'), 'hex')");
    }
    if table.contains("id text") {
        return format!(
            "(ARRAY['', 'a', 'B', 'ä', E'\\t', E'\\\\', '10', '9', '\u{1f600}', '~', '\u{ffff}'])[1 + abs({number}) % 11] || {number}"
        );
    }
    number.to_string()
}

const VALUES: [&str; 8] = [
    "NULL",
    "''",
    "'a'",
    "E'\\\\N'",
    "E'tab\\tnewline\\nback\\\\slash'",
    "repeat('long', 5000)",
    "'\u{e4}'",
    "'t'",
];
const NUMBERS: [&str; 6] = ["NULL", "0", "1.0", "1.00", "'NaN'", "-1e-20"];

fn change(dice: &mut Dice, table: &str, at: &Connection) {
    for _ in 0..dice.below(30) {
        let key = key(table, dice.below(60));
        let (v, n) = (dice.one_of(&VALUES), dice.one_of(&NUMBERS));
        at.sql(&match dice.below(5) {
            0 | 1 => {
                format!("INSERT INTO t (id, v, n) VALUES ({key}, {v}, {n}) ON CONFLICT DO NOTHING")
            }
            2 => format!("UPDATE t SET v = {v}, n = {n} WHERE id = {key}"),
            3 => format!("DELETE FROM t WHERE id = {key}"),
            _ => format!("UPDATE t SET n = {n} WHERE v IS NOT DISTINCT FROM {v}"),
        });
    }
}

/// Random rows and changes on both sides, and an independent comparison after each run.
#[rstest]
fn both_sides_are_equal_whatever_has_changed(
    #[values("auto", "stream", "full")] compare: &str,
    #[values("auto", "text")] format: &str,
) {
    for (seed, table) in (282_901..).zip(TABLES) {
        let mut dice = Dice::new(seed);
        let db = databases("compare_model");
        db.both(table);
        let (source, target) = (db.source.connect(), db.target.connect());
        // No order of timestamps in text is known.
        let compare = match (compare, format) {
            ("stream", "text") if table.contains("timestamptz") || table.contains("bytea") => {
                "auto"
            }
            _ => compare,
        };
        let more = format!("{ANY_SIZE}compare = '{compare}'\nformat = '{format}'\n");
        let jobs = only_t("merge", &more, "");
        for round in 0..2 {
            change(&mut dice, table, &source);
            change(&mut dice, table, &target);
            let before = db.target.value("SELECT count(*) FROM t");
            let outcome = run(&db, &jobs);
            let found = &assert_committed(&outcome)[0];
            db.assert_same("t");
            let rows = db.target.value("SELECT count(*) FROM t");
            let [inserted, _, deleted] = changes(found);
            let expected = before.parse::<u64>().unwrap() + inserted - deleted;
            assert_eq!(
                rows,
                expected.to_string(),
                "round {round} of {table}: {outcome}"
            );
            assert_eq!(found["rows_read"].to_string(), rows, "{outcome}");
            if compare == "stream" {
                assert_eq!(found["compare"], "stream", "{outcome}");
                // Every row that moves is one that differs, or that only one side has.
                let moved = found["rows_written"].as_u64().unwrap();
                assert_eq!(moved, changes(found).iter().sum::<u64>(), "{outcome}");
            }
            let again = run(&db, &jobs);
            assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
        }
    }
}

#[test]
fn only_differences_are_moved() {
    let db = databases("compare_moved");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.both("INSERT INTO t SELECT i, 'value ' || i FROM generate_series(1, 20000) i; ANALYZE t");
    db.source.sql(
        "UPDATE t SET v = 'new' WHERE id % 1000 = 7; DELETE FROM t WHERE id % 1000 = 3;
         INSERT INTO t SELECT 20000 + i, NULL FROM generate_series(1, 20) i",
    );

    let outcome = run(&db, &jobs("merge", "auto", ""));

    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["compare"], "stream", "{outcome}");
    assert_eq!(changes(table), [20, 20, 20], "{outcome}");
    assert_eq!(table["rows_read"], 20000);
    assert_eq!(table["rows_written"], 60);
    db.assert_same("t");
}

#[test]
fn an_upsert_leaves_other_rows_alone() {
    let db = databases("compare_upsert");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i");
    db.source
        .sql("INSERT INTO t SELECT i, CASE WHEN i > 90 THEN 'new' ELSE 'old' END FROM generate_series(51, 110) i");

    let outcome = run(&db, &jobs("upsert", "stream", ""));

    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [10, 10, 0], "{outcome}");
    assert_eq!(table["rows_written"], 20);
    let expected =
        "(SELECT i, CASE WHEN i > 90 THEN 'new' ELSE 'old' END FROM generate_series(1, 110) i)";
    assert_eq!(
        db.target.rows("SELECT id, v FROM t ORDER BY id"),
        db.target.rows(&format!(
            "SELECT * FROM {expected} AS e (id, v) ORDER BY id"
        ))
    );
}

/// The guard is about rows that are replaced: an upsert may bring few.
#[rstest]
fn an_upsert_of_few_rows_is_not_guarded(#[values("stream", "full")] compare: &str) {
    let db = databases("compare_few");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i");
    db.source.sql("INSERT INTO t VALUES (7, 'new')");

    let outcome = run(&db, &jobs("upsert", compare, ""));

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 1, 0],
        "{outcome}"
    );
}

#[test]
fn a_scope_limits_what_is_read_and_deleted() {
    let db = databases("compare_scope");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("INSERT INTO t SELECT i, CASE WHEN i > 50 THEN 'in' ELSE 'out' END FROM generate_series(1, 100) i");
    // 40 is outside of `where` on the target only.
    db.source
        .sql("INSERT INTO t SELECT i, 'in' FROM generate_series(60, 100) i; INSERT INTO t VALUES (40, 'in')");
    let of_table = "where = \"v = 'in'\"\nscope = 'where'";

    let outcome = run(&db, &jobs("merge", "stream", of_table));

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 1, 9],
        "{outcome}"
    );
    assert_eq!(db.target.count("t WHERE v = 'out'"), 49);
    assert_eq!(
        db.target
            .rows("SELECT id FROM t WHERE v = 'in' ORDER BY id"),
        db.source.rows("SELECT id FROM t ORDER BY id")
    );
}

#[rstest]
#[case::null("INSERT INTO t VALUES (NULL, 'x')", "NULL in the key")]
#[case::repeated("INSERT INTO t VALUES (7, 'y')", "more than once")]
#[case::repeated_and_equal("INSERT INTO t VALUES (7, 'v')", "more than once")]
fn keys_of_the_source_are_checked(#[case] bad: &str, #[case] said: &str) {
    let db = databases("compare_keys");
    db.source.sql("CREATE TABLE t (id int, v text)");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    for side in [&db.source, &db.target] {
        side.sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i");
    }
    db.source.sql(bad);

    assert_refused(
        &run(&db, &jobs("merge", "stream", "")),
        "data_rejected",
        &["public.t", said],
    );

    assert_eq!(db.target.count("t"), 20);
}

/// Statistics stay true where no row was written.
#[rstest]
fn only_changed_tables_are_analyzed(#[values("stream", "full")] compare: &str) {
    let db = databases("compare_analyze");
    db.both(
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)",
    );
    db.both("INSERT INTO a SELECT i, 'v' FROM generate_series(1, 20) i; INSERT INTO b TABLE a");
    db.source.sql("UPDATE b SET v = 'new' WHERE id = 7");
    let jobs = all_of_public("merge", &format!("{ANY_SIZE}compare = '{compare}'\n"));

    let outcome = run(&db, &jobs);

    let tables = assert_committed(&outcome);
    assert_eq!(changes(&tables[0]), [0, 0, 0], "{outcome}");
    assert_eq!(changes(&tables[1]), [0, 1, 0], "{outcome}");
    let analyzed = "SELECT string_agg(tablename, ' ') FROM (SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'public') s";
    assert_eq!(db.target.value(analyzed), "b");
    db.assert_same("a");
    db.assert_same("b");
}

/// They look equal, and are not the same row: a NULL is equal to nothing.
#[rstest]
fn a_null_in_the_key_of_both_sides_is_refused(
    #[values("merge", "upsert")] mode: &str,
    #[values("stream", "full")] compare: &str,
) {
    let db = databases("compare_null_both");
    db.both("CREATE TABLE t (id int, part int, v text, UNIQUE (id, part))");
    db.both("INSERT INTO t VALUES (1, 1, 'v'), (2, NULL, 'v'), (3, 3, 'v')");

    assert_refused(
        &run(&db, &jobs(mode, compare, "key = ['id', 'part']")),
        "data_rejected",
        &["public.t", "NULL in the key"],
    );

    db.assert_same("t");
}

/// Rows of a unique index that may hold NULL have no key: none of them is the source's.
#[test]
fn rows_without_a_key_go() {
    let db = databases("compare_null");
    db.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target.sql("CREATE TABLE t (id int UNIQUE, v text)");
    db.both("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i");
    db.target
        .sql("INSERT INTO t VALUES (NULL, 'a'), (NULL, 'b')");

    let outcome = run(&db, &jobs("merge", "stream", "key = ['id']"));

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 0, 2],
        "{outcome}"
    );
    db.assert_same("t");
}

#[rstest]
#[case::no_index(
    "CREATE TABLE t (id int NOT NULL, v text)",
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "sort"
)]
#[case::text_key(
    "CREATE TABLE t (id text PRIMARY KEY, v text)",
    "CREATE TABLE t (id text PRIMARY KEY, v text)",
    "sort"
)]
#[case::respelled(
    "CREATE TABLE t (id int PRIMARY KEY, v numeric(8,1))",
    "CREATE TABLE t (id int PRIMARY KEY, v numeric(8,2))",
    "differently"
)]
#[case::cascades(
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "CREATE TABLE t (id int PRIMARY KEY, v int REFERENCES t ON DELETE CASCADE)",
    "foreign keys"
)]
#[case::triggers(
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
     CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    "triggers"
)]
#[case::numeric_key(
    "CREATE TABLE t (id numeric PRIMARY KEY, v text)",
    "CREATE TABLE t (id numeric PRIMARY KEY, v text)",
    "several ways"
)]
fn the_plan_says_why_all_rows_are_staged(
    #[case] source: &str,
    #[case] target: &str,
    #[case] why: &str,
) {
    let db = databases("compare_why");
    db.source.sql(source);
    db.target.sql(target);
    db.source
        .sql("INSERT INTO t (id) SELECT i FROM generate_series(1, 10) i");
    db.target
        .sql("INSERT INTO t (id) SELECT i FROM generate_series(6, 15) i; ANALYZE t");
    let jobs = jobs("merge", "auto", "");

    let planned = job(&db, &jobs).run(&["plan", "j", "--json"]);
    let plan = planned.report();

    let table = &plan["tables"][0];
    assert_eq!(table["compare"], "full", "{plan}");
    assert!(
        table["compare_reason"].as_str().unwrap().contains(why),
        "{plan}"
    );
    let outcome = run(&db, &jobs);
    assert_eq!(
        assert_committed(&outcome)[0]["compare"],
        "full",
        "{outcome}"
    );
    let ids = "SELECT id::text FROM t ORDER BY 1";
    assert_eq!(db.target.rows(ids), db.source.rows(ids));
}

#[test]
fn a_stream_that_cannot_be_is_refused_by_name() {
    let db = databases("compare_refused");
    db.both("CREATE TABLE t (id numeric PRIMARY KEY, v text)");
    assert_refused(
        &run(&db, &jobs("merge", "stream", "")),
        "schema_mismatch",
        &["public.t", "compare = \"stream\"", "key column id", "auto"],
    );
}

/// What others do to the target while both sides are read is found, or is theirs to have the last word.
#[test]
fn rows_that_others_write_meanwhile_are_whole() {
    let db = databases("compare_writer");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, w text)");
    db.both("INSERT INTO t SELECT i, 'v', 'w' FROM generate_series(1, 2000) i");
    db.source
        .sql("UPDATE t SET v = 'new', w = 'new' WHERE id % 2 = 0");
    let jobs = jobs("merge", "stream", "");
    // Holds up the run where it writes, when all has been compared.
    let holder = db.target.connect();
    holder.sql("BEGIN; UPDATE t SET v = 'held', w = 'held' WHERE id = 2");
    let job = job(&db, &jobs);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.target.count("pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'tableferry%' AND query LIKE 'UPDATE%'") == 1
    });
    holder.sql("DELETE FROM t WHERE id IN (4, 6); UPDATE t SET v = 'theirs', w = 'theirs' WHERE id IN (1, 8); COMMIT");

    let outcome = running.wait(PATIENCE);

    assert_committed(&outcome);
    let rows = |db: &Databases<'_>| {
        let differs =
            "SELECT id, v, w FROM t WHERE (v, w) NOT IN (('v', 'w'), ('new', 'new'), ('theirs', 'theirs'))
                       OR v <> 'new' AND id % 2 = 0 ORDER BY id LIMIT 5";
        db.target.rows(differs)
    };
    assert_eq!(rows(&db), Vec::<Vec<Option<String>>>::new());
    assert_eq!(db.target.count("t"), 2000);
    // Row 1 was the same on both sides when it was compared; the next run puts it right.
    assert_eq!(db.target.value("SELECT v FROM t WHERE id = 1"), "theirs");
    assert_committed(&run(&db, &jobs));
    db.assert_same("t");
}
