//! What survives the daemon's end.

use nix::sys::signal::Signal;

use super::tables;
use crate::support::daemon::{
    Daemon, assert_nothing_left, configuration, held, hold, home, release, truncate_job, wait_held,
};

#[test]
fn a_daemon_killed_in_mid_copy_catches_up_once_and_leaves_nothing_behind() {
    let db = tables("killed");
    hold(&db);
    // A fire comes within 4 s; the next one is far enough away to tell it from the one caught up.
    let jobs = format!("{}{}", truncate_job("j", "every = '4s'"), held("j"));
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    wait_held(&db);
    daemon.kill(Signal::SIGKILL);
    assert_eq!(daemon.wait().signal, Some(9));
    release(&db);
    assert_nothing_left(&db);
    super::assert_old(&db);

    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "committed", "j");
    db.assert_same("t");
    daemon.wait_for(2, "committed", "j");
    let events = daemon.events();
    let triggers: Vec<_> = events
        .iter()
        .filter(|event| event["message"] == "started")
        .map(|event| event["trigger"].as_str().unwrap())
        .collect();
    assert_eq!(&triggers[..2], ["Missed", "Schedule"]);
    daemon.stop();
    assert_nothing_left(&db);
}

#[test]
fn what_has_committed_is_not_run_again_by_the_next_daemon() {
    let db = tables("again");
    let home = home(&configuration(&db, &truncate_job("j", "every = '2s'")));
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "committed", "j");
    // Its end is on record when the daemon does something else.
    daemon.ask(&["status"]);
    daemon.kill(Signal::SIGKILL);
    daemon.wait();
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "committed", "j");
    let events = daemon.events();
    let first = events.iter().find(|e| e["message"] == "started").unwrap();
    assert_eq!(first["trigger"], "Schedule", "{events:?}");
    daemon.stop();
}

#[test]
fn a_second_daemon_is_refused_by_name() {
    let db = tables("second");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let first = Daemon::start(&home);
    let second = home.run(&["daemon"]);
    assert_eq!(second.code, Some(1), "{second}");
    let pid = first.running.pid();
    let runtime_dir = home.directory().join("run").display().to_string();
    assert!(second.stderr.contains(&format!("(pid {pid})")), "{second}");
    assert!(second.stderr.contains(&runtime_dir), "{second}");
    // It has not touched the first one's socket.
    assert_eq!(first.ask(&["trigger", "j", "--wait"]).code, Some(0));
    first.stop();
    Daemon::start(&home).stop();
}
