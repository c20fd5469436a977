//! Jobs on time, in turn, and within their limits.

use super::{assert_old, tables};
use crate::support::daemon::{
    Daemon, assert_nothing_left, configuration, held, hold, home, release, truncate_job, wait_held,
};
use crate::support::{PATIENCE, wait_until};

#[test]
fn every_second_keeps_the_tables_equal_while_rows_change() {
    let db = tables("every");
    let home = home(&configuration(&db, &truncate_job("j", "every = '1s'")));
    let daemon = Daemon::start(&home);
    for round in 0..3 {
        db.source.sql(&format!(
            "INSERT INTO t VALUES (10000 + {round}, 'more'); DELETE FROM t WHERE id = {round};
             UPDATE t SET v = 'round {round}' WHERE id % 7 = {round}"
        ));
        let sum = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t";
        let expected = db.source.value(sum);
        wait_until(PATIENCE, || db.target.value(sum) == expected);
    }
    daemon.stop();
    // What a DBA reads in psql.
    let status = "tableferry.job_status WHERE job = 'j' AND last_success <= now() \
                  AND freshness < '1 minute' AND next_due > last_success - interval '1 second'";
    assert_eq!(db.target.count(status), 1);
    assert_nothing_left(&db);
}

#[test]
fn after_runs_when_the_other_has_committed() {
    let db = tables("after");
    db.both("CREATE TABLE u (id int)");
    db.source.sql("INSERT INTO u VALUES (1)");
    let second = truncate_job("second", "after = ['first']").replace("public.t", "public.u");
    let jobs = format!("{}{second}", truncate_job("first", ""));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "first"]);
    daemon.wait_for(1, "committed", "second");
    let started = daemon.events();
    let started = started
        .iter()
        .find(|e| e["message"] == "started" && e["job"] == "second");
    assert_eq!(started.unwrap()["trigger"], "after");
    db.assert_same("u");

    // Not when it failed.
    db.target.sql("DROP TABLE t");
    daemon.ask(&["trigger", "first", "--wait"]);
    daemon.ask(&["trigger", "second", "--wait"]);
    assert_eq!(daemon.count("committed", "second"), 2);
    daemon.stop();
}

#[test]
fn a_fire_during_a_run_is_skipped_or_queued() {
    let db = tables("overlap");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", "every = '1s'"), held("j"));
    let skip = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&skip);
    wait_held(&db);
    daemon.wait_for(1, "not run: the previous run is still going", "j");
    // Said once, and counted when it is over.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let said = "not run: the previous run is still going";
    assert_eq!(daemon.count(said, "j"), 1);
    release(&db);
    daemon.wait_for(1, "fires in all, while the previous run was going", "j");
    daemon.wait_for(2, "committed", "j");
    daemon.stop();

    db.source.sql("SELECT pg_advisory_lock(1)");
    let queue = jobs
        .replace("overlap = 'skip'", "")
        .replace("every", "overlap = 'queue'\nevery");
    let queue = home(&configuration(&db, &queue));
    let daemon = Daemon::start(&queue);
    wait_held(&db);
    // One at most waits; the later fire stands for the earlier.
    daemon.wait_for(
        1,
        "not run: the previous fire still waits for its turn",
        "j",
    );
    assert_eq!(
        daemon.count("not run: the previous run is still going", "j"),
        0
    );
    release(&db);
    daemon.wait_for(2, "committed", "j");
    daemon.stop();
    db.assert_same("t");
}

#[test]
fn a_timeout_ends_the_attempt() {
    let db = tables("timeout");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", "timeout = '500ms'"), held("j"));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let outcome = daemon.ask(&["trigger", "j", "--wait"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let status = daemon.ask(&["status", "j", "--json"]);
    assert_eq!(status.report()["last_outcome"], "rolled_back", "{status}");
    assert!(daemon.running.stderr().contains("\"timeout\""));
    daemon.stop();
    assert_nothing_left(&db);
    assert_old(&db);
}

#[test]
fn what_can_pass_is_tried_again() {
    let db = tables("retry");
    let blocker = db.target.connect();
    blocker.sql("BEGIN; LOCK TABLE t");
    let job = truncate_job("j", "lock_timeout = '200ms'").replace(
        "retry = { max = 0 }",
        "retry = { max = 50, backoff = '50ms', max_backoff = '100ms' }",
    );
    let home = home(&configuration(&db, &job));
    let daemon = Daemon::start(&home);
    let asker = home.spawn(&["trigger", "j", "--wait"]);
    daemon.wait_for(1, "trying again", "j");
    let status = daemon.ask(&["status", "--json"]);
    let status = status.report();
    assert_eq!(status["state"], "running", "{status}");
    assert!(status["attempt"].as_u64() >= Some(2), "{status}");
    let error = status["attempt_error"].as_str().unwrap();
    assert!(error.contains("public.t"), "{status}");
    let people = daemon.ask(&["status"]).stdout;
    assert!(people.contains("running, attempt "), "{people}");
    blocker.sql("COMMIT");
    let outcome = asker.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let events = daemon.events();
    let committed = events.iter().find(|e| e["message"] == "committed").unwrap();
    assert!(committed["attempts"].as_u64().unwrap() >= 2, "{committed}");
    db.assert_same("t");
    let status = daemon.ask(&["status", "--json"]);
    assert!(status.report().get("attempt").is_none(), "{status}");
    daemon.stop();
}

#[test]
fn a_busy_server_does_not_starve_the_others() {
    let db = tables("starve");
    db.both("CREATE TABLE u (id int)");
    db.source.sql("INSERT INTO u VALUES (1)");
    hold(&db);
    // `narrow` is the same database by another name, with room for one.
    let narrow = db.source.conninfo();
    let jobs = format!(
        "[servers.narrow]\nconninfo = {narrow:?}\nmax_connections = 1\n{}{}{}{}",
        truncate_job("held", "").replace("'source'", "'narrow'"),
        held("held"),
        truncate_job("waits", "").replace("'source'", "'narrow'"),
        truncate_job("free", "").replace("public.t", "public.u"),
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "held"]);
    wait_held(&db);
    daemon.ask(&["trigger", "waits"]);
    assert_eq!(daemon.ask(&["trigger", "free", "--wait"]).code, Some(0));
    let status = daemon.ask(&["status", "waits", "held", "--json"]);
    assert_eq!(status.reports[0]["state"], "running", "{status}");
    assert_eq!(status.reports[1]["state"], "waiting", "{status}");
    release(&db);
    daemon.wait_for(1, "committed", "waits");
    daemon.stop();
}

#[test]
fn no_more_than_max_running_jobs_run() {
    let db = tables("maximum");
    db.both("CREATE TABLE u (id int)");
    db.source.sql("INSERT INTO u VALUES (1)");
    hold(&db);
    let jobs = format!(
        "[daemon]\nmax_running_jobs = 1\n{}{}{}",
        truncate_job("a", ""),
        held("a"),
        truncate_job("b", "").replace("public.t", "public.u"),
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "a"]);
    wait_held(&db);
    daemon.ask(&["trigger", "b"]);
    let status = daemon.ask(&["status", "b", "--json"]);
    assert_eq!(status.report()["state"], "waiting", "{status}");
    assert_eq!(daemon.count("started", "b"), 0);
    release(&db);
    daemon.wait_for(1, "committed", "b");
    daemon.stop();
    db.assert_same("t");
    db.assert_same("u");
}
