//! `/metrics`, `/healthz`, `/readyz`.

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::exposition::Exposition;
use super::{Client, client, listening, listening_home, tables};
use crate::support::daemon::{Daemon, held, hold, release, truncate_job, wait_held};
use crate::support::service::left_out;
use crate::support::{PATIENCE, wait_until};

/// The daemon's series in Prometheus' format. OpenMetrics must say the same.
#[track_caller]
pub fn scrape(client: &Client) -> Exposition {
    Exposition::parse(&client.text("/metrics"), false)
}

/// `promtool`, if it is installed or was unpacked by `tests/run.sh`.
pub fn promtool() -> Option<Command> {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/promtool");
    ["promtool", unpacked]
        .into_iter()
        .find(|program| {
            let mut version = Command::new(program);
            version.arg("--version").stdout(Stdio::null());
            version
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
        .map(Command::new)
}

#[test]
fn metrics_say_what_jobs_have_done() {
    let db = tables("metrics");
    let merge = truncate_job("merging", "").replace("'truncate'", "'merge'");
    let jobs = format!(
        "{}{merge}{}",
        truncate_job("good", "cron = '0 3 * * *'"),
        truncate_job("bad", "").replace("public.t", "public.missing")
    );
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let before = scrape(&client);
    assert_eq!(before.value("tableferry_jobs"), 3.0);
    assert!(
        !before
            .series
            .keys()
            .any(|s| s.starts_with("tableferry_runs_total"))
    );
    for job in ["good", "bad", "merging"] {
        daemon.ask(&["trigger", job, "--wait"]);
    }
    let answer = client.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let now = Exposition::parse(&answer.body, false);
    let triggered = |job: &str, outcome: &str| {
        let labels = format!("{{job=\"{job}\",outcome=\"{outcome}\",trigger=\"manual\"}}");
        now.value(&format!("tableferry_runs_total{labels}"))
    };
    assert_eq!(triggered("good", "committed"), 1.0);
    assert_eq!(triggered("bad", "rolled_back"), 1.0);
    for (series, value) in [
        ("tableferry_rows_read_total{job=\"good\"}", 1000.0),
        ("tableferry_rows_written_total{job=\"good\"}", 1000.0),
        ("tableferry_rows_written_total{job=\"bad\"}", 0.0),
        ("tableferry_rows_inserted_total{job=\"merging\"}", 0.0),
        ("tableferry_run_duration_seconds_count{job=\"good\"}", 1.0),
        ("tableferry_job_running{job=\"good\"}", 0.0),
        (
            "tableferry_job_last_run_outcome{job=\"bad\",outcome=\"rolled_back\"}",
            1.0,
        ),
        (
            "tableferry_run_errors_total{job=\"bad\",kind=\"schema_mismatch\"}",
            1.0,
        ),
        (
            "tableferry_tables_published_total{job=\"good\",format=\"binary\",compare=\"none\"}",
            1.0,
        ),
        ("tableferry_server_connections{server=\"source\"}", 0.0),
        (
            "tableferry_server_connections_limit{server=\"source\"}",
            4.0,
        ),
        ("tableferry_config_last_reload_successful", 1.0),
    ] {
        assert_eq!(now.value(series), value, "{series}");
    }
    let clock = db
        .source
        .value("SELECT extract(epoch FROM now())")
        .parse::<f64>()
        .unwrap();
    for series in [
        "tableferry_job_last_success_timestamp_seconds{job=\"good\"}",
        "tableferry_job_data_timestamp_seconds{job=\"good\"}",
        "tableferry_start_timestamp_seconds",
    ] {
        assert!((clock - now.value(series)).abs() < 120.0, "{series}");
    }
    assert!(now.value("tableferry_job_next_run_timestamp_seconds{job=\"good\"}") > clock);
    assert!(now.value("tableferry_read_bytes_total{job=\"good\"}") > 1000.0);

    let open = format!(
        "Host: {}\r\nAccept: application/openmetrics-text\r\n",
        client.address
    );
    let answer = client.request("GET", "/metrics", &open);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let open = Exposition::parse(&answer.body, true);
    let names = |of: &Exposition| of.series.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&open), names(&now));
    match promtool() {
        None => left_out("promtool check metrics", "promtool is not installed"),
        Some(promtool) => lint(promtool, &client.text("/metrics")),
    }
    daemon.stop();
}

