//! Mode `swap` of single partitions: triggers, indexes and keys that a partition has of its parent.

use rstest::rstest;

use crate::support::{
    Databases, assert_committed, assert_refused, assert_same_schema, databases, job, job_toml,
    only_t, run, schema_of,
};

const TRIGGERS: &str = "SELECT tgrelid::regclass::text, tgname, tgenabled, tgparentid <> 0, obj_description(oid, 'pg_trigger') \
                        FROM pg_trigger WHERE tgname NOT LIKE 'RI%' ORDER BY 1, 2";

fn swap_of_p1(db: &Databases<'_>, more: &str) -> crate::support::Outcome {
    run(db, &job_toml("swap", "public.p1", more))
}

/// A partitioned table with row triggers, of which the partition `p1` has copies in all states.
fn with_triggers(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.source
        .sql("CREATE TABLE p1 (k int NOT NULL, v text, seen text); INSERT INTO p1 VALUES (1, 'a', ''), (1, 'b', '')");
    db.target.sql(
        "CREATE TABLE p (k int NOT NULL, v text, seen text) PARTITION BY LIST (k);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
         CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.seen := NEW.seen || TG_NAME; RETURN NEW; END';
         CREATE TRIGGER a BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION mark();
         CREATE TRIGGER b BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION mark();
         CREATE TRIGGER c BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION mark();
         CREATE TRIGGER d BEFORE INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION mark();
         ALTER TABLE p1 DISABLE TRIGGER b; ALTER TABLE p1 ENABLE ALWAYS TRIGGER c;
         COMMENT ON TRIGGER a ON p1 IS 'of the partition';
         INSERT INTO p VALUES (1, 'old', ''), (2, 'other', '')",
    );
    db
}

#[rstest]
#[case::fire("triggers = 'fire'", "acd")]
#[case::skip("triggers = 'skip'", "c")]
fn the_parents_row_triggers_fire_and_keep_their_states(#[case] more: &str, #[case] seen: &str) {
    let db = with_triggers("parents_triggers");
    let before = (schema_of(&db.target), db.target.rows(TRIGGERS));

    assert_committed(&swap_of_p1(&db, more));

    assert_eq!(
        db.target
            .value("SELECT string_agg(v || seen, ' ' ORDER BY v) FROM p1"),
        format!("a{seen} b{seen}")
    );
    assert_same_schema(&before.0, &db.target);
    assert_eq!(before.1, db.target.rows(TRIGGERS));
    db.target.sql("INSERT INTO p VALUES (1, 'z', '')");
    assert_eq!(db.target.value("SELECT seen FROM p WHERE v = 'z'"), "acd");
}

#[test]
fn of_like_indexes_the_same_one_stays_attached_to_the_parents() {
    let db = databases("like_indexes");
    db.source
        .sql("CREATE TABLE p1 (k int NOT NULL, v text); INSERT INTO p1 VALUES (1, 'a')");
    db.target.sql(
        "CREATE TABLE p (k int NOT NULL, v text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE INDEX of_p ON p (v); CREATE INDEX another ON p1 (v) WITH (fillfactor = 70); CREATE UNIQUE INDEX one ON p1 (k, v);
         ALTER TABLE p ADD CONSTRAINT pk PRIMARY KEY (k, v)",
    );
    let attached =
        "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits ORDER BY 1, 2";
    let before = (schema_of(&db.target), db.target.rows(attached));
    for more in ["", "workers = 3"] {
        assert_committed(&swap_of_p1(&db, more));
        assert_same_schema(&before.0, &db.target);
        assert_eq!(before.1, db.target.rows(attached), "{more}");
    }
}

#[test]
fn a_partition_whose_parent_is_referenced_is_refused_with_a_way_out_that_works() {
    let db = databases("parent_referenced");
    db.source
        .sql("CREATE TABLE p1 (k int PRIMARY KEY, v text); INSERT INTO p1 VALUES (1, 'a')");
    db.target.sql(
        "CREATE TABLE p (k int PRIMARY KEY, v text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         INSERT INTO p VALUES (1, 'old'); CREATE TABLE c (k int CONSTRAINT to_p REFERENCES p); INSERT INTO c VALUES (1)",
    );
    let outcome = swap_of_p1(&db, "");
    assert_refused(
        &outcome,
        "schema_mismatch",
        &["public.c", "public.p,", "merge"],
    );
    assert!(!outcome.stderr.contains("in the same job"), "{outcome}");
    assert_committed(&run(&db, &job_toml("merge", "public.p1", "")));
    db.assert_same("p1");
    assert_eq!(db.target.count("c"), 1);
}

/// `plan` names the DEFAULT partition that is read under the lock, and what spares that.
#[test]
fn a_default_partition_is_not_read_where_a_constraint_excludes_the_rows() {
    let db = databases("default_beside");
    db.source
        .sql("CREATE TABLE p1 (k int NOT NULL, v text); INSERT INTO p1 VALUES (1, 'a')");
    db.target.sql(
        "CREATE TABLE p (k int NOT NULL, v text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE rest PARTITION OF p DEFAULT; INSERT INTO p VALUES (7, 'kept')",
    );
    let plan = || job(&db, &job_toml("swap", "public.p1", "")).run(&["plan", "j"]);
    let warned = plan();
    let all = format!("{}{}", warned.stdout, warned.stderr);
    let at = all
        .find("ALTER TABLE \"public\".\"rest\" ADD CHECK")
        .unwrap_or_else(|| panic!("{warned}"));
    let end = all[at..].find('\n').map_or(all.len(), |end| at + end);
    assert_committed(&swap_of_p1(&db, ""));

    // What the warning proposes is what PostgreSQL takes for a proof.
    db.target.sql(&all[at..end]);
    let quiet = plan();
    assert!(
        !quiet.stdout.contains("reads the DEFAULT partition"),
        "{quiet}"
    );
    assert_committed(&swap_of_p1(&db, ""));
    db.assert_same("p1");
    assert_eq!(db.target.count("p"), 2);
}

/// PostgreSQL names the constraint for each partition after the table that the key is added to.
#[test]
fn a_foreign_key_to_a_partitioned_table_keeps_the_names_of_all_its_constraints() {
    let db = databases("swap_key_names");
    db.both(
        "CREATE TABLE up (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE up_1 PARTITION OF up FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
         CREATE TABLE up_1a PARTITION OF up_1 DEFAULT; CREATE TABLE up_2 PARTITION OF up DEFAULT;
         INSERT INTO up SELECT generate_series(1, 200);
         CREATE TABLE t (id int PRIMARY KEY, up int CONSTRAINT t_to_up REFERENCES up ON DELETE SET NULL);
         INSERT INTO t SELECT i, i FROM generate_series(1, 200) i",
    );
    db.source.sql("DELETE FROM t WHERE id % 2 = 0");
    let names = "SELECT conname, confrelid::regclass FROM pg_constraint WHERE conrelid = 't'::regclass ORDER BY 1, 2";
    let before = db.target.rows(names);
    assert!(before.len() > 3, "{before:?}");

    assert_committed(&run(&db, &only_t("swap", "", "")));

    assert_eq!(db.target.rows(names), before);
    db.assert_same("t");
    // The keys act.
    db.target.sql("DELETE FROM up WHERE id = 7");
    assert_eq!(db.target.count("t WHERE id = 7 AND up IS NULL"), 1);
}
