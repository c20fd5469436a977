//! `workers`: several connections read one snapshot and load side by side, and nothing else changes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;

use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{
    Cluster, ClusterOptions, Database, Databases, Job, Outcome, PATIENCE, Proxy, Standby,
    databases, job_with, schema_of, wait_until,
};

/// Large enough to be cut in three.
const BIG: &str =
    "INSERT INTO big SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 7000) i";
const BIG_TABLE: &str = "CREATE TABLE big (id int PRIMARY KEY, v text NOT NULL);
     ALTER TABLE big ALTER v SET STORAGE PLAIN";

fn between(source: &str, target: &str, jobs: &str) -> Job {
    job_with(&format!(
        "[servers.source]\nconninfo = {source:?}\nmax_connections = 9\n\
         [servers.target]\nconninfo = {target:?}\nmax_connections = 9\n{jobs}\n"
    ))
}

fn job(db: &Databases<'_>, jobs: &str) -> Job {
    between(&db.source.conninfo(), &db.target.conninfo(), jobs)
}

fn jobs(mode: &str, more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\nworkers = 4\n\
         retry = {{ max = 0 }}\n{more}\n"
    )
}

#[track_caller]
fn assert_committed(outcome: &Outcome) -> &Vec<Value> {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "committed", "{outcome}");
    outcome.report()["tables"].as_array().unwrap()
}

#[track_caller]
fn assert_refused(outcome: &Outcome, kind: &str, parts: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["error"]["kind"], kind, "{outcome}");
    for part in parts {
        let text = &outcome.stderr;
        assert!(text.contains(part), "{part:?} is missing in\n{outcome}");
    }
}

/// What is on the target that a run makes before it publishes.
fn left_over(target: &Database<'_>) -> Vec<String> {
    let rows = target.rows(
        "SELECT relname FROM pg_class WHERE relname LIKE 'tableferry\\_%' \
         UNION ALL SELECT typname FROM pg_type WHERE typname LIKE '%tableferry\\_%' ORDER BY 1",
    );
    rows.into_iter().flatten().flatten().collect()
}

#[track_caller]
fn assert_nothing_left(db: &Databases<'_>) {
    assert_eq!(left_over(&db.target), Vec::<String>::new());
    for side in [&db.source, &db.target] {
        wait_until(PATIENCE, || sessions(side, "") == 0);
    }
}

/// Sessions of a run of the job `j`.
fn sessions(side: &Database<'_>, and: &str) -> u64 {
    side.count(&format!(
        "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%' {and}"
    ))
}

fn can_cut(db: &Databases<'_>) -> bool {
    db.source.cluster.version() >= 140_000
}

/// Tables of every kind, and more rows on the source than on the target.
fn many_tables(db: &Databases<'_>) {
    db.both(&format!(
        "{BIG_TABLE};
         CREATE TABLE empty (id int PRIMARY KEY);
         CREATE TABLE pair (a int, b text, v numeric, PRIMARY KEY (b, a));
         CREATE TABLE child (id serial PRIMARY KEY, big int REFERENCES big DEFERRABLE);
         CREATE TABLE parted (id int PRIMARY KEY, v text);
         CREATE TABLE viewed (id int PRIMARY KEY, v text);
         CREATE TABLE asked (id int PRIMARY KEY)"
    ));
    db.source.sql(&format!(
        "{BIG};
         INSERT INTO pair SELECT i, i % 7, i / 3.0 FROM generate_series(1, 900) i;
         INSERT INTO child (big) SELECT i FROM generate_series(1, 300) i;
         CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (500);
         CREATE TABLE part2 PARTITION OF parts DEFAULT;
         INSERT INTO parts SELECT i, 'p' || i FROM generate_series(1, 900) i;
         CREATE VIEW seen AS SELECT id, upper(v) AS v FROM parts;
         INSERT INTO viewed SELECT * FROM seen; INSERT INTO parted SELECT * FROM parts;
         INSERT INTO asked SELECT generate_series(1, 50)"
    ));
    db.target
        .sql("INSERT INTO big VALUES (1, 'old'), (2, 'old'); INSERT INTO pair VALUES (1, '1', 0)");
}

