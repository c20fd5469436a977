//! What foreign keys, triggers and other sessions change while `merge` and `upsert` write: the target
//! becomes what was promised all the same, or nothing is changed.

use rstest::rstest;

use crate::support::{
    PATIENCE, all_of_public, assert_committed, assert_refused, changes, databases, job, job_toml,
    run,
};

/// In these tests tables shrink.
const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

fn all(mode: &str, more: &str) -> String {
    all_of_public(mode, &format!("{ANY_SIZE}{more}"))
}

const TREE: &str = "CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE, up text REFERENCES t (code) ON DELETE CASCADE)";

/// Tables, their rows on both sides, and what then happens on the source.
#[rstest]
#[case::cascade_by_a_unique_column(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text REFERENCES p (code) ON DELETE CASCADE)",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, 'E')",
    "BEGIN; ALTER TABLE c DISABLE TRIGGER ALL; ALTER TABLE p DISABLE TRIGGER ALL;
     DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::set_null(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text REFERENCES p (code) ON DELETE SET NULL)",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, 'E')",
    "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::set_default(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text DEFAULT 'E' REFERENCES p (code) ON DELETE SET DEFAULT DEFERRABLE)",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, 'E')",
    "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::on_update_cascade(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text REFERENCES p (code) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, 'E')",
    "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; UPDATE p SET code = 'X' WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::on_update_set_null(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text REFERENCES p (code) ON UPDATE SET NULL)",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, 'E')",
    "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; UPDATE p SET code = 'X' WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::chain_of_updates(
    "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
     CREATE TABLE c (id int PRIMARY KEY, pcode text UNIQUE REFERENCES p (code) ON UPDATE CASCADE);
     CREATE TABLE d (id int PRIMARY KEY, ccode text UNIQUE REFERENCES c (pcode) ON UPDATE CASCADE);
     CREATE TABLE e (id int PRIMARY KEY, dcode text REFERENCES d (ccode) ON UPDATE CASCADE)",
    "INSERT INTO p VALUES (1, 'A'); INSERT INTO c VALUES (1, 'A'); INSERT INTO d VALUES (1, 'A'); INSERT INTO e VALUES (1, 'A'), (2, 'A')",
    "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; UPDATE p SET code = 'X' WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
#[case::tree(
    TREE,
    "INSERT INTO t VALUES (1, 'A', NULL), (2, 'B', 'A'), (3, 'C', 'B'), (4, 'D', 'C')",
    "BEGIN; ALTER TABLE t DISABLE TRIGGER ALL; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (9, 'A', NULL); COMMIT"
)]
#[case::circle(
    "CREATE TABLE a (id int PRIMARY KEY, code text UNIQUE, b text);
     CREATE TABLE b (id int PRIMARY KEY, code text UNIQUE, a text REFERENCES a (code) ON DELETE CASCADE DEFERRABLE);
     ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (code) ON DELETE CASCADE DEFERRABLE",
    "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (1, 'A', 'B'), (2, 'AA', 'B'); INSERT INTO b VALUES (1, 'B', 'A'), (2, 'BB', 'AA'); COMMIT",
    "BEGIN; ALTER TABLE a DISABLE TRIGGER ALL; ALTER TABLE b DISABLE TRIGGER ALL;
     DELETE FROM a WHERE id = 1; INSERT INTO a VALUES (8, 'A', 'B'); COMMIT"
)]
#[case::partitions(
    "CREATE TABLE p (id int, code text, PRIMARY KEY (id, code)) PARTITION BY LIST (code);
     CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('A'); CREATE TABLE p_e PARTITION OF p DEFAULT;
     ALTER TABLE p_a ADD UNIQUE (code);
     CREATE TABLE c (id int PRIMARY KEY, pcode text) PARTITION BY RANGE (id);
     CREATE TABLE c_1 PARTITION OF c DEFAULT;
     ALTER TABLE c_1 ADD FOREIGN KEY (pcode) REFERENCES p_a (code) ON DELETE CASCADE",
    "INSERT INTO p VALUES (1, 'A'), (5, 'E'); INSERT INTO c VALUES (1, 'A'), (2, 'A'), (3, NULL)",
    "BEGIN; ALTER TABLE p_a DISABLE TRIGGER ALL; DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (2, 'A'); COMMIT"
)]
fn foreign_keys_that_change_rows_leave_the_target_like_the_source(
    #[case] create: &str,
    #[case] rows: &str,
    #[case] change: &str,
    #[values(false, true)] only_the_target_has_keys: bool,
) {
    let db = databases("actions");
    db.both(create);
    db.both(rows);
    db.source.sql(change);
    if only_the_target_has_keys {
        db.source.sql(
            "DO $$ DECLARE k record; BEGIN
                 FOR k IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 LOOP
                     EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', k.t, k.conname);
                 END LOOP; END $$",
        );
    }
    let jobs = all("merge", "");

    let outcome = run(&db, &jobs);

    let tables = assert_committed(&outcome).as_array().unwrap().clone();
    for table in &tables {
        db.assert_same(table["target"].as_str().unwrap());
    }
    let again = run(&db, &jobs);
    for table in assert_committed(&again).as_array().unwrap() {
        assert_eq!(changes(table), [0, 0, 0], "{again}");
    }
    // The plan says what is compared again.
    let plan = job(&db, &jobs).run(&["plan", "j", "--sql"]);
    assert!(plan.stdout.contains("DROP TABLE \"pg_temp\""), "{plan}");
}

