//! `on_missing`, `synced_at`, `insert_only` and `on_conflict`: what `merge` and `upsert` keep on the target.

use rstest::rstest;

use crate::support::{
    Databases, assert_committed, assert_refused, changes, databases, job, only_t, run,
};

const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

const MARKS: &str = "on_missing = { set = 'gone_at' }\nsynced_at = 'synced'\n";

/// Rows of the target: the key, whether it is marked, and the number of the run that wrote it.
fn shown(db: &Databases<'_>) -> String {
    db.target.value(
        "SELECT string_agg(id || CASE WHEN gone_at IS NULL THEN '' ELSE '-' END || '@' || run, ' ' ORDER BY id) \
         FROM (SELECT *, dense_rank() OVER (ORDER BY synced) AS run FROM t) AS t",
    )
}

/// The target is compared in every way, and by several workers.
#[rstest]
#[case("compare = 'full'")]
#[case("compare = 'stream'")]
#[case("compare = 'changed'")]
#[case("workers = 2")]
fn rows_that_the_source_lacks_are_marked_and_unmarked_when_they_return(#[case] more: &str) {
    let db = databases("marked");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    // A column of the source with the name is not copied.
    db.source
        .sql("ALTER TABLE t ADD gone_at timestamptz DEFAULT '2020-01-01'");
    db.target
        .sql("ALTER TABLE t ADD gone_at timestamptz, ADD synced timestamp NOT NULL");
    db.source
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 6) i");
    let toml = only_t(
        "merge",
        &format!("{ANY_SIZE}verify = 'checksum'\n{more}\n"),
        MARKS,
    );
    let job = job(&db, &toml);
    let steps = [
        ("", [6, 0, 0], "1@1 2@1 3@1 4@1 5@1 6@1"),
        (
            "DELETE FROM t WHERE id <= 3; UPDATE t SET v = 'y' WHERE id = 4; INSERT INTO t VALUES (7, 'new')",
            [1, 1, 3],
            "1-@2 2-@2 3-@2 4@2 5@1 6@1 7@2",
        ),
        ("", [0, 0, 0], "1-@2 2-@2 3-@2 4@2 5@1 6@1 7@2"),
        (
            "INSERT INTO t VALUES (1, 'x'), (2, 'other'); DELETE FROM t WHERE id = 5",
            [0, 2, 1],
            "1@3 2@3 3-@2 4@2 5-@3 6@1 7@2",
        ),
    ];
    for (change, expected, rows) in steps {
        db.source.sql(change);
        let before = db
            .target
            .value("SELECT coalesce(string_agg(t::text, ' ' ORDER BY id), '') FROM t");
        let rehearsed = job.run(&["run", "j", "--json", "--dry-run"]);
        assert_eq!(rehearsed.code, Some(0), "{rehearsed}");
        assert_eq!(
            changes(&rehearsed.report()["tables"][0]),
            expected,
            "{rehearsed}"
        );
        let unchanged = db
            .target
            .value("SELECT coalesce(string_agg(t::text, ' ' ORDER BY id), '') FROM t");
        assert_eq!(before, unchanged);

        let outcome = job.run(&["run", "j", "--json"]);

        assert_eq!(
            changes(&assert_committed(&outcome)[0]),
            expected,
            "{outcome}"
        );
        assert_eq!(shown(&db), rows, "{outcome}");
        let same = "SELECT string_agg(id || v, ' ' ORDER BY id) FROM t";
        let there = db.target.value(&format!("{same} WHERE gone_at IS NULL"));
        assert_eq!(there, db.source.value(same));
        let verified = job.run(&["verify", "j"]);
        assert_eq!(verified.code, Some(0), "{verified}");
    }
    // The mark is the time of the transaction, in UTC where the column has no time zone.
    assert_eq!(
        db.target
            .count("t WHERE gone_at IS NOT NULL AND gone_at <> synced AT TIME ZONE 'UTC'"),
        0
    );
    // A marked row that the source has is missing.
    db.source.sql("INSERT INTO t VALUES (3, 'x')");
    let verified = job.run(&["verify", "j", "--json"]);
    assert_eq!(
        (verified.code, verified.report()["missing"].as_u64()),
        (Some(1), Some(1)),
        "{verified}"
    );
}