const MANY: &str = "tables = ['public.big', 'public.empty', 'public.pair', 'public.child']\n\
     [jobs.j.table.'public.parted']\nsource = 'public.parts'\n\
     [jobs.j.table.'public.viewed']\nsource = 'public.seen'\n\
     [jobs.j.table.'public.asked']\nquery = 'SELECT generate_series(1, 50) AS id'\n";

#[rstest]
#[case("swap", "")]
#[case("merge", "")]
#[case("upsert", "")]
#[case("swap", "verify = 'checksum'\n")]
#[case("merge", "verify = 'checksum'\nformat = 'text'\ntriggers = 'skip'\n")]
#[case("merge", "atomic = false\n")]
#[case("swap", "atomic = false\nanalyze = false\n")]
#[case("upsert", "atomic = false\n")]
fn all_rows_arrive_once(#[case] mode: &str, #[case] more: &str) {
    let db = databases("workers");
    many_tables(&db);
    if mode == "swap" && more.contains("atomic = false") {
        // A table that others refer to is swapped with them or not at all.
        db.target
            .sql("ALTER TABLE child DROP CONSTRAINT child_big_fkey");
    }
    let before = schema_of(&db.target);

    let outcome = job(&db, &jobs(mode, &format!("{more}{MANY}"))).run(&["run", "j", "--json"]);

    let tables = assert_committed(&outcome);
    assert_eq!(tables.len(), 7);
    for table in tables {
        assert_eq!(table["rows_read"], table["rows_written"], "{outcome}");
        let of_source = db.source.count(match table["source"].as_str().unwrap() {
            "(query)" => "asked",
            name => name,
        });
        assert_eq!(table["rows_read"], of_source, "{outcome}");
        let workers = table["workers"].as_u64().unwrap();
        let cut = table["target"] == "public.big" && can_cut(&db);
        assert!(
            if cut {
                (2..=4).contains(&workers)
            } else {
                workers == 1
            },
            "{outcome}"
        );
    }
    for relation in [
        "(SELECT id, md5(v) FROM big)",
        "pair",
        "child",
        "parted",
        "viewed",
        "asked",
        "empty",
    ] {
        db.assert_same(relation);
    }
    let next = "SELECT nextval('child_id_seq')";
    assert_eq!(db.target.value(next), "301");
    db.target.sql("SELECT setval('child_id_seq', 300)");
    // The ledger came with the run, and nothing went.
    if let (Some(before), Some(after)) = (before, schema_of(&db.target)) {
        let kept: BTreeSet<&str> = after.lines().collect();
        let gone: Vec<&str> = before.lines().filter(|line| !kept.contains(line)).collect();
        assert_eq!(gone, Vec::<&str>::new());
    }
    assert_nothing_left(&db);

    // The same again, with what has changed in between.
    db.source
        .sql("UPDATE big SET v = 'new' WHERE id % 1000 = 0; DELETE FROM big WHERE id = 6999");
    let outcome = job(&db, &jobs(mode, &format!("{more}{MANY}"))).run(&["run", "j", "--json"]);
    let tables = assert_committed(&outcome);
    let big = tables
        .iter()
        .find(|table| table["target"] == "public.big")
        .unwrap();
    if mode == "upsert" {
        assert_eq!(
            [&big["rows_inserted"], &big["rows_updated"]],
            [0, 7],
            "{outcome}"
        );
        assert_eq!(db.target.count("big"), 7000);
    } else {
        db.assert_same("(SELECT id, md5(v) FROM big)");
        assert_eq!(
            big["rows_deleted"],
            if mode == "swap" { 7000 } else { 1 },
            "{outcome}"
        );
    }
    assert_nothing_left(&db);
}

