//! `resume = true`: a run goes on with what a run that died has loaded, and ends equal to the source.

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;

use crate::support::{
    Cluster, ClusterOptions, Database, Databases, Job, Outcome, PATIENCE, Running, Standby,
    databases, databases_on, job_with, pair, wait_until,
};

const ROWS: u64 = 14_000;

/// The parts of `big`. Rows with `n` = 1 are in the last one, and are waited for when the target reads them.
const PARTS: u64 = 5;

/// A target whose COPY waits at one row of the last part for as long as the advisory lock is held.
fn waiting(db: &Databases<'_>) {
    db.target.sql(
        "CREATE FUNCTION slow(i int) RETURNS boolean LANGUAGE plpgsql AS
           'BEGIN IF i = 1 THEN PERFORM pg_advisory_lock_shared(815); END IF; RETURN true; END';
         CREATE DOMAIN slow_int AS int CHECK (public.slow(VALUE))",
    );
    let table = |ty: &str| {
        format!(
            "CREATE TABLE big (id int PRIMARY KEY, v text NOT NULL, n {ty});
             ALTER TABLE big ALTER v SET STORAGE PLAIN"
        )
    };
    db.source.sql(&format!(
        "{};
         INSERT INTO big SELECT i, repeat(md5(i::text), 40), (i = 13900)::int FROM generate_series(1, {ROWS}) i;
         CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1)",
        table("int")
    ));
    db.target.sql(&format!(
        "{}; INSERT INTO big VALUES (-1, 'old', 0);
         CREATE TABLE small (id int PRIMARY KEY); SELECT pg_advisory_lock(815)",
        table("slow_int")
    ));
}

fn between(source: &str, target: &str, mode: &str, more: &str) -> Job {
    job_with(&format!(
        "[servers.source]\nconninfo = {source:?}\nmax_connections = 9\n\
         [servers.target]\nconninfo = {target:?}\nmax_connections = 9\n\
         [jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\nworkers = 2\nresume = true\n\
         retry = {{ max = 0 }}\nguard.max_shrink = '100%'\nstall_timeout = '60s'\n{more}\n"
    ))
}

const TABLES: &str = "tables = ['public.big', 'public.small']";

fn job(db: &Databases<'_>, mode: &str, more: &str) -> Job {
    between(&db.source.conninfo(), &db.target.conninfo(), mode, more)
}

/// The name of a table that a run has created and not published, if there is one.
fn left_over(target: &Database<'_>, what: &str) -> Option<String> {
    let rows = target.rows(&format!(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND starts_with(relname, 'tableferry_{what}_')"
    ));
    rows.into_iter().flatten().flatten().next()
}

fn complete_parts(target: &Database<'_>) -> u64 {
    let parts = left_over(target, "parts");
    let count = |parts: String| {
        // A run that ends drops it.
        let sql = format!("SELECT count(*) FROM {parts} WHERE transaction IS NOT NULL");
        let rows = target.try_rows(&sql).ok()?;
        rows.into_iter().flatten().flatten().next()?.parse().ok()
    };
    parts.and_then(count).unwrap_or(0)
}

fn is_waiting(db: &Databases<'_>) -> bool {
    let waiting = "pg_locks JOIN pg_database ON database = pg_database.oid \
                   WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
    db.target.count(waiting) == 1
}

fn sessions(side: &Database<'_>) -> u64 {
    side.count("pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%'")
}

/// Starts a run, and waits until all parts but the last one are complete. The rows of the source are older than all
/// transactions that are open: the next run knows them as unchanged.
#[track_caller]
fn nearly_done(db: &Databases<'_>, job: &Job) -> Running {
    db.wait_for_transactions();
    start(db, job)
}

/// Starts a run, and waits until all parts but the last one are complete.
#[track_caller]
fn start(db: &Databases<'_>, job: &Job) -> Running {
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        is_waiting(db) && complete_parts(&db.target) == PARTS - 1
    });
    running
}

fn kill(db: &Databases<'_>, running: Running) {
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    db.target.sql("SELECT pg_advisory_unlock_all()");
    for side in [&db.source, &db.target] {
        wait_until(PATIENCE, || sessions(side) == 0);
    }
    assert_eq!(db.target.value("SELECT v FROM big"), "old");
}

