//! `tableferry verify`: differences of every kind, found exactly and narrowed down.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Databases, Outcome, PATIENCE, all_of_public, databases, job, only_t, run};

fn jobs(more: &str) -> String {
    all_of_public("truncate", more)
}

#[track_caller]
fn verify(db: &Databases<'_>, more: &str) -> Outcome {
    job(db, &jobs(more)).run(&["verify", "j", "--json"])
}

/// Missing, extra and different rows of the only table.
#[track_caller]
fn found(outcome: &Outcome) -> (u64, u64, u64) {
    let report = outcome.report();
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{outcome}"));
    (number("missing"), number("extra"), number("different"))
}

#[track_caller]
fn assert_found(outcome: &Outcome, expected: (u64, u64, u64)) {
    assert_eq!(found(outcome), expected, "{outcome}");
    let equal = expected == (0, 0, 0);
    assert_eq!(outcome.code, Some(if equal { 0 } else { 1 }), "{outcome}");
    assert_eq!(outcome.report()["equal"], equal, "{outcome}");
    // The ranges add up to the table.
    let sum = |name: &str| -> u64 {
        let ranges = outcome.report()["ranges"].as_array().unwrap();
        ranges
            .iter()
            .map(|range| range[name].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        (sum("missing"), sum("extra"), sum("different")),
        expected,
        "{outcome}"
    );
}

/// The keys that are listed with `log_values`, sorted.
fn listed(outcome: &Outcome) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rows: Vec<_> = outcome.report()["rows"]
        .as_array()
        .unwrap_or_else(|| panic!("{outcome}"))
        .iter()
        .map(|row| (text(&row["what"]), text(&row["key"])))
        .collect();
    rows.sort();
    rows
}

#[test]
fn equal_tables_exit_0_and_nothing_is_written() {
    let db = databases("equal");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.both("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5000) i");
    let xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let before = db.target.value(xid);

    let outcome = verify(&db, "");

    assert_found(&outcome, (0, 0, 0));
    let report = outcome.report();
    assert_eq!(report["job"], "j");
    assert_eq!(report["source"], "public.t");
    assert_eq!(report["target"], "public.t");
    assert_eq!(report["rows_source"], 5000);
    assert_eq!(report["rows_target"], 5000);
    assert_eq!(report["key"], serde_json::json!(["id"]));
    if before == db.target.value(xid) {
        // Other tests write to the same server; where none did, neither did verify.
        assert_eq!(db.target.count("t"), 5000);
    }
}

/// Key columns, and a key made of the number `i`.
#[rstest]
#[case::int("id int", "i")]
#[case::text("id text", "'k' || i")]
#[case::odd_text("id text", "chr(64 + i % 1000) || '''\\\" ' || i")]
#[case::uuid("id uuid", "md5(i::text)::uuid")]
#[case::numeric("id numeric", "i / 7.0")]
#[case::timestamp(
    "id timestamptz",
    "timestamptz '2000-01-01 BC' + i * interval '1 month'"
)]
#[case::enum_like("id \"char\", n int", "(i % 3 + 65)::\"char\", i")]
#[case::composite("a int, b text", "i / 100, (i % 100)::text")]
#[case::composite_of_dates("b text, a date", "'x', date '2000-01-01' + i")]
#[case::quoted("\"I d\" int, \"select\" text", "i, 'x'")]
#[case::bytea("id bytea", "int4send(i)")]
#[case::padded("id char(12)", "'k' || i")]
fn differences_of_every_kind_are_found_by_any_key(#[case] columns: &str, #[case] key: &str) {
    let names: Vec<&str> = columns
        .split(", ")
        .map(|column| match column.rfind('"') {
            Some(end) if column.starts_with('"') => &column[..=end],
            _ => column.split(' ').next().unwrap(),
        })
        .collect();
    let names = names.join(", ");
    let db = databases("any_key");
    db.both(&format!(
        "CREATE TABLE t ({columns}, v text, PRIMARY KEY ({names}));
         INSERT INTO t SELECT {key}, 'v' || i FROM generate_series(1, 3000) i"
    ));
    let at = |i: u32| format!("({names}) = (SELECT {key} FROM (VALUES ({i})) AS n (i))");
    db.target.sql(&format!(
        "DELETE FROM t WHERE {}; UPDATE t SET v = NULL WHERE {}; UPDATE t SET v = 'w' WHERE {};
         INSERT INTO t SELECT {key}, 'v' FROM generate_series(3001, 3003) i",
        at(1),
        at(1500),
        at(3000)
    ));

    let outcome = verify(&db, "");

    assert_found(&outcome, (1, 3, 2));
    assert_eq!(outcome.report()["rows"], Value::Null, "no keys: {outcome}");
    assert_eq!(outcome.report()["ranges"][0].get("from"), None, "{outcome}");
    let shown = verify(&db, "log_values = true");
    assert_found(&shown, (1, 3, 2));
    let kinds: Vec<String> = listed(&shown).into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        kinds,
        [
            "different",
            "different",
            "extra",
            "extra",
            "extra",
            "missing"
        ]
    );
}

