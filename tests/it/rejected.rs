//! `on_error = "quarantine"`: the good rows are published, and each rejected one is told by its reason.

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;

use crate::support::{
    Database, Databases, Outcome, PATIENCE, assert_committed, assert_refused, changes, databases,
    job, job_toml, only_t, run,
};

const QUARANTINE: &str = "on_error = 'quarantine'\n";
const MANY: &str = "on_error = 'quarantine'\nreject_limit = 200\n";

/// A text may be longer than the target's column.
const LOSSY: &str = "lossy = true\n";

/// 10 000 rows, of which 137 are bad in seven ways: every 72nd, in turn.
const BAD: &str = "id % 72 = 0 AND id <= 137 * 72";

fn seven_ways(db: &Databases<'_>) {
    db.source.sql(
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE t (id int PRIMARY KEY, uid text, name text, qty int, grade int, code text, parent int);
         INSERT INTO t SELECT i, gen_random_uuid()::text, 'n' || i, i, i % 5, 'c' || i, i % 10 FROM generate_series(1, 10000) i;
         UPDATE t SET uid = 'no uuid' WHERE id % 72 = 0 AND id / 72 % 7 = 0 AND id <= 137 * 72;
         UPDATE t SET name = NULL WHERE id % 72 = 0 AND id / 72 % 7 = 1 AND id <= 137 * 72;
         UPDATE t SET qty = -1 WHERE id % 72 = 0 AND id / 72 % 7 = 2 AND id <= 137 * 72;
         UPDATE t SET grade = 6 WHERE id % 72 = 0 AND id / 72 % 7 = 3 AND id <= 137 * 72;
         UPDATE t SET code = 'c' || id - 1 WHERE id % 72 = 0 AND id / 72 % 7 = 4 AND id <= 137 * 72;
         UPDATE t SET parent = 77 WHERE id % 72 = 0 AND id / 72 % 7 = 5 AND id <= 137 * 72;
         UPDATE t SET name = repeat('x', 11) WHERE id % 72 = 0 AND id / 72 % 7 = 6 AND id <= 137 * 72;
         CLUSTER t USING t_pkey",
    );
    db.target.sql(
        "CREATE TABLE p (id int PRIMARY KEY);
         INSERT INTO p SELECT generate_series(0, 9);
         CREATE DOMAIN grade AS int CHECK (VALUE <= 5);
         CREATE TABLE t (id int PRIMARY KEY, uid uuid, name varchar(10) NOT NULL, qty int CONSTRAINT enough CHECK (qty >= 0),
                         grade grade, code text UNIQUE, parent int REFERENCES p);
         INSERT INTO t VALUES (0, NULL, 'old', 0, 0, 'old', 0)",
    );
}

/// What `tableferry.rejected` must say of each bad row.
const EXPECTED: &str = "SELECT id::text, \
    (ARRAY['22P02', '23502', '23514', '23514', '23505', '23503', '22001'])[id / 72 % 7 + 1], \
    (ARRAY['uid', 'name', 'qty', 'grade', 'code', 'parent', 'name'])[id / 72 % 7 + 1] FROM t";

fn rejected(target: &Database<'_>, select: &str) -> Vec<Vec<Option<String>>> {
    target.rows(&format!(
        "SELECT {select} FROM tableferry.rejected ORDER BY (key->>'id')::int"
    ))
}