/// What the target's table is, what of it is configured, and the rows that are marked when the source has lost
/// all but the first.
#[rstest]
#[case::limited(
    "id int PRIMARY KEY, v text",
    "where = \"v <> 'mine'\"\nscope = 'where'\n",
    "2 3"
)]
#[case::null_key("id int UNIQUE, v text", "key = ['id']\n", "2 3 NULL NULL")]
#[case::null_key_limited(
    "id int UNIQUE, v text",
    "key = ['id']\nwhere = \"v <> 'mine'\"\nscope = 'where'\n",
    "2 3 NULL"
)]
#[case::partitioned(
    "id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT",
    "",
    "2 3 4"
)]
#[case::other_unique("id int PRIMARY KEY, v text, u int", "key = ['id']\n", "2 3 4")]
#[case::only_a_key("id int PRIMARY KEY", "", "2 3 4")]
fn every_kind_of_row_is_marked_once(
    #[case] table: &str,
    #[case] more: &str,
    #[case] expected: &str,
    #[values("full", "stream")] compare: &str,
) {
    let db = databases("marked_kinds");
    let create = match table.contains(") PARTITION") {
        true => format!("CREATE TABLE t ({table}"),
        false => format!("CREATE TABLE t ({table})"),
    };
    db.target.sql(&format!("{create}; ALTER TABLE t ADD gone_at timestamptz DEFAULT '2020-01-01', ADD synced timestamptz"));
    db.source
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')");
    let v = if table.contains("v text") { ", v" } else { "" };
    for (id, text) in [("1", "x"), ("2", "x"), ("3", "y"), ("4", "mine")] {
        let text = if v.is_empty() {
            String::new()
        } else {
            format!(", '{text}'")
        };
        db.target.sql(&format!(
            "INSERT INTO t (id{v}, gone_at) VALUES ({id}{text}, NULL)"
        ));
    }
    if table.contains("UNIQUE") {
        db.target.sql("INSERT INTO t (v, gone_at) VALUES ('x', NULL), ('mine', NULL), ('x', '2021-01-01'); DELETE FROM t WHERE id = 4");
    }
    let toml = only_t(
        "merge",
        &format!("{ANY_SIZE}compare = '{compare}'\n"),
        &format!("{MARKS}{more}"),
    );
    for is_first in [true, false] {
        let outcome = run(&db, &toml);

        let marked = expected.split(' ').count() as u64;
        let marked = if is_first { marked } else { 0 };
        assert_eq!(
            changes(&assert_committed(&outcome)[0]),
            [0, 0, marked],
            "{outcome}"
        );
        let found = "SELECT string_agg(coalesce(id::text, 'NULL'), ' ' ORDER BY id) FROM t WHERE gone_at > '2022-01-01'";
        assert_eq!(db.target.value(found), expected);
    }
    // A row that is inserted is not marked by the column's default.
    db.source.sql("INSERT INTO t VALUES (9, 'x')");
    assert_eq!(changes(&assert_committed(&run(&db, &toml))[0]), [1, 0, 0]);
    assert_eq!(
        db.target
            .count("t WHERE id = 9 AND gone_at IS NULL AND synced IS NOT NULL"),
        1
    );
}

#[test]
fn the_guard_counts_marks_as_deletions_and_marked_rows_as_none() {
    let db = databases("marked_guard");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.target.sql("ALTER TABLE t ADD gone_at timestamptz; INSERT INTO t SELECT i, now() FROM generate_series(101, 200) i");
    db.both("INSERT INTO t (id) SELECT i FROM generate_series(1, 10) i");
    db.source.sql("DELETE FROM t WHERE id <= 4");
    for compare in ["full", "stream"] {
        let toml = only_t(
            "merge",
            &format!("compare = '{compare}'\n"),
            "on_missing = { set = 'gone_at' }\n",
        );
        let outcome = run(&db, &toml);
        let marked = if compare == "full" { 4 } else { 0 };
        assert_eq!(
            changes(&assert_committed(&outcome)[0]),
            [0, 0, marked],
            "{outcome}"
        );
    }
    db.source.sql("DELETE FROM t WHERE id <= 8");
    for compare in ["full", "stream"] {
        let toml = only_t(
            "merge",
            &format!("compare = '{compare}'\n"),
            "on_missing = { set = 'gone_at' }\n",
        );
        assert_refused(
            &run(&db, &toml),
            "guard",
            &["the target has 6", "66.7 % less"],
        );
    }
    assert_eq!(db.target.count("t WHERE gone_at IS NULL"), 6);
}