#[test]
fn a_where_and_a_scope_go_with_pieces() {
    let db = databases("where");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    db.target
        .sql("INSERT INTO big VALUES (7, 'old'), (9000, 'stays'), (8000, 'goes')");
    let config = jobs(
        "merge",
        "[jobs.j.table.'public.big']\nwhere = 'id % 3 = 1 OR id = 8000 -- or'\nscope = 'where'\nset.v = 'lower(v)'",
    );

    let outcome = job(&db, &config).run(&["run", "j", "--json"]);

    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["rows_read"], 2334, "{outcome}");
    assert_eq!(
        db.target
            .value("SELECT string_agg(id::text, ',') FROM big WHERE id > 7000"),
        "9000"
    );
    assert_eq!(db.target.count("big"), 2335);
}

#[rstest]
#[case("append")]
#[case("truncate")]
fn one_connection_writes_the_target_itself_and_that_is_said(#[case] mode: &str) {
    let db = databases("one");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    let job = job(&db, &jobs(mode, "tables = ['public.big']"));

    let plan = job.run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let said = format!("`workers` has no effect in mode `{mode}`");
    assert!(plan.stdout.contains(&said), "{plan}");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(assert_committed(&outcome)[0]["workers"], 1);
    assert!(outcome.stderr.contains(&said), "{outcome}");
    db.assert_same("(SELECT id, md5(v) FROM big)");
}

#[test]
fn a_plan_shows_the_pieces() {
    let db = databases("plan");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    for (mode, parts) in [
        (
            "swap",
            ["CREATE TABLE", "tableferry_shadow_", "CREATE UNIQUE INDEX"],
        ),
        (
            "merge",
            ["CREATE UNLOGGED TABLE", "tableferry_stage_", "DROP TABLE"],
        ),
    ] {
        let plan = job(&db, &jobs(mode, "tables = ['public.*']")).run(&["plan", "j", "--sql"]);
        assert_eq!(plan.code, Some(0), "{plan}");
        for part in parts {
            assert!(plan.stdout.contains(part), "{part}: {plan}");
        }
        let pieces = plan.stdout.matches("ctid >=").count();
        assert!(pieces == if can_cut(&db) { 2 } else { 0 }, "{plan}");
        assert_eq!(
            plan.stdout.contains("before version 14"),
            !can_cut(&db),
            "{plan}"
        );
        assert!(!plan.stdout.contains("FREEZE") || !can_cut(&db), "{plan}");
    }
    assert_nothing_left(&db);
}

/// Amounts move between two tables, and within each of them, while they are read.
#[rstest]
#[case("swap")]
#[case("merge")]
fn all_workers_see_one_snapshot(#[case] mode: &str) {
    let db = databases("snapshot");
    db.both(
        "CREATE TABLE a (id int PRIMARY KEY, n int, v text); CREATE TABLE b (id int PRIMARY KEY, n int, v text)",
    );
    for table in ["a", "b"] {
        db.source.sql(&format!(
            "INSERT INTO {table} SELECT i, 100, repeat('x', 1400) FROM generate_series(1, 5000) i"
        ));
    }
    let job = job(&db, &jobs(mode, "tables = ['public.*']"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = db.source.connect();
        let done = &done;
        let moving = scope.spawn(move || {
            let mut round = 0_u32;
            while !done.load(Ordering::SeqCst) {
                round += 1;
                // New versions of rows go to other blocks.
                let (from, to) = (round * 37 % 5000 + 1, round * 2741 % 5000 + 1);
                writer.sql(&format!(
                    "BEGIN; UPDATE a SET n = n - 1 WHERE id = {from}; UPDATE b SET n = n + 2 WHERE id = {to};
                     UPDATE a SET n = n - 1 WHERE id = {to}; COMMIT"
                ));
            }
            round
        });
        for _ in 0..4 {
            let outcome = job.run(&["run", "j", "--json"]);
            assert_committed(&outcome);
            let sum = "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM b)";
            assert_eq!(db.target.value(sum), "1000000", "{outcome}");
            assert_eq!((db.target.count("a"), db.target.count("b")), (5000, 5000));
        }
        done.store(true, Ordering::SeqCst);
        assert!(moving.join().unwrap() > 10);
    });
}

