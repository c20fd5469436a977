//! `target_names`: what `tables` matches is written to tables of other names.

use rstest::rstest;

use crate::support::{Databases, assert_committed, assert_refused, databases, job, job_toml, run};

/// A parent and a child by foreign key, whose order of names is not that of loading, and a partitioned table.
const TABLES: &str = "CREATE SCHEMA sales; \
     CREATE TABLE sales.z_parent (id int PRIMARY KEY, v text); \
     CREATE TABLE a_child (id int PRIMARY KEY, up int REFERENCES sales.z_parent); \
     CREATE TABLE \"Days\" (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
     CREATE TABLE days_1 PARTITION OF \"Days\" DEFAULT; \
     INSERT INTO sales.z_parent SELECT i, 'v' FROM generate_series(1, 50) i; \
     INSERT INTO a_child SELECT i, i FROM generate_series(1, 50) i; \
     INSERT INTO \"Days\" SELECT i, date '2026-01-01' + i FROM generate_series(1, 50) i;";

const NAMED: &str = "CREATE SCHEMA mirror; \
     CREATE TABLE mirror.sales_z_parent (id int PRIMARY KEY, v text); \
     CREATE TABLE mirror.public_a_child (id int PRIMARY KEY, up int REFERENCES mirror.sales_z_parent); \
     CREATE TABLE mirror.\"public_Days\" (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
     CREATE TABLE mirror.d1 PARTITION OF mirror.\"public_Days\" DEFAULT;";

fn toml(mode: &str, more: &str) -> String {
    let names = "target_names = 'mirror.{schema}_{table}'\ntables = ['sales.*', 'public.*']\n";
    job_toml(mode, "", &format!("{names}{more}"))
}

#[track_caller]
fn assert_equal(db: &Databases<'_>, source: &str, target: &str) {
    let rows = |of: &str| format!("SELECT t::text FROM {of} t ORDER BY 1");
    assert_eq!(
        db.source.rows(&rows(source)),
        db.target.rows(&rows(target)),
        "{target}"
    );
}

#[rstest]
#[case("truncate", "")]
#[case("swap", "exclude = ['public.\"Days\"']\n")]
#[case("merge", "guard = { max_shrink = '100%', allow_empty = true }\n")]
fn every_row_arrives_under_the_other_name(#[case] mode: &str, #[case] more: &str) {
    let db = databases("target_names");
    db.source.sql(TABLES);
    db.target.sql(NAMED);
    let job = job(&db, &toml(mode, more));
    for change in [
        "",
        "DELETE FROM a_child WHERE id > 40; DELETE FROM sales.z_parent WHERE id > 40",
    ] {
        db.source.sql(change);

        let outcome = job.run(&["run", "j", "--json"]);

        let tables = assert_committed(&outcome).as_array().unwrap();
        let named = tables
            .iter()
            .map(|table| (table["source"].as_str(), table["target"].as_str()));
        let named: Vec<_> = named.collect();
        let parent = (Some("sales.z_parent"), Some("mirror.sales_z_parent"));
        let child = (Some("public.a_child"), Some("mirror.public_a_child"));
        let at = |pair| named.iter().position(|named| *named == pair);
        assert!(at(parent) < at(child) && at(parent).is_some(), "{outcome}");
        assert_equal(&db, "sales.z_parent", "mirror.sales_z_parent");
        assert_equal(&db, "a_child", "mirror.public_a_child");
        if mode != "swap" {
            assert_equal(&db, "\"Days\"", "mirror.\"public_Days\"");
        }
    }
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
}

/// A table with a section of its own keeps the section's name.
#[test]
fn a_section_keeps_its_name() {
    let db = databases("target_names_own");
    db.source.sql(TABLES);
    db.target.sql(NAMED);
    db.target
        .sql("CREATE TABLE a_child (id int PRIMARY KEY, up int)");

    let outcome = run(
        &db,
        &toml(
            "append",
            "[jobs.j.table.'public.a_child']\nwhere = 'id > 10'\n",
        ),
    );

    assert_committed(&outcome);
    assert_eq!(
        (
            db.target.count("a_child"),
            db.target.count("mirror.public_a_child")
        ),
        (40, 0)
    );
    assert_equal(&db, "sales.z_parent", "mirror.sales_z_parent");
}

#[test]
fn two_tables_of_one_name_and_long_names_are_refused_before_a_row_moves() {
    let db = databases("target_names_refused");
    let long = "x".repeat(61);
    db.source.sql(&format!(
        "CREATE SCHEMA s; CREATE TABLE t (id int); CREATE TABLE s.t (id int); CREATE TABLE {long} (id int); \
         INSERT INTO t VALUES (1)"
    ));
    db.target
        .sql("CREATE TABLE t (id int); CREATE TABLE m_t (id int)");
    let of = |names: &str, tables: &str| {
        job_toml(
            "append",
            "",
            &format!("target_names = '{names}'\ntables = {tables}\n"),
        )
    };

    let refused = run(&db, &of("public.{table}", "['*.t']"));
    assert_refused(
        &refused,
        "schema_mismatch",
        &["public.t and s.t would both be copied to public.t"],
    );
    let refused = run(&db, &of("mi_{table}", "['public.*']"));
    assert_refused(
        &refused,
        "schema_mismatch",
        &["63 bytes", &format!("public.{long}")],
    );
    assert_eq!(db.target.count("t"), 0);
    assert_committed(&run(&db, &of("m_{table}", "['public.t']")));
    assert_eq!((db.target.count("t"), db.target.count("m_t")), (0, 1));
    let refused = job(&db, &of("m_{name}", "['public.t']")).run(&["check"]);
    assert_eq!(refused.code, Some(78), "{refused}");
    let known = "unknown placeholder {name}; known are {schema} and {table}";
    assert!(refused.stderr.contains(known), "{refused}");
}
