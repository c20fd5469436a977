//! `source = ["eu", "us"]`: several sources, one table.

use rstest::rstest;

use crate::support::{
    Database, Databases, Job, PATIENCE, assert_committed, assert_refused, changes, databases,
    job_with, wait_until,
};

struct Shards<'a> {
    db: Databases<'a>,
    us: Database<'a>,
}

/// Two sources with rows of the same keys, and a target for both.
fn shards() -> Shards<'static> {
    let db = databases("fan_in");
    let us = db.source.cluster.database("fan_in_us");
    for source in [&db.source, &us] {
        source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    }
    db.source
        .sql("INSERT INTO t SELECT i, 'eu' FROM generate_series(1, 10) i");
    us.sql("INSERT INTO t SELECT i, 'us' FROM generate_series(1, 20) i");
    db.target
        .sql("CREATE TABLE t (shard text, id int, v text, PRIMARY KEY (shard, id))");
    Shards { db, us }
}

fn job(shards: &Shards<'_>, of_job: &str, of_table: &str) -> Job {
    job_of(shards, &shards.us.conninfo(), of_job, of_table)
}

fn job_of(shards: &Shards<'_>, us: &str, of_job: &str, of_table: &str) -> Job {
    let [eu, target] = [&shards.db.source, &shards.db.target].map(|db| db.conninfo());
    job_with(&format!(
        "[servers.eu]\nconninfo = {eu:?}\n[servers.us]\nconninfo = {us:?}\n[servers.target]\nconninfo = {target:?}\n\
         [jobs.j]\nsource = ['eu', 'us']\nsource_column = 'shard'\ntarget = 'target'\nretry = {{ max = 0 }}\n{of_job}\n\
         [jobs.j.table.'public.t']\n{of_table}\n"
    ))
}

fn counted(shards: &Shards<'_>) -> String {
    let sql = "SELECT string_agg(shard || count || v, ' ' ORDER BY shard, v) FROM (SELECT shard, count(*), v FROM t GROUP BY 1, 3) t";
    shards.db.target.value(sql)
}

#[rstest]
#[case("", "")]
#[case("", "key = ['id']\n")]
#[case("compare = 'stream'\nverify = 'checksum'\n", "")]
#[case("on_error = 'quarantine'\n", "")]
fn rows_are_deleted_only_where_their_source_has_lost_them(
    #[case] of_job: &str,
    #[case] of_table: &str,
) {
    let shards = shards();
    let job = job(&shards, &format!("mode = 'merge'\n{of_job}"), of_table);
    let run = || job.run(&["run", "j", "--json"]);
    shards
        .db
        .target
        .sql("INSERT INTO t VALUES ('asia', 1, 'asia'), ('eu', 99, 'old')");
    // Rejected rows need the ledger, which the first run makes.
    if !of_job.contains("quarantine") {
        let rehearsed = job.run(&["run", "j", "--dry-run", "--json"]);
        assert_eq!(
            changes(&rehearsed.report()["tables"][0]),
            [30, 0, 1],
            "{rehearsed}"
        );
        assert_eq!(counted(&shards), "asia1asia eu1old");
    }

    let outcome = run();

    assert_eq!(
        assert_committed(&outcome).as_array().unwrap().len(),
        1,
        "{outcome}"
    );
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [30, 0, 1],
        "{outcome}"
    );
    assert_eq!(counted(&shards), "asia1asia eu10eu us20us");
    shards
        .us
        .sql("DELETE FROM t WHERE id <= 5; UPDATE t SET v = 'new' WHERE id = 6");
    let outcome = run();
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [0, 1, 5],
        "{outcome}"
    );
    assert_eq!(counted(&shards), "asia1asia eu10eu us1new us14us");
    let recorded = "SELECT count(*) || ' ' || sum(rows_read) FROM tableferry.run_table JOIN tableferry.run USING (run_id) WHERE state = 'committed'";
    assert_eq!(shards.db.target.value(recorded), "2 55");
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    shards.us.sql("DELETE FROM t WHERE id = 7");
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(1), "{verified}");
    let planned = job.run(&["plan", "j"]);
    assert_eq!(planned.code, Some(0), "{planned}");
    // Each source is guarded by itself.
    shards.db.source.sql("DELETE FROM t WHERE id > 2");
    assert_refused(&run(), "guard", &["80.0 % less"]);
    assert_eq!(counted(&shards), "asia1asia eu10eu us1new us14us");
}

#[rstest]
#[case("append")]
#[case("upsert")]
fn rows_of_all_sources_are_added(#[case] mode: &str) {
    let shards = shards();
    let job = job(&shards, &format!("mode = '{mode}'\n"), "");
    assert_committed(&job.run(&["run", "j", "--json"]));
    assert_eq!(counted(&shards), "eu10eu us20us");
}

#[test]
fn a_source_that_fails_leaves_the_target_as_it_was() {
    let shards = shards();
    let gone = shards.us.conninfo().replace(shards.us.name(), "nowhere");
    let job = job_of(&shards, &gone, "mode = 'merge'\n", "");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("`us`"), "{outcome}");
    assert_eq!(shards.db.target.count("t"), 0);
    // In the middle of its copy, after the rows of the first one.
    shards.us.sql("ALTER TABLE t RENAME TO r; CREATE VIEW t AS SELECT id, v || (1 / (20 - id))::text AS v FROM r");
    let job = job_of(&shards, &shards.us.conninfo(), "mode = 'merge'\n", "");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_refused(&outcome, "data_rejected", &["`us`", "22012"]);
    assert_eq!(shards.db.target.count("t"), 0);
}

#[test]
fn a_source_that_dies_in_mid_copy_leaves_the_target_as_it_was() {
    let shards = shards();
    let rows = "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(100, 20000) AS i";
    shards.us.sql(rows);
    let slow = job(&shards, "mode = 'merge'\nrate_limit = '50kB'\n", "");
    let running = slow.spawn(&["run", "j", "--json"]);
    let copies = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'";
    wait_until(PATIENCE, || shards.us.count(copies) == 1);
    let killed = shards.us.count(&format!(
        "(SELECT pg_terminate_backend(pid) FROM {copies}) AS killed"
    ));
    assert_eq!(killed, 1);
    let outcome = running.wait(PATIENCE);
    // Its last words may be lost where rows are under way.
    let kind = outcome.report()["error"]["kind"].as_str().unwrap();
    assert!(
        ["server_shutdown", "unreachable"].contains(&kind),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("`us`"), "{outcome}");
    assert_eq!(shards.db.target.count("t"), 0);
    assert_committed(&job(&shards, "mode = 'merge'\n", "").run(&["run", "j", "--json"]));
    assert_eq!(shards.db.target.count("t"), 10 + 20 + 19_901);
}

#[test]
fn the_column_has_to_be_in_the_key() {
    let shards = shards();
    shards
        .db
        .target
        .sql("DROP TABLE t; CREATE TABLE t (shard text, id int PRIMARY KEY, v text)");
    let outcome = job(&shards, "mode = 'merge'\n", "").run(&["run", "j", "--json"]);
    assert_refused(
        &outcome,
        "schema_mismatch",
        &["`source_column` shard is not in the key"],
    );
}
