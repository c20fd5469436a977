//! Mode `merge`: the target becomes the same as the source, and only what differs is written.

use rstest::rstest;

use crate::support::{
    Cluster, ClusterOptions, Databases, PATIENCE, all_of_public, assert_committed, assert_refused,
    changes, databases, databases_on, job, only_t, pair, run, schema_of,
};

/// In these tests tables shrink.
const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

fn merge_all(more: &str) -> String {
    all_of_public("merge", &format!("{ANY_SIZE}{more}"))
}

fn merge_t(of_table: &str) -> String {
    only_t("merge", ANY_SIZE, of_table)
}

#[track_caller]
fn wal(db: &Databases<'_>) -> u64 {
    let position = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn";
    db.target.value(position).parse().unwrap()
}

#[test]
fn only_what_differs_is_written_and_counted() {
    let db = databases("merge_counts");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, w int)");
    db.both("INSERT INTO t SELECT i, 'value ' || i, i FROM generate_series(1, 20000) i");
    db.source.sql(
        "UPDATE t SET w = -w WHERE id % 100 = 7; DELETE FROM t WHERE id % 1000 = 3;
         INSERT INTO t SELECT 20000 + i, NULL, i FROM generate_series(1, 20) i",
    );

    let outcome = run(&db, &merge_all("compare = 'full'"));

    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [20, 200, 20], "{outcome}");
    assert_eq!(table["rows_read"], 20000);
    assert_eq!(table["rows_written"], 20000);
    assert_eq!(table["mode"], "merge");
    db.assert_same("t");
    let xmin = db.target.value("SELECT max(xmin::text::int8) FROM t");
    let again = run(&db, &merge_all(""));
    assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
    assert_eq!(db.target.value("SELECT max(xmin::text::int8) FROM t"), xmin);
}

/// On a server of its own: WAL is counted for all of it.
#[test]
fn the_wal_is_in_proportion_to_the_changes() {
    let options = ClusterOptions::default().target();
    let target = Cluster::start_with(&options.setting("full_page_writes", "off"));
    let db = databases_on(pair().0, &target, "merge_wal");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, w int)");
    db.both("INSERT INTO t SELECT i, 'value ' || i, i FROM generate_series(1, 50000) i");
    let jobs = merge_all("analyze = false\n");
    assert_committed(&run(&db, &jobs));
    let before = wal(&db);
    db.target.sql("UPDATE t SET w = w");
    let all_rows = wal(&db) - before;
    db.source
        .sql("UPDATE t SET w = -w WHERE id % 100 = 7; DELETE FROM t WHERE id % 1000 = 3");
    let before = wal(&db);

    let outcome = run(&db, &jobs);

    let written = wal(&db) - before;
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 500, 50],
        "{outcome}"
    );
    assert!(
        written < all_rows / 20,
        "{written} bytes of WAL for 1 %; an update of all rows takes {all_rows}"
    );
}
/// Tables of which each breaks some simpler way to merge: what they are, and how the source's rows
/// come to differ from the target's.
#[rstest]
#[case::empty_target(
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "",
    "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 500) i"
)]
#[case::empty_source(
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "INSERT INTO t VALUES (1, 'x')",
    "DELETE FROM t"
)]
#[case::only_a_key(
    "CREATE TABLE t (id int PRIMARY KEY)",
    "INSERT INTO t VALUES (1), (2)",
    "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3)"
)]
#[case::composite_key(
    "CREATE TABLE t (a int, v text, b text, PRIMARY KEY (b, a))",
    "INSERT INTO t VALUES (1, 'x', 'p'), (1, 'y', 'q'), (2, 'z', 'p')",
    "UPDATE t SET v = 'new' WHERE b = 'q'; DELETE FROM t WHERE a = 2; INSERT INTO t VALUES (3, 'x', 'p')"
)]
#[case::json("CREATE TABLE t (id int PRIMARY KEY, j json, x xml, p point, g polygon, b box, c circle)",
    "INSERT INTO t SELECT i, '{\"a\": 1}', '<a/>', '(1,2)', '((0,0),(1,1),(1,0))', '(1,1),(0,0)', '<(0,0),1>' FROM generate_series(1, 5) i",
    "UPDATE t SET j = '{\"a\":1}' WHERE id = 1; UPDATE t SET x = '<a></a>' WHERE id = 2; UPDATE t SET b = '(2,1),(1,0)' WHERE id = 3;
     UPDATE t SET c = '<(9,9),1>' WHERE id = 4; UPDATE t SET g = '((1,1),(1,0),(0,0))' WHERE id = 5")]
