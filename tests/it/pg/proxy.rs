//! Connections through a program: logins, TLS, cancelling, copies, and programs that fail.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tableferry::error::{ErrorKind, Phase, Side};
use tableferry::pg::Session;

use super::{server, settings, told};
use crate::support::{
    PATIENCE, all_of_public, assert_committed, assert_refused, databases, job_with, pair,
    wait_until,
};

/// A proxy that notes its process id in `pids`. `$1` is where it connects to; `from` is what it does with the
/// server's bytes. The host of the conninfo exists only behind it.
fn proxy(pids: &Path, from: &str) -> String {
    format!(
        "bash -c 'echo $$ >> {}; exec 3<>/dev/tcp/127.0.0.1/$1 4<&0; cat <&4 >&3 & {from} <&3' proxy %p",
        pids.display()
    )
}

fn words(command: &str) -> Option<Vec<String>> {
    let inner = command.split('\'').nth(1).unwrap();
    let words = ["bash", "-c", inner, "proxy", "%p"];
    Some(words.map(str::to_owned).to_vec())
}

/// How many proxies were started. None of them runs: a zombie would still be listed.
fn started(pids: &Path) -> usize {
    let text = std::fs::read_to_string(pids).unwrap_or_default();
    for pid in text.lines() {
        let process = format!("/proc/{pid}");
        wait_until(PATIENCE, || !Path::new(&process).exists());
    }
    text.lines().count()
}

async fn value(session: &Session, sql: &str) -> String {
    let rows = session.query(Phase::Inspect, sql, &[]).await.unwrap();
    rows[0].get(0)
}

#[tokio::test]
async fn a_statement_is_cancelled_through_a_second_proxy() {
    let files = tempfile::tempdir().unwrap();
    let pids = files.path().join("pids");
    let (source, _) = pair();
    let mut spec = server(&format!(
        "host=db.invalid port={} user=postgres dbname=postgres sslmode=disable",
        source.port()
    ));
    spec.proxy_command = words(&proxy(&pids, "cat"));
    let opened = Session::open(&spec, Side::Source, &settings()).await;
    let session = opened.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(value(&session, "SELECT 'here'").await, "here");

    let cancel = session.cancel_request();
    let slept = session.run(Phase::CopyOut, "SELECT pg_sleep(600)");
    let (slept, ()) = tokio::join!(slept, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.send(PATIENCE).await;
    });
    assert_eq!(slept.unwrap_err().sqlstate(), Some("57014"));
    session.close(PATIENCE).await;
    assert_eq!(started(&pids), 2);
}

#[tokio::test]
async fn a_proxy_that_fails_says_why_and_can_be_tried_again() {
    let script = |script: &str| {
        let words = ["sh", "-c", script, "%h", "%p"];
        Some(words.map(str::to_owned).to_vec())
    };
    let cases = [
        (
            script("echo \"no route to $0:$1 (password, TLS)\" >&2; exit 255"),
            "proxy_command: `sh` ended with exit status: 255: it said \"no route to db.invalid:5432 (password, TLS)\"",
        ),
        (
            Some(vec!["/nowhere/proxy".to_owned()]),
            "proxy_command: `/nowhere/proxy` cannot be started: No such file or directory",
        ),
        (
            script("exec sleep 600"),
            "no answer within 2s (connect_timeout)",
        ),
    ];
    for (command, expected) in cases {
        for sslmode in ["disable", "require"] {
            let mut spec = server(&format!(
                "host=db.invalid user=u sslmode={sslmode} connect_timeout=2"
            ));
            spec.proxy_command = command.clone();
            let opened = Session::open(&spec, Side::Source, &settings()).await;
            let error = opened.unwrap_err();
            let text = told(&error);
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
            assert!(text.contains(expected), "{sslmode}: {text}");
        }
    }
}

#[test]
fn a_copy_goes_through_proxies_and_ends_with_them() {
    let db = databases("proxied");
    db.both("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    db.source
        .sql("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 50000) AS i");
    let (source, target) = pair();
    let files = tempfile::tempdir().unwrap();
    let [of_source, of_target] = ["source", "target"].map(|name| files.path().join(name));
    let server = |name: &str, port: u16, database: &str, pids: &Path| {
        format!(
            "[servers.{name}]\nconninfo = 'host=db.invalid port={port} user=postgres dbname={database} \
             sslmode=disable'\nproxy_command = \"{}\"\n",
            proxy(pids, "cat")
        )
    };
    let config = |more: &str| {
        let from = server("source", source.port(), db.source.name(), &of_source);
        let to = server("target", target.port(), db.target.name(), &of_target);
        format!("{from}{to}{}", all_of_public("truncate", more))
    };

    let slow = job_with(&config("rate_limit = '100kB'"));
    let running = slow.spawn(&["run", "j", "--json"]);
    let copies = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'";
    wait_until(PATIENCE, || db.source.count(copies) == 1);
    let pid = std::fs::read_to_string(&of_source).unwrap();
    let pid = Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
    // All of it: what the shell has started carries the bytes.
    signal::killpg(pid, Signal::SIGKILL).unwrap();
    let outcome = running.wait(PATIENCE);
    let why = "proxy_command: `bash` ended with signal: 9 (SIGKILL)";
    assert_refused(&outcome, "unreachable", &["on source `source`", why]);
    assert_eq!(db.target.count("t"), 0);
    assert!(started(&of_source) >= 1 && started(&of_target) >= 1);

    let whole = job_with(&config(""));
    assert_committed(&whole.run(&["run", "j", "--json"]));
    db.assert_same("public.t");
    assert!(started(&of_source) >= 2 && started(&of_target) >= 2);
}
