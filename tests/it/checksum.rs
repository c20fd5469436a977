//! `verify = "checksum"`: what the target holds just before COMMIT is what the source's snapshot holds.

use rstest::rstest;

use crate::support::{
    Cluster, Databases, all_of_public, assert_committed, assert_refused, databases, job, run,
};

fn jobs(mode: &str, more: &str) -> String {
    all_of_public(mode, &format!("verify = 'checksum'\n{more}"))
}

/// A trigger that turns `was` into `becomes` on its way into column `v` of the target.
fn changing(db: &Databases<'_>, was: &str, becomes: &str) {
    db.target.sql(&format!(
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.v IS NOT DISTINCT FROM {was} THEN NEW.v := {becomes}; END IF; RETURN NEW; END $$;
         CREATE TRIGGER change BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change()"
    ));
}

#[rstest]
#[case("NULL", "''")]
#[case("'a'", "'b'")]
#[case("'x, y'", "'x'")]
fn a_value_that_a_trigger_changes_is_caught_and_rolled_back(
    #[case] was: &str,
    #[case] becomes: &str,
) {
    let db = databases("changed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t VALUES (1, NULL), (2, 'a'), (3, 'x, y'), (4, '')");
    db.target.sql("INSERT INTO t VALUES (9, 'old')");
    changing(&db, was, becomes);

    let outcome = run(&db, &jobs("truncate", "guard = { max_shrink = '100%' }"));

    let error = assert_refused(
        &outcome,
        "data_rejected",
        &[
            "public.t",
            "checksums differ",
            "4 rows",
            "tableferry verify j",
        ],
    );
    assert_eq!(error["relation"], "public.t", "{outcome}");
    assert_eq!(error["phase"], "gate", "{outcome}");
    assert_eq!(db.target.value("SELECT v FROM t"), "old");

    assert_committed(&run(
        &db,
        &jobs(
            "truncate",
            "triggers = 'skip'\nguard = { max_shrink = '100%' }",
        ),
    ));
    db.assert_same("t");
}

#[test]
fn a_deferred_trigger_that_changes_a_row_at_the_end_is_caught() {
    let db = databases("deferred_change");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source.sql("INSERT INTO t VALUES (1, 'a')");
    db.target.sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN UPDATE public.t SET v = 'late'; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION late()",
    );

    assert_refused(
        &run(&db, &jobs("truncate", "")),
        "data_rejected",
        &["checksums differ"],
    );
    assert_eq!(db.target.count("t"), 0);
}

/// Pairs of types that hold the same value in different spellings, or in the same one.
#[test]
fn values_that_are_spelled_differently_are_equal() {
    let db = databases("spelled");
    let columns = [
        ("i", "int", "bigint", "7"),
        ("n", "numeric(10,2)", "numeric(12,4)", "1.50"),
        ("m", "int", "numeric(12,2)", "3"),
        ("f", "float4", "float8", "16777216"),
        ("g", "float8", "numeric", "1e20"),
        ("b", "char(3)", "char(5)", "'a'"),
        ("c", "char(3)", "text", "'a'"),
        ("d", "char(9)", "varchar(5)", "'a'"),
        (
            "u",
            "text",
            "uuid",
            "'{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'",
        ),
        (
            "v",
            "uuid",
            "char(40)",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        ),
        ("j", "text", "jsonb", "'{\"b\": 1, \"a\":2}'"),
        ("k", "jsonb", "text", "'{\"b\": 1}'"),
        ("e", "cidr", "inet", "'10.0.0.1'"),
        ("r", "int4range", "int8range", "'[1,5)'"),
        ("a", "int[]", "bigint[]", "'{1,NULL,3}'"),
        ("o", "regclass", "regclass", "'pg_catalog.pg_class'"),
        (
            "t",
            "timestamptz",
            "timestamptz",
            "'2026-01-01 00:00:00+05'",
        ),
        ("y", "bytea", "bytea", "'\\x00ff'"),
        ("z", "bool", "bool", "true"),
    ];
    let list = |pick: fn(&(&str, &str, &str, &str)) -> String| {
        columns.iter().map(pick).collect::<Vec<_>>().join(", ")
    };
    db.source.sql(&format!(
        "CREATE TABLE t ({})",
        list(|c| format!("{} {}", c.0, c.1))
    ));
    db.target.sql(&format!(
        "CREATE TABLE t ({})",
        list(|c| format!("{} {}", c.0, c.2))
    ));
    db.source.sql(&format!(
        "INSERT INTO t VALUES ({}); INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES",
        list(|c| c.3.to_owned())
    ));

    assert_committed(&run(&db, &jobs("truncate", "")));

    assert_eq!(db.target.count("t"), 3);
}

