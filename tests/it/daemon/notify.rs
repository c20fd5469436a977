//! The life of a daemon as systemd sees it.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use super::tables;
use crate::support::PATIENCE;
use crate::support::daemon::{
    Daemon, configuration, held, hold, home, release, truncate_job, wait_held,
};

struct Systemd(UnixDatagram);

impl Systemd {
    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Listens until this is said; returns all that was said.
    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.iter().any(|text: &String| text.contains(wanted)) {
            heard.push(self.hear());
        }
        heard
    }
}

#[test]
fn systemd_is_told_of_everything() {
    let db = tables("notify");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", ""), held("j"));
    let home = home(&configuration(&db, &jobs));
    let path = home.directory().join("notify");
    let systemd = Systemd(UnixDatagram::bind(&path).unwrap());
    systemd.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let home = home
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "400000");

    let daemon = Daemon::start(&home);
    assert_eq!(systemd.hear(), "READY=1\nSTATUS=0 of 1 jobs running\n");
    systemd.hear_until("WATCHDOG=1");
    systemd.hear_until("WATCHDOG=1");

    daemon.ask(&["trigger", "j"]);
    wait_held(&db);
    systemd.hear_until("STATUS=1 of 1 jobs running");
    // The loop does not wait for the copy.
    systemd.hear_until("WATCHDOG=1");

    for (file, code) in [(configuration(&db, &jobs), 0), ("what".to_owned(), 78)] {
        home.file("tableferry.toml", file);
        assert_eq!(daemon.ask(&["reload"]).code, Some(code));
        let heard = systemd.hear_until("RELOADING=1\nMONOTONIC_USEC=");
        assert!(!heard.concat().contains("READY=1"), "{heard:?}");
        assert_eq!(systemd.hear(), "READY=1\nSTATUS=1 of 1 jobs running\n");
    }

    daemon.kill(Signal::SIGTERM);
    systemd.hear_until("STOPPING=1\nSTATUS=waiting for 1 run");
    systemd.hear_until("EXTEND_TIMEOUT_USEC=");
    // Still fed while it drains.
    systemd.hear_until("WATCHDOG=1");
    release(&db);
    let outcome = daemon.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    db.assert_same("t");
}
