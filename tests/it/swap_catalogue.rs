//! Mode `swap` and what the catalogue knows of a table besides its columns: carried over, or refused by
//! name before a row moves.

use rstest::rstest;

use crate::support::{
    Database, Databases, Outcome, assert_committed, assert_refused, assert_same_schema, databases,
    job_between, job_toml, run, schema_of,
};

fn swap_of(tables: &str, more: &str) -> String {
    job_toml("swap", tables, more)
}

/// `plan` says so, and a run, too, before a row moves.
#[track_caller]
fn assert_refused_early(db: &Databases<'_>, target: &str, more: &str, parts: &[&str]) {
    let job = job_between(&db.source.conninfo(), target, &swap_of("public.t", more));
    let plan = job.run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(
        outcome.report()["tables"].as_array().unwrap().len(),
        0,
        "{outcome}"
    );
    for part in parts {
        assert!(
            outcome.stderr.contains(part),
            "{part:?} is missing in {outcome}"
        );
        let said = plan.stdout.contains(part) || plan.stderr.contains(part);
        assert!(said, "{part:?} is missing in {plan}");
    }
}

/// A login role of the test's own: `t` is its own, and the schema, too. Its conninfo.
fn owner_of_t(db: &Databases<'_>) -> (String, String) {
    let role = db.target.name().to_owned();
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; ALTER TABLE t OWNER TO {role}"
    ));
    let target = db.target.conninfo();
    let target = target.replace("user=postgres", &format!("user={role}"));
    (role, target)
}

fn drop_role(db: &Database<'_>, role: &str) {
    db.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}"
    ));
    db.sql(&format!("DROP ROLE {role}"));
}

fn both_with_t(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 10) i");
    db.target.sql("INSERT INTO t VALUES (1, 'old')");
    db
}

#[test]
fn a_table_that_a_subscription_fills_is_refused() {
    let db = both_with_t("subscribed");
    let (role, target) = owner_of_t(&db);
    let name = db.target.name();
    db.source.sql("CREATE PUBLICATION fill FOR TABLE t");
    db.target.sql(&format!(
        "CREATE SUBSCRIPTION sub_{name} CONNECTION '{}' PUBLICATION fill \
         WITH (create_slot = false, slot_name = NONE, enabled = false, copy_data = false)",
        db.source.conninfo()
    ));
    let more = "[daemon]\nhistory = 'off'";

    assert_refused_early(
        &db,
        &target,
        more,
        &[&format!("subscription sub_{name}"), "merge"],
    );

    assert_eq!(db.target.value("SELECT v FROM t"), "old");
    assert_eq!(
        db.target
            .count("pg_subscription_rel WHERE srrelid = 't'::regclass"),
        1
    );
    db.target.sql(&format!("DROP SUBSCRIPTION sub_{name}"));
    drop_role(&db.target, &role);
}

const STATES: &str = "SELECT tgrelid::regclass::text, CASE WHEN tgisinternal AND tgparentid = 0 THEN '' ELSE tgname END, tgenabled, \
                      tgparentid <> 0, obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE tgrelid IN ('t'::regclass, 'r'::regclass) ORDER BY 1, 2, 3";

#[test]
fn disabled_triggers_of_constraints_stay_disabled() {
    let db = both_with_t("disabled");
    db.target.sql(
        "CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 20);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER off BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_again BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         ALTER TABLE t ADD CONSTRAINT points FOREIGN KEY (id) REFERENCES r;
         ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE ALWAYS TRIGGER on_again",
    );
    let before = (schema_of(&db.target), db.target.rows(STATES));

    assert_committed(&run(&db, &swap_of("public.t", "")));

    db.assert_same("t");
    assert_same_schema(&before.0, &db.target);
    assert_eq!(before.1, db.target.rows(STATES));
}