#[rstest]
#[case::append("append")]
#[case::truncate("truncate")]
#[case::merge("merge")]
#[case::upsert("upsert")]
fn bad_rows_are_set_aside_and_the_others_are_published(#[case] mode: &str) {
    let db = databases("seven");
    seven_ways(&db);
    let jobs = only_t(mode, MANY, LOSSY);

    let plan = job(&db, &jobs).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let outcome = run(&db, &jobs);

    let table = &assert_committed(&outcome)[0];
    let count = |key: &str| table[key].as_u64().unwrap();
    assert_eq!(count("rows_read"), 10_000, "{outcome}");
    assert_eq!(count("rows_rejected"), 137, "{outcome}");
    assert_eq!(count("rows_written"), 10_000 - 137, "{outcome}");
    assert_eq!(table["format"], "text");
    let expected = db
        .source
        .rows(&format!("{EXPECTED} WHERE {BAD} ORDER BY t.id"));
    assert_eq!(expected.len(), 137);
    let found = rejected(&db.target, "key->>'id', sqlstate, column_name");
    assert_eq!(found, expected);
    let good = format!("FROM t WHERE NOT ({BAD}) AND id > 0 ORDER BY id");
    let columns = "SELECT id, uid::text, name, qty, grade, code, parent";
    assert_eq!(
        db.target.rows(&format!("{columns} {good}")),
        db.source.rows(&format!("{columns} {good}"))
    );
    let keeps = matches!(mode, "append" | "upsert");
    assert_eq!(db.target.count("t WHERE id = 0"), u64::from(keeps));
    // The rejected rows are those of this run, and the ledger counts them.
    let run_id = outcome.report()["run_id"].as_str().unwrap();
    let of_run = format!(
        "tableferry.rejected WHERE run_id = '{run_id}' AND job = 'j' AND target = 'public.t'"
    );
    assert_eq!(db.target.count(&of_run), 137);
    assert_eq!(
        db.target
            .value("SELECT rows_rejected FROM tableferry.run_table"),
        "137"
    );
    let history = job(&db, &jobs).run(&["history", "--json"]);
    assert_eq!(
        history.reports[0]["tables"][0]["rows_rejected"], 137,
        "{history}"
    );
    // No value but the key's.
    assert_eq!(
        db.target
            .count("tableferry.rejected WHERE \"row\" IS DISTINCT FROM key"),
        0
    );
    no_values(&db, &outcome);
}

fn no_values(db: &Databases<'_>, outcome: &Outcome) {
    let all = db
        .target
        .value("SELECT COALESCE(string_agg(r::text, '; '), '') FROM tableferry.rejected r");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for value in ["no uuid", "xxxxxxxxxxx"] {
        assert!(!all.contains(value), "{value}: {all}");
        assert!(!said.contains(value), "{value}: {outcome}");
    }
}

#[test]
fn rows_are_kept_whole_with_log_values() {
    let db = databases("values");
    db.source.sql(
        "CREATE TABLE t (id int, v text);
         INSERT INTO t VALUES (1, E'a\\tb\\\\c\\nd'), (2, NULL), (3, 'x'), (4, '\\N'), (5, '')",
    );
    db.target
        .sql("CREATE TABLE t (id int CHECK (id = 3), v text)");
    let outcome = run(
        &db,
        &job_toml(
            "append",
            "public.t",
            &format!("{QUARANTINE}log_values = true\n"),
        ),
    );
    assert_eq!(
        assert_committed(&outcome)[0]["rows_rejected"],
        4,
        "{outcome}"
    );
    let rows = db
        .target
        .rows("SELECT line, key, \"row\"->>'id', \"row\"->>'v', constraint_name FROM tableferry.rejected ORDER BY line");
    let text = |text: &str| Some(text.to_owned());
    let check = || text("t_id_check");
    assert_eq!(
        rows,
        [
            vec![text("1"), None, text("1"), text("a\tb\\c\nd"), check()],
            vec![text("2"), None, text("2"), None, check()],
            vec![text("4"), None, text("4"), text("\\N"), check()],
            vec![text("5"), None, text("5"), text(""), check()],
        ]
    );
}

