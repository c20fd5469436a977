//! Requests that nobody should send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::{Answer, is_closed_within};
use super::{client, listening_home, tables};
use crate::bounds::documented;
use crate::support::PATIENCE;
use crate::support::daemon::{Daemon, truncate_job};

#[test]
fn nothing_can_be_changed_and_nothing_else_is_there() {
    let db = tables("bad_requests");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let host = format!("Host: {}\r\n", client.address);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MOVE"] {
        for path in ["/", "/jobs/j", "/metrics", "/api/status"] {
            let answer = client.request(method, path, &host);
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"));
        }
    }
    for path in [
        "/nothing",
        "/jobs/nobody",
        "/jobs/",
        "/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/../../etc/passwd",
        "/style.css/../../Cargo.toml",
        "/jobs/%00",
        "/jobs/%ff",
        "//",
        "/%2e%2e/",
    ] {
        let answer = client.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.body.contains("root:"), "{path}: {answer:?}");
    }
    let large = format!("{host}X: {}\r\n", "x".repeat(20_000));
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{large}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), 431),
        (
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(70_000)),
            414,
        ),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), 400),
        (
            format!("GET / HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n"),
            400,
        ),
    ] {
        let answer = client.send(request.as_bytes());
        let status_ok = answer.status == status || (status == 414 && answer.status == 431);
        assert!(
            status_ok,
            "{}: {answer:?}",
            &request[..20.min(request.len())]
        );
    }
    let head = client.request("HEAD", "/", &host);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(client.text("/healthz"), "ok\n");
    daemon.stop();
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_in_check() {
    let db = tables("headers");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    for path in [
        "/",
        "/jobs/j",
        "/style.css",
        "/icon.svg",
        "/metrics",
        "/nothing",
    ] {
        let answer = client.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'"),
            "{policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains("script"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
    }
    // A foreign page whose name points to this machine.
    let rebound = client.request("GET", "/api/status", "Host: evil.example:9632\r\n");
    assert_eq!(rebound.status, 421, "{rebound:?}");
    assert!(!rebound.body.contains("\"job\""));
    assert_eq!(
        client.request("GET", "/", "Host: localhost\r\n").status,
        200
    );
    daemon.stop();
}

#[test]
fn a_client_that_sends_slowly_or_nothing_is_disconnected() {
    let db = tables("slow_client");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let bound = documented("daemon/listen/mod.rs", "HEAD_WAIT");
    let silent = client.connect();
    let mut slow = client.connect();
    let began = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let mut writer = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while began.elapsed() < PATIENCE && writer.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
        began.elapsed()
    });
    assert!(is_closed_within(&silent, PATIENCE));
    assert!(is_closed_within(&slow, PATIENCE));
    assert!(began.elapsed() > bound / 2, "{:?}", began.elapsed());
    drop(slow);
    assert!(dripping.join().unwrap() < PATIENCE);
    assert_eq!(client.text("/healthz"), "ok\n");
    daemon.stop();
}

#[test]
fn idle_connections_do_not_keep_others_out() {
    let db = tables("idle_clients");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let mut idle: Vec<TcpStream> = (0..200).map(|_| client.connect()).collect();
    for _ in 0..3 {
        assert_eq!(client.text("/healthz"), "ok\n");
    }
    // The oldest ones were closed, and a client that asks late is answered if it was not.
    assert!(is_closed_within(&idle[0], PATIENCE));
    let mut last = idle.pop().unwrap();
    last.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(Answer::read(last).unwrap().status, 200);
    // The daemon's other work goes on.
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    drop(idle);
    daemon.stop();
}

#[test]
fn a_connection_carries_one_request() {
    let db = tables("one_request");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let mut stream = client.connect();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", client.address);
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
    daemon.stop();
}
