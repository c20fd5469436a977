//! `replace = "partitions"`: only the partitions that get rows are replaced.

use rstest::rstest;

use crate::support::{
    Databases, assert_committed, assert_refused, databases, job, job_toml, only_t, run,
};

const REPLACE: &str = "replace = 'partitions'\n";

/// The rows of each partition.
fn shown(db: &Databases<'_>) -> String {
    db.target.value(
        "SELECT string_agg(tableoid::regclass || ':' || ids, ' ' ORDER BY tableoid::regclass::text) \
         FROM (SELECT tableoid, string_agg(id || v, ',' ORDER BY id) AS ids FROM t GROUP BY tableoid) AS p",
    )
}

/// The partitions that hold old rows: a partition that was not touched is the same table in the same file.
fn old_ones(db: &Databases<'_>) -> Vec<Vec<Option<String>>> {
    db.target.rows(
        "SELECT oid, relname, relfilenode FROM pg_class WHERE relname IN \
         (SELECT tableoid::regclass::text FROM t WHERE v = 'old') ORDER BY oid",
    )
}

/// How the target is cut, which rows come, and what each partition holds then: all had rows 1, 11, 21 with 'old'.
#[rstest]
#[case::ranges(
    "PARTITION BY RANGE (id); CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (10); \
     CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (10) TO (20); CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (20) TO (30)",
    "(12, 'new'), (13, 'new')",
    "p0:1old p1:12new,13new p2:21old"
)]
#[case::default(
    "PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (10) TO (20); CREATE TABLE p9 PARTITION OF t DEFAULT",
    "(2, 'new')",
    "p1:11old p9:2new"
)]
#[case::only_a_default(
    "PARTITION BY RANGE (id); CREATE TABLE p9 PARTITION OF t DEFAULT",
    "(2, 'new')",
    "p9:2new"
)]
#[case::two_levels(
    "PARTITION BY RANGE (id); CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (0) TO (20) PARTITION BY RANGE (id); \
     CREATE TABLE p00 PARTITION OF p0 FOR VALUES FROM (0) TO (10); CREATE TABLE p01 PARTITION OF p0 FOR VALUES FROM (10) TO (20); \
     CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (20) TO (30)",
    "(12, 'new'), (25, 'new')",
    "p00:1old p01:12new p2:25new"
)]
#[case::lists(
    "PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF t FOR VALUES IN (1, 2); CREATE TABLE p11 PARTITION OF t FOR VALUES IN (11, 12); \
     CREATE TABLE p21 PARTITION OF t FOR VALUES IN (21)",
    "(2, 'new')",
    "p1:2new p11:11old p21:21old"
)]
#[case::no_rows(
    "PARTITION BY RANGE (id); CREATE TABLE p9 PARTITION OF t DEFAULT",
    "",
    "p9:1old,11old,21old"
)]
fn partitions_that_get_rows_are_replaced_and_others_are_not_touched(
    #[values("truncate", "swap")] mode: &str,
    #[case] partitions: &str,
    #[case] rows: &str,
    #[case] expected: &str,
) {
    let db = databases("replaced");
    db.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text) {partitions}"
    ));
    db.target
        .sql("INSERT INTO t VALUES (1, 'old'), (11, 'old'), (21, 'old')");
    if !rows.is_empty() {
        db.source.sql(&format!("INSERT INTO t VALUES {rows}"));
    }
    let any_size = "guard = { max_shrink = '100%' }\n";
    let job = job(&db, &only_t(mode, &format!("{REPLACE}{any_size}"), ""));
    let before = old_ones(&db);
    let rehearsed = job.run(&["run", "j", "--dry-run"]);
    assert_eq!(rehearsed.code, Some(0), "{rehearsed}");
    assert_eq!(shown(&db).matches("old").count(), 3);

    let outcome = job.run(&["run", "j", "--json"]);

    assert_committed(&outcome);
    assert_eq!(shown(&db), expected, "{outcome}");
    let untouched = old_ones(&db);
    assert!(
        untouched.iter().all(|one| before.contains(one)),
        "{outcome}"
    );
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
}