#[test]
fn merges_whose_keys_cannot_change_rows_compare_once() {
    let db = databases("actions_none");
    db.both(
        "CREATE TABLE p (id int PRIMARY KEY, v int);
         CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON UPDATE CASCADE ON DELETE RESTRICT)",
    );
    db.target
        .sql("INSERT INTO p VALUES (1, 1); INSERT INTO c VALUES (1, 1)");
    let plan = job(&db, &all("merge", "")).run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    assert!(plan.stdout.contains("DELETE FROM"), "{plan}");
    assert!(!plan.stdout.contains("DROP TABLE"), "{plan}");
}

#[test]
fn keys_through_a_table_that_is_not_in_the_job_are_followed_and_said() {
    let db = databases("actions_outside");
    db.both(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
         CREATE TABLE c (id int PRIMARY KEY, ocode text)",
    );
    db.both("INSERT INTO p VALUES (1, 'A'); INSERT INTO c VALUES (1, 'A'), (2, NULL)");
    db.target.sql(
        "CREATE SCHEMA o; CREATE TABLE o.x (code text PRIMARY KEY REFERENCES p (code) ON UPDATE CASCADE ON DELETE SET NULL);
         INSERT INTO o.x VALUES ('A');
         ALTER TABLE c ADD FOREIGN KEY (ocode) REFERENCES o.x (code) ON UPDATE SET NULL",
    );
    // What c refers to is outside, and follows p: the source's value is not there.
    db.source.sql("UPDATE p SET code = 'B'");
    let before = db.target.rows("SELECT * FROM p, c");
    assert_refused(
        &run(&db, &all("merge", "")),
        "data_rejected",
        &["23503", "c_ocode_fkey"],
    );
    assert_eq!(db.target.rows("SELECT * FROM p, c"), before);

    db.target
        .sql("ALTER TABLE c DROP CONSTRAINT c_ocode_fkey; UPDATE c SET ocode = NULL WHERE id = 1");
    let outcome = run(&db, &all("merge", ""));
    assert_committed(&outcome);
    for table in ["p", "c"] {
        db.assert_same(table);
    }
    assert_eq!(db.target.value("SELECT code FROM o.x"), "B");
    let plan = job(&db, &all("merge", "")).run(&["plan", "j"]);
    for part in [
        "of o.x is ON UPDATE CASCADE",
        "of o.x is ON DELETE SET NULL",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
}

#[test]
fn one_transaction_a_table_cannot_put_right_what_was_published_before() {
    let db = databases("actions_atomic");
    db.both(
        "CREATE TABLE a (id int PRIMARY KEY, code text UNIQUE, b text);
         CREATE TABLE b (id int PRIMARY KEY, code text UNIQUE, a text REFERENCES a (code) ON DELETE CASCADE DEFERRABLE);
         ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (code) ON DELETE CASCADE DEFERRABLE",
    );
    assert_refused(
        &run(&db, &all("merge", "atomic = false\n")),
        "schema_mismatch",
        &["public.b", "publishes public.a first", "atomic = true"],
    );
}

/// Another session deletes row 2 and inserts it again while the merge waits for it.
#[rstest]
#[case::all("")]
#[case::within_a_scope("[jobs.j.table.'public.t']\nwhere = 'id > 0'\nscope = 'where'")]
fn a_row_that_somebody_else_made_again_is_gone_all_the_same(#[case] more: &str) {
    let db = databases("actions_again");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    db.target.sql("INSERT INTO t VALUES (2, 'b')");
    let other = db.target.connect();
    other.sql("BEGIN; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 'w')");
    let job = job(&db, &all("merge", more));
    let running = job.spawn(&["run", "j", "--json"]);
    db.target.wait_for_waiter("locktype = 'transactionid'");
    other.sql("COMMIT");

    let outcome = running.wait(PATIENCE);

    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [0, 0, 1], "{outcome}");
    db.assert_same("t");
}