fn lint(mut promtool: Command, text: &str) {
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn stale_data_are_seen_also_after_a_restart() {
    let db = tables("metrics_stale");
    let jobs = format!(
        "{}{}",
        truncate_job("old", "fresh_within = '1ms'"),
        truncate_job("fresh", "fresh_within = '1h'")
    );
    db.source.sql("ALTER TABLE t ADD note text");
    let home = listening_home(&db, &jobs);
    for starts in 0..2 {
        let daemon = Daemon::start(&home);
        let client = client(&daemon);
        if starts == 0 {
            for job in ["old", "fresh"] {
                assert_eq!(daemon.ask(&["trigger", job, "--wait"]).code, Some(0));
            }
        }
        let now = scrape(&client);
        assert_eq!(now.value("tableferry_job_stale{job=\"old\"}"), 1.0);
        assert_eq!(now.value("tableferry_job_stale{job=\"fresh\"}"), 0.0);
        assert_eq!(
            now.value("tableferry_job_fresh_within_seconds{job=\"fresh\"}"),
            3600.0
        );
        assert!(now.value("tableferry_job_data_timestamp_seconds{job=\"old\"}") > 0.0);
        assert_eq!(
            now.value("tableferry_job_columns_not_copied{job=\"old\"}"),
            1.0
        );
        let page = client.text("/jobs/old");
        for part in [
            "1 column of the source is not copied: public.t.note",
            "Columns not copied: note",
        ] {
            assert!(page.contains(part), "{page}");
        }
        let page = client.text("/?state=stale");
        assert!(
            page.contains("/jobs/old\"") && !page.contains("/jobs/fresh\""),
            "{page}"
        );
        daemon.stop();
    }
}

#[test]
fn an_active_run_and_its_connections_are_seen() {
    let db = tables("metrics_active");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", ""), held("j"));
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    daemon.ask(&["trigger", "j"]);
    wait_held(&db);
    let now = scrape(&client);
    assert_eq!(now.value("tableferry_job_running{job=\"j\"}"), 1.0);
    assert!(now.value("tableferry_job_run_start_timestamp_seconds{job=\"j\"}") > 0.0);
    assert!(now.value("tableferry_server_connections{server=\"target\"}") >= 1.0);
    assert!(now.value("tableferry_job_snapshot_start_timestamp_seconds{job=\"j\"}") > 0.0);
    // The source does not send the next row: its wait is measured a few times a second.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let page = client.text("/jobs/j");
    assert!(
        page.contains("0 of 1 tables copied") && page.contains("public.t"),
        "{page}"
    );
    release(&db);
    wait_until(PATIENCE, || {
        scrape(&client)
            .series
            .get("tableferry_job_running{job=\"j\"}")
            == Some(&0.0)
    });
    let ended = scrape(&client);
    let waited = |reason: &str| {
        let labels = format!("{{job=\"j\",reason=\"{reason}\"}}");
        ended.value(&format!("tableferry_wait_seconds_total{labels}"))
    };
    assert!(waited("source") > 0.5, "{}", waited("source"));
    assert_eq!(waited("rate_limit"), 0.0);
    for gone in ["run_rows", "snapshot_start_timestamp_seconds"] {
        let series = format!("tableferry_job_{gone}{{job=\"j\"}}");
        assert!(!ended.series.contains_key(&series), "{series}");
    }
    daemon.stop();
}

#[test]
fn series_of_a_removed_job_are_gone_and_reloads_are_counted() {
    let db = tables("metrics_reload");
    let (one, two) = (truncate_job("one", ""), truncate_job("two", ""));
    let home = listening_home(&db, &one);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    daemon.ask(&["trigger", "one", "--wait"]);
    assert!(client.text("/metrics").contains("job=\"one\""));
    home.file("tableferry.toml", listening(&db, &two));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    let text = client.text("/metrics");
    assert!(
        text.contains("job=\"two\"") && !text.contains("job=\"one\""),
        "{text}"
    );
    assert_eq!(client.get("/jobs/one").status, 404);
    home.file("tableferry.toml", listening(&db, "[jobs.x]\n"));
    assert_eq!(daemon.ask(&["reload"]).code, Some(78));
    let now = scrape(&client);
    assert_eq!(
        now.value("tableferry_reloads_total{result=\"accepted\"}"),
        1.0
    );
    assert_eq!(
        now.value("tableferry_reloads_total{result=\"refused\"}"),
        1.0
    );
    assert_eq!(now.value("tableferry_config_last_reload_successful"), 0.0);
    assert!(client.text("/").contains("The configuration file is wrong"));
    daemon.stop();
}

#[test]
fn health_is_the_loop_and_readiness_that_runs_are_accepted() {
    let db = tables("health");
    hold(&db);
    let jobs = format!("{}{}", truncate_job("j", ""), held("j"));
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    assert_eq!(client.text("/healthz"), "ok\n");
    assert_eq!(client.text("/readyz"), "ready\n");
    daemon.ask(&["trigger", "j"]);
    wait_held(&db);
    daemon.kill(Signal::SIGTERM);
    daemon.wait_for(1, "stopping", "");
    assert_eq!(client.text("/healthz"), "ok\n");
    let ready = client.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "stopping\n"));
    release(&db);
    assert_eq!(daemon.wait().code, Some(0));
    db.assert_same("t");
}
