//! What survives the daemon's end.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use rstest::rstest;

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
    assert_eq!(&triggers[..2], ["missed", "schedule"]);
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
    assert_eq!(first["trigger"], "schedule", "{events:?}");
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

#[test]
fn a_damaged_memory_is_set_aside_by_name_and_the_rest_of_it_counts() {
    let db = tables("damaged");
    let home = home(&configuration(&db, &truncate_job("j", "every = '1h'")));
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(90);
    let line = format!("{{\"job\":\"j\",\"due_at\":\"{past}\"}}");
    home.file(
        "state/past.jsonl",
        format!("{{\"version\":1}}\n\0\0{{\"job\n{line}\n"),
    );
    let daemon = Daemon::start(&home);
    let file = home.directory().join("state/past.jsonl");
    let said = format!("the state file {} is damaged: line 2", file.display());
    assert_eq!(daemon.count(&said, ""), 1, "{}", daemon.running.stderr());
    // It is known what was missed.
    daemon.wait_for(1, "committed", "j");
    daemon.stop();
    let aside = fs::read_to_string(file.with_extension("jsonl.damaged.1")).unwrap();
    assert!(aside.contains(&line), "{aside}");
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.count("damaged", ""), 0);
    daemon.stop();
}

#[test]
fn a_memory_of_a_newer_version_is_refused_by_name() {
    let db = tables("newer");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let file = home.file("state/past.jsonl", "{\"version\":2}\n");
    let outcome = home.run(&["daemon"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let said = format!("{}: another version", file.display());
    assert!(outcome.stderr.contains(&said), "{outcome}");
    assert!(outcome.stderr.contains("move it away"), "{outcome}");
}

#[test]
fn a_second_daemon_with_the_same_memory_is_refused_by_name() {
    let db = tables("one_state");
    let configuration = configuration(&db, &truncate_job("j", ""));
    let first = home(&configuration);
    let state = first.directory().join("state").display().to_string();
    let second = home(&configuration).env("STATE_DIRECTORY", &state);
    let daemon = Daemon::start(&first);
    let refused = second.run(&["daemon"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    let pid = daemon.running.pid();
    let said = format!("another daemon (pid {pid}) is running with state_dir {state}");
    assert!(refused.stderr.contains(&said), "{refused}");
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    daemon.stop();
    Daemon::start(&second).stop();
}

/// Everything below a directory that others than the owner may read or write.
fn open_to_others(directory: &Path) -> Vec<String> {
    let mut open = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            // Its number is no secret.
            let may = if path.ends_with("tableferry.pid") {
                0o044
            } else {
                0
            };
            if meta.permissions().mode() & 0o077 & !may != 0 {
                open.push(path.display().to_string());
            }
            if meta.is_dir() {
                directories.push(path);
            }
        }
    }
    open
}

#[test]
fn whatever_the_umask_says_only_the_owner_reads_and_writes_its_files() {
    let db = tables("umask");
    let jobs = format!("[daemon]\nhistory = 'local'\n{}", truncate_job("j", ""));
    let home = home(&configuration(&db, &jobs));
    let ours = home.directory().join("ours");
    fs::create_dir(&ours).unwrap();
    let directory = |name: &str| ours.join("of/ours").join(name).display().to_string();
    let home = home
        .through(&["sh", "-c", "umask 000; exec \"$0\" \"$@\""])
        .env("RUNTIME_DIRECTORY", &directory("run"))
        .env("STATE_DIRECTORY", &directory("state"));
    assert_eq!(home.run(&["run", "j"]).code, Some(0));
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    let open = open_to_others(&ours);
    assert!(open.is_empty(), "{open:?}");
    daemon.stop();
}

#[rstest]
#[case("run")]
#[case("state")]
#[case("run/trigger")]
fn a_directory_that_everybody_may_write_to_is_refused(#[case] name: &str) {
    let db = tables("open");
    let home = home(&configuration(&db, &truncate_job("j", "")));
    let directory = home.directory().join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    let refused = home.run(&["daemon"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    let named = refused.stderr.contains(&directory.display().to_string());
    assert!(named && refused.stderr.contains("chmod o-w"), "{refused}");
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();
    let daemon = Daemon::start(&home);
    let warnings = usize::from(name != "run/trigger");
    assert_eq!(daemon.count("`chmod g-w` prevents that", ""), warnings);
    daemon.stop();
}
