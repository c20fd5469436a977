//! The commands that talk to a running daemon.

use super::tables;
use crate::support::daemon::{
    Daemon, configuration, held, hold, home, release, truncate_job, wait_held,
};
use crate::support::{PATIENCE, wait_until};

#[test]
fn trigger_wait_ends_as_the_run_does() {
    let db = tables("trigger");
    let jobs = format!(
        "{}{}",
        truncate_job("good", ""),
        truncate_job("bad", "").replace("public.t", "public.missing")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let good = daemon.ask(&["trigger", "good", "good", "--wait"]);
    assert_eq!(
        (good.code, good.stdout.trim()),
        (Some(0), "good: committed"),
        "{good}"
    );
    let bad = daemon.ask(&["trigger", "bad", "good", "--wait"]);
    assert_eq!(bad.code, Some(1), "{bad}");
    assert!(bad.stdout.contains("bad: rolled_back") && bad.stdout.contains("good: committed"));
    for wait in [&["trigger", "nobody", "--wait"][..], &["trigger", "nobody"]] {
        let unknown = daemon.ask(wait);
        assert_eq!(unknown.code, Some(2), "{unknown}");
        assert!(
            unknown.stderr.contains("nobody: there is no such job"),
            "{unknown}"
        );
    }
    // 3 is in `signals`.
    daemon.stop();
    let none = home.run(&["trigger", "good"]);
    assert_eq!(none.code, Some(1), "{none}");
    assert!(none.stderr.contains("no daemon answers in"), "{none}");
    db.assert_same("t");
}

#[test]
fn trigger_without_a_socket_says_that_no_daemon_answers() {
    let db = tables("spool");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    std::fs::remove_file(home.directory().join("run/control.sock")).unwrap();
    let outcome = daemon.ask(&["trigger", "j"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("no daemon answers in"), "{outcome}");
    let left = std::fs::read_dir(home.directory().join("run/trigger")).unwrap();
    assert_eq!(left.count(), 0);
    daemon.stop();
}

#[test]
fn status_and_jobs_say_it_to_scripts() {
    let db = tables("scripts");
    let jobs = format!(
        "{}{}",
        truncate_job("j", "cron = '0 3 * * *'\ntimezone = 'Europe/Berlin'"),
        truncate_job("k", "after = ['j']")
    );
    let home = home(&configuration(&db, &jobs));
    let without = home.run(&["status"]);
    assert_eq!(without.code, Some(1), "{without}");
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j", "--wait"]);

    let status = daemon.ask(&["status", "--json"]);
    assert_eq!(status.reports.len(), 2, "{status}");
    let j = &status.reports[0];
    assert_eq!(j["job"], "j");
    assert_eq!(j["last_outcome"], "committed");
    assert!(
        j["next_run_at"].is_string() && j["last_finished_at"].is_string(),
        "{status}"
    );
    let people = daemon.ask(&["status", "j"]);
    assert!(
        people.stdout.contains("committed") && !people.stdout.contains("\nk "),
        "{people}"
    );
    assert_eq!(daemon.ask(&["status", "nobody"]).code, Some(2));

    let jobs = daemon.ask(&["jobs", "--json"]);
    assert_eq!(
        jobs.reports[0]["next_run_at"].as_array().unwrap().len(),
        5,
        "{jobs}"
    );
    assert_eq!(jobs.reports[0]["next_run_at"][0], j["next_run_at"]);
    assert_eq!(jobs.reports[1]["after"][0], "j");
    daemon.stop();
}

#[test]
fn an_unreachable_server_at_start_is_a_degraded_job() {
    let db = tables("unreachable");
    let jobs = format!(
        "[servers.gone]\nconninfo = 'host=127.0.0.1 port=1 user=u dbname=d connect_timeout=2'\n{}{}",
        truncate_job("good", ""),
        truncate_job("bad", "every = '1s'").replace("'source'", "'gone'")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "127.0.0.1", "bad");
    let status = daemon.ask(&["status", "bad", "--json"]);
    assert_eq!(status.report()["last_outcome"], "rolled_back", "{status}");
    assert!(
        status.report()["last_error"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1"),
        "{status}"
    );
    assert_eq!(daemon.ask(&["trigger", "good", "--wait"]).code, Some(0));
    daemon.stop();
    db.assert_same("t");
}

#[test]
fn a_file_that_has_become_wrong_does_not_cut_off_the_daemon() {
    let db = tables("wrong");
    let job = truncate_job("j", "");
    // The directory by key, which can be read as long as it stands above what is not TOML.
    let plain = crate::support::job_with("");
    let key = |name: &str| plain.directory().join(name).display().to_string();
    let daemon_keys = format!(
        "[daemon]\nruntime_dir = '{}'\nstate_dir = '{}'\n",
        key("r"),
        key("s")
    );
    let good = configuration(&db, &format!("{daemon_keys}{job}"));
    plain.file("tableferry.toml", &good);
    let daemon = Daemon::start(&plain);
    for wrong in [
        format!("{good}[jobs.x]\nmode = 'no'\n"),
        format!("{good}[jobs.\n"),
    ] {
        plain.file("tableferry.toml", &wrong);
        let status = daemon.ask(&["status", "j", "--json"]);
        assert_eq!(status.code, Some(0), "{status}");
        let trigger = daemon.ask(&["trigger", "j", "--wait"]);
        assert_eq!(trigger.code, Some(0), "{trigger}");
        let reload = daemon.ask(&["reload"]);
        assert_eq!(reload.code, Some(78), "{reload}");
        assert!(
            reload
                .stderr
                .contains("the old configuration stays in force"),
            "{reload}"
        );
    }
    daemon.stop();
    assert_eq!(plain.run(&["status"]).code, Some(78));
}

#[test]
fn a_reload_changes_what_is_logged_unless_a_flag_says_it() {
    let db = tables("level");
    let text = |level: &str| {
        configuration(
            &db,
            &format!("[daemon]\nlog_level = '{level}'\n{}", truncate_job("j", "")),
        )
    };
    let home = home(&text("info"));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j", "--wait"]);
    assert_eq!(daemon.count("copying", "j"), 0);
    home.file("tableferry.toml", text("debug"));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    daemon.ask(&["trigger", "j", "--wait"]);
    assert_eq!(daemon.count("copying", "j"), 1);
    daemon.stop();
}

#[test]
fn job_status_knows_every_job_before_it_has_run() {
    let db = tables("registered");
    let jobs = format!(
        "{}{}",
        truncate_job("hourly", "every = '1000h'"),
        truncate_job("asked", "")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    let known = |jobs: u64| {
        wait_until(PATIENCE, || {
            db.target
                .value("SELECT to_regclass('tableferry.job') IS NOT NULL")
                == "t"
                && db.target.count("tableferry.job") == jobs
        });
    };
    known(2);
    let status = "SELECT job, next_due > now(), last_success FROM tableferry.job_status ORDER BY 1";
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        vec![text("asked"), None, None],
        vec![text("hourly"), text("t"), None],
    ];
    assert_eq!(db.target.rows(status), expected);

    let more = format!("{jobs}{}", truncate_job("added", ""));
    home.file("tableferry.toml", configuration(&db, &more));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    known(3);
    daemon.stop();
}

#[test]
fn those_who_connect_and_ask_nothing_hold_up_nobody() {
    let db = tables("half_open");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let socket = home.directory().join("run/control.sock");
    let silent: Vec<_> = (0..300)
        .map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap())
        .collect();
    let started = std::time::Instant::now();
    let status = daemon.ask(&["status"]);
    assert_eq!(status.code, Some(0), "{status}");
    // Each of them has 10 s to ask.
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(9), "{took:?}");
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    drop(silent);
    daemon.stop();
}

#[test]
fn a_job_that_a_reload_removes_while_it_runs_is_in_the_status() {
    let db = tables("removed");
    hold(&db);
    let other = truncate_job("other", "on_demand = false");
    let jobs = format!("{other}{}{}", truncate_job("j", ""), held("j"));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.ask(&["trigger", "j"]);
    wait_held(&db);
    home.file("tableferry.toml", configuration(&db, &other));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    let status = daemon.ask(&["status", "j", "--json"]);
    assert_eq!(status.report()["state"], "running", "{status}");
    assert_eq!(status.report()["removed"], true, "{status}");
    let people = daemon.ask(&["status"]).stdout;
    assert!(people.contains("running, removed"), "{people}");
    release(&db);
    daemon.wait_for(1, "committed", "j");
    wait_until(PATIENCE, || daemon.ask(&["status", "j"]).code == Some(2));
    daemon.stop();
}

#[test]
fn a_ledger_that_is_made_anew_is_logged() {
    let db = tables("anew");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let daemon = Daemon::start(&home);
    let line = "there was no ledger: schema tableferry is created";
    daemon.wait_for(1, line, "");
    db.target.sql("DROP SCHEMA tableferry CASCADE");
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    daemon.wait_for(2, line, "");
    daemon.stop();
}