#[case::equal_but_not_the_same("CREATE TABLE t (id int PRIMARY KEY, f float8, n numeric, i interval, a numeric[], s float4)",
    "INSERT INTO t SELECT i, 0, 1.0, '24 hours', '{1.0}', 'NaN' FROM generate_series(1, 6) i",
    "UPDATE t SET f = '-0' WHERE id = 1; UPDATE t SET n = 1.00 WHERE id = 2; UPDATE t SET i = '1 day' WHERE id = 3;
     UPDATE t SET a = '{1.00}' WHERE id = 4; UPDATE t SET s = 0 WHERE id = 5; UPDATE t SET s = NULL WHERE id = 6")]
#[case::citext_key(
    "CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE t (k citext PRIMARY KEY, v citext)",
    "INSERT INTO t VALUES ('Ann', 'x'), ('bob', 'Y'), ('cid', 'z')",
    "UPDATE t SET k = 'ANN' WHERE k = 'ann'; UPDATE t SET v = 'y' WHERE k = 'bob'; DELETE FROM t WHERE k = 'cid'"
)]
#[case::numeric_and_float_key(
    "CREATE TABLE t (n numeric, f float8, v int, PRIMARY KEY (n, f))",
    "INSERT INTO t VALUES (1.0, 0, 1), (2, 'NaN', 2), (3, 1.5, 3)",
    "UPDATE t SET n = 1.00, f = '-0' WHERE n = 1; UPDATE t SET v = 9 WHERE n = 2; DELETE FROM t WHERE n = 3"
)]
#[case::nondeterministic(
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE t (k text COLLATE ci PRIMARY KEY, v text)",
    "INSERT INTO t VALUES ('ab', 'x'), ('cd', 'y')",
    "UPDATE t SET k = 'AB' WHERE k = 'ab'; DELETE FROM t WHERE k = 'cd'; INSERT INTO t VALUES ('ef', 'z')"
)]
#[case::index_of_another_collation("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
     CREATE TABLE t (k text NOT NULL, v text); CREATE UNIQUE INDEX ON t (k COLLATE ci); ALTER TABLE t REPLICA IDENTITY FULL",
    "INSERT INTO t VALUES ('ab', 'x'), ('cd', 'y')", "UPDATE t SET k = 'AB' WHERE k = 'ab'; DELETE FROM t WHERE k = 'cd'")]
#[case::identity_key(
    "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)",
    "INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20)",
    "UPDATE t SET v = 'y' WHERE id = 3; DELETE FROM t WHERE id = 4; INSERT INTO t (v) VALUES ('new')"
)]
#[case::identity_beside_the_key(
    "CREATE TABLE t (k text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, d int GENERATED BY DEFAULT AS IDENTITY, v text)",
    "INSERT INTO t (k, v) SELECT 'k' || i, 'x' FROM generate_series(1, 20) i",
    "UPDATE t SET v = 'y', d = 99 WHERE k = 'k3'; DELETE FROM t WHERE k = 'k4'; INSERT INTO t (k, v) VALUES ('new', 'new')"
)]
#[case::serial_and_generated(
    "CREATE TABLE t (id serial PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED, s serial)",
    "INSERT INTO t (a) SELECT i FROM generate_series(1, 20) i",
    "UPDATE t SET a = 0 WHERE id = 3; DELETE FROM t WHERE id = 4; INSERT INTO t (a) VALUES (7)"
)]
#[case::partitioned("CREATE TABLE t (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
     CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); CREATE TABLE t2 PARTITION OF t DEFAULT",
    "INSERT INTO t SELECT i, date '2026-01-20' + i, 'x' FROM generate_series(1, 100) i",
    "UPDATE t SET v = 'y' WHERE id % 10 = 1; UPDATE t SET at = at + 30 WHERE id = 5; DELETE FROM t WHERE id % 10 = 2; INSERT INTO t VALUES (0, '2026-01-01', 'new')")]
