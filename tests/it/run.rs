//! `tableferry run`: what the target holds afterwards, what is reported, and what is refused.

use rstest::rstest;
use serde_json::Value;

use crate::support::{
    self, all_of_public, assert_committed, assert_refused, databases, job, job_toml, run,
};

#[test]
fn append_adds_the_sources_rows_to_the_targets() {
    let db = databases("append");
    db.both("CREATE TABLE t (id int PRIMARY KEY, name text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'n' || i FROM generate_series(1, 1000) i");
    db.target.sql("INSERT INTO t VALUES (0, 'old')");

    let outcome = run(&db, &all_of_public("append", ""));

    let tables = assert_committed(&outcome);
    assert_eq!(tables[0]["source"], "public.t");
    assert_eq!(tables[0]["target"], "public.t");
    assert_eq!(tables[0]["mode"], "append");
    assert_eq!(tables[0]["format"], "binary");
    assert_eq!(tables[0]["format_reason"], Value::Null);
    assert_eq!(tables[0]["rows_read"], 1000);
    assert_eq!(tables[0]["rows_written"], 1000);
    assert_eq!(db.target.value("SELECT name FROM t WHERE id = 0"), "old");
    db.source.sql("INSERT INTO t VALUES (0, 'old')");
    db.assert_same("t");
}

#[test]
fn truncate_leaves_exactly_the_sources_rows() {
    let db = databases("truncate");
    db.both("CREATE TABLE t (id int PRIMARY KEY, name text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'n' || i FROM generate_series(1, 1000) i");
    db.target
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(500, 1600) i");

    let outcome = run(&db, &all_of_public("truncate", ""));

    let tables = assert_committed(&outcome);
    assert_eq!(tables[0]["rows_written"], 1000);
    assert_eq!(tables[0]["rows_deleted"], 1101);
    let snapshot = &outcome.report()["snapshot"];
    assert!(snapshot["lsn"].as_str().unwrap().contains('/'), "{outcome}");
    db.assert_same("t");
}