/// A run dies in its last part.
#[track_caller]
fn die(db: &Databases<'_>, job: &Job) {
    let running = nearly_done(db, job);
    kill(db, running);
    assert_eq!(complete_parts(&db.target), PARTS - 1);
}

#[track_caller]
fn assert_committed(outcome: &Outcome) -> &Value {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let tables = outcome.report()["tables"].as_array().unwrap();
    tables.iter().find(|t| t["target"] == "public.big").unwrap()
}

#[track_caller]
fn assert_equal(db: &Databases<'_>) {
    db.assert_same("(SELECT id, md5(v), n::int FROM big WHERE id > 0)");
    let rest = db.target.rows(
        "SELECT relname FROM pg_class WHERE relname LIKE 'tableferry\\_%' \
         UNION ALL SELECT typname FROM pg_type WHERE typname LIKE '%tableferry\\_%'",
    );
    assert!(rest.is_empty(), "{rest:?}");
}

/// The run has kept the parts that were complete.
#[track_caller]
fn assert_kept(outcome: &Outcome) {
    let table = assert_committed(outcome);
    let number = |key: &str| table[key].as_u64().unwrap_or(0);
    assert!(outcome.stderr.contains("goes on with"), "{outcome}");
    assert!(number("rows_kept") > 9_000, "{outcome}");
    assert!(number("rows_read") < 4_500, "{outcome}");
    assert!(number("bytes") < 4_500 * 1_400, "{outcome}");
}

#[track_caller]
fn assert_not_kept(outcome: &Outcome, why: &str) {
    let table = assert_committed(outcome);
    assert!(outcome.stderr.contains("is not kept"), "{outcome}");
    assert!(outcome.stderr.contains(why), "{why:?}: {outcome}");
    assert_eq!(table["rows_kept"], Value::Null, "{outcome}");
    assert_eq!(table["rows_read"], table["rows_written"], "{outcome}");
}

fn can_cut(db: &Databases<'_>) -> bool {
    db.source.cluster.version() >= 140_000
}

/// New versions of rows are in other parts than the old ones, in both directions.
const CHANGES: &str = "\
    UPDATE big SET v = 'changed' WHERE id IN (1, 7000, 13950);
    UPDATE big SET id = id + 20000 WHERE id IN (2, 7001, 13951);
    DELETE FROM big WHERE id IN (3, 7002, 13952);
    INSERT INTO big VALUES (3, 'again', 0), (20000, 'new', 0), (-5, 'new', NULL);
    UPDATE big SET id = 2 WHERE id = 5";

#[rstest]
#[case("swap", "")]
#[case("swap", "verify = 'checksum'\nformat = 'text'\n")]
#[case("swap", "atomic = false\n")]
#[case("merge", "")]
#[case("merge", "atomic = false\nverify = 'checksum'\n")]
#[case("upsert", "")]
fn a_run_goes_on_where_one_died(#[case] mode: &str, #[case] more: &str) {
    let db = databases("resume");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, mode, &format!("{more}{TABLES}"));
    die(&db, &job);
    db.source.sql(CHANGES);
    db.source.sql("VACUUM big");
    db.source.sql("INSERT INTO big VALUES (5, 'reuses', 0)");
    // Neither a plan nor a dry run costs the load.
    if mode != "swap" {
        let dry = job.run(&["run", "j", "--dry-run", "--json"]);
        assert_eq!(dry.code, Some(0), "{dry}");
    }
    let plan = job.run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    for part in [
        "keeps what a run that died has loaded",
        "RENAME TO",
        "FROM pg_temp",
    ] {
        let text = plan.stdout.replace('"', "");
        assert!(text.contains(part), "{part}: {plan}");
    }

    let outcome = job.run(&["run", "j", "--json"]);

    assert_kept(&outcome);
    if mode == "upsert" {
        assert_eq!(db.target.count("big WHERE v = 'old'"), 1);
    }
    db.target.sql("DELETE FROM big WHERE v = 'old'");
    db.assert_same("(SELECT id, md5(v), n::int FROM big)");
    assert_equal(&db);
    assert_eq!(db.target.count("small"), 1);

    // A run that finds nothing loads everything.
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(assert_committed(&outcome)["rows_kept"], Value::Null);
    assert_equal(&db);
}