#[test]
fn a_row_that_somebody_else_deleted_meanwhile_is_inserted() {
    let db = databases("actions_deleted");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.source.sql("UPDATE t SET v = 'c' WHERE id = 2");
    let other = db.target.connect();
    other.sql("BEGIN; DELETE FROM t WHERE id = 2");
    let job = job(&db, &all("merge", ""));
    let running = job.spawn(&["run", "j", "--json"]);
    db.target.wait_for_waiter("locktype = 'transactionid'");
    other.sql("COMMIT");

    let outcome = running.wait(PATIENCE);

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [1, 0, 0],
        "{outcome}"
    );
    db.assert_same("t");
}

const NOTE: &str = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS";

/// What triggers do, and in which mode. `t` gets a changed and a new row; `u` gets nothing.
#[rstest]
#[case::changes_the_row(
    "'BEGIN NEW.v = upper(NEW.v); RETURN NEW; END'",
    "BEFORE INSERT OR UPDATE ON t FOR EACH ROW"
)]
#[case::drops_the_row("'BEGIN RETURN NULL; END'", "BEFORE INSERT ON t FOR EACH ROW")]
#[case::changes_another_table(
    "'BEGIN UPDATE public.u SET v = ''changed''; RETURN NULL; END'",
    "AFTER INSERT ON t FOR EACH ROW"
)]
#[case::of_a_statement(
    "'BEGIN UPDATE public.u SET v = ''changed''; RETURN NULL; END'",
    "AFTER INSERT ON t FOR EACH STATEMENT"
)]
fn triggers_that_change_rows_are_noticed(
    #[case] body: &str,
    #[case] when: &str,
    #[values("merge", "upsert")] mode: &str,
) {
    let db = databases("actions_triggers");
    db.both(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text);
         INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO u VALUES (1, 'a')",
    );
    db.source
        .sql("UPDATE t SET v = 'c' WHERE id = 1; INSERT INTO t VALUES (3, 'd')");
    db.target.sql(&format!(
        "{NOTE} {body}; CREATE TRIGGER note {when} EXECUTE FUNCTION note()"
    ));
    let rows = "SELECT 't', t.* FROM t UNION ALL SELECT 'u', u.* FROM u ORDER BY 1, 2";
    let before = db.target.rows(rows);

    assert_refused(
        &run(&db, &all(mode, "")),
        "data_rejected",
        &[
            "public.",
            "trigger",
            "triggers = \"skip\"",
            "verify = \"none\"",
        ],
    );
    assert_eq!(db.target.rows(rows), before);

    assert_committed(&run(&db, &all(mode, "triggers = 'skip'\n")));
    db.assert_same("t");
    db.assert_same("u");
    db.target
        .sql("UPDATE t SET v = 'old' WHERE id = 1; DELETE FROM t WHERE id = 3");
    assert_committed(&run(&db, &all(mode, "verify = 'none'\n")));
}

/// Triggers that run when constraints are checked, on a partition only, and under `triggers = "skip"`.
#[rstest]
#[case::deferred(
    "CREATE CONSTRAINT TRIGGER note AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
    ""
)]
#[case::of_a_partition(
    "CREATE TRIGGER note AFTER INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION note()",
    ""
)]
#[case::always(
    "CREATE TRIGGER note AFTER INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE t1 ENABLE ALWAYS TRIGGER note",
    "triggers = 'skip'\n"
)]
#[case::of_what_a_key_changes(
    "CREATE SCHEMA o; CREATE TABLE o.x (id int REFERENCES public.t ON DELETE CASCADE); INSERT INTO o.x VALUES (2);
     CREATE TRIGGER note AFTER DELETE ON o.x FOR EACH ROW EXECUTE FUNCTION note()",
    ""
)]
fn triggers_that_are_easily_overlooked_are_noticed(#[case] create: &str, #[case] more: &str) {
    let db = databases("actions_odd_triggers");
    db.both(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT;
         CREATE TABLE u (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO u VALUES (1, 'a')",
    );
    db.source
        .sql("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 'd')");
    db.target.sql(&format!(
        "{NOTE} 'BEGIN UPDATE public.u SET v = ''changed''; RETURN NULL; END'; {create}"
    ));
    let jobs = format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'merge'\ntables = ['public.t', 'public.u']\n\
         retry = {{ max = 0 }}\n{ANY_SIZE}{more}"
    );

    assert_refused(
        &run(&db, &jobs),
        "data_rejected",
        &["public.u", "1 different"],
    );
    assert_eq!(db.target.value("SELECT v FROM u"), "a");
}

