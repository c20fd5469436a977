//! Plain inheritance: no row is left behind in a child, and none is shown twice.

use rstest::rstest;

use crate::support::looking::look;
use crate::support::{
    Databases, assert_committed, assert_refused, databases, job, job_between, job_toml, run,
};

/// Measurements that a trigger routes into a child a month, one of which has a child of its own.
const ROUTED: &str = "
    CREATE SCHEMA parts;
    CREATE TABLE measurement (id int, at date NOT NULL, v text);
    CREATE TABLE parts.m01 (CHECK (at >= '2026-01-01' AND at < '2026-02-01')) INHERITS (measurement);
    CREATE TABLE parts.m02 (CHECK (at >= '2026-02-01' AND at < '2026-03-01')) INHERITS (measurement);
    CREATE TABLE parts.m02_late () INHERITS (parts.m02);
    CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.at >= '2026-02-20' THEN INSERT INTO parts.m02_late VALUES (NEW.*);
        ELSIF NEW.at >= '2026-02-01' THEN INSERT INTO parts.m02 VALUES (NEW.*);
        ELSE INSERT INTO parts.m01 VALUES (NEW.*); END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER route BEFORE INSERT ON measurement FOR EACH ROW EXECUTE FUNCTION route()";

const MEASURE: &str = "INSERT INTO measurement SELECT i, date '2026-01-01' + i % 59, 'v' FROM generate_series(1, 500) i";

fn measurements(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.source.sql(ROUTED);
    db.source.sql(MEASURE);
    db
}

fn whole_tree(mode: &str, more: &str) -> String {
    job_toml(
        mode,
        "",
        &format!("{more}\n[jobs.j.table.'public.measurement']\nchildren = true"),
    )
}

#[rstest]
fn rows_in_children_that_the_job_does_not_copy_are_refused(
    #[values("append", "truncate", "merge", "upsert", "swap")] mode: &str,
    #[values("public.measurement", "public.*")] tables: &str,
) {
    let db = measurements("inherit_source");
    db.target
        .sql("CREATE TABLE measurement (id int PRIMARY KEY, at date, v text)");
    let jobs = job_toml(mode, tables, "");

    let outcome = run(&db, &jobs);

    assert_refused(
        &outcome,
        "schema_mismatch",
        &[
            "public.measurement",
            "parts.m01",
            "parts.m02_late",
            "children = true",
            "name the children",
        ],
    );
    for command in ["plan", "verify"] {
        assert_eq!(job(&db, &jobs).run(&[command, "j"]).code, Some(1));
    }
}

#[rstest]
fn a_whole_tree_is_read_into_one_table(
    #[values("append", "truncate", "merge", "upsert", "swap")] mode: &str,
    #[values(1, 3)] workers: u32,
) {
    let db = measurements("inherit_tree");
    db.target
        .sql("CREATE TABLE measurement (id int PRIMARY KEY, at date, v text)");
    let jobs = whole_tree(mode, &format!("workers = {workers}"));

    let tables = assert_committed(&run(&db, &jobs))[0].clone();
    assert_eq!(tables["rows_read"], 500);
    db.assert_same("measurement");
    let verified = || job(&db, &jobs).run(&["verify", "j", "--json"]);
    assert_eq!(verified().code, Some(0));

    db.source
        .sql("UPDATE parts.m02_late SET v = 'w' WHERE id % 2 = 0");
    assert_eq!(verified().code, Some(1));
    if mode != "append" {
        assert_committed(&run(&db, &jobs));
        db.assert_same("measurement");
    }
    let looked = look(&db, &jobs).unwrap();
    // Blocks are those of the parent alone.
    assert_eq!(looked.inspected[0].source.as_ref().unwrap().blocks, None);
}

#[test]
fn checksums_where_and_set_see_the_whole_tree() {
    let db = measurements("inherit_sums");
    db.target
        .sql("CREATE TABLE measurement (id int PRIMARY KEY, at date, v text)");
    let jobs = whole_tree("truncate", "verify = 'checksum'");
    let jobs = format!("{jobs}\nwhere = \"at >= '2026-02-15'\"\nset.v = 'pg_catalog.upper(v)'");

    assert_committed(&run(&db, &jobs));

    let expected = db
        .source
        .value("SELECT count(*) FROM measurement WHERE at >= '2026-02-15'");
    let here = "SELECT count(*) FROM measurement WHERE at >= '2026-02-15' AND v = 'V'";
    assert_eq!(db.target.value(here), expected);
}

#[rstest]
#[case("append")]
#[case("upsert")]
fn a_watermark_sees_the_whole_tree(#[case] mode: &str) {
    let db = measurements("inherit_watermark");
    db.target
        .sql("CREATE TABLE measurement (id int PRIMARY KEY, at date, v text)");
    let jobs = format!("{}\nwatermark = 'at'", whole_tree(mode, ""));
    let late = db.source.connect();
    late.sql("BEGIN; INSERT INTO parts.m01 VALUES (1001, '2026-01-02', 'late')");
    assert_committed(&run(&db, &jobs));
    late.sql("COMMIT");
    db.source
        .sql("INSERT INTO measurement VALUES (1002, '2026-02-28', 'new')");

    assert_committed(&run(&db, &jobs));

    db.assert_same("measurement");
}