#[rstest]
#[case::number("reject_limit = 136\n", false)]
#[case::just_enough("reject_limit = 137\n", true)]
#[case::the_default_is_a_hundred("", false)]
#[case::none("reject_limit = 0\n", false)]
#[case::share("reject_limit = '1.36%'\n", false)]
#[case::just_enough_of_a_share("reject_limit = '1.37%'\n", true)]
fn too_many_rejected_rows_fail_the_run(#[case] limit: &str, #[case] fits: bool) {
    let db = databases("limit");
    seven_ways(&db);
    let more = format!("{QUARANTINE}{limit}");
    let outcome = run(&db, &only_t("truncate", &more, LOSSY));
    if fits {
        assert_committed(&outcome);
        assert_eq!(db.target.count("tableferry.rejected"), 137);
        return;
    }
    assert_refused(
        &outcome,
        "data_rejected",
        &["rejected, more than", "reject_limit"],
    );
    assert_eq!(
        outcome.report()["tables"],
        Value::Array(vec![]),
        "{outcome}"
    );
    no_values(&db, &outcome);
    assert_eq!(db.target.value("SELECT name FROM t"), "old");
    assert_eq!(db.target.count("tableferry.rejected"), 0);
}

/// What the target's table is, and which of the rows (1, 1) to (3000, 3000) of the source it rejects.
#[rstest]
#[case::none("CREATE TABLE t (id int PRIMARY KEY, v int)", "", "", "false")]
#[case::the_first_and_the_last(
    "CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v NOT IN (1, 3000)))",
    "",
    "23514",
    "id IN (1, 3000)"
)]
#[case::neighbours(
    "CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v NOT BETWEEN 100 AND 150))",
    "",
    "23514",
    "id BETWEEN 100 AND 150"
)]
#[case::the_first_of_equals_stays(
    "CREATE TABLE t (id int, v int UNIQUE)",
    "UPDATE t SET v = 7 WHERE id IN (8, 2000)",
    "23505",
    "id IN (8, 2000)"
)]
#[case::deferred_unique(
    "CREATE TABLE t (id int, v int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "UPDATE t SET v = 7 WHERE id IN (8, 2000)",
    "23505",
    "id IN (8, 2000)"
)]
#[case::exclusion(
    "CREATE TABLE t (id int, v int, EXCLUDE USING btree (v WITH =))",
    "UPDATE t SET v = 7 WHERE id IN (8, 2000)",
    "23P01",
    "id IN (8, 2000)"
)]
#[case::deferred_foreign_key(
    "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 2990);
    CREATE TABLE t (id int, v int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    "",
    "23503",
    "id > 2990"
)]
#[case::missing_partition(
    "CREATE TABLE t (id int, v int) PARTITION BY RANGE (v); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (2950)",
    "",
    "23514",
    "id >= 2950"
)]
#[case::unique_in_a_partition("CREATE TABLE t (id int, v int) PARTITION BY RANGE (v); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (20);
    CREATE UNIQUE INDEX i ON t1 (v); CREATE TABLE t2 PARTITION OF t DEFAULT", "UPDATE t SET v = 7 WHERE id IN (8, 2000)", "23505", "id IN (8, 2000)")]
#[case::trigger("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.v % 1000 = 0 THEN RAISE EXCEPTION ''never''; END IF; RETURN NEW; END';
    CREATE TABLE t (id int, v int); CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "", "P0001", "id % 1000 = 0")]
#[case::constraint_trigger("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.v % 1000 = 0 THEN RAISE EXCEPTION ''never''; END IF; RETURN NULL; END';
    CREATE TABLE t (id int, v int); CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()", "", "P0001", "id % 1000 = 0")]
