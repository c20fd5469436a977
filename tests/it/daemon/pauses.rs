//! Jobs that are paused, and runs that SQL asks for: all daemons obey the ledger.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::tables;
use crate::support::daemon::{
    Daemon, configuration, held, hold, home, release, truncate_job, wait_held,
};
use crate::support::{Databases, PATIENCE, wait_until};

#[track_caller]
fn status(daemon: &Daemon<'_>, job: &str) -> Value {
    daemon.ask(&["status", job, "--json"]).report().clone()
}

/// The runs of the job, by trigger and state.
fn runs(db: &Databases<'_>) -> String {
    db.target.value(
        "SELECT string_agg(trigger || ' ' || state, ', ' ORDER BY started_at) FROM tableferry.run",
    )
}

#[test]
fn a_pause_holds_for_all_daemons_and_across_a_restart() {
    let db = tables("paused");
    let jobs = format!(
        "{}{}",
        truncate_job("j", "every = '1s'"),
        truncate_job("other", "on_demand = false")
    );
    let configuration = configuration(&db, &jobs);
    let homes = [home(&configuration), home(&configuration)];
    let first = Daemon::start(&homes[0]);
    first.wait_for(1, "committed", "j");
    let second = Daemon::start(&homes[1]);

    let paused = first.ask(&["pause", "j"]);
    assert_eq!(
        (paused.code, paused.stdout.trim()),
        (Some(0), "j: paused"),
        "{paused}"
    );
    let again = second.ask(&["pause", "j"]);
    assert!(again.stdout.contains("j: already paused since "), "{again}");
    assert_eq!(again.code, Some(0), "{again}");
    let running = "tableferry.run WHERE job = 'j' AND state = 'running'";
    wait_until(PATIENCE, || db.target.count(running) == 0);
    let before = db.target.count("tableferry.run");
    // Each fire is let go by both.
    for daemon in [&first, &second] {
        wait_until(PATIENCE, || status(daemon, "j")["paused_since"].is_string());
        daemon.wait_for(1, "not run: the job is paused", "j");
    }
    let people = second.ask(&["status", "j"]);
    assert!(people.stdout.contains("paused"), "{people}");
    assert_eq!(status(&first, "other")["paused_since"], Value::Null);
    let view = "SELECT paused_at IS NOT NULL FROM tableferry.job_status WHERE job = 'j'";
    assert_eq!(db.target.value(view), "t");
    let refused = first.ask(&["trigger", "j", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("the job is paused"), "{refused}");
    // The other job is not.
    assert_eq!(first.ask(&["trigger", "other", "--wait"]).code, Some(0));
    first.stop();
    let first = Daemon::start(&homes[0]);
    first.wait_for(1, "not run: the job is paused", "j");
    let runs = "tableferry.run WHERE job = 'j'";
    assert_eq!(db.target.count(runs), before, "nothing has run");

    // A person who names it runs it, with a warning.
    let by_hand = first.ask(&["run", "j"]);
    assert_eq!(by_hand.code, Some(0), "{by_hand}");
    assert!(
        by_hand.stderr.contains("the job is paused since "),
        "{by_hand}"
    );
    assert_eq!(db.target.count(runs), before + 1);

    let resumed = second.ask(&["resume", "j"]);
    assert_eq!(
        (resumed.code, resumed.stdout.trim()),
        (Some(0), "j: resumed"),
        "{resumed}"
    );
    wait_until(PATIENCE, || db.target.count(runs) > before + 2);
    for daemon in [&first, &second] {
        wait_until(PATIENCE, || status(daemon, "j")["paused_since"].is_null());
    }
    let again = second.ask(&["resume", "j"]);
    assert_eq!(again.stdout.trim(), "j: was not paused", "{again}");
    assert_eq!(second.ask(&["pause", "nobody"]).code, Some(2));
    first.stop();
    second.stop();
}

#[test]
fn a_run_that_has_begun_is_tried_again_during_a_pause() {
    let db = tables("paused_retry");
    hold(&db);
    let jobs = truncate_job("j", "").replace("max = 0", "max = 5, backoff = '100ms'");
    let home = home(&configuration(&db, &format!("{jobs}{}", held("j"))));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j"]);
    wait_held(&db);
    assert_eq!(daemon.ask(&["pause", "j"]).code, Some(0));
    // The attempt fails. The next one belongs to the same run.
    db.source.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    daemon.wait_for(1, "trying again", "j");
    release(&db);
    daemon.wait_for(1, "committed", "j");
    db.assert_same("t");
    assert_eq!(runs(&db), "manual committed");
    // A run that has not begun waits for `resume`.
    wait_until(PATIENCE, || {
        status(&daemon, "j")["paused_since"].is_string()
    });
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(1));
    assert_eq!(runs(&db), "manual committed");
    daemon.stop();
}

