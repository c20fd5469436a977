//! Mode `swap` among others who use the tables: nobody waits for long, nobody is killed, and no row is
//! published without the row that it refers to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::support::{
    Databases, PATIENCE, assert_committed, assert_refused, assert_same_schema, databases, job,
    job_toml, run, schema_of, wait_until,
};

/// `x` refers to `d`. Keys of tables of more than 2 MiB are checked before the locks are taken.
fn x_refers_to_d(name: &str, rows: u32) -> Databases<'static> {
    let db = databases(name);
    db.both(&format!(
        "CREATE TABLE d (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO d SELECT generate_series(1, {rows});
         CREATE TABLE x (id int PRIMARY KEY, d int CONSTRAINT points REFERENCES d)"
    ));
    db.source.sql(&format!(
        "INSERT INTO x SELECT i, i FROM generate_series(1, {rows}) i"
    ));
    db.target.sql("INSERT INTO x VALUES (0, 1)");
    db
}

#[rstest]
#[case::checked_under_the_locks(100)]
#[case::checked_before(100_000)]
fn who_reads_a_table_and_then_writes_what_it_refers_to_is_not_held_up(#[case] rows: u32) {
    let db = x_refers_to_d("reads_x_writes_d", rows);
    let before = schema_of(&db.target);
    let application = db.target.connect();
    application.sql("BEGIN; SELECT count(*) FROM x; SET lock_timeout = '10s'");
    let job = job(&db, &job_toml("swap", "public.x", ""));
    let running = job.spawn(&["run", "j", "--json"]);
    let waits =
        "pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'x'::regclass";
    wait_until(PATIENCE, || db.target.count(waits) > 0);

    // Others write there, too, and so does the application itself, which swap waits for.
    for _ in 0..20 {
        db.target
            .sql("SET lock_timeout = '10s'; UPDATE d SET n = n + 1 WHERE id = 1");
    }
    application.sql("UPDATE d SET n = n + 1 WHERE id = 2; COMMIT");

    assert_committed(&running.wait(PATIENCE));
    db.assert_same("x");
    assert_same_schema(&before, &db.target);
    assert_eq!(db.target.value("SELECT sum(n) FROM d"), "21");
    assert_eq!(deadlocks(&db), "0");
    let orphan = db.target.try_sql("INSERT INTO x VALUES (-1, -1)");
    assert!(orphan.is_err(), "the key holds");
}

fn deadlocks(db: &Databases<'_>) -> String {
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    db.target.value(sql)
}

#[rstest]
#[case(100)]
#[case(100_000)]
fn a_row_whose_referenced_row_goes_while_swap_waits_is_never_published(#[case] rows: u32) {
    let db = x_refers_to_d("orphan", rows);
    let reader = db.target.connect();
    reader.sql("BEGIN; SELECT count(*) FROM x");
    let job = job(&db, &job_toml("swap", "public.x", ""));
    let running = job.spawn(&["run", "j", "--json"]);
    let waits =
        "pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'x'::regclass";
    wait_until(PATIENCE, || db.target.count(waits) > 0);

    db.target.sql("DELETE FROM d WHERE id = 7");
    reader.sql("COMMIT");

    assert_refused(
        &running.wait(PATIENCE),
        "data_rejected",
        &["23503", "points"],
    );
    assert_eq!(db.target.value("SELECT id FROM x"), "0");
}

#[test]
fn a_key_to_a_partitioned_table_follows() {
    let db = databases("to_partitions");
    db.both(
        "CREATE TABLE d (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE d1 PARTITION OF d FOR VALUES IN (1);
         CREATE TABLE deep PARTITION OF d FOR VALUES IN (2, 3) PARTITION BY LIST (id);
         CREATE TABLE d2 PARTITION OF deep FOR VALUES IN (2); INSERT INTO d VALUES (1), (2);
         CREATE TABLE x (id int PRIMARY KEY, d int REFERENCES d, e int CONSTRAINT lax REFERENCES d)",
    );
    db.source
        .sql("INSERT INTO x VALUES (1, 1, 2), (2, 2, NULL)");
    db.target.sql("ALTER TABLE x DROP CONSTRAINT lax; ALTER TABLE x ADD CONSTRAINT lax FOREIGN KEY (e) REFERENCES d ON DELETE SET NULL");
    let before = schema_of(&db.target);
    assert_committed(&run(&db, &job_toml("swap", "public.x", "")));
    db.assert_same("x");
    assert_same_schema(&before, &db.target);
    assert!(
        db.target.try_sql("DELETE FROM d2 WHERE id = 2").is_err(),
        "the key holds"
    );
}