#[case::division(
    "CREATE TABLE t (id int, v int, g int GENERATED ALWAYS AS (100 / (v - 500)) STORED)",
    "",
    "22012",
    "id = 500"
)]
#[case::overflow(
    "CREATE TABLE t (id int, v numeric(4))",
    "UPDATE t SET v = 40000 WHERE id = 2999",
    "22003",
    "id = 2999"
)]
fn each_kind_of_bad_row_is_found(
    #[case] create: &str,
    #[case] change: &str,
    #[case] sqlstate: &str,
    #[case] bad: &str,
) {
    let db = databases("kinds");
    db.source.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i; {change}; CLUSTER t USING t_pkey"
    ));
    db.target.sql(create);
    let outcome = run(&db, &only_t("append", MANY, "key = ['id']\nlossy = true\n"));
    let table = &assert_committed(&outcome)[0];
    let expected = db.source.rows(&format!(
        "SELECT id, '{sqlstate}' FROM t WHERE {bad} ORDER BY id"
    ));
    assert_eq!(
        rejected(&db.target, "key->>'id', sqlstate"),
        expected,
        "{outcome}"
    );
    assert_eq!(table["rows_rejected"], expected.len(), "{outcome}");
    let good = format!("SELECT id, v FROM t WHERE NOT ({bad}) ORDER BY id");
    assert_eq!(
        db.target.rows("SELECT id, v FROM t ORDER BY id"),
        db.source.rows(&good)
    );
}

#[test]
fn rows_longer_than_a_block_are_judged() {
    let db = databases("long");
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, repeat('x', 3000000) FROM generate_series(1, 4) i;
         INSERT INTO t SELECT i, repeat('y', 1000) FROM generate_series(5, 5000) i",
    );
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY CHECK (id NOT IN (2, 4, 5, 2500, 5000)), v text)");
    let more = format!("{QUARANTINE}log_values = true\n");
    let outcome = run(&db, &only_t("truncate", &more, ""));
    assert_eq!(
        assert_committed(&outcome)[0]["rows_rejected"],
        5,
        "{outcome}"
    );
    let kept = db
        .target
        .rows("SELECT key->>'id', length(\"row\"->>'v') FROM tableferry.rejected ORDER BY 1");
    let text = |text: &str| Some(text.to_owned());
    // A row of more than 1 MiB is not kept.
    assert_eq!(kept[0], [text("2"), None]);
    assert_eq!(kept[1], [text("2500"), text("1000")]);
    db.source
        .sql("DELETE FROM t WHERE id IN (2, 4, 5, 2500, 5000)");
    db.assert_same("t");
}

/// Each refusal names what it is about, before a row moves.
#[rstest]
#[case::checksum(
    "truncate",
    "CREATE TABLE t (id int)",
    "verify = 'checksum'\n",
    "excludes `verify = \"checksum\"`"
)]
#[case::binary(
    "append",
    "CREATE TABLE t (id int)",
    "format = 'binary'\n",
    "excludes `format = \"binary\"`"
)]
#[case::itself(
    "append",
    "CREATE TABLE t (id int PRIMARY KEY, up int CONSTRAINT up_key REFERENCES t)",
    "",
    "foreign key up_key refers to the table itself"
)]
#[case::statement_trigger("append", "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TABLE t (id int);
    CREATE TRIGGER loud AFTER INSERT ON t EXECUTE FUNCTION f()", "", "statement triggers fire once for each block of rows: loud")]
#[case::watermark(
    "append",
    "CREATE TABLE t (id int PRIMARY KEY)",
    "[jobs.j.table.'public.t']\nwatermark = 'id'\n",
    "`append` with a watermark reads rows again that are there, and these would be judged, too"
)]
#[case::circle("append", "CREATE TABLE t (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, t int CONSTRAINT to_t REFERENCES t);
    ALTER TABLE t ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b", "tables = ['public.*']\n", "refers to a table that is loaded later")]
fn what_would_not_be_exact_is_refused(
    #[case] mode: &str,
    #[case] create: &str,
    #[case] more: &str,
    #[case] said: &str,
) {
    let db = databases("refused");
    db.both(create);
    let tables = if more.contains("tables") {
        ""
    } else {
        "public.t"
    };
    let outcome = run(&db, &job_toml(mode, tables, &format!("{QUARANTINE}{more}")));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains(said), "{said}\n{outcome}");
    let plan =
        job(&db, &job_toml(mode, tables, &format!("{QUARANTINE}{more}"))).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
}