#[rstest]
#[case::some_of_the_tables(
    "DO $$ DECLARE g name; BEGIN SELECT tgname INTO g FROM pg_trigger WHERE tgrelid = 't'::regclass LIMIT 1;
       EXECUTE format('ALTER TABLE t DISABLE TRIGGER %I', g); END $$",
    &["triggers of its constraints", "merge", "ENABLE TRIGGER ALL"]
)]
#[case::those_on_the_other_table("ALTER TABLE r DISABLE TRIGGER ALL", &["foreign key points", "public.r", "merge"])]
#[case::whole_row_check("ALTER TABLE t ADD CONSTRAINT whole CHECK (t IS NOT NULL)", &["constraint whole", "whole row", "merge"])]
#[case::whole_row_index("CREATE INDEX whole ON t ((t IS NULL))", &["index whole", "whole row", "merge"])]
#[case::whole_row_predicate("CREATE INDEX whole ON t (v) WHERE t IS NOT NULL", &["index whole", "whole row", "merge"])]
#[case::default_of_an_identity_sequence(
    "ALTER TABLE t ADD n int GENERATED ALWAYS AS IDENTITY; CREATE TABLE other (id bigint DEFAULT nextval('t_n_seq'))",
    &["column id of table public.other", "merge"]
)]
#[case::view_of_an_identity_sequence(
    "ALTER TABLE t ADD n int GENERATED ALWAYS AS IDENTITY; CREATE VIEW w AS SELECT last_value FROM t_n_seq",
    &["view public.w", "merge"]
)]
#[case::a_rule("CREATE RULE a_rule AS ON UPDATE TO t DO ALSO NOTIFY x", &["rule a_rule", "merge"])]
fn what_cannot_be_made_again_is_refused_by_name(#[case] attach: &str, #[case] parts: &[&str]) {
    let db = both_with_t("again");
    db.target.sql(
        "CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 20);
         ALTER TABLE t ADD CONSTRAINT points FOREIGN KEY (id) REFERENCES r",
    );
    db.target.sql(attach);
    let before = schema_of(&db.target);

    assert_refused_early(&db, &db.target.conninfo(), "recreate_views = true", parts);

    assert_eq!(db.target.value("SELECT v FROM t"), "old");
    assert_same_schema(&before, &db.target);
}

#[test]
fn what_depends_on_an_extension_is_refused() {
    let db = both_with_t("depends");
    db.target
        .sql("CREATE INDEX by_v ON t (v); ALTER INDEX by_v DEPENDS ON EXTENSION plpgsql");
    let target = db.target.conninfo();
    assert_refused_early(
        &db,
        &target,
        "",
        &["index public.by_v", "extension", "merge"],
    );
}

#[test]
fn a_temporary_view_of_another_session_is_refused() {
    let db = both_with_t("temporary");
    let other = db.target.connect();
    other.sql("CREATE TEMPORARY VIEW mine AS SELECT * FROM t");
    let target = db.target.conninfo();
    let more = "recreate_views = true";
    assert_refused_early(
        &db,
        &target,
        more,
        &["temporary view", "mine", "another session"],
    );
    other.sql("DROP VIEW mine");
    assert_committed(&run(&db, &swap_of("public.t", more)));
}

#[test]
fn privileges_that_the_new_table_takes_are_known_before_a_row_moves() {
    let db = both_with_t("lacking");
    let (role, target) = owner_of_t(&db);
    let off = "[daemon]\nhistory = 'off'";
    let attempt = |parts: &[&str]| assert_refused_early(&db, &target, off, parts);

    db.target.sql(
        "CREATE SCHEMA far; CREATE DOMAIN far.word AS text; ALTER TABLE t ALTER v TYPE far.word",
    );
    attempt(&["USAGE on type far.word", "column v", "merge"]);
    db.target.sql(&format!(
        "GRANT USAGE ON SCHEMA far TO {role}; REVOKE USAGE ON DOMAIN far.word FROM PUBLIC"
    ));
    attempt(&["USAGE on type far.word", "column v", "merge"]);
    db.target
        .sql(&format!("GRANT USAGE ON DOMAIN far.word TO {role}"));

    db.target.sql("CREATE FUNCTION far.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION far.f(); REVOKE EXECUTE ON FUNCTION far.f FROM PUBLIC");
    attempt(&["EXECUTE on function far.f", "trigger g", "merge"]);
    db.target
        .sql(&format!("GRANT EXECUTE ON FUNCTION far.f TO {role}"));

    db.target.sql(&format!(
        "CREATE STATISTICS far.st ON id, v FROM t; ALTER STATISTICS far.st OWNER TO {role}"
    ));
    attempt(&["CREATE on schema far", "statistics object st", "merge"]);
    db.target
        .sql(&format!("GRANT CREATE ON SCHEMA far TO {role}"));

    db.target.sql(&format!(
        "CREATE ROLE {role}_third; GRANT SELECT ON t TO {role}_third WITH GRANT OPTION;
         SET ROLE {role}_third; GRANT SELECT ON t TO PUBLIC; RESET ROLE"
    ));
    attempt(&[&format!("{role}_third has granted"), "SET ROLE", "merge"]);
    db.target.sql(&format!("GRANT {role}_third TO {role}"));

    // Nothing lacks any more.
    let before = schema_of(&db.target);
    let outcome = job_between(&db.source.conninfo(), &target, &swap_of("public.t", off))
        .run(&["run", "j", "--json"]);
    assert_committed(&outcome);
    assert_same_schema(&before, &db.target);
    drop_role(&db.target, &format!("{role}_third"));
    drop_role(&db.target, &role);
}