#[test]
fn a_job_without_a_ledger_cannot_be_paused_and_is_named() {
    let db = tables("no_ledger");
    for history in ["local", "off"] {
        let jobs = format!("[daemon]\nhistory = '{history}'\n{}", truncate_job("j", ""));
        let home = home(&configuration(&db, &jobs));
        let refused = home.run(&["pause", "j"]);
        assert_eq!(refused.code, Some(1), "{refused}");
        let why = format!("job `j` cannot be paused: `history = \"{history}\"`");
        assert!(refused.stderr.contains(&why), "{refused}");
        assert_eq!(home.run(&["resume", "j"]).code, Some(1));
    }
}

#[test]
fn a_request_in_sql_is_fulfilled_once_by_two_daemons() {
    let db = tables("request");
    let configuration = configuration(&db, &truncate_job("j", ""));
    let homes = [home(&configuration), home(&configuration)];
    let daemons = homes.each_ref().map(Daemon::start);
    let known = "tableferry.job WHERE job = 'j'";
    wait_until(PATIENCE, || {
        db.target
            .value("SELECT to_regclass('tableferry.job') IS NOT NULL")
            == "t"
            && db.target.count(known) == 1
    });
    for round in 1..=3 {
        let id = db.target.value("SELECT tableferry.request('j')");
        let fulfilled = format!(
            "tableferry.request JOIN tableferry.run USING (run_id) \
             WHERE request_id = {id} AND state = 'committed' AND trigger = 'request'"
        );
        wait_until(PATIENCE, || db.target.count(&fulfilled) == 1);
        assert_eq!(db.target.count("tableferry.run"), round);
    }
    db.assert_same("t");
    // It waits while the job is paused. A request that waits is not doubled.
    assert_eq!(daemons[0].ask(&["pause", "j"]).code, Some(0));
    let id = db.target.value("SELECT tableferry.request('j')");
    assert_eq!(db.target.value("SELECT tableferry.request('j')"), id);
    for daemon in &daemons {
        wait_until(PATIENCE, || status(daemon, "j")["paused_since"].is_string());
    }
    assert_eq!(db.target.count("tableferry.run"), 3);
    assert_eq!(daemons[0].ask(&["resume", "j"]).code, Some(0));
    let open = "tableferry.request WHERE run_id IS NULL";
    wait_until(PATIENCE, || db.target.count(open) == 0);

    let unknown = db.target.try_sql("SELECT tableferry.request('nobody')");
    let unknown = unknown.unwrap_err().to_string();
    assert!(
        unknown.contains("nobody") || !unknown.is_empty(),
        "{unknown}"
    );
    assert_eq!(db.target.count("tableferry.request"), 4);
    for daemon in daemons {
        daemon.stop();
    }
    assert_eq!(runs(&db), ["request committed"; 4].join(", "));
}

#[test]
fn a_request_whose_run_was_killed_is_fulfilled_by_the_next_daemon() {
    let db = tables("request_killed");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", ""), held("j"));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    wait_until(PATIENCE, || {
        db.target
            .value("SELECT to_regclass('tableferry.job') IS NOT NULL")
            == "t"
            && db.target.count("tableferry.job") == 1
    });
    db.target.sql("SELECT tableferry.request('j')");
    wait_held(&db);
    daemon.kill(Signal::SIGKILL);
    daemon.wait();
    release(&db);
    db.wait_until_left();
    super::assert_old(&db);
    let daemon = Daemon::start(&home);
    // The run's heartbeat stops counting after 30 s.
    let fulfilled =
        "tableferry.request JOIN tableferry.run USING (run_id) WHERE state = 'committed'";
    wait_until(2 * PATIENCE, || db.target.count(fulfilled) == 1);
    db.assert_same("t");
    daemon.stop();
    assert_eq!(runs(&db), "request lost, request committed");
}

#[test]
fn a_run_of_another_daemon_makes_the_data_fresh_here() {
    let db = tables("fresh_elsewhere");
    let configuration = configuration(&db, &truncate_job("j", "fresh_within = '1h'"));
    let homes = [home(&configuration), home(&configuration)];
    let daemons = homes.each_ref().map(Daemon::start);
    assert_eq!(daemons[0].ask(&["trigger", "j", "--wait"]).code, Some(0));
    let here = status(&daemons[0], "j")["snapshot_at"].clone();
    assert!(here.is_string());
    wait_until(PATIENCE, || status(&daemons[1], "j")["snapshot_at"] == here);
    for daemon in daemons {
        daemon.stop();
    }
}

#[test]
fn only_those_with_execute_may_request() {
    let db = tables("request_rights");
    let job = home(&configuration(&db, &truncate_job("j", "")));
    assert_eq!(job.run(&["run", "j"]).code, Some(0));
    let role = format!("asker_{}", db.target.name());
    db.target.sql(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA tableferry TO {role}; \
         INSERT INTO tableferry.job (job) VALUES ('j')"
    ));
    let ask = |db: &Databases<'_>| {
        db.target.try_sql(&format!(
            "BEGIN; SET LOCAL ROLE {role}; SELECT tableferry.request('j'); COMMIT"
        ))
    };
    assert!(ask(&db).is_err());
    db.target.sql("ROLLBACK");
    db.target.sql(&format!(
        "GRANT EXECUTE ON FUNCTION tableferry.request(text) TO {role}"
    ));
    ask(&db).unwrap();
    assert_eq!(db.target.count("tableferry.request"), 1);
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
