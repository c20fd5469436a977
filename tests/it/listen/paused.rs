//! Pauses and notices, on the page and in the metrics.

use super::exposition::Exposition;
use super::{client, listening_home, tables};
use crate::support::daemon::{Daemon, truncate_job};
use crate::support::{PATIENCE, wait_until};

#[test]
fn paused_jobs_are_counted_and_say_how_to_resume_them() {
    let db = tables("page_paused");
    let jobs = format!("{}{}", truncate_job("held", ""), truncate_job("free", ""));
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let paused = |job: &str| {
        let text = client.text("/metrics");
        Exposition::parse(&text, false).value(&format!("tableferry_job_paused{{job=\"{job}\"}}"))
    };
    assert_eq!([paused("held"), paused("free")], [0.0, 0.0]);
    assert!(client.text("/").contains("<strong>0</strong> paused"));

    assert_eq!(daemon.ask(&["pause", "held"]).code, Some(0));
    wait_until(PATIENCE, || paused("held") == 1.0);
    assert_eq!(paused("free"), 0.0);
    assert!(client.text("/").contains("<strong>1</strong> paused"));
    let page = client.text("/?state=paused");
    assert!(
        page.contains("/jobs/held\"") && !page.contains("/jobs/free\""),
        "{page}"
    );
    let page = client.text("/jobs/held");
    assert!(page.contains("tableferry resume held"), "{page}");
    assert!(!client.text("/jobs/free").contains("tableferry resume"));

    assert_eq!(daemon.ask(&["resume", "held"]).code, Some(0));
    wait_until(PATIENCE, || paused("held") == 0.0);
    assert!(client.text("/").contains("<strong>0</strong> paused"));
    daemon.stop();
}

#[test]
fn notices_are_counted_by_notifier() {
    let db = tables("page_notices");
    let jobs = format!(
        "{}[notify.heard]\ncommand = ['true']\n[notify.deaf]\ncommand = ['false']\n",
        truncate_job("bad", "").replace("public.t", "public.missing")
    );
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let now = || Exposition::parse(&client.text("/metrics"), false);
    let count = |notifier: &str, result: &str| {
        let labels = format!("{{notifier=\"{notifier}\",result=\"{result}\"}}");
        now().value(&format!("tableferry_notices_total{labels}"))
    };
    assert_eq!(count("heard", "sent"), 0.0);
    assert_eq!(daemon.ask(&["trigger", "bad", "--wait"]).code, Some(1));
    wait_until(PATIENCE, || count("heard", "sent") == 1.0);
    wait_until(PATIENCE, || count("deaf", "failed") == 1.0);
    assert_eq!([count("heard", "failed"), count("deaf", "sent")], [0.0; 2]);
    assert_eq!(
        now().value("tableferry_notices_waiting{notifier=\"deaf\"}"),
        0.0
    );
    let page = client.text("/");
    assert!(
        page.contains("Notices") && page.contains("`false` ended with exit status: 1"),
        "{page}"
    );
    daemon.stop();
}