#[test]
fn three_differences_in_many_rows_are_narrowed_down() {
    let db = databases("narrow");
    db.both(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text);
         INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 100000) i; ANALYZE t",
    );
    db.target.sql(
        "DELETE FROM t WHERE id = 1; UPDATE t SET v = 'w' WHERE id = 50000; INSERT INTO t VALUES (100001, 'x')",
    );

    let outcome = verify(&db, "log_values = true");

    assert_found(&outcome, (1, 1, 1));
    let of = |what: &str, key: &str| (what.to_owned(), key.to_owned());
    assert_eq!(
        listed(&outcome),
        [
            of("different", "(50000)"),
            of("extra", "(100001)"),
            of("missing", "(1)")
        ]
    );
    let ranges = outcome.report()["ranges"].as_array().unwrap();
    assert_eq!(ranges.len(), 3, "{outcome}");
    for range in ranges {
        assert_eq!(range["of"], 64, "{outcome}");
        assert!(range["rows_source"].as_u64().unwrap() < 5000, "{outcome}");
    }
}

#[rstest]
#[case("source", (0, 4000, 0))]
#[case("target", (4000, 0, 0))]
fn an_empty_side_is_found(#[case] empty: &str, #[case] expected: (u64, u64, u64)) {
    let db = databases("empty_side");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    let filled = if empty == "source" {
        &db.target
    } else {
        &db.source
    };
    filled.sql("INSERT INTO t SELECT generate_series(1, 4000)");
    assert_found(&verify(&db, ""), expected);
}

#[test]
fn everything_different_is_counted_exactly() {
    let db = databases("all_different");
    db.both("CREATE TABLE t (id text PRIMARY KEY, v int)");
    db.source
        .sql("INSERT INTO t SELECT 'k' || i, i FROM generate_series(1, 20000) i");
    db.target
        .sql("INSERT INTO t SELECT 'k' || i, -i FROM generate_series(101, 20200) i");
    let outcome = verify(&db, "log_values = true");
    assert_found(&outcome, (100, 200, 19900));
    assert_eq!(listed(&outcome).len(), 100, "the list has a bound");
}

#[test]
fn a_table_without_a_key_is_compared_row_by_row() {
    let db = databases("no_key");
    db.both("CREATE TABLE t (v text)");
    db.both("INSERT INTO t SELECT 'v' || i % 500 FROM generate_series(1, 3000) i");
    assert_found(&verify(&db, ""), (0, 0, 0));
    db.target.sql(
        "UPDATE t SET v = 'changed' WHERE ctid = (SELECT min(ctid) FROM t);
         INSERT INTO t VALUES ('v7'), (NULL), (NULL)",
    );
    let outcome = verify(&db, "log_values = true");
    assert_found(&outcome, (1, 4, 0));
    assert_eq!(outcome.report()["key"], serde_json::json!([]));
    assert_eq!(outcome.report()["rows"], Value::Null);
}

#[test]
fn a_key_that_is_no_key_is_compared_all_the_same() {
    let db = databases("loose_key");
    db.both(
        "CREATE TABLE t (a int, b text, v int);
         INSERT INTO t SELECT NULLIF(i % 50, 0), NULLIF('b' || i % 7, 'b3'), i FROM generate_series(1, 5000) i",
    );
    let key = "[jobs.j.table.'public.t']\nkey = ['a', 'b']";
    assert_found(&verify(&db, key), (0, 0, 0));
    // One more of a key that is there often, one with a NULL changed, one with NULLs gone.
    db.target.sql(
        "INSERT INTO t VALUES (7, 'b1', 9000);
         UPDATE t SET v = -1 WHERE v = (SELECT min(v) FROM t WHERE a IS NULL AND b IS NOT NULL);
         DELETE FROM t WHERE v = (SELECT min(v) FROM t WHERE a IS NULL AND b IS NULL)",
    );
    assert_found(&verify(&db, key), (1, 1, 1));
}