#[rstest]
fn what_was_loaded_of_something_else_is_not_kept(
    #[values("swap", "merge")] mode: &str,
    #[values(
        ("ALTER TABLE big ADD w int DEFAULT 7", "ALTER TABLE big ADD w int", "", "not kept"),
        ("ALTER TABLE big ALTER n TYPE smallint", "", "", "type of a column"),
        ("VACUUM FULL big", "", "", "replaced, truncated or rewritten"),
        ("", "", "[jobs.j.table.'public.big']\nwhere = 'id < 13990'", "what is read"),
        ("", "TRUNCATE LEFT", "", "replaced, truncated or rewritten"),
        ("", "DROP TABLE LEFT", "", ""),
    )]
    (source, target, more, why): (&str, &str, &str, &str),
) {
    let db = databases("other");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    die(&db, &job(&db, mode, TABLES));
    let what = if mode == "swap" { "shadow" } else { "stage" };
    let loaded = left_over(&db.target, what).unwrap();
    db.source.sql(source);
    db.target.sql(&target.replace("LEFT", &loaded));

    let tables = if more.is_empty() { TABLES } else { more };
    let outcome = job(&db, mode, tables).run(&["run", "j", "--json"]);

    if why.is_empty() {
        let table = assert_committed(&outcome);
        assert_eq!(table["rows_kept"], Value::Null, "{outcome}");
    } else {
        assert_not_kept(&outcome, why);
    }
    if more.is_empty() {
        assert_equal(&db);
    } else {
        assert_eq!(db.target.count("big"), 13_989);
    }
}

#[rstest]
#[case("swap")]
#[case("merge")]
fn what_others_write_into_it_is_undone(#[case] mode: &str) {
    let db = databases("foreign");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, mode, TABLES);
    die(&db, &job);
    let what = if mode == "swap" { "shadow" } else { "stage" };
    let loaded = left_over(&db.target, what).unwrap();
    db.target.sql(&format!(
        "UPDATE {loaded} SET v = 'foreign' WHERE id = 100; DELETE FROM {loaded} WHERE id = 200;
         INSERT INTO {loaded} VALUES (-7, 'foreign', 0); UPDATE {loaded} SET id = -8 WHERE id = 300"
    ));

    let outcome = job.run(&["run", "j", "--json"]);

    assert_kept(&outcome);
    db.assert_same("(SELECT id, md5(v), n::int FROM big)");
    assert_equal(&db);
}

/// The rows of the source look younger than a transaction that was open when they were read, in whatever database.
#[test]
fn what_is_younger_than_an_open_transaction_is_read_again() {
    let db = databases("open");
    if !can_cut(&db) {
        return;
    }
    let (elsewhere, _) = pair();
    let elsewhere = elsewhere.database("elsewhere");
    elsewhere.sql("BEGIN; SELECT pg_current_xact_id()");
    waiting(&db);
    let job = job(&db, "swap", TABLES);
    let running = start(&db, &job);
    elsewhere.sql("COMMIT");
    kill(&db, running);

    let outcome = job.run(&["run", "j", "--json"]);

    let table = assert_committed(&outcome);
    assert!(outcome.stderr.contains("goes on with"), "{outcome}");
    assert_eq!(table["rows_read"], ROWS, "{outcome}");
    assert_equal(&db);
}

/// A key that is there twice is not published.
#[test]
fn a_repeated_key_costs_the_load() {
    let db = databases("repeated");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, "merge", TABLES);
    die(&db, &job);
    let loaded = left_over(&db.target, "stage").unwrap();
    db.target
        .sql(&format!("INSERT INTO {loaded} VALUES (100, 'twice', 0)"));

    let outcome = job.run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(db.target.value("SELECT v FROM big"), "old");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(assert_committed(&outcome)["rows_kept"], Value::Null);
    assert_equal(&db);
}