#[test]
fn a_swap_with_several_indexes_changes_nothing_else() {
    let db = databases("indexes");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    db.target.sql(
        "CREATE INDEX by_hash ON big USING hash (id); CREATE UNIQUE INDEX by_v ON big (md5(v)) WHERE id > 0;
         ALTER TABLE big ADD CONSTRAINT u UNIQUE (id) DEFERRABLE, ADD CONSTRAINT x EXCLUDE USING gist (int4range(id, id, '[]') WITH &&);
         CREATE INDEX \"Big one\" ON big (id, left(v, 9)) WITH (fillfactor = 60); ALTER TABLE big CLUSTER ON \"Big one\";
         COMMENT ON INDEX by_hash IS 'c'; ALTER TABLE big REPLICA IDENTITY USING INDEX big_pkey",
    );
    let job = job(
        &db,
        &jobs("swap", "tables = ['public.big']\n[daemon]\nhistory = 'off'"),
    );
    let before = schema_of(&db.target);

    let outcome = job.run(&["run", "j", "--json"]);

    assert_committed(&outcome);
    assert_eq!(schema_of(&db.target), before);
    db.assert_same("(SELECT id, md5(v) FROM big)");
    assert_nothing_left(&db);

    // What the indexes refuse is an error about the table, and the old rows stay.
    db.source
        .sql("ALTER TABLE big DROP CONSTRAINT big_pkey; INSERT INTO big VALUES (1, 'twice')");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_refused(&outcome, "data_rejected", &["public.big", "23505"]);
    assert_eq!(db.target.count("big"), 7000);
    assert_nothing_left(&db);
}

/// A source on which one worker waits in the middle of its rows, until the lock is released.
fn waiting(db: &Databases<'_>, mode: &str, key: u32) -> String {
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    db.target.sql("INSERT INTO big VALUES (-1, 'old')");
    db.source.sql(&format!(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared({key}); END IF; RETURN i; END';
         SELECT pg_advisory_lock({key})"
    ));
    jobs(
        mode,
        "stall_timeout = '30s'\n[jobs.j.table.'public.big']\nset.id = 'public.slow(id)'",
    )
}

fn is_waiting(db: &Databases<'_>) -> bool {
    let waiting = db.source.count(
        "pg_locks JOIN pg_database ON database = pg_database.oid \
         WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted",
    );
    waiting == 1
}

#[rstest]
fn a_backend_that_is_killed_takes_all_workers_with_it(
    #[values("swap", "merge", "upsert")] mode: &str,
    #[values(
        ("source", "AND query LIKE 'COPY%'"),
        ("target", "AND query LIKE 'COPY%'"),
        ("target", "AND state = 'idle in transaction' AND query NOT LIKE 'COPY%'"),
    )]
    victim: (&str, &str),
) {
    let db = databases("killed");
    let config = waiting(&db, mode, 4731);
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || is_waiting(&db));
    assert_eq!(db.target.value("SELECT v FROM big"), "old");

    let (side, which) = victim;
    let server = if side == "source" {
        &db.source
    } else {
        &db.target
    };
    let killed = server.count(&format!(
        "(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE 'tableferry%' {which} ORDER BY pid LIMIT 1) AS killed"
    ));
    assert_eq!(killed, 1, "{which}");

    // The others are told to stop, also where they wait.
    let outcome = running.wait(PATIENCE);
    // Last words are lost where rows were under way.
    let kind = outcome.report()["error"]["kind"].as_str().unwrap();
    assert!(
        ["server_shutdown", "unreachable"].contains(&kind),
        "{outcome}"
    );
    assert_eq!(outcome.report()["error"]["side"], side, "{outcome}");
    assert_eq!(db.target.value("SELECT v FROM big"), "old");
    assert_nothing_left(&db);
    db.source.sql("SELECT pg_advisory_unlock(4731)");
}