#[test]
fn queries_filters_expressions_and_odd_names_are_compared() {
    let db = databases("chosen");
    db.source.sql(
        "CREATE TABLE people (id int, name text, gone bool);
         INSERT INTO people VALUES (1, 'Ann', false), (2, 'Bob', true), (3, NULL, false)",
    );
    db.target.sql(
        "CREATE TABLE \"A \"\"b\" (\"I d\" int, name text, more text DEFAULT 'only here');
         CREATE TABLE totals (gone bool, n bigint)",
    );

    let outcome = run(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\nverify = 'checksum'\n\
         [jobs.j.table.'public.\"A \"\"b\"']\nsource = 'public.people'\nwhere = 'NOT gone -- yet'\n\
         set.'\"I d\"' = 'id'\nset.name = 'upper(name) -- loud'\n\
         [jobs.j.table.'public.totals']\n\
         query = 'SELECT gone, count(*) AS n FROM public.people GROUP BY 1 -- all'\n",
    );

    assert_committed(&outcome);
    assert_eq!(db.target.count("\"A \"\"b\""), 2);
}

#[test]
fn tables_without_columns_or_rows_are_compared() {
    let db = databases("empty");
    db.both("CREATE TABLE t (); CREATE TABLE u (a int)");
    db.source.sql("INSERT INTO t DEFAULT VALUES");
    assert_committed(&run(&db, &jobs("truncate", "")));
    assert_eq!(db.target.count("t"), 1);
}

#[rstest]
#[case("append", "CREATE TABLE t (v text)", "CREATE TABLE t (v text)", "", "config", &["append", "tableferry verify"])]
#[case("truncate", "CREATE TABLE t (v numeric)", "CREATE TABLE t (v numeric(10,2))",
       "[jobs.j.table.'public.t']\nlossy = true", "schema_mismatch", &["public.t", "v: numeric", "rounded"])]
#[case("truncate", "CREATE TABLE t (v xml)", "CREATE TABLE t (v text)", "", "schema_mismatch",
       &["v: xml", "XML declaration", "verify = \"count\""])]
fn what_cannot_be_compared_is_refused_before_a_row_moves(
    #[case] mode: &str,
    #[case] source: &str,
    #[case] target: &str,
    #[case] more: &str,
    #[case] kind: &str,
    #[case] parts: &[&str],
) {
    let db = databases("refused");
    db.source.sql(source);
    db.target.sql(target);
    assert_refused(&run(&db, &jobs(mode, more)), kind, parts);
}

#[test]
fn databases_in_other_encodings_are_compared() {
    let db = databases("encodings");
    let latin = |name: &str, cluster: &'static Cluster| {
        let name = format!("{name}_latin1");
        cluster.administrator().sql(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ));
        name
    };
    let name = latin(db.source.name(), db.source.cluster);
    let source = db.source.cluster.connect(&name);
    source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'größe'), (2, NULL)",
    );
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let conninfo = db.source.cluster.conninfo(&name);
    let job = crate::support::job_between(&conninfo, &db.target.conninfo(), &jobs("truncate", ""));

    assert_committed(&job.run(&["run", "j", "--json"]));
    let verified = job.run(&["verify", "j", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified}");

    drop(source);
    db.source
        .cluster
        .administrator()
        .sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

/// Every mode that makes the target equal to the source, over rows that differ in every way.
#[rstest]
fn every_mode_that_refreshes_can_be_checked(#[values("truncate", "swap", "merge")] mode: &str) {
    let db = databases("modes");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 2000) i");
    db.target
        .sql("INSERT INTO t SELECT i, 'v' || i % 999 FROM generate_series(5, 2100) i");
    let job = job(&db, &jobs(mode, ""));

    assert_committed(&job.run(&["run", "j", "--json"]));

    db.assert_same("t");
    let verified = job.run(&["verify", "j", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified}");
}

#[test]
fn a_merge_that_a_trigger_falsifies_is_caught() {
    let db = databases("merge_changed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.both("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 100) i");
    db.source.sql("INSERT INTO t VALUES (101, 'a')");
    changing(&db, "'a'", "'b'");

    assert_refused(
        &run(&db, &jobs("merge", "")),
        "data_rejected",
        &["public.t", "still differs", "1 different", "trigger"],
    );
    assert_eq!(db.target.count("t"), 100);
}

#[test]
fn a_merge_within_where_is_compared_within_it() {
    let db = databases("merge_where");
    db.both("CREATE TABLE t (id int PRIMARY KEY, day int, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, i % 3, 'new' FROM generate_series(1, 90) i");
    db.target
        .sql("INSERT INTO t SELECT i, i % 3, 'old' FROM generate_series(1, 120) i");
    let more = "[jobs.j.table.'public.t']\nwhere = 'day = 1 -- today'\nscope = 'where'";
    let job = job(&db, &jobs("merge", more));

    assert_committed(&job.run(&["run", "j", "--json"]));

    assert_eq!(db.target.count("t WHERE v = 'new'"), 30);
    assert_eq!(db.target.count("t"), 110);
    let verified = job.run(&["verify", "j", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    assert_eq!(verified.report()["rows_target"], 30, "{verified}");
}
