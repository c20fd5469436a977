//! Notices: who is told what, once for each change of a job's state, whatever the notifiers do.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use openssl::ssl::{SslAcceptor, SslMethod};
use rstest::rstest;
use serde_json::Value;

use super::{filled, tables};
use crate::listen::client;
use crate::listen::metrics::scrape;
use crate::pg::certificates::Authority;
use crate::support::daemon::{Daemon, configuration, home, truncate_job};
use crate::support::web::{Answers, Web, secret_file};
use crate::support::{
    Cluster, ClusterOptions, Databases, Job, PATIENCE, databases_on, job_with, wait_until,
};

/// A daemon's directories, with a file `NAME.url` for each of these servers and a notifier `NAME` that tells it.
fn home_with(db: &Databases<'_>, rest: &str, webs: &[(&str, &Web)]) -> Job {
    let home = home("");
    let mut text = rest.to_owned();
    for (name, web) in webs {
        let file = web.file(&home, &format!("{name}.url"));
        text += &format!("[notify.{name}]\nwebhook_file = {file:?}\n");
    }
    home.file("tableferry.toml", configuration(db, &text));
    home
}

/// Lets the job's runs fail, or succeed.
fn break_job(db: &Databases<'_>, broken: bool) {
    let (from, to) = match broken {
        true => ("t", "gone"),
        false => ("gone", "t"),
    };
    db.source.sql(&format!("ALTER TABLE {from} RENAME TO {to}"));
}

#[track_caller]
fn run(daemon: &Daemon<'_>, code: i32) {
    let outcome = daemon.ask(&["trigger", "j", "--wait"]);
    assert_eq!(outcome.code, Some(code), "{outcome}");
}

/// Waits until the server has heard so many requests.
#[track_caller]
fn wait_told(web: &Web, requests: usize) {
    wait_until(PATIENCE, || web.heard().len() >= requests);
}

/// The lines that a program has written.
fn lines(home: &Job, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(home.directory().join(name)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_failure_and_the_recovery_are_told_once_each_across_a_restart() {
    let db = tables("told");
    let web = Web::start(Answers::Status(200));
    let jobs = format!(
        "{}{}[notify.program]\ncommand = ['sh', '-c', 'cat >> program.json']\njobs = ['j*']\n\
         [notify.others]\ncommand = ['sh', '-c', 'cat >> others.json']\njobs = ['other']\n",
        truncate_job("j", ""),
        truncate_job("other", "on_demand = false")
    );
    let home = home_with(&db, &jobs, &[("hook", &web)]);
    let daemon = Daemon::start(&home);
    run(&daemon, 0);
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&web, 1);
    run(&daemon, 1);
    daemon.wait_for(2, "notice sent", "j");
    daemon.stop();
    let daemon = Daemon::start(&home);
    run(&daemon, 1);
    break_job(&db, false);
    run(&daemon, 0);
    run(&daemon, 0);
    wait_told(&web, 2);
    daemon.wait_for(2, "notice sent", "j");
    let outcome = daemon.stop();

    assert_eq!(web.told(), ["failed j", "recovered j"]);
    let failed = &web.heard()[0];
    let text = failed["text"].as_str().unwrap();
    assert!(text.contains("job `j` failed: "), "{text}");
    assert_eq!(failed["error"]["side"], "source", "{failed}");
    assert_eq!(failed["error"]["kind"], "schema_mismatch", "{failed}");
    let program: Vec<_> = lines(&home, "program.json")
        .iter()
        .map(|notice| notice["notice"].clone())
        .collect();
    assert_eq!(program, ["failed", "recovered"]);
    assert_eq!(lines(&home, "others.json").len(), 0);
    // The URL is a secret.
    assert!(!outcome.stderr.contains("s3cret"), "{outcome}");
}

#[rstest]
#[case::an_error(Answers::Status(500), "status 500")]
#[case::a_redirect(
    Answers::Redirect(String::new()),
    "a redirect (302), which is not followed"
)]
#[case::a_reset(Answers::Reset, "the connection failed")]
fn a_server_that_does_not_take_a_notice_is_asked_three_times(
    #[case] answers: Answers,
    #[case] why: &str,
) {
    let db = tables("refused");
    let elsewhere = Web::start(Answers::Status(200));
    let web = Web::start(match answers {
        Answers::Redirect(_) => Answers::Redirect(elsewhere.url()),
        other => other,
    });
    let home = home_with(&db, &truncate_job("j", ""), &[("hook", &web)]);
    let daemon = Daemon::start(&home);
    break_job(&db, true);
    run(&daemon, 1);
    daemon.wait_for(1, "the notice could not be sent", "j");
    assert_eq!(web.told(), ["failed j"; 3]);
    let events = daemon.events();
    let event = events
        .iter()
        .find(|event| event["notifier"] == "hook")
        .unwrap();
    assert_eq!((&event["job"], &event["tries"]), (&"j".into(), &3.into()));
    assert!(event["message"].as_str().unwrap().contains(why), "{event}");
    let status = daemon.ask(&["status"]);
    assert!(
        status.stderr.contains("notifier `hook`") && status.stderr.contains(why),
        "{status}"
    );

    // It was given up: only the next change is told.
    web.answer(Answers::Status(204));
    run(&daemon, 1);
    break_job(&db, false);
    run(&daemon, 0);
    wait_told(&web, 4);
    assert_eq!(web.told()[3], "recovered j");
    daemon.wait_for(1, "notice sent", "j");
    let outcome = daemon.stop();
    assert_eq!(elsewhere.told().len(), 0);
    assert!(!outcome.stderr.contains("s3cret"), "{outcome}");
}

