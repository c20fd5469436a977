//! What the watchdog tells: slow from dead, and who holds a lock.

use std::time::{Duration, Instant};

use rstest::rstest;

use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{Databases, PATIENCE, Proxy, databases, job, job_between, wait_until};

pub fn jobs(mode: &str, more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\ntables = ['public.t']\n\
         retry = {{ max = 0 }}\nanalyze = false\n{more}\n"
    )
}

pub fn tables(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int, filler text)");
    db.source
        .sql("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 4000) i");
    db
}

#[test]
fn the_holder_of_a_lock_that_was_waited_for_in_vain_is_named() {
    let db = tables("held");
    let other = db.target.connect();
    other.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let pid = other.value("SELECT pg_backend_pid()");
    let config = jobs("truncate", "lock_timeout = '2s'");

    let outcome = job(&db, &config)
        .env("TABLEFERRY_LOG", "debug")
        .run(&["run", "j", "--json"]);

    let error = &outcome.report()["error"];
    assert_eq!(error["kind"], "locked", "{outcome}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("held by pid {pid}")), "{outcome}");
}

#[test]
fn a_slow_trigger_is_waited_for_however_long_stall_timeout_is() {
    let db = tables("slow");
    db.target.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_catalog.pg_sleep(3); RETURN NULL; END';
         CREATE TRIGGER slow AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    );
    let outcome = job(&db, &jobs("append", "stall_timeout = '1s'")).run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("still at work"), "{outcome}");
}

#[test]
fn a_target_that_is_gone_is_noticed_while_the_source_is_slow() {
    let db = tables("gone");
    db.source.sql(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared(4715); END IF; RETURN i; END'",
    );
    db.source.sql("SELECT pg_advisory_lock(4715)");
    let proxy = Proxy::start(db.target.cluster.port());
    let config = "lock_timeout = '10m'\nstall_timeout = '10m'\n\
                  [jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n";
    let job = job_between(
        &db.source.conninfo(),
        &proxy.conninfo(&db.target.conninfo()),
        &jobs("append", config),
    );
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.source
            .count("pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4715")
            == 1
    });

    proxy.cut();

    let outcome = running.wait(PATIENCE);
    let error = &outcome.report()["error"];
    assert_eq!(error["kind"], "unreachable", "{outcome}");
    assert_eq!(error["side"], "target", "{outcome}");
}

#[test]
fn the_locks_of_a_connection_that_was_lost_are_free_when_the_run_ends() {
    let db = tables("lost");
    let proxy = Proxy::start(db.target.cluster.port());
    let rule = Rule::new(Way::ToServer, Trigger::Typed(b'd', 1), Fault::Stall).on_connection(1);
    let armed = proxy.arm(rule);
    let config = jobs("truncate", "stall_timeout = '1s'");
    let began = Instant::now();
    let outcome = job_between(
        &db.source.conninfo(),
        &proxy.conninfo(&db.target.conninfo()),
        &config,
    )
    .run(&["run", "j", "--json"]);

    assert!(armed.has_struck());
    assert_eq!(outcome.report()["error"]["kind"], "stalled", "{outcome}");
    assert!(began.elapsed() < Duration::from_secs(20), "{outcome}");
    // The proxy still holds both of its sockets: nobody but the run could tell the server.
    wait_until(PATIENCE, || {
        db.target
            .count("pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'")
            == 0
    });
}

#[rstest]
fn a_connection_that_is_lost_while_staged_rows_are_applied_is_given_up(
    #[values("merge", "upsert")] mode: &str,
) {
    let db = tables("lost");
    db.both("ALTER TABLE t ADD PRIMARY KEY (id)");
    // An empty target would be loaded directly.
    db.target.sql("INSERT INTO t VALUES (1, 'old')");
    let proxy = Proxy::start(db.target.cluster.port());
    let insert = Trigger::Text("INSERT INTO \"public\".\"t\"");
    let armed = proxy.arm(Rule::new(Way::ToServer, insert, Fault::Stall).on_connection(1));
    let job = job_between(
        &db.source.conninfo(),
        &proxy.conninfo(&db.target.conninfo()),
        &jobs(mode, "stall_timeout = '1s'"),
    );

    let outcome = job.run(&["run", "j", "--json"]);

    assert!(armed.has_struck());
    assert_eq!(outcome.report()["error"]["kind"], "stalled", "{outcome}");
    wait_until(PATIENCE, || {
        db.target
            .count("pg_locks WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock'")
            == 0
    });
}