/// Every connection of a run is cut, at many points.
#[rstest]
fn a_cut_connection_leaves_the_old_rows_or_the_new(
    #[values("swap", "merge")] mode: &str,
    #[values("source", "target")] side: &str,
    #[values(Way::ToServer, Way::ToClient)] way: Way,
) {
    let db = databases("cut");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    let config = jobs(
        mode,
        "analyze = false\nstall_timeout = '30s'\ntables = ['public.big']",
    );
    let mut struck = 0;
    for connection in 1..=4 {
        let mut at = 8;
        loop {
            db.target
                .sql("TRUNCATE big; INSERT INTO big VALUES (-1, 'old')");
            let server = if side == "source" {
                &db.source
            } else {
                &db.target
            };
            let proxy = Proxy::start(server.cluster.port());
            let through = proxy.conninfo(&server.conninfo());
            let (source, target) = match side {
                "source" => (through, db.target.conninfo()),
                _ => (db.source.conninfo(), through),
            };
            let rule = Rule::new(way, Trigger::Message(at), Fault::Cut).on_connection(connection);
            let armed = proxy.arm(rule);
            let outcome = between(&source, &target, &config).run(&["run", "j", "--json"]);
            let what = format!("connection {connection}, message {at}: {outcome}");
            let (old, all) = (db.target.count("big WHERE id < 0"), db.target.count("big"));
            match outcome.report()["outcome"].as_str() {
                Some("committed") => assert_eq!((old, all), (0, 7000), "{what}"),
                Some("rolled_back") => assert_eq!((old, all), (1, 1), "{what}"),
                _ => panic!("{what}"),
            }
            if !armed.has_struck() {
                break;
            }
            struck += 1;
            at += if at < 60 { 11 } else { 700 };
        }
    }
    // A source that is not cut has fewer connections to strike.
    assert!(struck >= 6, "only {struck} cuts");
    // What a backend still held while its run cleaned up, the next run drops.
    db.target.sql("TRUNCATE big");
    assert_committed(&job(&db, &config).run(&["run", "j", "--json"]));
    assert_nothing_left(&db);
}

#[rstest]
#[case("swap", "tableferry_shadow_")]
#[case("merge", "tableferry_stage_")]
fn what_a_killed_run_left_the_next_one_of_the_job_drops(#[case] mode: &str, #[case] name: &str) {
    let db = databases("sigkill");
    if mode == "swap" && !can_cut(&db) {
        // One worker makes and loads it in one transaction: nothing is left.
        return;
    }
    let config = waiting(&db, mode, 4732);
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || is_waiting(&db));
    let made = |target: &Database<'_>| {
        let names = left_over(target);
        names
            .into_iter()
            .filter(|found| found.starts_with(name))
            .count()
    };
    assert_eq!(made(&db.target), 2, "a table and its row type");
    // Another run finds the job at work, and leaves it alone.
    let other = job.run(&["run", "j", "--json"]);
    assert_refused(&other, "locked", &["another run of job"]);
    assert_eq!(made(&db.target), 2);

    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);
    db.source.sql("SELECT pg_advisory_unlock(4732)");
    for side in [&db.source, &db.target] {
        wait_until(PATIENCE, || sessions(side, "") == 0);
    }
    assert_eq!(made(&db.target), 2);
    assert_eq!(db.target.value("SELECT v FROM big"), "old");
    let somebody_elses = "CREATE TABLE tableferry_stage_mine (id int); COMMENT ON TABLE tableferry_stage_mine IS \
         'tableferry: staging of public.t, by run 0193b5c0-0000-7000-8000-000000000001 of job other'";
    db.target.sql(somebody_elses);

    // Any mode cleans up.
    let next = config.replace(&format!("mode = '{mode}'"), "mode = 'truncate'");
    let outcome = self::job(&db, &next).run(&["run", "j", "--json"]);

    assert_committed(&outcome);
    assert!(
        outcome.stderr.contains("a killed run left behind"),
        "{outcome}"
    );
    db.assert_same("(SELECT id, md5(v) FROM big)");
    db.target.sql("DROP TABLE tableferry_stage_mine");
    assert_nothing_left(&db);
}