/// The source's value of an `insert_only` column, and the target's own.
#[rstest]
#[case("merge", "full")]
#[case("merge", "stream")]
#[case("merge", "changed")]
#[case("upsert", "full")]
#[case("upsert", "stream")]
fn columns_that_are_set_on_insert_only_stay_as_they_are(#[case] mode: &str, #[case] compare: &str) {
    let db = databases("insert_only");
    db.both("CREATE TABLE t (id int PRIMARY KEY, notes text, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'theirs', 'x' FROM generate_series(1, 4) i");
    let of_table = "insert_only = ['notes']\nsynced_at = 'synced'\n";
    db.target.sql("ALTER TABLE t ADD synced timestamptz");
    let verify = if mode == "merge" {
        "verify = 'checksum'\n"
    } else {
        ""
    };
    let toml = only_t(
        mode,
        &format!("{ANY_SIZE}{verify}compare = '{compare}'\n"),
        of_table,
    );
    assert_eq!(changes(&assert_committed(&run(&db, &toml))[0]), [4, 0, 0]);
    db.target.sql("UPDATE t SET notes = 'mine' WHERE id <= 2");
    db.source.sql("UPDATE t SET v = 'y' WHERE id = 2; UPDATE t SET notes = 'new' WHERE id = 3; INSERT INTO t VALUES (5, 'theirs', 'x')");

    let outcome = run(&db, &toml);

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [1, 1, 0],
        "{outcome}"
    );
    let rows = db
        .target
        .value("SELECT string_agg(id || notes || v, ' ' ORDER BY id) FROM t");
    assert_eq!(rows, "1minex 2miney 3theirsx 4theirsx 5theirsx");
    assert_eq!(db.target.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE synced = (SELECT max(synced) FROM t)"), "2 5");
    let again = run(&db, &toml);
    assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
    let verified = job(&db, &toml).run(&["verify", "j", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    assert_eq!(
        verified.report()["not_compared"][0]["column"],
        "notes",
        "{verified}"
    );
    // Without it, all rows are compared again.
    let outcome = run(&db, &toml.replace("insert_only = ['notes']\n", ""));
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 3, 0],
        "{outcome}"
    );
}

#[rstest]
#[case("compare = 'full'\n")]
#[case("compare = 'stream'\n")]
#[case("on_error = 'quarantine'\n")]
fn rows_that_the_target_has_are_kept(#[case] more: &str) {
    let db = databases("keep");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("ALTER TABLE t ADD synced timestamptz; INSERT INTO t VALUES (1, 'mine'), (9, 'mine')");
    db.source
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 30) i WHERE i <> 9");
    let toml = only_t(
        "upsert",
        more,
        "on_conflict = 'keep'\nsynced_at = 'synced'\n",
    );
    let place = "SELECT string_agg(ctid::text || xmin::text || xmax::text || t::text, ' ') FROM t WHERE v = 'mine'";
    let before = db.target.value(place);

    let outcome = run(&db, &toml);

    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [28, 0, 0],
        "{outcome}"
    );
    assert_eq!(db.target.value(place), before);
    assert_eq!(
        db.target.count("t WHERE v = 'x' AND synced IS NOT NULL"),
        28
    );
    let again = run(&db, &toml);
    assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
    let verified = job(&db, &toml).run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    db.target.sql("DELETE FROM t WHERE id = 5");
    let verified = job(&db, &toml).run(&["verify", "j"]);
    assert_eq!(verified.code, Some(1), "{verified}");
}

/// Rejected rows are marked on the target: it keeps their old versions.
#[test]
fn rejected_rows_are_marked_and_rows_that_stay_are_judged_against() {
    let db = databases("marked_rejected");
    db.source
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text, u int)");
    db.target.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'bad'), u int UNIQUE, gone_at timestamptz, synced timestamptz NOT NULL)",
    );
    db.source
        .sql("INSERT INTO t SELECT i, 'x', i FROM generate_series(1, 10) i");
    let toml = only_t("merge", "on_error = 'quarantine'\n", MARKS);
    assert_eq!(changes(&assert_committed(&run(&db, &toml))[0]), [10, 0, 0]);
    // Row 11 has the unique value of row 3, which the target keeps.
    db.source.sql("UPDATE t SET v = 'bad' WHERE id = 2; DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (11, 'x', 3), (12, 'x', 12)");

    let outcome = run(&db, &toml);

    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [1, 0, 2], "{outcome}");
    assert_eq!(table["rows_rejected"], 2, "{outcome}");
    assert_eq!(
        shown(&db),
        "1@1 2-@2 3-@2 4@1 5@1 6@1 7@1 8@1 9@1 10@1 12@2"
    );
    assert_eq!(db.target.value("SELECT v FROM t WHERE id = 2"), "x");
    let sqlstates = "SELECT string_agg(sqlstate, ' ' ORDER BY sqlstate) FROM tableferry.rejected";
    assert_eq!(db.target.value(sqlstates), "23505 23514");
}

/// The plan's checks are tested beside them; these reach the run.
#[rstest]
#[case("merge", "on_missing = { set = 'v' }", &["`on_missing` names column v", "text"])]
#[case("merge", "on_missing = { set = 'gone_at' }\ncolumns = ['id', 'gone_at']", &["copied from the source"])]
#[case("upsert", "synced_at = 'nope'", &["ALTER TABLE public.t ADD COLUMN nope timestamptz"])]
#[case("upsert", "insert_only = ['id']", &["`insert_only` names column id, which is in the key"])]
fn columns_that_do_not_fit_are_refused_before_a_row_moves(
    #[case] mode: &str,
    #[case] of_table: &str,
    #[case] parts: &[&str],
) {
    let db = databases("own_refused");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, gone_at timestamptz)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let outcome = run(&db, &only_t(mode, "", of_table));
    assert_refused(&outcome, "schema_mismatch", parts);
    assert_eq!(db.target.count("t"), 0);
}