#[test]
fn who_holds_the_lock_is_named() {
    let db = x_refers_to_d("holder", 10);
    let reader = db.target.connect();
    reader.sql("BEGIN; SELECT count(*) FROM d");
    let pid = reader.value("SELECT pg_backend_pid()");

    let outcome = run(&db, &job_toml("swap", "public.x", "lock_timeout = '1s'"));

    let held = format!(
        "held by pid {pid} (postgres, client backend, idle in transaction) on \"public\".\"d\""
    );
    assert_refused(&outcome, "locked", &["public.x", "55P03", &held]);
    reader.sql("COMMIT");
    assert_committed(&run(&db, &job_toml("swap", "public.x", "")));
}

const TABLES: usize = 20;

/// Readers of all tables and a writer on all parents, while all are swapped again and again.
#[test]
fn many_tables_are_swapped_among_readers_and_writers_without_a_deadlock() {
    let db = databases("crowd");
    for i in 1..=TABLES {
        db.both(&format!(
            "CREATE TABLE d{i} (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO d{i} SELECT generate_series(1, 50);
             CREATE TABLE t{i} (id int PRIMARY KEY, d int REFERENCES d{i})"
        ));
        let fill = format!("INSERT INTO t{i} SELECT g, 1 + g % 50 FROM generate_series(1, 200) g");
        db.both(&fill);
    }
    let before = schema_of(&db.target);
    let job = job(&db, &job_toml("swap", "public.t*", ""));
    let (done, longest, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let at_work = |turn: &dyn Fn(usize) -> Duration| {
        let mut i = 0;
        while !done.load(Ordering::SeqCst) {
            i += 1;
            let waited = u64::try_from(turn(i).as_millis()).unwrap();
            longest.fetch_max(waited, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (db, at_work) = (&db, &at_work);
            scope.spawn(move || {
                let session = db.target.connect();
                at_work(&|i| {
                    let table = 1 + (i * 7 + reader * 5) % TABLES;
                    let began = Instant::now();
                    let rows = session.value(&format!(
                        "SELECT count(*) FROM t{table}, (SELECT pg_sleep(0.06)) s"
                    ));
                    assert_eq!(rows, "200");
                    let took = began.elapsed().saturating_sub(Duration::from_millis(60));
                    std::thread::sleep(Duration::from_millis(30));
                    took
                });
            });
        }
        scope.spawn(|| {
            let session = db.target.connect();
            at_work(&|i| {
                let (table, id) = (1 + i % TABLES, 1 + i % 50);
                let began = Instant::now();
                session.sql(&format!("UPDATE d{table} SET n = n + 1 WHERE id = {id}"));
                writes.fetch_add(1, Ordering::SeqCst);
                let took = began.elapsed();
                std::thread::sleep(Duration::from_millis(2));
                took
            });
        });
        let outcomes: Vec<_> = (0..5)
            .map(|_| job.spawn(&["run", "j", "--json"]).wait(PATIENCE))
            .collect();
        done.store(true, Ordering::SeqCst);
        for outcome in &outcomes {
            assert_committed(outcome);
        }
    });
    // How long that is depends on what else the machine does: `benches/locks.sh` measures it.
    let longest = longest.into_inner();
    println!("the longest wait of a reader or a writer: {longest} ms");
    assert_eq!(deadlocks(&db), "0");
    assert_same_schema(&before, &db.target);
    let sums: Vec<String> = (1..=TABLES)
        .map(|i| format!("(SELECT sum(n) FROM d{i})"))
        .collect();
    let written = db.target.value(&format!("SELECT {}", sums.join(" + ")));
    assert_eq!(written, writes.into_inner().to_string());
}
