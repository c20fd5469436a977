//! `replace = "partitions"` in mode `swap`: the partitions that get rows are replaced by new tables.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::support::{
    Databases, PATIENCE, assert_committed, assert_refused, assert_same_schema, databases, job,
    only_t, run, schema_of, wait_until,
};

const REPLACE: &str = "replace = 'partitions'\nguard = { max_shrink = '100%' }\n";

/// The partitioned table with all that it passes on to its partitions, and partitions with what is their own.
const EVERYTHING: &str = "
CREATE TABLE d (id int PRIMARY KEY); INSERT INTO d SELECT generate_series(0, 9);
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.seen := TG_NAME; RETURN NEW; END';
CREATE TABLE t (
  id int NOT NULL, s serial, k int NOT NULL CONSTRAINT positive CHECK (k >= 0), v text DEFAULT 'x', seen text,
  d int CONSTRAINT to_d REFERENCES d, g int GENERATED ALWAYS AS (k * 2) STORED, PRIMARY KEY (id, k)
) PARTITION BY RANGE (k);
CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (0) TO (10) WITH (fillfactor = 70);
CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY LIST (k);
CREATE TABLE p10 PARTITION OF p1 FOR VALUES IN (10, 11); CREATE TABLE p12 PARTITION OF p1 FOR VALUES IN (12);
CREATE TABLE p1x PARTITION OF p1 DEFAULT;
CREATE TABLE p2 (seen text, g int, v text, k int NOT NULL, id int NOT NULL, d int, s int NOT NULL DEFAULT 7);
ALTER TABLE p2 DROP COLUMN g; ALTER TABLE p2 ADD COLUMN g int GENERATED ALWAYS AS (k * 2) STORED;
ALTER TABLE p2 ADD CONSTRAINT positive CHECK (k >= 0); ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (20) TO (30);
CREATE TABLE rest PARTITION OF t DEFAULT;
CREATE INDEX of_t ON t (v, d); CREATE INDEX own ON p0 (seen); CREATE INDEX part ON p0 (v) WHERE k > 3; CREATE UNIQUE INDEX only_p10 ON p10 (k, s, id);
ALTER TABLE p10 REPLICA IDENTITY USING INDEX only_p10; ALTER TABLE p0 CLUSTER ON own;
CREATE STATISTICS stat ON k, d FROM p0; COMMENT ON TABLE p0 IS 'one'; COMMENT ON COLUMN p10.v IS 'two';
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION mark();
CREATE TRIGGER b BEFORE INSERT ON p0 FOR EACH ROW EXECUTE FUNCTION mark(); ALTER TABLE p10 ENABLE ALWAYS TRIGGER a;
ALTER TABLE p10 ALTER v SET STATISTICS 33; ALTER TABLE p12 ADD CONSTRAINT local CHECK (v <> '');
GRANT SELECT ON p0 TO pg_monitor; REVOKE ALL ON p10 FROM CURRENT_USER; GRANT SELECT, INSERT ON p10 TO CURRENT_USER;
CREATE PUBLICATION pub FOR TABLE p10;
CREATE VIEW of_p0 AS SELECT id, v FROM p0; CREATE VIEW of_all AS SELECT id FROM t;
INSERT INTO t (id, k, v, d) SELECT i, i, 'old', i % 10 FROM generate_series(0, 40) i;";

/// Each partition: the same table in the same file, its number of new rows, and its triggers.
const PARTITIONS: &str = "SELECT relname, oid, relfilenode, (SELECT count(*) FROM t WHERE t.tableoid = c.oid AND v = 'new') \
                          FROM pg_class AS c WHERE relname ~ '^(p[0-9]|rest)' AND relkind = 'r' ORDER BY relname";

/// What pg_dump does not show of a partition.
const BESIDES: &str = "SELECT i.inhrelid::regclass::text, i.inhparent::regclass::text, NULL::text FROM pg_inherits AS i \
                       UNION ALL SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger WHERE tgname IN ('a', 'b') \
                       UNION ALL SELECT conrelid::regclass::text, conname, conparentid::regclass::text FROM pg_constraint \
                        WHERE contype = 'f' AND conparentid = 0 AND conname = 'to_d' ORDER BY 1, 2, 3";