#[test]
fn a_trigger_that_changes_nothing_of_the_job_is_no_error() {
    let db = databases("actions_audit");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.source
        .sql("UPDATE t SET v = 'c' WHERE id = 1; INSERT INTO t VALUES (3, 'd')");
    db.target.sql(
        "CREATE SCHEMA o; CREATE TABLE o.audit (id int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO o.audit VALUES (NEW.id); RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()",
    );

    assert_eq!(
        changes(&assert_committed(&run(&db, &all("merge", "")))[0]),
        [1, 1, 0]
    );

    db.assert_same("t");
    assert_eq!(db.target.count("o.audit"), 2);
}

/// An upsert that changes a referenced value changes the rows that refer to it.
#[test]
fn upserts_put_right_what_foreign_keys_change() {
    let db = databases("actions_upsert");
    db.both(TREE);
    db.target
        .sql("ALTER TABLE t DROP CONSTRAINT t_up_fkey, ADD FOREIGN KEY (up) REFERENCES t (code) ON UPDATE CASCADE");
    db.both("INSERT INTO t VALUES (1, 'A', NULL), (2, 'B', 'A'), (3, 'C', 'A')");
    db.source.sql(
        "ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET code = 'X' WHERE id = 1; INSERT INTO t VALUES (9, 'A', NULL)",
    );

    assert_committed(&run(&db, &all("upsert", "")));

    db.assert_same("t");
}