#[test]
fn sigkill_in_the_middle_publishes_no_row_and_no_rejected_one() {
    let db = databases("killed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("ALTER TABLE t ADD CHECK (id <> 100); INSERT INTO t VALUES (-1, 'old')");
    db.source.sql(
        "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i;
         CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 4500 THEN PERFORM pg_advisory_lock_shared(4741); END IF; RETURN i; END'",
    );
    db.source.sql("SELECT pg_advisory_lock(4741)");
    let jobs = only_t("truncate", QUARANTINE, "set.id = 'public.slow(id)'\n");
    let job = job(&db, &jobs);
    let running = job.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("locktype = 'advisory'");
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    db.source.sql("SELECT pg_advisory_unlock(4741)");
    db.wait_until_left();
    assert_eq!(db.target.value("SELECT v FROM t"), "old");
    assert_eq!(db.target.count("tableferry.rejected"), 0);

    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(
        assert_committed(&outcome)[0]["rows_rejected"],
        1,
        "{outcome}"
    );
    assert_eq!(db.target.count("tableferry.rejected"), 1);
    assert_eq!(db.target.count("t"), 4999);
}

#[test]
fn rejected_rows_are_recorded_without_a_history() {
    let db = databases("nohistory");
    db.source
        .sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY CHECK (id > 1))");
    let jobs = format!(
        "[daemon]\nhistory = 'off'\n{}",
        job_toml("append", "public.t", QUARANTINE)
    );
    assert_committed(&run(&db, &jobs));
    assert_eq!(db.target.count("tableferry.rejected"), 1);
}

#[test]
fn tables_are_judged_one_by_one_in_the_order_of_their_foreign_keys() {
    let db = databases("order");
    db.source.sql(
        "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, a int);
         INSERT INTO a SELECT i, i FROM generate_series(1, 50) i; INSERT INTO b SELECT i, i FROM generate_series(1, 50) i",
    );
    db.target.sql(
        "CREATE TABLE a (id int PRIMARY KEY, v int CHECK (v % 10 <> 0));
         CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)",
    );
    for atomic in ["true", "false"] {
        db.target.sql("TRUNCATE a, b");
        let more = format!("{QUARANTINE}atomic = {atomic}\n");
        let jobs = job_toml("append", "public.*", &more);
        assert_committed(&run(&db, &jobs));
        // What refers to a rejected row is rejected, too.
        for table in ["a", "b"] {
            assert_eq!(db.target.count(table), 45, "{table}");
        }
    }
    let found = db.target.rows(
        "SELECT target, count(*), min(sqlstate), max(sqlstate) FROM tableferry.rejected GROUP BY 1 ORDER BY 1",
    );
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        found,
        [
            [text("public.a"), text("10"), text("23514"), text("23514")],
            [text("public.b"), text("10"), text("23503"), text("23503")],
        ]
    );
}

/// The target's tables, the source's rows (its tables have no constraints but the keys), and which rows of `t`
/// are rejected for what.
#[rstest]
#[case::a_tree(
    "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t)",
    "",
    "INSERT INTO t VALUES (1, 2), (2, NULL), (3, 99), (4, 3), (5, 4), (6, 5), (7, 6), (8, 1)",
    "23503",
    "3 4 5 6 7"
)]
#[case::two_columns_in_full("CREATE TABLE p (a int, b int, UNIQUE (a, b)); INSERT INTO p VALUES (1, 1);
    CREATE TABLE t (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b) MATCH FULL)", "",
    "INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, NULL, NULL), (4, 1, NULL)", "23503", "2 4")]
