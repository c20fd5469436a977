//! Watermarks and sources whose past is not what it was: no row is missed for good.

use rstest::rstest;

use crate::support::{
    Connection, Databases, Outcome, assert_committed, assert_refused, databases, job_between,
    only_t, run, run_alone,
};

fn jobs(mode: &str, of_table: &str) -> String {
    only_t(mode, "analyze = false\n", of_table)
}

#[track_caller]
fn read(outcome: &Outcome) -> u64 {
    assert_committed(outcome)[0]["rows_read"].as_u64().unwrap()
}

/// Rows that were written before the last run and become rows of the table after it. `old` holds rows
/// 1 to 50, `t` those from 101 on.
#[rstest]
#[case::renamed_into_place(
    "CREATE TABLE t (id int, v text); CREATE TABLE old (id int, v text); INSERT INTO old SELECT i, 'v' FROM generate_series(101, 110) i",
    "ALTER TABLE t RENAME TO gone; ALTER TABLE old RENAME TO t",
    "",
    "replaced"
)]
#[case::attached(
    "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (100) TO (200);
     CREATE TABLE old (id int, v text)",
    "ALTER TABLE t ATTACH PARTITION old FOR VALUES FROM (0) TO (100)",
    "", ""
)]
#[case::attached_below(
    "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (200) PARTITION BY RANGE (id);
     CREATE TABLE t1a PARTITION OF t1 FOR VALUES FROM (100) TO (200); CREATE TABLE old (id int, v text)",
    "ALTER TABLE t1 ATTACH PARTITION old FOR VALUES FROM (0) TO (100)",
    "", ""
)]
#[case::a_filled_tree_attached(
    "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (100) TO (200);
     CREATE TABLE up (id int, v text) PARTITION BY RANGE (id); CREATE TABLE old PARTITION OF up DEFAULT",
    "ALTER TABLE t ATTACH PARTITION up FOR VALUES FROM (0) TO (100)",
    "", ""
)]
#[case::inherited(
    "CREATE TABLE t (id int, v text); CREATE TABLE old (id int, v text)",
    "ALTER TABLE old INHERIT t",
    "children = true",
    ""
)]
#[case::below_a_view(
    "CREATE TABLE base (id int, v text) PARTITION BY RANGE (id); CREATE TABLE base1 PARTITION OF base FOR VALUES FROM (100) TO (200);
     CREATE VIEW inner_t AS SELECT * FROM base; CREATE VIEW t AS SELECT * FROM inner_t;
     CREATE TABLE old (id int, v text); CREATE RULE way AS ON INSERT TO t DO INSTEAD INSERT INTO base VALUES (NEW.*)",
    "ALTER TABLE base ATTACH PARTITION old FOR VALUES FROM (0) TO (100)",
    "watermark_overlap = 2", "view"
)]
#[case::another_view(
    "CREATE TABLE base (id int, v text); CREATE VIEW t AS SELECT * FROM base; CREATE TABLE old (id int, v text);
     CREATE RULE way AS ON INSERT TO t DO INSTEAD INSERT INTO base VALUES (NEW.*)",
    "CREATE OR REPLACE VIEW t AS SELECT * FROM base UNION ALL SELECT * FROM old",
    "watermark_overlap = 2", "view"
)]
fn rows_of_another_past_arrive(
    #[case] create: &str,
    #[case] event: &str,
    #[case] more: &str,
    #[case] said: &str,
    #[values("append", "upsert")] mode: &str,
) {
    let db = databases("mark_event");
    db.source.sql(create);
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO old SELECT i, 'old' FROM generate_series(1, 50) i");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(101, 110) i");
    let jobs = jobs(mode, &format!("watermark = 'id'\n{more}"));
    assert_eq!(read(&run(&db, &jobs)), 10);
    db.source.sql(event);

    let outcome = run(&db, &jobs);

    assert_committed(&outcome);
    db.assert_same("t");
    let again = outcome.stderr.contains("everything is read again");
    assert!(
        again != said.is_empty() && outcome.stderr.contains(said),
        "{outcome}"
    );
    // And it goes on from there.
    db.source.sql("INSERT INTO t VALUES (111, 'new')");
    let outcome = run(&db, &jobs);
    assert!(!outcome.stderr.contains("again"), "{outcome}");
    assert_committed(&outcome);
    db.assert_same("t");
}

#[test]
fn of_a_new_partition_all_is_read_and_of_the_others_what_is_new() {
    let db = databases("mark_partition");
    db.source.sql(
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (100) TO (900);
         INSERT INTO t SELECT i, 'v' FROM generate_series(101, 800) i",
    );
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let jobs = jobs("append", "watermark = 'id'");
    assert_eq!(read(&run_alone(&db, &jobs)), 700);
    db.source.sql(
        "CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (100); INSERT INTO t VALUES (7, 'new')",
    );
    let rows = read(&run(&db, &jobs));
    assert!(rows < 700, "{rows}");
    db.assert_same("t");
}

