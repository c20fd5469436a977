//! Targets that are clusters of servers: who is written to, before and after a failover.

use rstest::rstest;

use crate::support::{
    Cluster, ClusterOptions, Connection, Database, Job, PATIENCE, Standby, job_between, pair,
    wait_until,
};

const ROWS: u64 = 4000;

/// A primary with an empty table `t` in database `d`, and its standby.
fn cluster() -> Option<(Cluster, Standby)> {
    let primary = primary();
    let standby = Standby::of(&primary)?;
    standby.catch_up(&primary);
    Some((primary, standby))
}

fn primary() -> Cluster {
    let primary = Cluster::start_with(&ClusterOptions::default().target());
    primary.administrator().sql("CREATE DATABASE d");
    primary
        .connect("d")
        .sql("CREATE TABLE t (id int, filler text)");
    primary
}

/// The same table with rows, and a function that stops at row 2000 as long as a lock is held.
fn source() -> Database<'static> {
    let db = pair().0.database("failover");
    db.sql(&format!(
        "CREATE TABLE t (id int, filler text);
         INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i;
         CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared(4714); END IF; RETURN i; END'"
    ));
    db
}

/// Appends, so that what is published twice is there twice.
fn job_to(source: &Database<'_>, ports: &[u16], conninfo: &str, retries: u32, more: &str) -> Job {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let target = format!(
        "host={hosts} port={} user=postgres dbname=d sslmode=disable {conninfo}",
        ports.join(",")
    );
    let jobs = format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\nanalyze = false\n\
         retry = {{ max = {retries}, backoff = '100ms', max_backoff = '500ms' }}\n\
         [jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n{more}"
    );
    job_between(&source.conninfo(), &target, &jobs)
}

#[track_caller]
fn assert_there_once(target: &Connection, run_id: &serde_json::Value) {
    assert_eq!(target.count("t"), ROWS);
    assert_eq!(
        target.value("SELECT count(DISTINCT id) FROM t"),
        ROWS.to_string()
    );
    let run = format!(
        "tableferry.run WHERE state = 'committed' AND run_id = '{}'",
        run_id.as_str().unwrap()
    );
    assert_eq!(target.count(&run), 1);
    assert_eq!(target.count("tableferry.run"), 1);
    assert_eq!(target.count("tableferry.run_table"), 1);
}

#[test]
fn the_primary_is_found_behind_a_standby_and_missed_without_a_loop() {
    let Some((primary, standby)) = cluster() else {
        return;
    };
    let source = source();
    let ports = [standby.port(), primary.port()];

    let wanted = "target_session_attrs=read-write";
    let outcome = job_to(&source, &ports, wanted, 0, "").run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_there_once(&primary.connect("d"), &outcome.report()["run_id"]);

    standby.catch_up(&primary);
    for (conninfo, history, kind) in [
        (wanted, "target", "unreachable"),
        ("", "target", "server_shutdown"),
        ("", "off", "server_shutdown"),
    ] {
        let history = format!("[daemon]\nhistory = '{history}'");
        let job = job_to(&source, &ports[..1], conninfo, 1, &history);

        let outcome = job.run(&["run", "j", "--json"]);

        assert_eq!(outcome.code, Some(1), "{outcome}");
        let report = outcome.report();
        assert_eq!(report["attempts"], 2, "{outcome}");
        assert_eq!(report["error"]["kind"], kind, "{outcome}");
        assert_eq!(report["error"]["side"], "target", "{outcome}");
        let hint = report["error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("target_session_attrs"), "{outcome}");
        assert!(hint.contains("primary"), "{outcome}");
    }
}

#[rstest]
#[case::read_only(true, "0A000")]
#[case::no_login(false, "57P03")]
fn a_target_that_is_promoted_after_the_first_attempt_is_published_on_once(
    #[case] hot: bool,
    #[case] sqlstate: &str,
) {
    let primary = primary();
    let Some(standby) = Standby::start(&primary, hot) else {
        return;
    };
    let source = source();
    let job = job_to(&source, &[standby.port()], "", 100, "");
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || running.stderr().contains(sqlstate));

    primary.stop("INT");
    standby.promote();

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(
        outcome.report()["attempts"].as_u64().unwrap() > 1,
        "{outcome}"
    );
    let target = Connection::open(&standby.conninfo("d"));
    assert_there_once(&target, &outcome.report()["run_id"]);
}

/// The first attempt is in mid-copy when its server goes; the next one asks all hosts again.
#[rstest]
#[case::shut_down("INT")]
#[case::crashed("QUIT")]
fn a_run_goes_on_where_the_standby_was_promoted(#[case] signal: &str) {
    let Some((primary, standby)) = cluster() else {
        return;
    };
    let source = source();
    source.sql("SELECT pg_advisory_lock(4714)");
    let ports = [primary.port(), standby.port()];
    let job = job_to(&source, &ports, "target_session_attrs=read-write", 100, "");
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        source.count("pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4714") == 1
    });

    primary.stop(signal);
    // The first attempt is over, and another one finds a standby only.
    wait_until(PATIENCE, || {
        running.stderr().contains("target_session_attrs")
    });
    standby.promote();
    source.sql("SELECT pg_advisory_unlock(4714)");

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(
        outcome.report()["attempts"].as_u64().unwrap() > 2,
        "{outcome}"
    );
    let first = outcome.stderr.lines().find(|line| line.contains("57P01"));
    assert!(first.is_some() || signal == "QUIT", "{outcome}");
    let target = Connection::open(&standby.conninfo("d"));
    assert_there_once(&target, &outcome.report()["run_id"]);
}
