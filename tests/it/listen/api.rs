//! `/api/status` and `/api/history` are what the commands print.

use super::{client, listening_home, tables};
use crate::support::daemon::{Daemon, configuration, home, truncate_job};

#[test]
fn the_api_gives_the_lines_of_the_commands() {
    let db = tables("api");
    let jobs = format!("{}{}", truncate_job("one", ""), truncate_job("two", ""));
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    for job in ["one", "two", "one"] {
        assert_eq!(daemon.ask(&["trigger", job, "--wait"]).code, Some(0));
    }
    let same = |path: &str, command: &[&str]| {
        let answer = client.get(path);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/x-ndjson; charset=utf-8"), "{path}");
        assert_eq!(answer.body, daemon.ask(command).stdout, "{path}");
        assert!(!answer.body.is_empty());
    };
    same("/api/status", &["status", "--json"]);
    same("/api/status?job=two", &["status", "two", "--json"]);
    same("/api/history", &["history", "--json"]);
    same("/api/history?job=one", &["history", "one", "--json"]);
    let limited = &["history", "one", "--json", "--limit", "1"];
    same("/api/history?job=one&limit=1", limited);
    for (path, status) in [
        ("/api/status?job=nobody", 404),
        ("/api/history?job=nobody", 404),
        ("/api/history?limit=0", 400),
        ("/api/history?limit=1001", 400),
        ("/api/history?limit=x", 400),
        ("/api/status?jobs=one", 400),
    ] {
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    daemon.stop();
}

#[test]
fn a_ledger_that_cannot_be_read_is_no_empty_history() {
    let db = tables("api_gone");
    let gone =
        "[servers.gone]\nconninfo = 'host=127.0.0.1 port=1 user=u dbname=d connect_timeout=2'\n";
    let bad = truncate_job("bad", "").replace("target = 'target'", "target = 'gone'");
    let text = format!("[daemon]\nlisten = '127.0.0.1:0'\n{gone}{bad}");
    let home = home(&configuration(&db, &text));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let history = client.get("/api/history?job=bad");
    assert_eq!(history.status, 503, "{history:?}");
    assert!(history.body.contains("127.0.0.1"), "{history:?}");
    let page = client.text("/jobs/bad");
    assert!(page.contains("127.0.0.1"), "{page}");
    assert_eq!(client.text("/healthz"), "ok\n");
    daemon.stop();
}