#[test]
fn a_difference_that_only_text_carries_is_copied_as_text_and_says_why() {
    let db = databases("text");
    db.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("CREATE TABLE t (id bigint PRIMARY KEY, v text)");
    db.source
        .sql(r"INSERT INTO t VALUES (1, E'a\tb\nc\\d'), (2, NULL), (3, '\N'), (4, '\.'), (5, '')");

    let outcome = run(&db, &all_of_public("append", ""));

    let tables = assert_committed(&outcome);
    assert_eq!(tables[0]["format"], "text");
    let reason = tables[0]["format_reason"].as_str().unwrap();
    for part in ["id", "integer", "bigint"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(tables[0]["rows_read"], 5);
    db.assert_same("t");
}

#[test]
fn names_that_need_quotes_are_copied() {
    let db = databases("names");
    let long = "x".repeat(63);
    db.both(&format!(
        r#"CREATE SCHEMA "Odd ""Schema";
           CREATE TABLE "Odd ""Schema"."Größe.1" ("a b" int, "C""D" text, "select" int, "{long}" int);
           CREATE TABLE "Odd ""Schema"."{long}" ("{long}" int)"#
    ));
    db.source.sql(&format!(
        r#"INSERT INTO "Odd ""Schema"."Größe.1" VALUES (1, 'x', 2, 3);
           INSERT INTO "Odd ""Schema"."{long}" VALUES (1)"#
    ));

    let outcome = run(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
         tables = ['\"Odd \"\"Schema\".*']\n",
    );

    assert_committed(&outcome);
    db.assert_same(r#""Odd ""Schema"."Größe.1""#);
    db.assert_same(&format!(r#""Odd ""Schema"."{long}""#));
}

#[test]
fn a_query_feeds_a_table() {
    let db = databases("query");
    db.source.sql(
        "CREATE TABLE o (id int, amount numeric); INSERT INTO o VALUES (1, 2.5), (1, 3), (2, 4)",
    );
    db.target
        .sql("CREATE SCHEMA mart; CREATE TABLE mart.totals (id int, total numeric)");

    let outcome = run(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
         [jobs.j.table.'mart.totals']\n\
         query = 'SELECT id, sum(amount) AS total FROM public.o GROUP BY id'\n",
    );

    assert_committed(&outcome);
    let rows = db
        .target
        .rows("SELECT id, total FROM mart.totals ORDER BY id");
    let expected = [("1", "5.5"), ("2", "4")]
        .map(|(id, total)| vec![Some(id.to_owned()), Some(total.to_owned())]);
    assert_eq!(rows, expected);
}

#[test]
fn columns_where_and_expressions_choose_what_is_copied() {
    let db = databases("choose");
    db.source.sql(
        "CREATE TABLE people (id int, name text, email text, gone timestamptz, secret text);
         INSERT INTO people VALUES (1, 'Ann', 'ann@x', NULL, 's'), (2, 'Bob', 'bob@x', now(), 's')",
    );
    db.target
        .sql("CREATE TABLE customers (id int, name text, email text, secret text DEFAULT 'none')");

    let outcome = run(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
         [jobs.j.table.'public.customers']\nsource = 'public.people'\n\
         columns = ['id', 'name', 'email']\nwhere = 'gone IS NULL'\n\
         set.email = 'pg_catalog.md5(email)'\nset.name = 'pg_catalog.upper(name)'\n",
    );

    assert_committed(&outcome);
    let rows = db
        .target
        .rows("SELECT id, name, email = md5('ann@x'), secret FROM customers");
    let expected: Vec<_> = ["1", "ANN", "t", "none"].map(|v| Some(v.to_owned())).into();
    assert_eq!(rows, [expected]);
}

#[test]
fn generated_columns_are_left_out_and_identities_keep_their_values() {
    let db = databases("generated");
    db.both(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, s serial, a int,
                         b int GENERATED ALWAYS AS (a * 2) STORED)",
    );
    db.source.sql(
        "INSERT INTO t (a) SELECT i FROM generate_series(1, 50) i; DELETE FROM t WHERE id < 40",
    );

    assert_committed(&run(&db, &all_of_public("truncate", "")));

    db.assert_same("t");
    // Sequences stand behind the copied values: the next row does not collide.
    db.target.sql("INSERT INTO t (a) VALUES (7)");
    assert_eq!(
        db.target.value("SELECT id || ' ' || s FROM t WHERE a = 7"),
        "51 51"
    );
    // And are never moved back.
    db.target.sql("SELECT setval('t_s_seq', 1000)");
    assert_committed(&run(&db, &all_of_public("truncate", "")));
    assert_eq!(db.target.value("SELECT last_value FROM t_s_seq"), "1000");
}

#[test]
fn tables_with_foreign_keys_among_them_are_truncated_and_loaded_together() {
    let db = databases("fk");
    db.both(
        "CREATE TABLE a_child (id int PRIMARY KEY, parent int);
         CREATE TABLE b_parent (id int PRIMARY KEY);
         ALTER TABLE a_child ADD FOREIGN KEY (parent) REFERENCES b_parent",
    );
    db.source.sql(
        "INSERT INTO b_parent SELECT generate_series(1, 100);
         INSERT INTO a_child SELECT i, i FROM generate_series(1, 100) i",
    );
    db.target
        .sql("INSERT INTO b_parent VALUES (1000); INSERT INTO a_child VALUES (1, 1000)");

    assert_committed(&run(
        &db,
        &all_of_public("truncate", "guard = { max_shrink = '100%' }"),
    ));

    db.assert_same("a_child");
    db.assert_same("b_parent");
}

#[test]
fn a_foreign_key_from_outside_the_job_is_named_and_nothing_is_emptied() {
    let db = databases("fk_outside");
    db.both(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE SCHEMA other; CREATE TABLE other.child (id int CONSTRAINT points_here REFERENCES parent)",
    );
    db.source.sql("INSERT INTO parent VALUES (1)");
    db.target
        .sql("INSERT INTO parent VALUES (2); INSERT INTO other.child VALUES (2)");

    let outcome = run(&db, &all_of_public("truncate", ""));

    assert_refused(
        &outcome,
        "schema_mismatch",
        &["public.parent", "other.child", "points_here"],
    );
    assert_eq!(
        db.target
            .value("SELECT string_agg(id::text, ',') FROM parent"),
        "2"
    );
    assert_eq!(db.target.count("other.child"), 1);
}

#[test]
fn a_querys_column_that_the_target_lacks_is_refused_by_name() {
    let db = databases("query_column");
    db.both("CREATE TABLE t (id int PRIMARY KEY, email text)");
    db.source.sql("INSERT INTO t VALUES (1, 'a@b')");
    let query = |sql: &str| {
        job_toml(
            "merge",
            "",
            &format!("[jobs.j.table.'public.t']\nquery = '{sql}'"),
        )
    };

    assert_refused(
        &run(&db, &query("SELECT id, email AS e_mail FROM public.t")),
        "schema_mismatch",
        &["public.t", "e_mail", "did you mean email?"],
    );
    assert_committed(&run(&db, &query("SELECT id, email FROM public.t")));
    db.assert_same("t");
}

#[test]
fn a_partitioned_table_is_copied_as_one() {
    let db = databases("partitioned");
    db.both(
        "CREATE TABLE p (id int, at date) PARTITION BY RANGE (at);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE p2 PARTITION OF p DEFAULT",
    );
    db.source
        .sql("INSERT INTO p SELECT i, date '2026-01-20' + i FROM generate_series(1, 100) i");
    db.target.sql("INSERT INTO p VALUES (0, '2026-01-01')");

    let outcome = run(&db, &all_of_public("truncate", ""));

    let tables = assert_committed(&outcome);
    assert_eq!(
        tables.as_array().unwrap().len(),
        1,
        "partitions are not named by a wildcard"
    );
    db.assert_same("p");
}

#[rstest]
#[case(
    "CREATE TABLE t ()",
    "INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES"
)]
#[case("CREATE TABLE t (a int, b text)", "")]
#[case(
    "CREATE TABLE t (a int); ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD COLUMN b int",
    "INSERT INTO t VALUES (1)"
)]
fn tables_without_columns_or_rows_are_copied(
    #[case] create: &str,
    #[case] insert: &str,
    #[values("append", "truncate")] mode: &str,
    #[values("auto", "text")] format: &str,
) {
    let db = databases("empty");
    db.both(create);
    db.source.sql(insert);

    assert_committed(&run(
        &db,
        &all_of_public(mode, &format!("format = '{format}'")),
    ));

    db.assert_same("t");
}