fn everything(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.source
        .sql("CREATE TABLE t (id int, s int, k int, v text, d int)");
    db.target.sql(EVERYTHING);
    db
}

fn only_in(one: &[Vec<Option<String>>], other: &[Vec<Option<String>>]) -> Vec<Vec<Option<String>>> {
    let rows = one.iter().filter(|row| !other.contains(row));
    rows.cloned().collect()
}

#[rstest]
#[case("")]
#[case("workers = 3\n")]
#[case("atomic = false\n")]
fn all_that_partitions_have_stays_and_others_are_the_same_tables(#[case] more: &str) {
    let db = everything("by_swap");
    // Rows of p0, p10, the DEFAULT partition of p1, p2, and the DEFAULT partition of t.
    db.source
        .sql("INSERT INTO t SELECT k, 100 + k, k, 'new', k % 10 FROM unnest(ARRAY[3, 4, 10, 15, 25, 35]) k");
    let before = (schema_of(&db.target), db.target.rows(BESIDES));
    let files = db.target.rows(PARTITIONS);
    let job = job(
        &db,
        &only_t(
            "swap",
            &format!("{REPLACE}recreate_views = true\n{more}"),
            "",
        ),
    );

    let outcome = job.run(&["run", "j", "--json"]);

    assert_committed(&outcome);
    assert_same_schema(&before.0, &db.target);
    let after = db.target.rows(BESIDES);
    let differences = (only_in(&before.1, &after), only_in(&after, &before.1));
    assert_eq!(differences, (vec![], vec![]));
    let now = db.target.rows(PARTITIONS);
    let new: Vec<(&str, &str)> = now
        .iter()
        .filter(|row| !files.contains(row))
        .map(|row| (row[0].as_deref().unwrap(), row[3].as_deref().unwrap()))
        .collect();
    assert_eq!(
        new,
        [
            ("p0", "2"),
            ("p10", "1"),
            ("p1x", "1"),
            ("p2", "1"),
            ("rest", "1")
        ]
    );
    assert_eq!(db.target.count("t WHERE v = 'old'"), db.target.count("p12"));
    assert_eq!(db.target.count("of_p0"), 2);
    assert_eq!(db.target.count("of_all"), 7);
    assert_eq!(
        db.target
            .value("SELECT string_agg(DISTINCT seen, ',' ORDER BY seen) FROM t WHERE v = 'new'"),
        "a,b"
    );
    // The sequence of the partitioned table is past the new rows, keys are checked, and rows find their partitions.
    db.target.sql("INSERT INTO t (id, k) VALUES (1000, 11)");
    assert_eq!(
        db.target.value("SELECT s > 135 FROM p10 WHERE id = 1000"),
        "t"
    );
    assert!(
        db.target
            .try_sql("INSERT INTO t (id, k, d) VALUES (1001, 1, 77)")
            .is_err()
    );
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(1), "{verified}");
    db.target.sql("DELETE FROM t WHERE id = 1000");
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    let report = outcome.report();
    let tables = report["tables"].as_array().unwrap();
    let targets: Vec<_> = tables
        .iter()
        .map(|table| table["target"].as_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            "public.p0",
            "public.p10",
            "public.p1x",
            "public.p2",
            "public.rest"
        ]
    );
}

#[test]
fn readers_see_old_rows_until_all_partitions_are_replaced_and_a_killed_run_leaves_nothing() {
    let db = everything("by_swap_killed");
    db.source
        .sql("INSERT INTO t SELECT k, 100 + k, k, 'new', k % 10 FROM unnest(ARRAY[3, 10, 35]) k");
    let before = (schema_of(&db.target), db.target.rows(PARTITIONS));
    let job = job(
        &db,
        &only_t(
            "swap",
            &format!("{REPLACE}recreate_views = true\nworkers = 2\n"),
            "",
        ),
    );
    let reader = db.target.connect();
    reader.sql("BEGIN; SELECT count(*) FROM t");
    let waits = "pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || db.target.count(waits) > 0);
    db.target.sql("SET statement_timeout = '20s'");
    assert_eq!(db.target.count("t WHERE v = 'old'"), 41);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    reader.sql("COMMIT");
    wait_until(PATIENCE, || {
        db.target.count("pg_stat_activity WHERE application_name LIKE 'tableferry%' AND datname = current_database()") == 0
    });
    assert_eq!(db.target.rows(PARTITIONS), before.1);

    // What its workers have loaded is dropped by the next run, though that replaces other partitions.
    db.source.sql("UPDATE t SET k = 12, id = 12 WHERE k = 10");
    assert_committed(&job.run(&["run", "j", "--json"]));
    assert_same_schema(&before.0, &db.target);
    assert_eq!(
        db.target.count("pg_class WHERE relname LIKE 'tableferry%'"),
        0
    );
    assert_eq!(db.target.count("p12 WHERE v = 'new'"), 1);
    assert_eq!(db.target.count("p10 WHERE v = 'old'"), 2);
}

