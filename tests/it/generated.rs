//! Columns that the target generates: what the source holds there is never dropped unseen.

use rstest::rstest;

use crate::support::{
    all_of_public, assert_committed, assert_refused, databases, job, job_toml, only_t, run,
};

const GENERATED: &str =
    "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED)";

#[rstest]
#[case::plain(
    "CREATE TABLE t (id int PRIMARY KEY, a int, g int)",
    "INSERT INTO t VALUES (1, 1, 7)",
    "values of its own"
)]
#[case::otherwise(
    "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 3) STORED)",
    "INSERT INTO t (id, a) VALUES (1, 1)",
    "by (a * 3) on the source"
)]
fn a_column_that_only_the_target_computes_is_refused_or_left_out(
    #[case] create: &str,
    #[case] rows: &str,
    #[case] reason: &str,
    #[values("append", "truncate", "swap", "merge", "upsert")] mode: &str,
) {
    let db = databases("generated");
    db.source.sql(create);
    db.source.sql(rows);
    db.target.sql(GENERATED);

    let outcome = run(&db, &all_of_public(mode, ""));
    let parts = [
        "public.t",
        "column g",
        "(a * 2)",
        reason,
        "columns = [\"id\", \"a\"]",
    ];
    assert_refused(&outcome, "schema_mismatch", &parts);
    assert_eq!(db.target.count("t"), 0);

    assert_committed(&run(&db, &only_t(mode, "", "columns = ['id', 'a']")));
    assert_eq!(db.target.value("SELECT t::text FROM t"), "(1,1,2)");
}

#[test]
fn a_query_that_gives_a_generated_column_is_refused() {
    let db = databases("generated_query");
    db.source.sql("CREATE TABLE s (id int, a int)");
    db.target.sql(GENERATED);
    let jobs = |columns: &str| {
        job_toml(
            "append",
            "",
            &format!("[jobs.j.table.'public.t']\nquery = 'SELECT {columns} FROM public.s'"),
        )
    };
    let outcome = run(&db, &jobs("id, a, 7 AS g"));
    assert_refused(
        &outcome,
        "schema_mismatch",
        &["column g", "leave it out of the query"],
    );
    assert_committed(&run(&db, &jobs("id, a")));
}

/// The same expression over functions that differ.
#[test]
fn what_both_sides_compute_is_compared() {
    let db = databases("generated_both");
    let create = |factor: u32| {
        format!(
            "CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * {factor}';
             CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (f(a)) STORED)"
        )
    };
    db.source.sql(&create(2));
    db.target.sql(&create(3));
    db.source.sql("INSERT INTO t (id, a) VALUES (1, 1), (2, 0)");

    let outcome = run(&db, &all_of_public("truncate", "verify = 'checksum'"));
    assert_refused(&outcome, "data_rejected", &["public.t", "checksums differ"]);

    assert_committed(&run(&db, &all_of_public("truncate", "")));
    let verify = job(&db, &all_of_public("truncate", "")).run(&["verify", "j", "--json"]);
    assert_eq!(verify.code, Some(1), "{verify}");
    assert_eq!(verify.report()["different"], 1, "{verify}");

    // With the same function there is no difference, in any mode.
    db.target.sql("TRUNCATE t; CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'");
    for mode in ["truncate", "swap", "merge"] {
        assert_committed(&run(&db, &all_of_public(mode, "verify = 'checksum'")));
        db.assert_same("t");
    }
}

/// A column that `set` changes gives a generated one another value, which is no difference.
#[test]
fn what_is_computed_of_other_values_is_not_compared() {
    let db = databases("generated_set");
    db.both(GENERATED);
    db.source.sql("INSERT INTO t (id, a) VALUES (1, 1)");
    let jobs = only_t("truncate", "verify = 'checksum'\n", "set.a = 'a + 10'");
    assert_committed(&run(&db, &jobs));
    assert_eq!(db.target.value("SELECT t::text FROM t"), "(1,11,22)");
    let verify = job(&db, &jobs).run(&["verify", "j"]);
    assert_eq!(verify.code, Some(0), "{verify}");
}