#[case::self_reference(
    "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t)",
    "INSERT INTO t VALUES (1, NULL), (2, 1), (3, 1), (4, 3)",
    "INSERT INTO t VALUES (9, NULL); UPDATE t SET up = 9 WHERE id = 4; DELETE FROM t WHERE id = 3; UPDATE t SET up = 9 WHERE id = 1"
)]
#[case::other_unique_values_move(
    "CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE)",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (4, 'a'); UPDATE t SET email = 'x' WHERE id = 2; INSERT INTO t VALUES (5, 'b')"
)]
#[case::deferrable_unique_values_swap(
    "CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE DEFERRABLE)",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "UPDATE t SET email = CASE email WHEN 'a' THEN 'b' ELSE 'a' END"
)]
#[case::deferrable_key(
    "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v int)",
    "INSERT INTO t VALUES (1, 1), (2, 2)",
    "UPDATE t SET v = 5 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 3)"
)]
#[case::exclusion_partial_and_expression_indexes("CREATE TABLE t (id int PRIMARY KEY, r int4range, v text, EXCLUDE USING gist (r WITH &&));
     CREATE UNIQUE INDEX ON t (v) WHERE v <> ''; CREATE UNIQUE INDEX ON t ((id + 1)); CREATE INDEX ON t (lower(v))",
    "INSERT INTO t SELECT i, int4range(i * 10, i * 10 + 5), 'v' || i FROM generate_series(1, 9) i",
    "DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (50, '[40,45)', 'v4'); UPDATE t SET r = NULL, v = '' WHERE id = 5")]
#[case::quoted_names(r#"CREATE TABLE t ("Key ""x" int PRIMARY KEY, "select" text, "row" text, "is_new" text, "staged" int, "target" int, "a b" int, "key_0" int)"#,
    r#"INSERT INTO t SELECT i, 'x', 'y', 'z', 1, 2, 3 FROM generate_series(1, 5) i"#,
    r#"UPDATE t SET "row" = 'new' WHERE "Key ""x" = 1; DELETE FROM t WHERE "Key ""x" = 2; INSERT INTO t VALUES (9, 'n')"#)]
#[case::user_types("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pos AS int CHECK (VALUE > 0);
     CREATE TABLE t (id pos PRIMARY KEY, m mood, p pair, ps pair[], r numrange)",
    "INSERT INTO t SELECT i, 'sad', ROW(1, 'x')::public.pair, ARRAY[ROW(1, 'y')::public.pair], '[1,2)' FROM generate_series(1, 5) i",
    "UPDATE t SET m = 'ok' WHERE id = 1; UPDATE t SET p = (1, NULL) WHERE id = 2; UPDATE t SET ps = NULL WHERE id = 3; UPDATE t SET r = '[1.0,2)' WHERE id = 4")]
#[case::wide_values(
    "CREATE TABLE t (id int PRIMARY KEY, big text, j jsonb)",
    "INSERT INTO t SELECT i, repeat('abc' || i, 100000), jsonb_build_object('a', repeat('x', 50000)) FROM generate_series(1, 5) i",
    "UPDATE t SET big = big || 'x' WHERE id = 1; UPDATE t SET big = upper(big) WHERE id = 2"
)]
fn awkward_tables_become_the_same_and_keep_everything_else(
    #[case] create: &str,
    #[case] before: &str,
    #[case] change: &str,
    #[values("auto", "full")] compare: &str,
) {
    let db = databases("merge_awkward");
    db.both(create);
    db.both(before);
    db.source.sql(change);
    let key = create.contains("k COLLATE ci)").then_some("key = ['k']");
    let compare = format!("compare = '{compare}'\n[jobs.j.table");
    let jobs = merge_t(key.unwrap_or_default()).replace("[jobs.j.table", &compare);
    let schema = schema_of(&db.target);

    let outcome = run(&db, &jobs);

    let first = changes(&assert_committed(&outcome)[0]);
    assert!(first.iter().sum::<u64>() > 0, "{outcome}");
    db.assert_same("t");
    assert_eq!(schema_of(&db.target), schema);
    // Nothing is left to do, and nothing is done.
    let again = run(&db, &jobs);
    assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
}