#[case::two_columns(
    "CREATE TABLE p (a int, b int, UNIQUE (a, b)); INSERT INTO p VALUES (1, 1);
    CREATE TABLE t (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b))",
    "",
    "INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, NULL, NULL), (4, 9, NULL)",
    "23503",
    "2"
)]
#[case::missing_partition("CREATE TABLE t (id int, v int, PRIMARY KEY (id, v)) PARTITION BY LIST (v); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2);
    CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3) PARTITION BY RANGE (id); CREATE TABLE t3a PARTITION OF t3 FOR VALUES FROM (0) TO (10)", "",
    "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4), (13, 3)", "23514", "4 13")]
#[case::repeated_key(
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "ALTER TABLE t DROP CONSTRAINT t_pkey",
    "INSERT INTO t VALUES (1, 1), (2, 2), (1, 3)",
    "23505",
    "1"
)]
#[case::null_key(
    "CREATE TABLE t (id int UNIQUE, v int)",
    "",
    "INSERT INTO t VALUES (1, 1), (NULL, 2)",
    "23502",
    ""
)]
#[case::others_of_the_same_name(
    "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, v int UNIQUE); CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)",
    "",
    "INSERT INTO t VALUES (1, 1), (2, 1), (3, 2)",
    "23505",
    "2"
)]
fn staged_rows_are_judged_before_they_are_written(
    #[values("merge", "upsert")] mode: &str,
    #[case] create: &str,
    #[case] source: &str,
    #[case] rows: &str,
    #[case] sqlstate: &str,
    #[case] bad: &str,
) {
    let db = databases("staged");
    db.target.sql(create);
    let columns = db.target.value(
        "SELECT string_agg(attname || ' int', ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
    );
    db.source.sql(&format!(
        "CREATE TABLE t ({columns}); CREATE SCHEMA s; CREATE TABLE s.t ({columns}); {}; {rows}; INSERT INTO s.t SELECT * FROM t",
        source.replace("ALTER TABLE t DROP CONSTRAINT t_pkey", "")
    ));
    let other = "[jobs.j.table.'s.t']\nkey = ['id']\n";
    let key = if create.contains("PRIMARY KEY (id, v)") {
        "key = ['id', 'v']\n"
    } else {
        "key = ['id']\n"
    };
    let more = if create.contains("s.t") { other } else { "" };
    let jobs = only_t(mode, QUARANTINE, &format!("{key}{more}"));
    let outcome = run(&db, &jobs);
    let tables = assert_committed(&outcome);
    let found = db.target.value(
        "SELECT COALESCE(string_agg(key->>'id', ' ' ORDER BY (key->>'id')::int), '') FROM tableferry.rejected WHERE target = 'public.t'",
    );
    assert_eq!(found, bad, "{outcome}");
    let all = db
        .target
        .value("SELECT string_agg(DISTINCT sqlstate, ' ') FROM tableferry.rejected");
    assert_eq!(all, sqlstate);
    let rejected = db.target.count("tableferry.rejected");
    let counted: u64 = tables
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["rows_rejected"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, rejected, "{outcome}");
    // Again: nothing is left to do, and the same rows are rejected.
    let again = run(&db, &jobs);
    let tables = assert_committed(&again);
    assert_eq!(changes(&tables[0]), [0, 0, 0], "{again}");
    assert_eq!(db.target.count("tableferry.rejected"), 2 * rejected);
    assert_eq!(
        db.target.count("t") + tables[0]["rows_rejected"].as_u64().unwrap(),
        db.source.count("t"),
        "{again}"
    );
}