#[test]
fn a_tree_is_copied_table_by_table_when_all_of_it_is_named() {
    let db = measurements("inherit_named");
    db.target.sql(ROUTED);
    db.target
        .sql("INSERT INTO measurement VALUES (9999, '2026-01-01', 'old')");
    let jobs = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
                tables = ['public.*', 'parts.*']\nretry = { max = 0 }";

    assert_committed(&run(&db, jobs));

    db.assert_same("measurement");
    db.assert_same("ONLY parts.m02");
}

#[rstest]
fn children_of_the_target_that_the_job_does_not_write_are_refused(
    #[values("append", "truncate", "merge", "upsert", "swap")] mode: &str,
    #[values("", "children = true")] children: &str,
) {
    let db = databases("inherit_target");
    db.both("CREATE TABLE m (id int PRIMARY KEY)");
    db.target
        .sql("CREATE TABLE m1 () INHERITS (m); INSERT INTO m1 SELECT generate_series(1, 50)");
    db.source.sql("INSERT INTO m SELECT generate_series(1, 10)");
    let jobs = job_toml(mode, "", &format!("[jobs.j.table.'public.m']\n{children}"));

    assert_refused(
        &run(&db, &jobs),
        "schema_mismatch",
        &["public.m", "inherit"],
    );

    assert_eq!(db.target.count("m"), 50);
    assert_eq!(job(&db, &jobs).run(&["verify", "j"]).code, Some(1));
}

#[rstest]
fn a_partition_beside_a_table_above_it_is_refused(
    #[values("append", "truncate", "merge", "upsert", "swap")] mode: &str,
    #[values("'public.m'", "'public.m*'", "'public.m1'")] above: &str,
) {
    let db = databases("partition_beside");
    db.both(
        "CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
         CREATE TABLE m1a PARTITION OF m1 DEFAULT",
    );
    db.target.sql("INSERT INTO m SELECT generate_series(1, 50)");
    db.source.sql("INSERT INTO m SELECT generate_series(1, 10)");
    let jobs = job_toml(mode, "", &format!("tables = [{above}, 'public.m1a']"));

    assert_refused(
        &run(&db, &jobs),
        "schema_mismatch",
        &["public.m1a", "is a partition of public.m", "not both"],
    );

    assert_eq!(db.target.count("m"), 50);
    assert_eq!(job(&db, &jobs).run(&["verify", "j"]).code, Some(1));
}

#[test]
fn a_role_that_may_read_the_parent_reads_its_children_through_it() {
    let db = measurements("inherit_role");
    db.target
        .sql("CREATE TABLE measurement (id int, at date, v text)");
    let role = db.source.name();
    db.source.sql(&format!(
        "CREATE ROLE \"{role}\" LOGIN; GRANT SELECT ON measurement TO \"{role}\""
    ));
    let source = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let outcome = job_between(&source, &db.target.conninfo(), &whole_tree("truncate", ""))
        .run(&["run", "j", "--json"]);
    db.source
        .sql(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
    assert_committed(&outcome);
    db.assert_same("measurement");
}

#[test]
fn a_truncate_of_a_child_waits_for_the_run() {
    let db = measurements("inherit_lock");
    db.target
        .sql("CREATE TABLE measurement (id int, at date, v text)");
    // The run waits for its lock on the child, and then reads what is left there.
    let other = db.source.connect();
    other.sql("BEGIN; LOCK TABLE parts.m02_late IN ACCESS EXCLUSIVE MODE");
    let jobs = whole_tree("truncate", "");
    let configured = job(&db, &jobs);
    let running = configured.spawn(&["run", "j", "--json"]);
    db.source
        .wait_for_waiter("relation = 'parts.m02_late'::regclass");
    other.sql("TRUNCATE parts.m02_late; COMMIT");

    assert_committed(&running.wait(crate::support::PATIENCE));
    db.assert_same("measurement");
}

#[test]
fn only_the_rows_of_a_foreign_parent_itself_are_read() {
    let db = databases("inherit_foreign");
    db.source.sql(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE TABLE far (id int); INSERT INTO far VALUES (1);
         CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname '{}');
         CREATE USER MAPPING FOR postgres SERVER here OPTIONS (user 'postgres');
         CREATE FOREIGN TABLE f (id int) SERVER here OPTIONS (table_name 'far');
         CREATE TABLE f1 () INHERITS (f); INSERT INTO f1 VALUES (2)",
        db.source.cluster.port(),
        db.source.name()
    ));
    db.target
        .sql("CREATE TABLE f (id int); CREATE TABLE f1 (id int)");
    assert_refused(
        &run(&db, &job_toml("truncate", "public.f", "")),
        "schema_mismatch",
        &["public.f1"],
    );
    let both = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\n\
                tables = ['public.f', 'public.f1']";
    assert_committed(&run(&db, both));
    assert_eq!(
        db.target.value("SELECT string_agg(id::text, ',') FROM f"),
        "1"
    );
    assert_eq!(
        db.target.value("SELECT string_agg(id::text, ',') FROM f1"),
        "2"
    );
}