/// A type whose equality PostgreSQL can neither hash nor merge, as some extensions have.
const UNHASHED: &str = "
    CREATE TYPE version AS (v text);
    CREATE FUNCTION version_cmp(version, version) RETURNS int IMMUTABLE LANGUAGE sql AS
        'SELECT CASE WHEN upper($1.v) < upper($2.v) THEN -1 WHEN upper($1.v) > upper($2.v) THEN 1 ELSE 0 END';
    CREATE FUNCTION version_eq(version, version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT upper($1.v) = upper($2.v)';
    CREATE FUNCTION version_lt(version, version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT upper($1.v) < upper($2.v)';
    CREATE FUNCTION version_le(version, version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT upper($1.v) <= upper($2.v)';
    CREATE FUNCTION version_gt(version, version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT upper($1.v) > upper($2.v)';
    CREATE FUNCTION version_ge(version, version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT upper($1.v) >= upper($2.v)';
    CREATE OPERATOR === (LEFTARG = version, RIGHTARG = version, FUNCTION = version_eq, COMMUTATOR = ===);
    CREATE OPERATOR <<< (LEFTARG = version, RIGHTARG = version, FUNCTION = version_lt);
    CREATE OPERATOR <<= (LEFTARG = version, RIGHTARG = version, FUNCTION = version_le);
    CREATE OPERATOR >>> (LEFTARG = version, RIGHTARG = version, FUNCTION = version_gt);
    CREATE OPERATOR >>= (LEFTARG = version, RIGHTARG = version, FUNCTION = version_ge);
    CREATE OPERATOR CLASS version_ops DEFAULT FOR TYPE version USING btree AS
        OPERATOR 1 <<<, OPERATOR 2 <<=, OPERATOR 3 ===, OPERATOR 4 >>=, OPERATOR 5 >>>, FUNCTION 1 version_cmp(version, version);
    CREATE TABLE t (k version, n int, w text, PRIMARY KEY (k, n))";

#[rstest]
#[case::merge("merge", "", [1, 2, 3])]
#[case::scope("merge", "[jobs.j.table.'public.t']\nwhere = 'n >= 0'\nscope = 'where'", [1, 2, 3])]
#[case::upsert("upsert", "", [1, 2, 0])]
fn keys_whose_equality_can_neither_be_hashed_nor_merged(
    #[case] mode: &str,
    #[case] more: &str,
    #[case] expected: [u64; 3],
) {
    let db = databases("actions_unhashed");
    db.both(UNHASHED);
    db.both(
        "INSERT INTO t SELECT ROW('v' || i)::version, i % 3, 'x' FROM generate_series(1, 300) i",
    );
    db.source.sql(
        "UPDATE t SET w = 'y' WHERE (k).v = 'v7'; UPDATE t SET k = ROW('V8')::version WHERE (k).v = 'v8';
         DELETE FROM t WHERE (k).v IN ('v1', 'v2', 'v3'); INSERT INTO t VALUES (ROW('new')::version, 0, NULL)",
    );
    if mode == "upsert" {
        db.target
            .sql("DELETE FROM t WHERE (k).v IN ('v1', 'v2', 'v3')");
    }

    let outcome = run(&db, &all(mode, more));

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        expected,
        "{outcome}"
    );
    db.assert_same("t");
}

/// Ranges that trade places conflict on the way, unless the constraint waits.
#[rstest]
#[case::merge("merge", "DEFERRABLE")]
#[case::upsert("upsert", "DEFERRABLE")]
#[case::append("append", "`truncate` replaces all rows")]
fn an_exclusion_constraint_that_is_violated_says_what_to_do(
    #[case] mode: &str,
    #[case] hint: &str,
) {
    let db = databases("actions_exclusion");
    db.both("CREATE TABLE t (id int PRIMARY KEY, r int4range, CONSTRAINT apart EXCLUDE USING gist (r WITH &&))");
    db.target
        .sql("INSERT INTO t VALUES (1, '[1,5)'), (2, '[5,9)')");
    db.source.sql(match mode {
        "append" => "INSERT INTO t VALUES (3, '[2,3)')",
        _ => "INSERT INTO t VALUES (1, '[5,9)'), (2, '[1,5)')",
    });
    assert_refused(
        &run(&db, &all(mode, "")),
        "data_rejected",
        &["23P01", "apart", hint],
    );
    if mode != "append" {
        db.target.sql(
            "ALTER TABLE t DROP CONSTRAINT apart, ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&) DEFERRABLE",
        );
        assert_committed(&run(&db, &all(mode, "")));
        db.assert_same("t");
    }
}

/// A row that a foreign key deletes and `merge` inserts again would lose what only the target knows of it.
#[rstest]
#[case::cascade("ON DELETE CASCADE", "note", true)]
#[case::change_of_the_key("ON UPDATE CASCADE", "note", true)]
#[case::rows_stay("ON DELETE SET NULL", "note", false)]
#[case::nothing_is_lost("ON DELETE CASCADE", "", false)]
fn values_that_only_the_target_has_are_not_lost_with_a_cascade(
    #[case] action: &str,
    #[case] column: &str,
    #[case] is_refused: bool,
) {
    let db = databases("not_copied");
    let key = if action.starts_with("ON UPDATE") {
        "pcode"
    } else {
        "id"
    };
    db.both(&format!(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
         CREATE TABLE c (id int, pcode text REFERENCES p (code) {action}, UNIQUE ({key}));
         INSERT INTO p VALUES (1, 'A'); INSERT INTO c VALUES (1, 'A')"
    ));
    if !column.is_empty() {
        db.target
            .sql("ALTER TABLE c ADD note text DEFAULT 'default'; UPDATE c SET note = 'kept'");
    }
    let change = match action.starts_with("ON UPDATE") {
        true => "UPDATE p SET code = 'B'",
        false => "DELETE FROM p",
    };
    db.source.sql(&format!(
        "BEGIN; ALTER TABLE p DISABLE TRIGGER ALL; {change}; INSERT INTO p VALUES (2, 'A'); COMMIT"
    ));
    let table = format!("[jobs.j.table.'public.c']\nkey = ['{key}']");

    let outcome = run(&db, &all("merge", &table));

    if is_refused {
        let parts = [
            "public.c",
            "1 row that the source has",
            "not copied",
            "note",
        ];
        assert_refused(&outcome, "data_rejected", &parts);
        assert_eq!(db.target.value("SELECT string_agg(code, ' ') FROM p"), "A");
    } else {
        assert_committed(&outcome);
        db.assert_same("p");
    }
    let rows = "SELECT pcode FROM c";
    assert_eq!(db.target.value(rows), "A");
    if !column.is_empty() {
        assert_eq!(db.target.value("SELECT note FROM c"), "kept");
    }
}

#[test]
fn a_column_that_nobody_may_write_is_named_with_what_to_do() {
    let db = databases("always");
    db.both("CREATE TABLE p (id int PRIMARY KEY, code int UNIQUE); INSERT INTO p VALUES (1, 1)");
    db.target.sql(
        "CREATE TABLE outside (code int GENERATED ALWAYS AS IDENTITY REFERENCES p (code) ON UPDATE CASCADE);
         INSERT INTO outside DEFAULT VALUES",
    );
    db.source.sql("UPDATE p SET code = 5");

    let outcome = run(&db, &job_toml("merge", "public.p", ""));

    let parts = [
        "public.p",
        "428C9",
        "GENERATED ALWAYS",
        "SET GENERATED BY DEFAULT",
    ];
    assert_refused(&outcome, "schema_mismatch", &parts);
    assert_eq!(db.target.value("SELECT code FROM p"), "1");
}