#[test]
fn an_upsert_rejects_what_conflicts_with_rows_that_stay() {
    let db = databases("stays");
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, code text, up int);
         INSERT INTO t VALUES (1, 'a', NULL), (2, 'kept', NULL), (3, 'c', 10), (4, 'd', 2), (5, 'changed', NULL)",
    );
    db.target.sql(
        "CREATE TABLE t (id int PRIMARY KEY, code text CONSTRAINT codes UNIQUE, up int CONSTRAINT ups REFERENCES t);
         INSERT INTO t VALUES (10, 'kept', NULL), (5, 'old', NULL)",
    );
    let outcome = run(&db, &only_t("upsert", QUARANTINE, ""));
    assert_committed(&outcome);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rejected(
            &db.target,
            "key->>'id', sqlstate, constraint_name, column_name, reason"
        ),
        [
            [
                text("2"),
                text("23505"),
                text("codes"),
                text("code"),
                text("duplicate key value violates a unique constraint, constraint \"codes\"")
            ],
            // It refers to a rejected row.
            [
                text("4"),
                text("23503"),
                text("ups"),
                text("up"),
                text("a foreign key is violated, constraint \"ups\"")
            ],
        ]
    );
    let ids = db
        .target
        .value("SELECT string_agg(id || code, ' ' ORDER BY id) FROM t");
    assert_eq!(ids, "1a 3c 5changed 10kept");
}

#[rstest]
#[case::swap(
    "swap",
    "CREATE TABLE t (id int PRIMARY KEY)",
    "",
    "is not available in mode `swap`"
)]
#[case::trigger("merge", "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE t (id int PRIMARY KEY);
    CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "", "fires triggers only after they are judged: late")]
#[case::partial(
    "upsert",
    "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE UNIQUE INDEX partly ON t (v) WHERE v > 0",
    "",
    "partly is partial"
)]
#[case::scope(
    "merge",
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "scope = 'where'\nwhere = 'id > 0'\n",
    "`scope = \"where\"` keeps rows"
)]
#[case::check(
    "merge",
    "CREATE TABLE t (id int PRIMARY KEY, v int, w int, CONSTRAINT pair CHECK (v < w))",
    "columns = ['id', 'v']\n",
    "CHECK constraint pair reads column w"
)]
#[case::of_a_partition(
    "merge",
    "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t (CONSTRAINT own CHECK (id > 3)) DEFAULT",
    "",
    "partitions have constraints of their own: own"
)]
fn what_cannot_be_judged_in_staging_is_refused(
    #[case] mode: &str,
    #[case] create: &str,
    #[case] of_table: &str,
    #[case] said: &str,
) {
    let db = databases("unstaged");
    db.both(create);
    db.source.sql("INSERT INTO t (id) VALUES (5)");
    let plan = job(&db, &only_t(mode, QUARANTINE, of_table)).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
    assert!(
        format!("{}{}", plan.stdout, plan.stderr).contains(said),
        "{said}\n{plan}"
    );
}

#[rstest]
fn rows_without_a_partition_are_counted_before_any_is_written(
    #[values("merge", "upsert")] mode: &str,
    #[values(false, true)] log_values: bool,
) {
    let db = databases("partitionless");
    db.source.sql(
        "CREATE TABLE t (id int, at date, v text, PRIMARY KEY (id, at));
         INSERT INTO t SELECT i, date '2026-01-01' + i, 'x' FROM generate_series(0, 99) i",
    );
    db.target.sql(
        "CREATE TABLE t (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2026-02-01') TO ('2026-04-08');
         INSERT INTO t VALUES (-1, '2026-01-02', 'old')",
    );
    let jobs = only_t(mode, &format!("log_values = {log_values}\n"), "");
    let outcome = run(&db, &jobs);
    assert_refused(
        &outcome,
        "data_rejected",
        &[
            "3 rows without a partition on the target; the bounds are over at",
            "create the partitions",
        ],
    );
    assert_eq!(
        outcome.stdout.contains("2026-04-09"),
        log_values,
        "{outcome}"
    );
    assert_eq!(db.target.value("SELECT v FROM t"), "old");
    db.target.sql("CREATE TABLE t3 PARTITION OF t DEFAULT");
    assert_committed(&run(&db, &jobs));
    assert_eq!(db.target.count("t3"), 3);
}