#[test]
fn tables_with_foreign_keys_both_ways_views_and_policies_are_merged_together() {
    let db = databases("merge_group");
    db.both(
        "CREATE TABLE a_child (id int PRIMARY KEY, parent int, note text);
         CREATE TABLE b_parent (id int PRIMARY KEY, name text);
         ALTER TABLE a_child ADD FOREIGN KEY (parent) REFERENCES b_parent;
         CREATE TABLE c_grandchild (id int PRIMARY KEY, child int REFERENCES a_child);
         INSERT INTO b_parent SELECT i, 'p' FROM generate_series(1, 10) i;
         INSERT INTO a_child SELECT i, i, 'c' FROM generate_series(1, 10) i;
         INSERT INTO c_grandchild SELECT i, i FROM generate_series(1, 10) i",
    );
    db.target.sql(
        "CREATE VIEW public_view AS SELECT * FROM a_child; ALTER TABLE a_child ENABLE ROW LEVEL SECURITY;
         CREATE POLICY visible ON a_child USING (id > 5); CREATE SCHEMA o;
         CREATE TABLE o.outside (id int REFERENCES b_parent); INSERT INTO o.outside VALUES (7)",
    );
    db.source.sql(
        "INSERT INTO b_parent VALUES (11, 'new'); UPDATE a_child SET parent = 11 WHERE id = 1;
         DELETE FROM b_parent WHERE id = 1; DELETE FROM c_grandchild WHERE id = 2;
         DELETE FROM a_child WHERE id = 2; DELETE FROM b_parent WHERE id = 2",
    );
    let schema = schema_of(&db.target);

    assert_committed(&run(&db, &merge_all("")));

    for table in ["a_child", "b_parent", "c_grandchild"] {
        db.assert_same(table);
    }
    assert_eq!(schema_of(&db.target), schema);

    // A row that is referred to from outside stays, and so does everything else.
    db.source
        .sql("DELETE FROM c_grandchild; DELETE FROM a_child; DELETE FROM b_parent WHERE id = 7");
    let outcome = run(&db, &merge_all(""));
    assert_refused(&outcome, "data_rejected", &["23503", "outside_id_fkey"]);
    assert_eq!(db.target.count("a_child"), 9);
}

#[test]
fn rows_without_a_key_on_the_target_are_gone_too() {
    let db = databases("merge_null_target");
    db.both("CREATE TABLE t (a int, b int, v int, UNIQUE (a, b))");
    db.source.sql("INSERT INTO t VALUES (1, 1, 1)");
    db.target
        .sql("INSERT INTO t VALUES (1, 1, 1), (NULL, 1, 2), (NULL, 1, 3), (2, NULL, 4)");

    let outcome = run(&db, &merge_t("key = ['b', 'a']"));

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 0, 3],
        "{outcome}"
    );
    db.assert_same("t");
}

#[rstest]
#[case("CREATE TABLE t (id int, v text)", "", "schema_mismatch", &["public.t", "no primary key", "key"])]
#[case("CREATE TABLE t (id int, v text)", "key = ['id']", "schema_mismatch", &["public.t", "unique index", "(id)"])]
#[case("CREATE TABLE t (id int, v text); CREATE UNIQUE INDEX half ON t (id) WHERE v <> ''", "key = ['id']", "schema_mismatch", &["half", "partial"])]
#[case("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "", "schema_mismatch", &["rules", "r"])]
#[case("CREATE TABLE t (id int PRIMARY KEY, v text)", "columns = ['v']\nset.v = \"'x'\"", "schema_mismatch", &["id"])]
#[case("CREATE TABLE t (id int PRIMARY KEY, v text)", "where = 'public.only_here(id)'\nscope = 'where'", "schema_mismatch", &["public.t", "only_here"])]
fn what_cannot_be_merged_is_refused_before_a_row_moves(
    #[case] create: &str,
    #[case] more: &str,
    #[case] kind: &str,
    #[case] parts: &[&str],
) {
    let db = databases("merge_refused");
    db.source.sql(
        "CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'x');
         CREATE FUNCTION only_here(int) RETURNS bool LANGUAGE sql AS 'SELECT true'",
    );
    db.target.sql(create);

    assert_refused(&run(&db, &merge_t(more)), kind, parts);

    assert_eq!(db.target.count("t"), 0);
    let plan = job(&db, &merge_t(more)).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
}

