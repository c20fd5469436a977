//! Somebody sets the machine's clock.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::tables;
use crate::support::Job;
use crate::support::daemon::{Daemon, configuration, home, truncate_job};
use crate::support::service::left_out;

/// libfaketime, by the places where distributions put it.
fn library() -> Option<&'static str> {
    let places = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib64/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    ];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        left_out(
            "a clock that is set",
            "libfaketime is not installed; `sh tests/faults.sh` does that",
        );
    }
    found
}

/// From now on the daemon's wall clock differs from the machine's by so much. Nobody tells it.
fn set_clock(home: &Job, by: SignedDuration) {
    let temporary = home.file("clock.new", format!("{:+}\n", by.as_secs()));
    std::fs::rename(temporary, home.directory().join("clock")).unwrap();
}

#[test]
fn a_clock_set_back_by_an_hour_stops_no_schedule_and_is_logged() {
    let Some(library) = library() else { return };
    let db = tables("clock");
    db.both("CREATE TABLE u (id int); CREATE TABLE v (id int)");
    let fixed = Timestamp::now() + SignedDuration::from_secs(70);
    let fixed = format!("cron = '{} * * *'", fixed.strftime("%M %H"));
    let jobs = format!(
        "{}{}{}",
        truncate_job("often", "every = '1s'"),
        truncate_job("starred", "cron = '* * * * *'").replace("public.t", "public.u"),
        truncate_job("fixed", &fixed).replace("public.t", "public.v"),
    );
    let home = home(&configuration(&db, &jobs));
    let clock = home.directory().join("clock").display().to_string();
    let home = home
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    set_clock(&home, SignedDuration::ZERO);
    let daemon = Daemon::start(&home);
    // Past the fixed time: what was skipped is made up for once.
    set_clock(&home, SignedDuration::from_mins(30));
    daemon.wait_for(1, "the clock was set forward by 30m", "");
    for job in ["often", "starred", "fixed"] {
        daemon.wait_for(1, "committed", job);
    }

    // Shortly before a full minute.
    let second = Timestamp::now().as_second().rem_euclid(60);
    let back = SignedDuration::from_secs(-30 * 60 - second - 5);
    set_clock(&home, back);
    daemon.wait_for(1, "the clock was set back by 1h", "");
    for job in ["often", "starred"] {
        let before = daemon.count("committed", job);
        daemon.wait_for(before + 1, "committed", job);
    }
    // Again through the same minutes: the ledger does not take these fires for those.
    for _ in 0..2 {
        let forwards = daemon.count("the clock was set forward by", "");
        set_clock(&home, back + SignedDuration::from_mins(2));
        daemon.wait_for(forwards + 1, "the clock was set forward by", "");
        let backs = daemon.count("the clock was set back by", "");
        set_clock(&home, back);
        daemon.wait_for(backs + 1, "the clock was set back by", "");
        let before = daemon.count("committed", "often");
        daemon.wait_for(before + 3, "committed", "often");
    }
    assert_eq!(daemon.count("committed", "fixed"), 1);
    assert_eq!(daemon.count("its fire belongs to", ""), 0);
    daemon.stop();
    db.assert_same("t");
}
