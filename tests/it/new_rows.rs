//! How many rows an `upsert` has inserted, and how many it has updated. Where it writes all rows by one statement, the
//! server's own counts of the transaction say it.

use std::thread;

use rstest::rstest;

use crate::plan_log::{logging, statements};
use crate::support::hang::wait_waiting;
use crate::support::{
    ClusterOptions, Outcome, PATIENCE, assert_committed, changes, databases, databases_on, job,
    job_between, only_t, wait_until,
};

/// What the server has counted for `t` in the session's transaction: inserted, updated, deleted.
const COUNTS: &str = "SELECT pg_stat_get_xact_tuples_inserted(t), pg_stat_get_xact_tuples_updated(t), \
     pg_stat_get_xact_tuples_deleted(t) FROM (SELECT 't'::regclass::oid) AS of (t)";

#[test]
fn the_server_counts_the_rows_that_on_conflict_inserts() {
    let db = databases("counted");
    db.target.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i",
    );
    let session = db.target.connect();
    // The counts may include earlier transactions: only differences tell something.
    let of = |statements: &str| {
        let counts = || session.rows(COUNTS)[0].clone().into_iter().flatten();
        let counts = || counts().map(|count| count.parse::<i64>().unwrap());
        let before: Vec<i64> = counts().collect();
        session.sql(statements);
        let counted = counts().zip(before).map(|(after, before)| after - before);
        counted.collect::<Vec<i64>>()
    };
    session.sql("BEGIN");
    // Half of the existing rows are as they should be.
    let upsert = "INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'new' ELSE 'old' END FROM generate_series(51, 130) i \
         ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v WHERE t.v <> EXCLUDED.v";
    assert_eq!(of(upsert), [30, 25, 0]);
    session.sql("SAVEPOINT s");
    assert_eq!(of(&upsert.replace("130", "132")), [2, 0, 0]);
    assert_eq!(of("RELEASE s"), [0, 0, 0]);
    session.sql("COMMIT; BEGIN");
    assert_eq!(of(&upsert.replace("130", "133")), [1, 0, 0]);
    session.sql("ROLLBACK; SET track_counts = off; BEGIN");
    assert_eq!(of(&upsert.replace("130", "133")), [0, 0, 0]);
}

/// Two sessions find no row with the key, and both insert one. The one that comes second into the index removes its
/// row, and updates the other's. Locks make both wait, in the index's function, where they have to.
#[test]
fn a_row_that_another_session_inserts_at_the_same_moment_counts_as_inserted_and_deleted() {
    let db = databases("speculative");
    db.target.sql(
        "CREATE FUNCTION pause(k text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
           'DECLARE session int := current_setting(''test.session'');
            BEGIN
              IF pg_try_advisory_xact_lock(session, 1) THEN PERFORM pg_advisory_xact_lock(session, 2);
              ELSE PERFORM pg_advisory_xact_lock(session, 3); END IF;
              RETURN k;
            END';
         CREATE TABLE t (k text, v text); CREATE UNIQUE INDEX ON t (pause(k))",
    );
    let controller = db.target.connect();
    controller.sql(
        "SELECT pg_advisory_lock(s, l) FROM generate_series(1, 2) AS s, generate_series(1, 3) AS l",
    );
    let unlock = |session, lock| {
        controller.sql(&format!("SELECT pg_advisory_unlock({session}, {lock})"));
    };
    let waiting = |place, sessions| {
        let waiting = format!(
            "pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database() \
             WHERE locktype = 'advisory' AND NOT granted AND objid = {place}"
        );
        wait_until(PATIENCE, || controller.count(&waiting) == sessions);
    };
    let upsert = |number: u32| {
        let session = db.target.connect();
        session.sql(&format!("SET test.session = {number}; BEGIN"));
        session.sql(
            "INSERT INTO t VALUES ('k', 'v') ON CONFLICT (pause(k)) DO UPDATE SET v = 'updated'",
        );
        // These are the sessions' first transactions.
        let counts = session.rows(COUNTS)[0].clone();
        (session, counts)
    };
    let text = |count: &str| Some(count.to_owned());
    thread::scope(|scope| {
        let second = scope.spawn(|| upsert(1));
        let first = scope.spawn(|| upsert(2));
        // Both look whether the key is there.
        waiting(3, 2);
        unlock(1, 1);
        unlock(2, 1);
        unlock(1, 3);
        unlock(2, 3);
        // Both have a row in the table, and none in the index.
        waiting(2, 2);
        unlock(2, 2);
        let (session, counts) = first.join().unwrap();
        assert_eq!(counts, ["1", "0", "0"].map(text));
        session.sql("COMMIT");
        unlock(1, 2);
        let (session, counts) = second.join().unwrap();
        assert_eq!(counts, ["1", "1", "1"].map(text));
        session.sql("COMMIT");
    });
    controller.sql("SELECT pg_advisory_unlock_all()");
    assert_eq!(
        db.target.value("SELECT string_agg(v, ',') FROM t"),
        "updated"
    );
}