#[rstest]
#[case(
    "INSERT INTO t VALUES (NULL, 'secret'), (NULL, 'b'), (1, 'c')",
    "a NULL in the key of 2 rows"
)]
#[case(
    "INSERT INTO t VALUES (31337, 'a'), (31337, 'b'), (31337, 'c'), (5, 'd')",
    "the source has 1 key more than once, in 3 rows"
)]
fn keys_that_identify_no_row_are_counted_and_shown_only_on_demand(
    #[case] insert: &str,
    #[case] message: &str,
) {
    let db = databases("merge_keys");
    db.source
        .sql(&format!("CREATE TABLE t (id int, v text); {insert}"));
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, 'old')");

    let outcome = run(&db, &merge_t(""));
    assert_refused(&outcome, "data_rejected", &["public.t", message]);
    assert!(!outcome.stderr.contains("31337"), "{outcome}");
    assert_eq!(db.target.count("t"), 1);

    let jobs = merge_t("").replace("[jobs.j.table", "log_values = true\n[jobs.j.table");
    let outcome = run(&db, &jobs);
    assert_eq!(
        outcome.stderr.contains("31337"),
        insert.contains("31337"),
        "{outcome}"
    );
}

#[test]
fn an_identity_that_would_have_to_change_is_refused() {
    let db = databases("merge_identity");
    db.both("CREATE TABLE t (k text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY)");
    db.source
        .sql("INSERT INTO t OVERRIDING SYSTEM VALUE VALUES ('a', 1), ('b', 2)");
    db.target
        .sql("INSERT INTO t OVERRIDING SYSTEM VALUE VALUES ('a', 2), ('c', 3)");

    assert_refused(
        &run(&db, &merge_all("")),
        "data_rejected",
        &["in 1 row,", "IDENTITY", "BY DEFAULT"],
    );
    assert_eq!(db.target.count("t WHERE k = 'c'"), 1);
}

#[test]
fn scope_where_deletes_only_within_where() {
    let db = databases("merge_scope");
    db.both("CREATE TABLE t (id int PRIMARY KEY, region text, v int)");
    db.source
        .sql("INSERT INTO t VALUES (1, 'eu', 1), (2, 'eu', 2), (9, 'us', 9)");
    db.target
        .sql("INSERT INTO t VALUES (2, 'eu', 0), (3, 'eu', 3), (4, 'us', 4), (1, 'us', 7)");

    let outcome = run(
        &db,
        &merge_t("where = \"region = 'eu' -- Europe\"\nscope = 'where'\n"),
    );

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 2, 1],
        "{outcome}"
    );
    let rows = db
        .target
        .value("SELECT string_agg(t::text, ' ' ORDER BY id) FROM t");
    assert_eq!(rows, "(1,eu,1) (2,eu,2) (4,us,4)");

    let outcome = run(&db, &merge_t("where = \"region = 'eu'\"\n"));
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 0, 1],
        "{outcome}"
    );
}

/// `full` knows how many rows the target has when it has compared them, and the other ways before.
#[rstest]
#[case::full("full")]
#[case::stream("stream")]
fn the_guard_counts_what_would_be_deleted(#[case] compare: &str) {
    let db = databases(&format!("merge_guard_{compare}"));
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.target
        .sql("INSERT INTO t SELECT generate_series(1, 100)");
    let merge = merge_all(&format!("compare = '{compare}'")).replace("guard", "#guard");

    assert_refused(
        &run(&db, &merge),
        "guard",
        &["the source has no rows, and the target has 100"],
    );
    // 20 of these are new.
    db.source
        .sql("INSERT INTO t SELECT generate_series(81, 120)");
    assert_refused(
        &run(&db, &merge),
        "guard",
        &["the source has 40 rows and the target has 100: 60.0 % less"],
    );
    assert_eq!(db.target.count("t WHERE id <= 100"), 100);
    db.source
        .sql("INSERT INTO t SELECT generate_series(71, 80)");
    assert_eq!(
        changes(&assert_committed(&run(&db, &merge))[0]),
        [20, 0, 70]
    );
    db.assert_same("t");
}

#[test]
fn readers_and_writers_of_other_rows_never_wait() {
    let db = databases("merge_readers");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.both("INSERT INTO t SELECT i, 0 FROM generate_series(1, 1000) i");
    db.source.sql("UPDATE t SET v = 1 WHERE id <= 500");
    // The merge stops in the middle: it waits for the row that the test has locked.
    let holder = db.target.connect();
    holder.sql("BEGIN; SELECT FROM t WHERE id = 500 FOR UPDATE");
    let job = job(&db, &merge_all(""));
    let running = job.spawn(&["run", "j", "--json"]);
    db.target
        .wait_for_waiter("locktype IN ('transactionid', 'tuple')");

    db.target.sql("SET lock_timeout = '1ms'");
    assert_eq!(db.target.value("SELECT sum(v) FROM t"), "0");
    db.target
        .sql("UPDATE t SET v = v WHERE id = 900; BEGIN; INSERT INTO t VALUES (5000, 0); ROLLBACK");
    holder.sql("COMMIT");

    let outcome = running.wait(PATIENCE);
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 500, 0],
        "{outcome}"
    );
    db.target.sql("RESET lock_timeout");
    db.assert_same("t");
}