#[test]
fn a_leftover_that_is_still_locked_keeps_nobody() {
    let db = databases("held");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t VALUES (1)");
    db.target.sql(
        "CREATE TABLE tableferry_shadow_1 (id int); COMMENT ON TABLE tableferry_shadow_1 IS \
         'tableferry: shadow of public.t, by run 0193b5c0-0000-7000-8000-000000000001 of job j'",
    );
    let holder = db.target.connect();
    holder.sql("BEGIN; SELECT FROM tableferry_shadow_1");
    let job = job(&db, &jobs("swap", "tables = ['public.t']"));

    let outcome = job.run(&["run", "j", "--json"]);
    assert_committed(&outcome);
    assert!(
        outcome.stderr.contains("could not be dropped yet"),
        "{outcome}"
    );
    holder.sql("COMMIT");
    assert_committed(&job.run(&["run", "j", "--json"]));
    assert_nothing_left(&db);
}

#[test]
fn a_cancelled_run_cleans_up() {
    let db = databases("cancelled");
    let config = waiting(&db, "merge", 4733);
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || is_waiting(&db));

    running.kill(Signal::SIGTERM);

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert_eq!(db.target.value("SELECT v FROM big"), "old");
    assert_nothing_left(&db);
    db.source.sql("SELECT pg_advisory_unlock(4733)");
}

/// Rows that several connections load are not frozen: an older snapshot would find the table empty.
#[test]
fn an_old_snapshot_never_sees_the_new_table_empty() {
    let db = databases("older");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    db.target.sql("INSERT INTO big VALUES (-1, 'old')");
    let reader = db.target.connect();
    reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let pid = reader.value("SELECT pg_backend_pid()");
    // Who may not see what others do sees how old their snapshots are.
    let role = format!("{}_owner", db.target.name());
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; ALTER TABLE big OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let config = jobs(
        "swap",
        "lock_timeout = '1s'\nguard.max_shrink = '100%'\ntables = ['public.big']\n[daemon]\nhistory = 'off'",
    );
    let owners = between(&db.source.conninfo(), &target, &config);
    let outcome = owners.run(&["run", "j", "--json"]);
    if can_cut(&db) {
        assert_refused(
            &outcome,
            "locked",
            &["older than the new rows", &pid, "workers = 1"],
        );
        assert_eq!(reader.count("big"), 1);
        reader.sql("COMMIT");
        assert_committed(&owners.run(&["run", "j", "--json"]));
    } else {
        assert_committed(&outcome);
        assert_eq!(reader.count("big"), 7000);
        reader.sql("COMMIT");
    }
    db.target.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));

    // What one worker loads whole is frozen, and nobody has to wait for anybody.
    db.both("CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1)");
    let reader = db.target.connect();
    reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let config = jobs("swap", "tables = ['public.small']");
    assert_committed(&job(&db, &config).run(&["run", "j", "--json"]));
    assert_eq!(reader.count("small"), 1);
    assert_nothing_left(&db);
}

