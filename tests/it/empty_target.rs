//! Modes `merge` and `upsert` into empty targets: they are loaded directly where that is exact.

use rstest::rstest;

use crate::support::{
    Databases, PATIENCE, all_of_public, assert_committed, changes, databases, job, only_t, run,
};

/// In these tests tables shrink.
const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

#[track_caller]
fn planned(db: &Databases<'_>, jobs: &str) -> String {
    let plan = job(db, jobs).run(&["plan", "--json"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    plan.stdout
}

/// Does a COPY of this plan write to the table itself?
fn is_loaded_directly(plan: &str, table: &str) -> bool {
    let named = format!("COPY \"public\".\"{table}\" (").replace('"', "\\\"");
    let mut copies = plan.split(&named).skip(1);
    copies.any(|copy| {
        copy.split_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" FROM STDIN"))
    })
}

/// An empty target is loaded without staging, also where tables refer to each other.
#[rstest]
#[case::merge("merge", ANY_SIZE)]
#[case::upsert("upsert", "")]
fn an_empty_target_is_loaded_directly(#[case] mode: &str, #[case] more: &str) {
    let db = databases("merge_empty");
    db.both(
        "CREATE TABLE parent (id int PRIMARY KEY, up int REFERENCES parent, v text);
         CREATE TABLE child (id uuid PRIMARY KEY, parent int NOT NULL REFERENCES parent);
         CREATE TABLE named (id text PRIMARY KEY)",
    );
    db.source.sql(
        "INSERT INTO parent SELECT i, i - 1, 'v' FROM generate_series(2, 100) i UNION ALL SELECT 1, NULL, 'v';
         INSERT INTO child SELECT gen_random_uuid(), i FROM generate_series(1, 100) i;
         INSERT INTO named VALUES ('a'), ('b')",
    );
    let jobs = all_of_public(mode, more);

    let plan = planned(&db, &jobs);
    let outcome = run(&db, &jobs);

    for (table, direct) in [("parent", true), ("child", true), ("named", false)] {
        assert_eq!(is_loaded_directly(&plan, table), direct, "{table}\n{plan}");
        db.assert_same(table);
    }
    let tables = assert_committed(&outcome).as_array().unwrap();
    let rows = tables.iter().map(|table| changes(table)[0]);
    assert_eq!(rows.sum::<u64>(), 202, "{outcome}");
    // Not empty any more.
    let again = run(&db, &jobs);
    for table in assert_committed(&again).as_array().unwrap() {
        assert_eq!(changes(table), [0, 0, 0], "{again}");
    }
}

/// What only staging finds, or what a trigger may change, is staged though the target is empty.
#[rstest]
#[case::no_key_on_the_source("ALTER TABLE t DROP CONSTRAINT t_pkey", "", "")]
#[case::deferrable(
    "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD UNIQUE (id) DEFERRABLE",
    "",
    ""
)]
#[case::of_another_type("ALTER TABLE t ALTER id TYPE smallint", "", "")]
#[case::computed("", "", "set.id = 'id + 1'")]
#[case::a_trigger(
    "",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := upper(NEW.v); RETURN NEW; END';
     CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
    ""
)]
#[case::a_table_that_has_rows(
    "",
    "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);
     ALTER TABLE t ADD CONSTRAINT other FOREIGN KEY (id) REFERENCES other DEFERRABLE",
    ""
)]
fn not_every_empty_target_is_loaded_directly(
    #[case] source: &str,
    #[case] target: &str,
    #[case] of_table: &str,
) {
    let db = databases("merge_staged");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source.sql("INSERT INTO t VALUES (1, 'a')");
    db.source.sql(source);
    db.target.sql(target);
    if target.contains("other") {
        db.source
            .sql("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)");
    }
    let jobs = match target.contains("other") {
        true => all_of_public("merge", ANY_SIZE),
        false => only_t("merge", ANY_SIZE, of_table),
    };

    let plan = planned(&db, &jobs);
    let outcome = run(&db, &jobs);

    assert!(!is_loaded_directly(&plan, "t"), "{plan}");
    assert_committed(&outcome);
    assert_eq!(db.target.count("t"), 1);
}

/// Nothing is compared after a direct load: not where triggers or foreign keys of another table of the job may change
/// the rows.
#[rstest]
#[case::a_trigger(
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE public.t SET v = 0; RETURN NULL; END';
     CREATE TRIGGER tr AFTER DELETE ON z FOR EACH STATEMENT EXECUTE FUNCTION f();",
    Some("data_rejected")
)]
#[case::a_foreign_key(
    "ALTER TABLE t ADD FOREIGN KEY (v) REFERENCES z ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED;",
    None
)]
fn a_target_that_another_table_may_change_is_not_loaded_directly(
    #[case] target: &str,
    #[case] kind: Option<&str>,
    #[values("true", "false")] atomic: &str,
) {
    let db = databases("empty_changed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE z (id int PRIMARY KEY)");
    db.source
        .sql("INSERT INTO t VALUES (1, 5), (2, 6); INSERT INTO z VALUES (5), (6)");
    db.target.sql("INSERT INTO z VALUES (5), (7)");
    db.target.sql(target);
    let more = format!("{ANY_SIZE}atomic = {atomic}\ncompare = 'full'\n");
    let before = db.target.rows("SELECT * FROM z ORDER BY 1");

    let outcome = run(&db, &all_of_public("merge", &more));

    match kind {
        None => {
            assert_committed(&outcome);
            db.assert_same("t");
            db.assert_same("z");
        }
        Some(kind) => {
            assert_eq!(outcome.code, Some(1), "{outcome}");
            assert_eq!(outcome.report()["error"]["kind"], kind, "{outcome}");
            match atomic {
                "true" => assert!(db.target.rows("SELECT * FROM t").is_empty(), "{outcome}"),
                _ => db.assert_same("t"),
            }
            assert_eq!(db.target.rows("SELECT * FROM z ORDER BY 1"), before);
        }
    }
}

/// Another session fills the table between the plan and the lock.
#[test]
fn a_target_that_is_no_longer_empty_is_planned_again() {
    let db = databases("merge_filled");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 100) i");
    let other = db.target.connect();
    other.sql("BEGIN; INSERT INTO t VALUES (7, 'old'), (200, 'old')");
    // The run waits for this lock after it has planned.
    other.sql("LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE");
    let jobs = all_of_public("merge", ANY_SIZE).replace(
        "retry = { max = 0 }",
        "retry = { max = 1, backoff = '10ms' }",
    );
    let job = job(&db, &jobs);
    let running = job.spawn(&["run", "j", "--json"]);
    db.target.wait_for_waiter("relation = 't'::regclass");

    other.sql("COMMIT");

    let outcome = running.wait(PATIENCE);
    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [99, 1, 1], "{outcome}");
    assert_eq!(outcome.report()["attempts"], 2, "{outcome}");
    db.assert_same("t");
}