#[rstest]
#[case("", "the source has no rows, and the target has 100")]
#[case("INSERT INTO t VALUES (1)", "99.0 % less")]
fn a_suspicious_source_is_refused_and_the_target_keeps_its_rows(
    #[case] insert: &str,
    #[case] message: &str,
) {
    let db = databases("guard");
    db.both("CREATE TABLE t (id int)");
    db.source.sql(insert);
    db.target
        .sql("INSERT INTO t SELECT generate_series(1, 100)");

    let outcome = run(&db, &all_of_public("truncate", ""));

    assert_refused(&outcome, "guard", &["public.t", message, "guard"]);
    assert_eq!(db.target.count("t"), 100);
    let allowed = "guard = { allow_empty = true, max_shrink = '100%' }";
    assert_committed(&run(&db, &all_of_public("truncate", allowed)));
    db.assert_same("t");
}

#[test]
fn rows_that_the_target_rejects_roll_everything_back_without_showing_values() {
    let db = databases("reject");
    db.both("CREATE TABLE a (id int); CREATE TABLE t (id int, sku text)");
    db.target
        .sql("ALTER TABLE t ALTER sku SET NOT NULL; INSERT INTO a VALUES (9)");
    db.source
        .sql("INSERT INTO a VALUES (1), (2); INSERT INTO t VALUES (31337, NULL)");

    let outcome = run(&db, &all_of_public("append", ""));

    assert_refused(
        &outcome,
        "data_rejected",
        &["public.t", "sku", "23502", "hint"],
    );
    assert!(
        !outcome.stderr.contains("31337"),
        "a cell's value was shown: {outcome}"
    );
    assert!(
        !outcome.stdout.contains("31337"),
        "a cell's value was shown: {outcome}"
    );
    assert_eq!(db.target.count("a"), 1);

    let outcome = run(&db, &all_of_public("append", "log_values = true"));
    assert!(
        outcome.stderr.contains("31337"),
        "log_values shows them: {outcome}"
    );
}

#[test]
fn a_trigger_that_drops_rows_is_noticed() {
    let db = databases("trigger");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t SELECT generate_series(1, 10)");
    db.target.sql(
        "CREATE FUNCTION drop_some() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN IF NEW.id > 5 THEN RETURN NULL; END IF; RETURN NEW; END';
         CREATE TRIGGER drop_some BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION drop_some()",
    );

    let outcome = run(&db, &all_of_public("append", ""));
    assert_refused(&outcome, "data_rejected", &["10 rows", "took 5", "trigger"]);
    assert_eq!(db.target.count("t"), 0);

    assert_committed(&run(&db, &all_of_public("append", "triggers = 'skip'")));
    db.assert_same("t");
}

#[test]
fn a_deferred_constraint_is_an_error_before_commit() {
    let db = databases("deferred");
    db.both("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int)");
    db.target.sql("ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (id) REFERENCES p DEFERRABLE INITIALLY DEFERRED");
    db.source.sql("INSERT INTO c VALUES (1)");

    let outcome = run(&db, &all_of_public("append", ""));

    assert_refused(&outcome, "data_rejected", &["23503", "c_p"]);
    assert_eq!(db.target.count("c"), 0);
}

#[test]
fn incompatibilities_are_reported_all_at_once_and_nothing_moves() {
    let db = databases("incompatible");
    db.source.sql(
        "CREATE TABLE a (v text); CREATE TABLE b (v uuid); CREATE TABLE c (v int); CREATE TABLE d (v int);
         INSERT INTO d VALUES (1)",
    );
    db.target.sql(
        "CREATE TABLE a (v int); CREATE TABLE b (v bytea); CREATE TABLE d (v int, w int NOT NULL)",
    );

    let outcome = run(&db, &all_of_public("append", ""));

    assert_refused(
        &outcome,
        "schema_mismatch",
        &[
            "public.a", "text", "integer", "public.b", "uuid", "bytea", "public.c", "public.d", "w",
        ],
    );
    assert_eq!(db.target.count("d"), 0);

    let plan = job(&db, &all_of_public("append", "")).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
    assert_eq!(db.target.count("d"), 0);
}