#[test]
fn a_superuser_swaps_whatever_the_owner_may() {
    let db = both_with_t("superuser");
    let role = db.target.name().to_owned();
    db.target.sql(&format!(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {role}; ALTER TABLE t OWNER TO {role}"
    ));
    let before = schema_of(&db.target);
    assert_committed(&run(&db, &swap_of("public.t", "")));
    db.assert_same("t");
    assert_same_schema(&before, &db.target);
    drop_role(&db.target, &role);
}

#[test]
fn the_row_types_privileges_and_comments_are_kept() {
    let db = both_with_t("row_type");
    let role = db.target.name().to_owned();
    db.target.sql(&format!(
        "CREATE ROLE {role}; REVOKE USAGE ON TYPE t FROM PUBLIC; GRANT USAGE ON TYPE t TO {role} WITH GRANT OPTION;
         COMMENT ON TYPE t IS 'a row'; COMMENT ON TYPE t[] IS 'rows';
         ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO {role}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}"
    ));
    let of_type = "SELECT typname, typacl, typowner::regrole, obj_description(oid, 'pg_type') FROM pg_type \
                   WHERE typname IN ('t', '_t') AND typnamespace = 'public'::regnamespace ORDER BY 1";
    let before = (schema_of(&db.target), db.target.rows(of_type));

    assert_committed(&run(&db, &swap_of("public.t", "")));

    assert_same_schema(&before.0, &db.target);
    assert_eq!(before.1, db.target.rows(of_type));
    drop_role(&db.target, &role);
}

#[test]
fn an_identity_sequence_keeps_its_own_type() {
    let db = both_with_t("own_type");
    db.target.sql(
        "ALTER TABLE t ADD n bigint GENERATED BY DEFAULT AS IDENTITY; ALTER SEQUENCE t_n_seq AS smallint INCREMENT 3",
    );
    let of_sequence = "SELECT seqtypid::regtype, seqmax, seqincrement FROM pg_sequence WHERE seqrelid = 't_n_seq'::regclass";
    let before = (schema_of(&db.target), db.target.rows(of_sequence));
    assert_committed(&run(&db, &swap_of("public.t", "")));
    assert_same_schema(&before.0, &db.target);
    assert_eq!(before.1, db.target.rows(of_sequence));
}

/// Shadows and staging tables of other jobs come and go, and are nobody's tables.
#[test]
fn a_wildcard_passes_over_what_other_jobs_have_not_published() {
    let db = both_with_t("passing");
    db.source.sql(
        "CREATE TABLE tableferry_shadow_00 (id int);
         COMMENT ON TABLE tableferry_shadow_00 IS 'tableferry: shadow of public.u, by run 0193b5c0-0000-7000-8000-000000000001 of job k';
         CREATE TABLE tableferry_shadow_01 (id int); COMMENT ON TABLE tableferry_shadow_01 IS 'tableferry: shadow of public.u'",
    );
    let outcome: Outcome = run(&db, &swap_of("public.*", ""));
    assert_eq!(
        assert_committed(&outcome).as_array().unwrap().len(),
        1,
        "{outcome}"
    );

    // Somebody's own table has any name, and who names a table means it.
    db.both("CREATE TABLE tableferry_notes (id int)");
    let outcome = run(&db, &swap_of("public.*", ""));
    assert_eq!(
        assert_committed(&outcome).as_array().unwrap().len(),
        2,
        "{outcome}"
    );
    let outcome = run(&db, &swap_of("public.tableferry_shadow_00", ""));
    assert_refused(&outcome, "schema_mismatch", &["tableferry_shadow_00"]);
}

#[test]
fn children_of_a_table_are_a_reason_with_a_way_out() {
    let db = both_with_t("children");
    db.both("CREATE TABLE child (PRIMARY KEY (id)) INHERITS (t)");
    db.source
        .sql("INSERT INTO child VALUES (100, 'of the child')");
    let outcome = run(&db, &swap_of("public.*", ""));
    assert_refused(
        &outcome,
        "schema_mismatch",
        &["other tables inherit from it", "name the children"],
    );

    assert_committed(&run(&db, &job_toml("merge", "public.*", "")));
    for table in ["ONLY t", "child"] {
        db.assert_same(table);
    }
}