#[test]
fn bounds_that_change_while_the_source_counts_are_no_place_for_its_rows() {
    let db = databases("by_swap_bounds");
    db.source
        .sql("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'new'), (12, 'new')");
    db.target.sql(
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE p0 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (10) TO (20);
         INSERT INTO t VALUES (1, 'old'), (12, 'old')",
    );
    let query = "query = 'SELECT id, v FROM public.t WHERE (SELECT pg_advisory_lock_shared(7)) IS NOT NULL'\n";
    let job = job(&db, &only_t("swap", REPLACE, query));
    db.source.sql("SELECT pg_advisory_lock(7)");
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.source
            .count("pg_locks WHERE NOT granted AND locktype = 'advisory'")
            > 0
    });
    db.target.sql(
        "ALTER TABLE t DETACH PARTITION p0; ALTER TABLE t DETACH PARTITION p1; DELETE FROM p1;
         ALTER TABLE t ATTACH PARTITION p0 FOR VALUES FROM (0) TO (20)",
    );
    db.source.sql("SELECT pg_advisory_unlock(7)");
    assert_refused(
        &running.wait(PATIENCE),
        "conflict",
        &["public.p0: its bounds", "public.p1: its bounds"],
    );
    assert_eq!(db.target.count("t WHERE v = 'old'"), 1);
}

#[rstest]
#[case::computed_key("", "set.id = 'id + 1'", "schema_mismatch", &["`set` computes column id"])]
#[case::view("CREATE VIEW of_p AS SELECT * FROM p", "", "schema_mismatch", &["public.p: view public.of_p"])]
#[case::no_partition("", "query = 'SELECT id + 50 AS id, v FROM public.t'", "data_rejected", &["1 row without a partition"])]
#[case::beside("", "[jobs.j.table.'public.p']\nsource = 'public.t'", "schema_mismatch", &["public.p: is a partition of public.t"])]
#[case::new_partitions("", "create_partitions = true", "config", &["partitions that exist"])]
fn what_swap_cannot_replace_is_refused_by_name(
    #[case] more: &str,
    #[case] of_table: &str,
    #[case] kind: &str,
    #[case] parts: &[&str],
) {
    let db = databases("by_swap_refused");
    db.source
        .sql("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'new')");
    db.target.sql(&format!(
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9);
         INSERT INTO t VALUES (1, 'old'); {more}"
    ));
    assert_refused(&run(&db, &only_t("swap", REPLACE, of_table)), kind, parts);
    assert_eq!(db.target.count("p WHERE v = 'old'"), 1);
}

#[rstest]
fn a_run_without_rows_replaces_nothing_and_is_recorded(#[values(true, false)] atomic: bool) {
    let db = databases("by_swap_empty");
    db.source.sql("CREATE TABLE t (id int)");
    db.target.sql(
        "CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT; INSERT INTO t VALUES (1)",
    );
    let outcome = run(
        &db,
        &only_t(
            "swap",
            &format!("replace = 'partitions'\natomic = {atomic}\n"),
            "",
        ),
    );
    assert_committed(&outcome);
    assert!(
        outcome.stderr.contains("no partition is replaced"),
        "{outcome}"
    );
    assert_eq!(db.target.count("p"), 1);
    let state = db
        .target
        .value("SELECT string_agg(state, ',') FROM tableferry.run");
    assert_eq!(state, "committed");
}