#[test]
fn row_security_on_the_source_is_an_error_and_not_fewer_rows() {
    let db = databases("rls");
    let role = format!("{}_reader", db.source.name());
    db.both("CREATE TABLE t (id int)");
    db.source.sql(&format!(
        "INSERT INTO t VALUES (1), (2); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY only_one ON t USING (id = 1); CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}"
    ));
    let source = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));

    let outcome =
        support::job_between(&source, &db.target.conninfo(), &all_of_public("append", ""))
            .run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("row"), "{outcome}");
    assert_eq!(db.target.count("t"), 0);
    db.source
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_missing_privilege_is_named_before_a_row_moves() {
    let db = databases("privilege");
    let role = format!("{}_reader", db.source.name());
    db.both("CREATE TABLE t (id int); CREATE TABLE u (id int)");
    db.source.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}; INSERT INTO t VALUES (1)"
    ));
    let source = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));

    let outcome =
        support::job_between(&source, &db.target.conninfo(), &all_of_public("append", ""))
            .run(&["run", "j", "--json"]);

    assert_refused(&outcome, "permission", &["public.u", "SELECT"]);
    assert_eq!(db.target.count("t"), 0);
    db.source
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_lock_on_the_target_is_waited_for_and_then_named() {
    let db = databases("locked");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");

    let outcome = run(&db, &all_of_public("append", "lock_timeout = '100ms'"));

    assert_refused(&outcome, "locked", &["55P03", "lock_timeout"]);
    holder.sql("COMMIT");
}

#[test]
fn an_error_that_can_pass_is_tried_again() {
    let db = databases("retry");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let jobs = all_of_public("append", "lock_timeout = '100ms'").replace(
        "{ max = 0 }",
        "{ max = 1000, backoff = '10ms', max_backoff = '20ms' }",
    );

    let running = job(&db, &jobs);
    let running = running.spawn(&["run", "j", "--json"]);
    support::wait_until(support::PATIENCE, || running.stderr().contains("attempt 3"));
    holder.sql("COMMIT");

    let outcome = running.wait(support::PATIENCE);
    assert_committed(&outcome);
    assert!(
        outcome.report()["attempts"].as_u64().unwrap() >= 3,
        "{outcome}"
    );
    db.assert_same("t");
}

#[test]
fn a_table_truncated_by_somebody_while_the_copy_waits_is_read_as_it_is_then() {
    let db = databases("concurrent_truncate");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1), (2)");
    let other = db.source.connect();
    other.sql("BEGIN; TRUNCATE t; INSERT INTO t VALUES (10), (20), (30)");

    let running = job(&db, &all_of_public("append", ""));
    let running = running.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("mode = 'AccessShareLock'");
    other.sql("COMMIT");

    assert_committed(&running.wait(support::PATIENCE));
    assert_eq!(
        db.target
            .value("SELECT string_agg(id::text, ',' ORDER BY id) FROM t"),
        "10,20,30"
    );
}

#[test]
fn a_source_equal_to_the_target_is_refused() {
    let db = databases("same_place");
    db.source
        .sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");

    let outcome = support::job_between(
        &db.source.conninfo(),
        &db.source.conninfo(),
        &all_of_public("truncate", ""),
    )
    .run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(db.source.count("t"), 1);
}

#[test]
fn a_job_that_is_not_configured_is_a_usage_error() {
    let db = databases("usage");
    let outcome = job(&db, &all_of_public("append", "")).run(&["run", "nope"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("nope"), "{outcome}");
}

#[test]
fn a_wrong_configuration_exits_78() {
    let db = databases("config");
    let outcome = job(&db, &all_of_public("append", "lock_timout = '1s'")).run(&["run", "j"]);
    assert_eq!(outcome.code, Some(78), "{outcome}");
    assert!(outcome.stderr.contains("lock_timeout"), "{outcome}");
}

#[test]
fn an_unreachable_server_is_named_and_bounded() {
    let db = databases("unreachable");
    db.target.sql("CREATE TABLE t (id int)");
    let outcome = support::job_between(
        "host=127.0.0.1 port=1 user=nobody dbname=nowhere",
        &db.target.conninfo(),
        &all_of_public("append", ""),
    )
    .run(&["run", "j", "--json"]);
    assert_refused(&outcome, "unreachable", &["source", "127.0.0.1"]);
}