#[test]
fn types_that_differ_are_compared_by_value() {
    let db = databases("types");
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric(10,2), u text, at timestamptz);
         INSERT INTO t SELECT i, i, upper(md5(i::text)), timestamptz '2026-01-01' + i * interval '1 s'
         FROM generate_series(1, 3000) i",
    );
    db.target
        .sql("CREATE TABLE t (id numeric PRIMARY KEY, n numeric(14,6), u uuid, at timestamptz)");
    let copied = run(&db, &jobs("verify = 'checksum'"));
    assert_eq!(copied.code, Some(0), "{copied}");
    assert_found(&verify(&db, ""), (0, 0, 0));
    db.target
        .sql("UPDATE t SET n = n + 0.000001 WHERE id = 1234");
    assert_found(&verify(&db, ""), (0, 0, 1));
}

#[test]
fn text_keys_are_ordered_alike_whatever_the_collation() {
    let db = databases("collation");
    db.source.sql("CREATE TABLE t (id text PRIMARY KEY, v int)");
    db.target
        .sql("CREATE TABLE t (id text COLLATE \"POSIX\" PRIMARY KEY, v int)");
    let rows = "INSERT INTO t SELECT CASE i % 4 WHEN 0 THEN 'a-' WHEN 1 THEN 'A ' WHEN 2 THEN 'ä' ELSE 'Z' END || i, i
                FROM generate_series(1, 4000) i";
    db.both(rows);
    assert_found(&verify(&db, ""), (0, 0, 0));
    db.target.sql("UPDATE t SET v = 0 WHERE v IN (1, 2, 3, 4)");
    assert_found(&verify(&db, ""), (0, 0, 4));
}

