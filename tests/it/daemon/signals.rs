//! What each signal does.

use std::process::Command;

use nix::sys::signal::Signal;
use rstest::rstest;

use super::{assert_old, tables};
use crate::support::daemon::{
    Daemon, assert_nothing_left, configuration, held, hold, home, release, truncate_job, wait_held,
};
use crate::support::{PATIENCE, databases, wait_until};

#[rstest]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGINT)]
fn a_daemon_without_work_stops_at_once(#[case] signal: Signal) {
    let db = tables("idle");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    daemon.kill(signal);
    let outcome = daemon.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("stopped"), "{outcome}");
    assert_old(&db);
}

#[test]
fn sigterm_in_the_middle_of_a_copy_lets_it_commit() {
    let db = tables("drain");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", ""), held("j"));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.ask(&["trigger", "j"]).code, Some(0));
    wait_held(&db);

    daemon.kill(Signal::SIGTERM);
    daemon.wait_for(1, "stopping", "");
    let refused = daemon.ask(&["trigger", "j"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("stopping"), "{refused}");
    release(&db);

    let outcome = daemon.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("\"committed\""), "{outcome}");
    db.assert_same("t");
    assert_nothing_left(&db);
}

#[rstest]
#[case::a_second_sigterm("60s", 2)]
#[case::the_end_of_the_grace("300ms", 1)]
fn a_run_is_cancelled_on_both_servers_by(#[case] grace: &str, #[case] signals: usize) {
    let db = tables("cancel");
    hold(&db);
    let jobs = format!(
        "[daemon]\nshutdown_grace = '{grace}'\n{}{}",
        truncate_job("j", ""),
        held("j")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let waiting = home.spawn(&["trigger", "j", "--wait"]);
    wait_held(&db);

    for number in 1..=signals {
        daemon.kill(Signal::SIGTERM);
        daemon.wait_for(number, "stopping", "");
    }

    let outcome = daemon.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("\"cancelled\""), "{outcome}");
    let asker = waiting.wait(crate::support::PATIENCE);
    assert_eq!(asker.code, Some(3), "{asker}");
    assert_nothing_left(&db);
    assert_old(&db);
    // And a run by hand finds nothing in its way.
    release(&db);
    assert_eq!(home.run(&["run", "j"]).code, Some(0));
    db.assert_same("t");
}