#[rstest]
#[case("INSERT", "'new'")]
#[case("UPDATE", "'changed'")]
#[case("DELETE", "'gone'")]
fn a_trigger_that_drops_a_change_is_noticed_and_can_be_left_out(
    #[case] event: &str,
    #[case] _what: &str,
) {
    let db = databases("merge_trigger");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.target.sql(&format!(
        "CREATE FUNCTION nope() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER nope BEFORE {event} ON t FOR EACH ROW EXECUTE FUNCTION nope()"
    ));
    db.source.sql("UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 'd')");

    let outcome = run(&db, &merge_all(""));
    assert_refused(&outcome, "data_rejected", &["0 of 1 row", "trigger"]);
    assert_eq!(db.target.count("t WHERE v IN ('a', 'b')"), 2);

    assert_committed(&run(&db, &merge_all("triggers = 'skip'")));
    db.assert_same("t");
}

#[test]
fn values_that_trade_places_in_a_unique_column_are_an_error_with_advice() {
    let db = databases("merge_swap");
    db.both("CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.source.sql("BEGIN; UPDATE t SET email = 'x' WHERE id = 1; UPDATE t SET email = 'a' WHERE id = 2; UPDATE t SET email = 'b' WHERE id = 1; COMMIT");

    assert_refused(
        &run(&db, &merge_all("")),
        "data_rejected",
        &["23505", "t_email_key", "DEFERRABLE"],
    );
    assert_eq!(db.target.value("SELECT email FROM t WHERE id = 1"), "a");
}

#[test]
fn the_plan_shows_every_statement() {
    let db = databases("merge_plan");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target.sql("INSERT INTO t VALUES (1, 'a')");
    let plan = job(&db, &merge_all("compare = 'full'")).run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    for part in [
        "CREATE TEMPORARY TABLE",
        "FULL JOIN",
        "DELETE FROM",
        "UPDATE ONLY",
        "INSERT INTO",
        "ROW EXCLUSIVE",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
}

#[test]
fn a_role_with_no_more_than_the_documented_privileges_can_merge() {
    let db = databases("merge_role");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.source
        .sql("UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2");
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT ON t TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let jobs = format!(
        "[daemon]\nhistory = 'off'\n{}",
        merge_all("analyze = false")
    );
    let run = || {
        crate::support::job_between(&db.source.conninfo(), &target, &jobs)
            .run(&["run", "j", "--json"])
    };
    assert_refused(&run(), "permission", &["UPDATE", "DELETE"]);
    db.target
        .sql(&format!("GRANT UPDATE, DELETE ON t TO {role}"));
    assert_committed(&run());
    db.assert_same("t");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A DEFERRABLE key is checked by a trigger: while that is disabled, the target gets the same key twice.
#[rstest]
#[case("merge", "data_rejected", "1 key in more than one row")]
#[case("upsert", "schema_mismatch", "no ON CONFLICT")]
fn a_deferrable_key_that_the_target_has_twice_is_refused(
    #[case] mode: &str,
    #[case] kind: &str,
    #[case] part: &str,
) {
    let db = databases("twice");
    db.both("CREATE TABLE t (id int, v text, CONSTRAINT once UNIQUE (id) DEFERRABLE)");
    db.source.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.target.sql(
        "ALTER TABLE t DISABLE TRIGGER ALL;
         INSERT INTO t VALUES (1, 'a'), (1, 'a'), (NULL, 'x'), (NULL, 'y')",
    );

    let outcome = run(&db, &only_t(mode, "", "key = ['id']"));

    assert_refused(&outcome, kind, &["public.t", "DEFERRABLE", part]);
    assert_eq!(db.target.count("t"), 4);
    if mode == "merge" {
        db.target.sql("DELETE FROM t WHERE ctid = '(0,1)'");
        assert_committed(&run(&db, &only_t(mode, "", "key = ['id']")));
        db.assert_same("t");
    }
}