#[rstest]
#[case("swap")]
#[case("merge")]
fn nobody_else_reads_what_is_not_published(#[case] mode: &str) {
    let db = databases("hidden");
    let config = waiting(&db, mode, 4734);
    let role = format!("{}_curious", db.target.name());
    db.target.sql(&format!(
        "CREATE ROLE {role}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, {role}"
    ));
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || is_waiting(&db));
    let seen = format!(
        "pg_class WHERE relname LIKE 'tableferry\\_%' AND relkind = 'r' AND has_table_privilege('{role}', oid, 'SELECT')"
    );
    assert_eq!(db.target.count(&seen), 0);
    db.source.sql("SELECT pg_advisory_unlock(4734)");
    assert_committed(&running.wait(PATIENCE));
    let allowed = format!("SELECT has_table_privilege('{role}', 'big', 'SELECT')");
    assert_eq!(
        db.target.value(&allowed),
        "f",
        "it could not before, either"
    );
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_role_that_may_not_stage_is_told_what_to_grant() {
    let db = databases("stage_role");
    let role = format!("{}_loader", db.target.name());
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON big TO {role}; CREATE SCHEMA tableferry; GRANT USAGE ON SCHEMA tableferry TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let config = format!(
        "[daemon]\nhistory = 'off'\n{}",
        jobs("merge", "analyze = false\ntables = ['public.big']")
    );
    let job = between(&db.source.conninfo(), &target, &config);
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA tableferry TO {role}");

    for command in [["check", "--connect"], ["plan", "j"]] {
        let outcome = job.run(&command);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(text.contains(&grant), "{outcome}");
    }
    db.target.sql(&grant);
    let outcome = job.run(&["run", "j", "--json"]);
    assert_committed(&outcome);
    db.assert_same("(SELECT id, md5(v) FROM big)");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn gates_and_watermarks_go_with_workers() {
    let db = databases("gates");
    db.both(BIG_TABLE);
    db.target.sql(BIG);
    for mode in ["swap", "merge"] {
        let outcome = job(&db, &jobs(mode, "tables = ['public.big']")).run(&["run", "j", "--json"]);
        assert_refused(&outcome, "guard", &["the source has no rows"]);
        assert_eq!(db.target.count("big"), 7000);
        assert_nothing_left(&db);
    }
    db.target.sql("TRUNCATE big");
    db.source.sql(BIG);
    let config = jobs("upsert", "[jobs.j.table.'public.big']\nwatermark = 'id'");
    let job = job(&db, &config);
    assert_committed(&job.run(&["run", "j", "--json"]));
    db.source
        .sql("INSERT INTO big VALUES (7001, 'late'); UPDATE big SET v = 'changed' WHERE id = 5");
    let outcome = job.run(&["run", "j", "--json"]);
    // Other databases' transactions, too, may be a reason to read rows again.
    let read = assert_committed(&outcome)[0]["rows_read"].as_u64().unwrap();
    assert!((3..=7001).contains(&read), "{outcome}");
    db.assert_same("(SELECT id, md5(v) FROM big)");
    assert_nothing_left(&db);
}

#[test]
fn a_hot_standby_shares_its_snapshot() {
    let primary = Cluster::start_with(&ClusterOptions::default().source());
    let made = primary.connect("postgres");
    made.sql(BIG_TABLE);
    made.sql(BIG);
    let Some(standby) = Standby::of(&primary) else {
        return;
    };
    standby.catch_up(&primary);
    let target = crate::support::pair().1.database("of_standby");
    target.sql(BIG_TABLE);
    for mode in ["swap", "merge"] {
        let config = jobs(mode, "tables = ['public.big']");
        let job = between(&standby.conninfo("postgres"), &target.conninfo(), &config);
        let outcome = job.run(&["run", "j", "--json"]);
        assert_eq!(assert_committed(&outcome)[0]["rows_read"], 7000);
        assert_eq!(target.count("big"), 7000);
        assert_eq!(left_over(&target), Vec::<String>::new());
    }
}

/// Two servers behind one conninfo: a second connection may come to the other one.
#[test]
fn a_worker_that_came_to_another_server_is_noticed() {
    let db = databases("astray");
    db.both(BIG_TABLE);
    db.source.sql(BIG);
    let other = db.target.cluster;
    let twin = db.source.name();
    other
        .administrator()
        .sql(&format!("CREATE DATABASE {twin}"));
    let proxy = Proxy::start(db.source.cluster.port());
    for connection in 2..=4 {
        let rule = Rule::new(Way::ToServer, Trigger::Message(1), Fault::Cut);
        proxy.arm(rule.on_connection(connection));
    }
    let source = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname={twin} sslmode=disable",
        proxy.port(),
        other.port()
    );
    let config = jobs("merge", "tables = ['public.big']");

    let outcome = between(&source, &db.target.conninfo(), &config).run(&["run", "j", "--json"]);

    if can_cut(&db) {
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(outcome.stderr.contains("the same server"), "{outcome}");
        assert_eq!(db.target.count("big"), 0);
    }
    assert_nothing_left(&db);
    other
        .administrator()
        .sql(&format!("DROP DATABASE {twin} WITH (FORCE)"));
}