#[test]
fn notifiers_that_hang_delay_neither_runs_nor_other_notifiers() {
    let db = tables("hang");
    let (hangs, hears) = (Web::start(Answers::Hang), Web::start(Answers::Status(200)));
    let script = "echo $$ >> pids; sleep 1000 & echo $! >> pids; wait";
    let jobs = format!(
        "{}[notify.sleeps]\ncommand = ['sh', '-c', '{script}']\n\
         [notify.floods]\ncommand = ['sh', '-c', 'while :; do echo x; done']\n",
        truncate_job("j", "")
    );
    let home = home_with(&db, &jobs, &[("hangs", &hangs), ("hears", &hears)]);
    let daemon = Daemon::start(&home);
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&hears, 1);
    wait_told(&hangs, 1);
    break_job(&db, false);
    run(&daemon, 0);
    wait_told(&hears, 2);
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&hears, 3);
    assert_eq!(hears.told(), ["failed j", "recovered j", "failed j"]);
    // Nobody has given up yet.
    assert_eq!(daemon.count("the notice could not be sent", "j"), 0);
    let status = daemon.ask(&["status"]);
    assert_eq!(status.code, Some(0), "{status}");

    // Each of the three gives up its first notice. Of the two others, the newer one waited.
    daemon.wait_for(3, "the notice could not be sent", "j");
    wait_until(PATIENCE, || hangs.heard().len() >= 4);
    assert_eq!(hangs.told()[..4], ["failed j"; 4]);
    let events = daemon.events();
    for notifier in ["hangs", "sleeps", "floods"] {
        let event = events.iter().find(|event| event["notifier"] == notifier);
        let event = event.unwrap_or_else(|| panic!("{notifier}"));
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("within 10 s"), "{event}");
    }
    let started = Instant::now();
    daemon.stop();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it waits for no notice"
    );
    // The programs were killed with all that they had started.
    let pids = std::fs::read_to_string(home.directory().join("pids")).unwrap();
    let is_there = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert!(pids.lines().count() >= 6, "{pids}");
    wait_until(PATIENCE, || !pids.lines().any(is_there));
}