#[rstest]
#[case("swap")]
#[case("merge")]
fn a_run_that_is_alive_keeps_its_load(#[case] mode: &str) {
    let db = databases("alive");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, mode, TABLES);
    let running = nearly_done(&db, &job);

    let other = job.run(&["run", "j", "--json"]);

    assert_eq!(other.code, Some(1), "{other}");
    assert_eq!(other.report()["error"]["kind"], "locked", "{other}");
    assert_eq!(complete_parts(&db.target), PARTS - 1);
    db.target.sql("SELECT pg_advisory_unlock_all()");
    let outcome = running.wait(PATIENCE);
    assert_eq!(assert_committed(&outcome)["rows_kept"], Value::Null);
    assert_equal(&db);
}

/// The second run dies in the same part, the third one while it waits to publish.
#[rstest]
#[case("swap")]
#[case("merge")]
fn runs_may_die_again_and_again(#[case] mode: &str) {
    let db = databases("again");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, mode, &format!("lock_timeout = '60s'\n{TABLES}"));
    die(&db, &job);
    db.source
        .sql("UPDATE big SET v = 'once' WHERE id IN (1, 2)");
    db.target.sql("SELECT pg_advisory_lock(815)");
    die(&db, &job);
    db.source
        .sql("UPDATE big SET v = 'twice' WHERE id IN (2, 3); DELETE FROM big WHERE id = 4");
    // The run has brought up what was loaded, and waits for this lock.
    let holder = db.target.connect();
    holder.sql("BEGIN; SELECT 1 FROM big FOR UPDATE");
    let running = job.spawn(&["run", "j", "--json"]);
    let waits = match mode {
        "swap" => {
            "pg_locks AS a JOIN pg_locks AS b USING (pid) WHERE a.relation = 'big'::regclass AND b.granted \
             AND b.mode = 'AccessExclusiveLock' AND b.relation IN \
             (SELECT oid FROM pg_class WHERE relname LIKE 'tableferry\\_parts\\_%')"
        }
        _ => {
            "pg_stat_activity WHERE application_name LIKE 'tableferry%' AND wait_event_type = 'Lock' \
             AND datname = current_database()"
        }
    };
    wait_until(PATIENCE, || db.target.count(waits) > 0);
    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    holder.sql("COMMIT");
    for side in [&db.source, &db.target] {
        wait_until(PATIENCE, || sessions(side) == 0);
    }
    // The transaction that has brought it up is one more.
    assert_eq!(complete_parts(&db.target), PARTS + 1);
    db.source.sql(CHANGES);

    let outcome = job.run(&["run", "j", "--json"]);

    let table = assert_committed(&outcome);
    assert!(table["rows_read"].as_u64().unwrap() < 1_500, "{outcome}");
    db.target.sql("DELETE FROM big WHERE v = 'old'");
    db.assert_same("(SELECT id, md5(v), n::int FROM big)");
    assert_equal(&db);
}

/// A failed run keeps its load if the same may succeed later; not if the rows are to blame.
#[test]
fn a_run_that_is_cancelled_keeps_its_load() {
    let db = databases("cancel");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    let job = job(&db, "swap", TABLES);
    let running = nearly_done(&db, &job);
    running.kill(Signal::SIGTERM);
    assert_eq!(running.wait(PATIENCE).code, Some(3));
    db.target.sql("SELECT pg_advisory_unlock_all()");
    assert_eq!(complete_parts(&db.target), PARTS - 1);

    assert_kept(&job.run(&["run", "j", "--json"]));
    assert_equal(&db);

    // The index refuses rows: nothing of them is kept.
    db.source
        .sql("ALTER TABLE big DROP CONSTRAINT big_pkey; INSERT INTO big VALUES (1, 'twice', 0)");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(left_over(&db.target, "parts"), None);
}

/// A standby that was promoted may lack what was read, and gives out the same transaction ids again.
#[test]
fn a_source_that_failed_over_is_loaded_anew() {
    let primary = Cluster::start_with(&ClusterOptions::default().source());
    let target = Cluster::start_with(&ClusterOptions::default().target());
    let Some(standby) = Standby::of(&primary) else {
        return;
    };
    let db = databases_on(&primary, &target, "failover");
    if !can_cut(&db) {
        return;
    }
    waiting(&db);
    die(&db, &job(&db, "swap", TABLES));
    standby.catch_up(&primary);
    standby.promote();
    let conninfo = standby.conninfo(db.source.name());

    let promoted = between(&conninfo, &db.target.conninfo(), "swap", TABLES);
    let outcome = promoted.run(&["run", "j", "--json"]);

    assert_not_kept(&outcome, "on timeline 2");
    assert_equal(&db);
}