#[test]
fn sighup_takes_a_good_file() {
    let db = tables("hup");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let unknown = daemon.ask(&["trigger", "k", "--wait"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");

    let both = format!("{}{}", truncate_job("j", ""), truncate_job("k", ""));
    home.file("tableferry.toml", configuration(&db, &both));
    daemon.kill(Signal::SIGHUP);
    daemon.wait_for(1, "configuration reloaded: added k", "");

    let outcome = daemon.ask(&["trigger", "k", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    db.assert_same("t");
    daemon.stop();
}

#[test]
fn a_bad_file_keeps_the_old_configuration_its_schedule_and_its_runs() {
    let db = tables("bad");
    db.both("CREATE TABLE ticks (id int)");
    hold(&db);
    let ticks = "[jobs.ticks]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\nevery = '1s'\n\
                 analyze = false\n[jobs.ticks.table.'public.ticks']\nquery = 'SELECT 1 AS id'\n";
    let good = format!("{}{}{ticks}", truncate_job("j", ""), held("j"));
    let home = home(&configuration(&db, &good));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j"]);
    wait_held(&db);

    let bad = format!("{good}[jobs.k]\nmod = 'swap'\n[daemon]\nlisten = 'nowhere'\n");
    home.file("tableferry.toml", configuration(&db, &bad));
    daemon.kill(Signal::SIGHUP);
    daemon.wait_for(1, "the new configuration is refused", "");
    let reload = daemon.ask(&["reload"]);
    assert_eq!(reload.code, Some(78), "{reload}");
    for error in [
        "jobs.k.mod",
        "did you mean `mode`",
        "daemon.listen",
        "jobs.k.source",
    ] {
        assert!(reload.stderr.contains(error), "{error}: {reload}");
        assert!(daemon.running.stderr().contains(error), "{error}");
    }
    // Those that ask the daemon still can.
    assert_eq!(daemon.ask(&["status"]).code, Some(0));

    let before = daemon.count("committed", "ticks");
    daemon.wait_for(before + 2, "committed", "ticks");
    assert_eq!(daemon.count("committed", "j"), 0);
    release(&db);
    daemon.wait_for(1, "committed", "j");
    db.assert_same("t");
    daemon.stop();
}

#[test]
fn sigusr1_with_an_empty_spool_runs_the_on_demand_jobs() {
    let db = databases("demand");
    db.both("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int)");
    db.source.sql("INSERT INTO a VALUES (1)");
    db.source.sql("INSERT INTO b VALUES (1)");
    db.source.sql("INSERT INTO c VALUES (1)");
    let jobs = format!(
        "{}{}{}",
        truncate_job("a", "").replace("public.t", "public.a"),
        truncate_job("b", "every = '1h'").replace("public.t", "public.b"),
        truncate_job("c", "on_demand = false").replace("public.t", "public.c"),
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.kill(Signal::SIGUSR1);
    daemon.wait_for(1, "committed", "a");
    daemon.wait_for(1, "committed", "b");
    let outcome = daemon.stop();
    assert!(!outcome.stderr.contains("\"job\":\"c\""), "{outcome}");
    db.assert_same("a");
    db.assert_same("b");
    assert_eq!(db.target.count("c"), 0);
}

#[test]
fn a_storm_of_sigusr1_runs_each_spooled_job_exactly_once() {
    let db = databases("storm");
    let mut jobs = String::new();
    for n in 0..=20 {
        db.both(&format!("CREATE TABLE t{n} (id int)"));
        db.source.sql(&format!("INSERT INTO t{n} VALUES ({n})"));
        let job = truncate_job(&format!("j{n}"), "").replace("truncate", "append");
        jobs += &job.replace("public.t", &format!("public.t{n}"));
    }
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let spool = home.directory().join("run/trigger");
    for n in 0..100 {
        // Between the signals, and none for j20, which is on demand as all the others are.
        if n % 5 == 0 {
            let name = format!("j{}", n / 5);
            let hidden = spool.join(format!(".{name}"));
            std::fs::write(&hidden, "").unwrap();
            std::fs::rename(hidden, spool.join(name)).unwrap();
        }
        daemon.kill(Signal::SIGUSR1);
    }
    daemon.wait_for(20, "committed", "");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
    daemon.stop();
    for n in 0..20 {
        assert_eq!(db.target.count(&format!("t{n}")), 1, "t{n}");
    }
    assert_eq!(db.target.count("t20"), 0);
}

#[test]
fn a_strange_name_in_the_spool_is_refused_and_removed() {
    let db = tables("strange");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let spool = home.directory().join("run/trigger");
    std::fs::write(spool.join("No;Such"), "").unwrap();
    std::fs::write(spool.join("nobody"), "").unwrap();
    daemon.kill(Signal::SIGUSR1);
    daemon.wait_for(1, "trigger file `No;Such` is refused", "");
    daemon.wait_for(1, "not run: there is no such job", "nobody");
    daemon.stop();
    assert_old(&db);
}

#[test]
fn sigusr2_logs_the_status_of_every_job() {
    let db = tables("status");
    let jobs = format!(
        "{}{}",
        truncate_job("j", ""),
        truncate_job("k", "every = '1h'")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j", "--wait"]);
    daemon.kill(Signal::SIGUSR2);
    daemon.wait_for(2, "status", "");
    let events = daemon.events();
    let of = |job: &str| {
        let found = |e: &&serde_json::Value| e["message"] == "status" && e["job"] == job;
        events.iter().find(found).unwrap()
    };
    assert_eq!(of("j")["state"], "idle");
    assert_eq!(of("j")["last_outcome"], "committed");
    assert!(of("k")["next_run_at"].as_str().unwrap().ends_with("00:00Z"));
    daemon.stop();
}

#[test]
fn a_real_time_signal_runs_the_job_that_claims_it() {
    let db = tables("realtime");
    let jobs = format!(
        "{}{}",
        truncate_job("j", "signal = 'RTMIN+3'"),
        truncate_job("k", "")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let pid = daemon.running.pid().to_string();
    // The first is nobody's, and must not end the daemon.
    for signal in ["-RTMIN+9", "-RTMIN+3"] {
        let sent = Command::new("/bin/kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
    daemon.wait_for(1, "committed", "j");
    let outcome = daemon.stop();
    assert!(!outcome.stderr.contains("\"job\":\"k\""), "{outcome}");
    db.assert_same("t");
}

#[test]
fn a_bare_signal_right_after_a_trigger_file_is_not_swallowed_without_a_line() {
    let db = tables("echo");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let line = "SIGUSR1 without a trigger file is taken for";
    // Signals may be late on a busy machine: then they run the job.
    while daemon.count(line, "") == 0 {
        std::fs::write(home.directory().join("run/trigger/nobody"), "").unwrap();
        let before = daemon.count("there is no such job", "nobody");
        daemon.kill(Signal::SIGUSR1);
        daemon.wait_for(before + 1, "there is no such job", "nobody");
        // The first signal may itself be the bare one: the daemon may have seen the file before it.
        let started = daemon.count("started", "j");
        daemon.kill(Signal::SIGUSR1);
        wait_until(PATIENCE, || {
            daemon.count(line, "") > 0 || daemon.count("started", "j") > started
        });
    }
    daemon.stop();
}

#[test]
fn thousands_of_false_trigger_files_neither_hold_up_the_daemon_nor_fill_its_log() {
    let db = tables("flood");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let spool = home.directory().join("run/trigger");
    for n in 0..2500 {
        std::fs::write(spool.join(format!("No;Such.{n}")), "").unwrap();
        std::fs::write(spool.join(format!("nobody_{n}")), "").unwrap();
    }
    std::fs::write(spool.join("j"), "").unwrap();
    daemon.kill(Signal::SIGUSR1);
    daemon.wait_for(1, "committed", "j");
    daemon.wait_for(1, "2490 more trigger files are refused", "");
    wait_until(PATIENCE, || std::fs::read_dir(&spool).unwrap().count() == 0);
    assert_eq!(daemon.count("trigger file `No;Such", ""), 10);
    let unknown = daemon.count("there is no such job", "");
    assert!(unknown <= 100, "{unknown}");
    daemon.stop();
    db.assert_same("t");
}