#[test]
fn a_notice_that_was_not_sent_is_sent_by_the_next_daemon() {
    let db = tables("unsent");
    let web = Web::start(Answers::Hang);
    let home = home_with(&db, &truncate_job("j", ""), &[("hook", &web)]);
    let daemon = Daemon::start(&home);
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&web, 1);
    daemon.kill(Signal::SIGKILL);
    daemon.wait();
    web.answer(Answers::Status(200));
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "notice sent", "j");
    assert_eq!(web.told(), ["failed j"; 2]);
    daemon.stop();
    // Now it was sent.
    let daemon = Daemon::start(&home);
    run(&daemon, 1);
    break_job(&db, false);
    run(&daemon, 0);
    wait_told(&web, 3);
    assert_eq!(web.told()[2], "recovered j");
    daemon.stop();
}

#[test]
fn a_reload_changes_who_is_told() {
    let db = tables("reload");
    let (first, second) = (
        Web::start(Answers::Status(200)),
        Web::start(Answers::Status(200)),
    );
    let home = home_with(&db, &truncate_job("j", ""), &[("hook", &first)]);
    let daemon = Daemon::start(&home);
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&first, 1);
    let file = second.file(&home, "second.url");
    let text = format!(
        "{}[notify.other]\nwebhook_file = {file:?}\non = ['recovered', 'failed']\n",
        truncate_job("j", "")
    );
    home.file("tableferry.toml", configuration(&db, &text));
    assert_eq!(daemon.ask(&["reload"]).code, Some(0));
    break_job(&db, false);
    run(&daemon, 0);
    wait_told(&second, 1);
    assert_eq!(
        (first.told().len(), second.told()),
        (1, vec!["recovered j".to_owned()])
    );
    // A wrong one changes nothing.
    home.file(
        "tableferry.toml",
        configuration(&db, &format!("{text}jobs = []\n")),
    );
    assert_eq!(daemon.ask(&["reload"]).code, Some(78));
    break_job(&db, true);
    run(&daemon, 1);
    wait_told(&second, 2);
    daemon.stop();
}

/// The page, the metrics and the alert's expression agree on whether the data of `j` are stale.
fn is_stale(daemon: &Daemon<'_>) -> Option<bool> {
    let client = client(daemon);
    let now = scrape(&client);
    let of = |name: &str| now.value(&format!("tableferry_job_{name}{{job=\"j\"}}"));
    let age = Timestamp::now().as_millisecond() as f64 / 1000.0 - of("data_timestamp_seconds");
    let says = [
        client.text("/?state=stale").contains("/jobs/j\""),
        of("stale") == 1.0,
        age > of("fresh_within_seconds"),
    ];
    says.iter().all(|one| *one == says[0]).then_some(says[0])
}

#[test]
fn a_source_that_is_stopped_makes_a_job_stale_and_one_that_is_back_recovers_it() {
    let [source, target] = [
        Cluster::start_with(&ClusterOptions::default().source()),
        Cluster::start_with(&ClusterOptions::default().target()),
    ];
    let db = filled(databases_on(&source, &target, "stale"));
    let web = Web::start(Answers::Status(200));
    let jobs = truncate_job("j", "every = '1s'\nfresh_within = '6s'");
    let home = home_with(&db, &jobs, &[]);
    let file = web.file(&home, "stale.url");
    let jobs = format!(
        "{jobs}[daemon]\nlisten = '127.0.0.1:0'\n[notify.hook]\nwebhook_file = {file:?}\non = ['stale', 'recovered']\n"
    );
    home.file("tableferry.toml", configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "committed", "j");
    wait_until(PATIENCE, || is_stale(&daemon) == Some(false));
    source.stop("fast");
    wait_told(&web, 1);
    wait_until(PATIENCE, || is_stale(&daemon) == Some(true));
    assert_eq!(web.told(), ["stale j"]);
    let notice = &web.heard()[0];
    assert_eq!(notice["fresh_within_seconds"], 6.0, "{notice}");
    assert!(notice["snapshot_at"].is_string(), "{notice}");
    source.start_again();
    wait_told(&web, 2);
    wait_until(PATIENCE, || is_stale(&daemon) == Some(false));
    daemon.stop();
    assert_eq!(web.told()[..2], ["stale j", "recovered j"]);
}