/// Values that change without a row being written.
#[rstest]
#[case::a_fast_default(
    "ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v text DEFAULT 'fast'"
)]
#[case::a_fast_default_of_a_partition_tree(
    "ALTER TABLE p DROP COLUMN v; ALTER TABLE p ADD COLUMN v text DEFAULT 'fast'"
)]
#[case::a_renamed_label("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")]
fn values_that_change_without_a_transaction_arrive(#[case] event: &str) {
    let db = databases("mark_value");
    let in_tree = event.contains("TABLE p");
    db.source.sql("CREATE TYPE mood AS ENUM ('sad', 'glad')");
    db.target
        .sql("CREATE TYPE mood AS ENUM ('sad', 'glad', 'blue')");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, m mood, v text)");
    db.source.sql(match in_tree {
        true => "CREATE TABLE p (id int, m mood, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT",
        false => "CREATE TABLE t (id int PRIMARY KEY, m mood, v text)",
    });
    let name = if in_tree { "p" } else { "t" };
    db.source.sql(&format!(
        "INSERT INTO {name} SELECT i, 'sad', 'v' FROM generate_series(1, 20) i"
    ));
    let jobs = jobs(
        "upsert",
        &format!("source = 'public.{name}'\nwatermark = 'id'"),
    );
    assert_eq!(read(&run(&db, &jobs)), 20);
    db.source.sql(event);

    assert_eq!(read(&run(&db, &jobs)), 20);

    let rows =
        |db: &Connection, name: &str| db.rows(&format!("SELECT id, m, v FROM {name} ORDER BY id"));
    assert_eq!(rows(&db.target, "t"), rows(&db.source, name));
}

#[test]
fn another_database_of_the_cluster_is_read_from_the_start() {
    let db = databases("mark_database");
    let other = db.source.cluster.database("mark_database_other");
    let create = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    db.both(create);
    other.sql(create);
    other.sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(11, 20) i");
    let jobs = jobs("append", "watermark = 'id'");
    assert_eq!(read(&run(&db, &jobs)), 10);

    let outcome =
        job_between(&other.conninfo(), &db.target.conninfo(), &jobs).run(&["run", "j", "--json"]);

    assert_eq!(read(&outcome), 20, "{outcome}");
    assert!(outcome.stderr.contains("a different database"), "{outcome}");
    assert_eq!(db.target.count("t"), 20);
}

#[test]
fn a_mark_of_an_older_release_is_not_trusted_and_that_is_said() {
    let db = databases("mark_older");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i");
    let jobs = jobs("upsert", "watermark = 'id'");
    assert_committed(&run(&db, &jobs));
    db.target.sql(
        "UPDATE tableferry.watermark SET value = json_build_object('value', value::json -> 'value', \
             'xmin', value::json -> 'xmin', 'query', value::json -> 'query', \
             'system', value::json -> 'history' -> 'system')",
    );
    let outcome = run(&db, &jobs);
    assert_eq!(read(&outcome), 20, "{outcome}");
    assert!(outcome.stderr.contains("release"), "{outcome}");
    let outcome = run(&db, &jobs);
    assert!(!outcome.stderr.contains("release"), "{outcome}");
}

fn with_foreign_partition(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.source.sql(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE TABLE far (id int, v text);
         CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname '{}');
         CREATE USER MAPPING FOR postgres SERVER here OPTIONS (user 'postgres');
         CREATE TABLE t (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE t_near PARTITION OF t FOR VALUES FROM (0) TO (1000);
         CREATE FOREIGN TABLE t_far PARTITION OF t FOR VALUES FROM (1000) TO (9000) SERVER here OPTIONS (table_name 'far');
         INSERT INTO far SELECT i, 'v' FROM generate_series(1001, 1100) i; INSERT INTO t VALUES (1, 'near'), (900, 'near')",
        db.source.cluster.port(),
        db.source.name()
    ));
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db
}

#[rstest]
fn rows_of_a_foreign_partition_that_commit_late_arrive(#[values("append", "upsert")] mode: &str) {
    let db = with_foreign_partition("mark_foreign");
    assert_refused(
        &run(&db, &jobs(mode, "watermark = 'id'")),
        "schema_mismatch",
        &["public.t", "foreign", "watermark_overlap"],
    );
    let jobs = jobs(mode, "watermark = 'id'\nwatermark_overlap = 200");
    let late = db.source.connect();
    late.sql("BEGIN; INSERT INTO far VALUES (1090 + 1000, 'late')");
    db.source.sql("INSERT INTO far VALUES (2100, 'quick')");
    assert_eq!(read(&run(&db, &jobs)), 103);
    late.sql("COMMIT");

    assert_committed(&run(&db, &jobs));

    db.assert_same("t");
}

#[rstest]
#[case("numeric", "'Infinity'", "8")]
#[case("numeric", "'NaN'", "8")]
#[case("date", "'infinity'", "'2026-01-08'")]
fn an_infinite_value_is_no_mark(#[case] ty: &str, #[case] infinite: &str, #[case] next: &str) {
    let db = databases("mark_infinity");
    if ty == "numeric" && db.source.value("SHOW server_version_num").as_str() < "140000" {
        return;
    }
    db.both(&format!("CREATE TABLE t (id int PRIMARY KEY, w {ty})"));
    let first = if ty == "date" { "'2026-01-07'" } else { "7" };
    db.source.sql(&format!(
        "INSERT INTO t VALUES (1, {infinite}), (2, {first})"
    ));
    let overlap = if ty == "date" { "'0s'" } else { "0" };
    let jobs = jobs(
        "upsert",
        &format!(
            "query = 'SELECT * FROM public.t'\nwatermark = 'w'\nwatermark_overlap = {overlap}"
        ),
    );
    assert_eq!(read(&run(&db, &jobs)), 2);
    db.source.sql(&format!("INSERT INTO t VALUES (3, {next})"));

    assert_committed(&run(&db, &jobs));

    db.assert_same("t");
}