#[test]
fn tables_of_which_nothing_can_be_kept_are_named() {
    let db = databases("named");
    db.both("CREATE TABLE keyed (id text PRIMARY KEY, v text); ALTER TABLE keyed ALTER v SET STORAGE PLAIN");
    db.source
        .sql("INSERT INTO keyed SELECT i, repeat('x', 1900) FROM generate_series(1, 1000) i");

    let outcome = job(&db, "swap", "tables = ['public.keyed']").run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    let said = "`resume` has no effect on it: the key's first column, id, is not an integer";
    assert!(outcome.stderr.contains(said), "{outcome}");
    db.assert_same("keyed");
}

/// Two large tables: the run dies when nine tenths of all parts are complete, and the next one moves at most a
/// fifth of the bytes. `sh tests/resume.sh` runs it with larger tables and shows the figures.
#[test]
fn at_nine_tenths_of_two_large_tables() {
    let rows = std::env::var("TABLEFERRY_RESUME_ROWS").ok();
    let rows: u64 = rows.and_then(|rows| rows.parse().ok()).unwrap_or(300_000);
    for mode in ["swap", "merge"] {
        let db = databases("large");
        for table in ["a", "b"] {
            db.both(&format!(
                "CREATE TABLE {table} (id bigint PRIMARY KEY, n int, v text)"
            ));
            db.source.sql(&format!(
                "INSERT INTO {table} SELECT i, i % 1000, md5(i::text) FROM generate_series(1, {}) i",
                rows / 2
            ));
            db.source.sql(&format!("ANALYZE {table}"));
        }
        let tables = "tables = ['public.a', 'public.b']\n";
        // Slow enough to be killed at a certain part.
        let rate = (rows / 150_000).max(1);
        let slow = job(&db, mode, &format!("rate_limit = '{rate}MB'\n{tables}"));
        db.wait_for_transactions();
        let running = slow.spawn(&["run", "j", "--json"]);
        let parts = |and: &str| -> u64 {
            let names = db.target.rows(
                "SELECT oid::regclass::text FROM pg_class \
                 WHERE starts_with(relname, 'tableferry_parts_') AND relkind = 'r'",
            );
            let names: Vec<String> = names.into_iter().flatten().flatten().collect();
            if names.len() < 2 {
                return 0;
            }
            let count = |name: &String| db.target.count(&format!("{name} WHERE part > 0 {and}"));
            names.iter().map(count).sum()
        };
        wait_until(PATIENCE * 20, || parts("") > 0);
        let all = parts("");
        wait_until(PATIENCE * 20, || {
            let complete = parts("AND transaction IS NOT NULL");
            complete * 10 >= all * 9 || complete + 1 >= all
        });
        running.kill(Signal::SIGKILL);
        running.wait(PATIENCE);
        for side in [&db.source, &db.target] {
            wait_until(PATIENCE, || sessions(side) == 0);
        }
        let complete = parts("AND transaction IS NOT NULL");
        db.source.sql(
            "UPDATE a SET n = -1 WHERE id % 50000 = 0; DELETE FROM b WHERE id % 70000 = 0;
             INSERT INTO a SELECT -i, i, 'new' FROM generate_series(1, 100) i",
        );

        let fast = job(&db, mode, tables);
        let bytes = |outcome: &Outcome| -> u64 {
            assert_eq!(outcome.code, Some(0), "{outcome}");
            let tables = outcome.report()["tables"].as_array().unwrap();
            tables.iter().map(|t| t["bytes"].as_u64().unwrap()).sum()
        };
        let next = bytes(&fast.run(&["run", "j", "--json"]));
        for table in ["a", "b"] {
            let sum =
                format!("SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} AS t");
            assert_eq!(db.source.rows(&sum), db.target.rows(&sum));
        }
        let whole = bytes(&fast.run(&["run", "j", "--full", "--json"]));
        println!(
            "{mode}: {rows} rows; killed with {complete} of {all} parts complete; the next run moved \
             {next} of {whole} bytes: {:.1} %",
            next as f64 / whole as f64 * 100.0
        );
        assert!(next * 5 <= whole, "{next} of {whole}");
    }
}