#[test]
fn a_test_notice_says_what_happened() {
    let web = Web::start(Answers::Status(200));
    let job = job_with("");
    let url = web.file(&job, "hook.url");
    let text = format!(
        "[notify.hook]\nwebhook_file = {url:?}\n\
         [notify.program]\ncommand = ['sh', '-c', 'cat; echo \"heard\" >&2']\n\
         [notify.fails]\ncommand = ['sh', '-c', 'exit 3']\n\
         [notify.absent]\ncommand = ['/nowhere/tell']\n"
    );
    job.file("tableferry.toml", &text);
    let test = |name: &str| job.run(&["notify", name, "--test"]);
    let hook = test("hook");
    assert_eq!(hook.code, Some(0), "{hook}");
    assert_eq!(web.told(), ["test -"]);
    let program = test("program");
    assert_eq!(program.code, Some(0), "{program}");
    assert_eq!(program.report()["notice"], "test");
    assert!(program.stderr.contains("heard"), "{program}");
    for (name, why) in [
        ("fails", "`sh` ended with exit status: 3"),
        ("absent", "`/nowhere/tell` cannot be started"),
    ] {
        let failed = test(name);
        assert_eq!(failed.code, Some(1), "{failed}");
        assert!(failed.stderr.contains(why), "{failed}");
    }
    let unknown = test("nobody");
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(
        unknown
            .stderr
            .contains("configured: absent, fails, hook, program"),
        "{unknown}"
    );
    assert_eq!(job.run(&["notify", "hook"]).code, Some(2));

    web.answer(Answers::Status(404));
    let refused = test("hook");
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("status 404"), "{refused}");
    // TLS is tried, and the certificate is verified: this server has none.
    secret_file(&job, "hook.url", &web.url().replace("http://", "https://"));
    let tls = test("hook");
    assert_eq!(tls.code, Some(1), "{tls}");
    assert!(!tls.to_string().contains("s3cret"), "{tls}");
    secret_file(&job, "hook.url", "http://nowhere.invalid/s3cret");
    let nowhere = test("hook");
    assert!(
        nowhere.stderr.contains("the notice could not be sent: "),
        "{nowhere}"
    );
    assert!(!nowhere.to_string().contains("s3cret"), "{nowhere}");

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&url, std::fs::Permissions::from_mode(0o604)).unwrap();
    let open = test("hook");
    assert_eq!(open.code, Some(78), "{open}");
    assert!(open.stderr.contains("chmod 600"), "{open}");
}

#[test]
fn https_is_verified_with_the_systems_authorities() {
    let authority = Authority::new("the tests' root");
    let signed = authority.sign("localhost");
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&signed.key).unwrap();
    acceptor.set_certificate(&signed.certificate).unwrap();
    let web = Web::start_tls(Answers::Status(200), acceptor.build());
    let test = |host: &str, authority: Option<&[u8]>| {
        let job = job_with("");
        let url = web
            .url()
            .replace("http://127.0.0.1", &format!("https://{host}"));
        let url = secret_file(&job, "hook.url", &url);
        job.file(
            "tableferry.toml",
            format!("[notify.hook]\nwebhook_file = {url:?}\n"),
        );
        let file = job.file("root.pem", authority.unwrap_or_default());
        job.env("SSL_CERT_FILE", file.to_str().unwrap())
            .run(&["notify", "hook", "--test"])
    };
    let pem = authority.pem();
    let good = test("localhost", Some(&pem));
    assert_eq!(good.code, Some(0), "{good}");
    assert_eq!(web.told(), ["test -"]);
    for refused in [test("localhost", None), test("127.0.0.1", Some(&pem))] {
        assert_eq!(refused.code, Some(1), "{refused}");
        assert!(refused.stderr.contains("TLS failed: "), "{refused}");
        assert!(!refused.to_string().contains("s3cret"), "{refused}");
    }
    assert_eq!(web.told().len(), 1);
}
