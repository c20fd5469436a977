//! Where the daemon listens.

use std::net::TcpListener;

use super::{client, tables};
use crate::support::daemon::{Daemon, configuration, home, truncate_job};

#[test]
fn an_address_in_use_is_named_before_a_run_starts() {
    let db = tables("in_use");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let job = truncate_job("j", "every = '1s'");
    let text = format!("[daemon]\nlisten = '{address}'\n{job}");
    let home = home(&configuration(&db, &text));
    let outcome = home.run(&["daemon"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let expected =
        format!("`daemon.listen`: {address} cannot be listened on: Address already in use");
    assert!(outcome.stderr.contains(&expected), "{outcome}");
    assert_eq!(db.target.count("t WHERE id < 0"), 10);
    drop(other);
    // The address is free at once after a daemon has stopped, too.
    for _ in 0..2 {
        let daemon = Daemon::start(&home);
        assert_eq!(client(&daemon).text("/healthz"), "ok\n");
        daemon.stop();
    }
}

#[test]
fn an_address_of_ipv6_is_listened_on() {
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::support::service::left_out("listen on ::1", "no IPv6 here");
    }
    let db = tables("ipv6");
    let text = format!("[daemon]\nlisten = '[::1]:0'\n{}", truncate_job("j", ""));
    let home = home(&configuration(&db, &text));
    let daemon = Daemon::start(&home);
    assert_eq!(client(&daemon).text("/readyz"), "ready\n");
    daemon.stop();
}

#[test]
fn without_listen_there_is_no_socket_and_a_reload_does_not_open_one() {
    let db = tables("no_listen");
    let job = truncate_job("j", "");
    let home = home(&configuration(&db, &job));
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.count("listening", ""), 0);
    let text = format!("[daemon]\nlisten = '127.0.0.1:0'\n{job}");
    home.file("tableferry.toml", configuration(&db, &text));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    let warning = "`daemon.listen` stays off until the daemon is started again";
    assert_eq!(daemon.count(warning, ""), 1);
    assert_eq!(daemon.count("listening", ""), 0);
    daemon.stop();
}