#[rstest]
fn each_partition_is_guarded_and_others_can_be_read_meanwhile(
    #[values("truncate", "swap")] mode: &str,
) {
    let db = databases("replaced_guard");
    db.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
         CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (100) TO (200); \
         INSERT INTO t SELECT i, 'old' FROM generate_series(0, 199) i",
    );
    // Partition p0 grows as much as p1 shrinks.
    db.source.sql("INSERT INTO t SELECT i, 'new' FROM generate_series(0, 99) i; INSERT INTO t SELECT i, 'new' FROM generate_series(100, 110) i");
    let toml = only_t(mode, REPLACE, "");

    let partition = match mode {
        "truncate" => "partition public.p1",
        _ => "public.p1",
    };
    assert_refused(&run(&db, &toml), "guard", &[partition, "89.0 % less"]);
    assert_eq!(db.target.count("t WHERE v = 'old'"), 200);
    db.source.sql("DELETE FROM t WHERE id >= 100");
    // `min_rows` is about all partitions together.
    let of_table = "guard = { min_rows = 101 }\n";
    let few = run(&db, &only_t(mode, &format!("{REPLACE}{of_table}"), ""));
    assert_refused(&few, "guard", &["public.t", "100 rows", "`min_rows` = 101"]);
    assert_eq!(db.target.count("t WHERE v = 'old'"), 200);
    // A reader of the other partition does not keep the run waiting, and is not kept waiting.
    let reader = db.target.connect();
    reader.sql("BEGIN; LOCK TABLE p1 IN SHARE MODE");
    assert_committed(&run(&db, &toml));
    reader.sql("COMMIT");
    assert_eq!(
        (
            db.target.count("p0 WHERE v = 'new'"),
            db.target.count("p1 WHERE v = 'old'")
        ),
        (100, 100)
    );
    // An ordinary table of the job is replaced as a whole, and rows without a partition are refused.
    db.both("CREATE TABLE u (id int)");
    db.target.sql("INSERT INTO u VALUES (1), (2)");
    db.source.sql("INSERT INTO u VALUES (3), (4)");
    assert_committed(&run(&db, &job_toml(mode, "public.*", REPLACE)));
    assert_eq!(
        db.target
            .value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM u"),
        "3 4"
    );
    db.source.sql("INSERT INTO t VALUES (500, 'new')");
    assert_refused(
        &run(&db, &toml),
        "data_rejected",
        &["1 row without a partition"],
    );
    assert_eq!(db.target.count("t WHERE v = 'new'"), 100);
}

#[rstest]
#[case("PARTITION BY HASH (id); CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)", "", &["only the target can evaluate its bounds"])]
#[case("PARTITION BY RANGE ((id + 1)); CREATE TABLE p PARTITION OF t DEFAULT", "", &["its partition key has an expression"])]
#[case(
    "PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9); ALTER TABLE t ADD PRIMARY KEY (id); CREATE TABLE r (t int REFERENCES t)",
    "",
    &["public.r refers to it"]
)]
fn what_cannot_be_replaced_by_partitions_is_refused_before_a_row_moves(
    #[values("truncate", "swap")] mode: &str,
    #[case] partitions: &str,
    #[case] of_table: &str,
    #[case] parts: &[&str],
) {
    let db = databases("replaced_refused");
    db.source
        .sql("CREATE TABLE t (id int NOT NULL, v text); INSERT INTO t VALUES (1, 'new')");
    db.target.sql(&format!(
        "CREATE TABLE t (id int NOT NULL, v text) {partitions}"
    ));
    let outcome = run(&db, &only_t(mode, REPLACE, of_table));
    assert_refused(&outcome, "schema_mismatch", parts);
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn a_checksum_compares_the_partitions_that_are_swapped_and_no_table_that_keeps_rows() {
    let db = databases("replaced_checksum");
    db.source
        .sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    db.target.sql(
        "CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (0) TO (10); \
         CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t VALUES (15)",
    );
    let toml = |mode| only_t(mode, &format!("{REPLACE}verify = 'checksum'\n"), "");
    let outcome = run(&db, &toml("truncate"));
    assert_refused(&outcome, "config", &["compares whole tables"]);
    assert_committed(&run(&db, &toml("swap")));
    assert_eq!(db.target.count("t"), 2);
}