#[test]
fn queries_and_filters_are_compared_with_what_they_feed() {
    let db = databases("query");
    db.source.sql(
        "CREATE TABLE o (id int PRIMARY KEY, amount int, gone bool);
         INSERT INTO o SELECT i, i, i % 2 = 0 FROM generate_series(1, 100) i",
    );
    db.target.sql(
        "CREATE TABLE kept (id int PRIMARY KEY, amount int);
         CREATE TABLE totals (gone bool PRIMARY KEY, total bigint)",
    );
    let more = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
         [jobs.j.table.'public.kept']\nsource = 'public.o'\nwhere = 'NOT gone -- the rest'\n\
         set.amount = 'amount * 2'\n\
         [jobs.j.table.'public.totals']\n\
         query = 'SELECT gone, sum(amount) AS total FROM public.o GROUP BY gone'\n";
    let job = job(&db, more);
    let copied = job.run(&["run", "j"]);
    assert_eq!(copied.code, Some(0), "{copied}");
    let equal = job.run(&["verify", "j", "--json"]);
    assert_eq!(equal.code, Some(0), "{equal}");
    assert_eq!(equal.reports.len(), 2, "one object a table: {equal}");

    db.target.sql("UPDATE totals SET total = 0 WHERE gone");
    let outcome = job.run(&["verify", "j"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for part in [
        "public.o → public.kept: equal, 50 rows",
        "(query) → public.totals: DIFFERENT",
        "0 missing, 0 extra, 1 different",
    ] {
        assert!(outcome.stdout.contains(part), "{part}\n{outcome}");
    }
}

#[rstest]
#[case("append")]
#[case("truncate")]
fn old_rows_are_no_difference_where_the_mode_keeps_them(#[case] mode: &str) {
    let db = databases("keeps");
    db.both("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    db.target.sql("INSERT INTO t VALUES (3)");
    let outcome = job(&db, &jobs("").replace("truncate", mode)).run(&["verify", "j", "--json"]);
    assert_eq!(found(&outcome), (0, 1, 0), "{outcome}");
    let equal = mode == "append";
    assert_eq!(outcome.report()["equal"], equal, "{outcome}");
    assert_eq!(outcome.code, Some(if equal { 0 } else { 1 }), "{outcome}");
}

#[test]
fn what_cannot_be_compared_is_said_and_the_rest_is_compared() {
    let db = databases("left_out");
    db.source
        .sql("CREATE TABLE t (id int PRIMARY KEY, n numeric); INSERT INTO t VALUES (1, 1.234)");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, n numeric(10,1)); INSERT INTO t VALUES (1, 1.2)");
    let outcome = verify(&db, "[jobs.j.table.'public.t']\nlossy = true");
    assert_found(&outcome, (0, 0, 0));
    assert_eq!(
        outcome.report()["not_compared"][0]["column"],
        "n",
        "{outcome}"
    );
}

#[test]
fn a_partitioned_target_and_the_own_rows_of_a_parent_are_compared() {
    let db = databases("kinds");
    db.source.sql(
        "CREATE TABLE p (id int PRIMARY KEY, v int); INSERT INTO p SELECT i, i FROM generate_series(1, 2000) i;
         CREATE TABLE o (id int PRIMARY KEY); CREATE SCHEMA kids; CREATE TABLE kids.o () INHERITS (o);
         INSERT INTO o VALUES (1); INSERT INTO kids.o VALUES (2)",
    );
    db.target.sql(
        "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE SCHEMA parts; CREATE TABLE parts.a PARTITION OF p FOR VALUES FROM (0) TO (1000);
         CREATE TABLE parts.b PARTITION OF p DEFAULT;
         INSERT INTO p SELECT i, i FROM generate_series(1, 2000) i;
         CREATE TABLE o (id int PRIMARY KEY); CREATE SCHEMA kids; CREATE TABLE kids.o () INHERITS (o);
         INSERT INTO o VALUES (1); INSERT INTO kids.o VALUES (3)",
    );
    // A scan of the parent also shows the children's rows: without them the job is refused.
    let outcome = verify(&db, "");
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["error"]["kind"], "schema_mismatch");
    let jobs = jobs("").replace("'public.*'", "'public.*', 'kids.o'");
    let equal = || -> Vec<(String, bool)> {
        let outcome = job(&db, &jobs).run(&["verify", "j", "--json"]);
        let table = |report: &Value| {
            let target = report["target"].as_str().unwrap().to_owned();
            (target, report["equal"].as_bool().unwrap())
        };
        let mut tables: Vec<_> = outcome.reports.iter().map(table).collect();
        tables.sort();
        tables
    };
    let found = |kids: bool, own: bool, p: bool| {
        [("kids.o", kids), ("public.o", own), ("public.p", p)]
            .map(|(name, equal)| (name.to_owned(), equal))
    };
    assert_eq!(equal(), found(false, true, true));
    db.target.sql("UPDATE p SET v = 0 WHERE id = 999");
    assert_eq!(equal(), found(false, true, false));
}

#[test]
fn incompatible_tables_and_unknown_jobs_are_errors() {
    let db = databases("errors");
    db.source.sql("CREATE TABLE t (v text)");
    db.target.sql("CREATE TABLE t (v int)");
    let outcome = verify(&db, "");
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(
        outcome.report()["error"]["kind"],
        "schema_mismatch",
        "{outcome}"
    );
    assert_eq!(job(&db, &jobs("")).run(&["verify"]).code, Some(2));
    assert_eq!(job(&db, &jobs("")).run(&["verify", "nope"]).code, Some(2));
}

#[test]
fn a_signal_ends_it_and_both_servers_are_free() {
    let db = databases("signal");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let job = job(&db, &jobs(""));
    let running = job.spawn(&["verify", "j", "--json"]);
    db.target.wait_for_waiter("mode = 'AccessShareLock'");

    running.kill(nix::sys::signal::Signal::SIGINT);

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    db.wait_until_left();
    holder.sql("COMMIT");
}

#[test]
fn a_row_without_a_checksum_is_an_error_and_not_a_difference() {
    let db = databases("verify_large");
    db.both("CREATE TABLE t (v text)");
    // Each quote is doubled in the row's text: more than 1 GB.
    let of_table =
        "query = \"SELECT repeat('\\\"', n) AS v FROM generate_series(540000000, 540000000) AS n\"";

    let outcome = job(&db, &only_t("append", "", of_table)).run(&["verify", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    let report = outcome.report();
    assert_eq!(report["equal"], Value::Null, "{outcome}");
    assert_eq!(report["error"]["sqlstate"], "54000", "{outcome}");
    assert_eq!(report["error"]["phase"], "verify", "{outcome}");
    let hint = report["error"]["hint"].as_str().unwrap();
    assert!(
        hint.contains("1 GB") && hint.contains("columns"),
        "{outcome}"
    );
}