/// What happens to the target before the run: the ways to count give the same.
#[rstest]
#[case::by_the_server("")]
#[case::the_server_does_not_count("ALTER DATABASE {db} SET track_counts = off")]
#[case::the_role_may_not_read_counts(
    "REVOKE EXECUTE ON FUNCTION pg_stat_get_xact_tuples_inserted(oid) FROM PUBLIC"
)]
#[case::a_trigger(
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
     CREATE TRIGGER same BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
)]
// It inserts a row of its own into the target.
#[case::a_trigger_behind_a_foreign_key(
    "CREATE TABLE c (v text REFERENCES t (v) ON UPDATE CASCADE); INSERT INTO c VALUES ('old 5');
     CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.t VALUES (-1, ''more''); RETURN NULL; END';
     CREATE TRIGGER more AFTER UPDATE ON c FOR EACH ROW EXECUTE FUNCTION f()"
)]
#[case::a_key_to_itself(
    "ALTER TABLE t ADD up text REFERENCES t (v) ON UPDATE CASCADE; UPDATE t SET up = 'old 5'"
)]
#[case::partitioned(
    "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
     CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
     INSERT INTO t SELECT i, 'old ' || i FROM generate_series(1, 100) i; GRANT SELECT, INSERT, UPDATE ON t TO {role}"
)]
fn new_rows_and_updated_ones_are_told_apart(#[case] before: &str) {
    let db = databases("new_rows");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new ' || i FROM generate_series(1, 199) i");
    db.target.sql(&format!(
        "INSERT INTO t SELECT i, 'old ' || i FROM generate_series(1, 100) i; CREATE ROLE {role} LOGIN;
         GRANT SELECT, INSERT, UPDATE ON t TO {role}"
    ));
    db.target.sql(
        &before
            .replace("{db}", db.target.name())
            .replace("{role}", &role),
    );
    let target = db.target.conninfo();
    let target = target.replace("user=postgres", &format!("user={role}"));
    let jobs = format!(
        "[daemon]\nhistory = 'off'\n{}",
        only_t("upsert", "compare = 'full'\nanalyze = false\n", "")
    );
    let job = job_between(&db.source.conninfo(), &target, &jobs);
    let run = || -> Outcome { job.run(&["run", "j", "--json"]) };

    let outcome = run();

    let counted = changes(&assert_committed(&outcome)[0]);
    assert_eq!(counted, [99, 100, 0], "{outcome}");
    let of_source = "t WHERE v = 'new ' || id AND id > 0";
    assert_eq!(db.target.count(of_source), 199);
    let again = run();
    assert_eq!(changes(&assert_committed(&again)[0]), [0, 0, 0], "{again}");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// Another session inserts one of the new rows after the run has compared the table.
#[test]
fn a_row_that_another_session_inserts_meanwhile_is_updated() {
    let db = databases("new_meanwhile");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 200) i");
    db.target
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i");
    let other = db.target.connect();
    other.sql("BEGIN; INSERT INTO t VALUES (150, 'mine'), (300, 'mine')");
    let job = job(&db, &only_t("upsert", "", ""));
    let running = job.spawn(&["run", "j", "--json"]);
    wait_waiting(&db.target, "INSERT INTO");
    other.sql("COMMIT");

    let outcome = running.wait(PATIENCE);

    let counted = changes(&assert_committed(&outcome)[0]);
    assert_eq!(counted, [99, 101, 0], "{outcome}");
    assert_eq!(db.target.count("t WHERE v = 'new'"), 200);
    assert_eq!(db.target.count("t"), 201);
}

/// Where most rows differ, no join counts the new ones, and the staging table needs no statistics.
#[test]
fn rows_that_are_written_at_once_are_neither_joined_nor_analyzed() {
    let source = logging(ClusterOptions::default().source());
    let target = logging(ClusterOptions::default().target());
    let db = databases_on(&source, &target, "at_once");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.target
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 1000) i");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(501, 1500) i");
    let jobs = only_t("upsert", "compare = 'full'\nanalyze = false\n", "");
    let job = job(&db, &jobs);
    for (expected, joins) in [([500, 500, 0], 0), ([0, 0, 0], 1)] {
        let from = target.log().len();

        let outcome = job.run(&["run", "j", "--json"]);

        assert_eq!(changes(&assert_committed(&outcome)[0]), expected);
        let log = target.log();
        let ran = statements(&log[from..]);
        let count = |part: &str| ran.iter().filter(|(_, sql)| sql.contains(part)).count();
        assert_eq!(count("AS \"staged\" WHERE NOT EXISTS"), 0);
        // Of the staging table, and of the table of changes.
        assert_eq!(count("ANALYZE"), 2 * joins, "{ran:?}");
        assert_eq!(count("_changes\" ON COMMIT DROP"), joins);
        assert_eq!(count("INSERT INTO \"public\".\"t\""), 1);
    }
}
