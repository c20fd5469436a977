use std::sync::Arc;

use jiff::Timestamp;
use rstest::rstest;

use super::parts::{Condition, duration, number, time};
use super::{Filter, Refresh};
use crate::config;
use crate::daemon::control::{JobStatusReply, NotifierStatusReply};
use crate::daemon::observed::{Observed, ObservedJob, Reloads};
use crate::error::{Error, ErrorKind, Phase, Side};
use crate::report::Outcome;
use crate::run::ledger::{Recorded, Unread};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(name: &str, state: &str, last: Option<Outcome>, error: Option<&str>) -> ObservedJob {
    let status = serde_json::json!({
        "job": name, "state": state, "since": null, "last_outcome": last,
        "last_finished_at": last.map(|_| at(1000)), "last_error": error, "next_run_at": null,
    });
    let status: JobStatusReply = serde_json::from_value(status).unwrap();
    let is_ok = last == Some(Outcome::Committed);
    ObservedJob {
        status,
        last_success_at: is_ok.then(|| at(1000)),
        past: None,
        live: None,
    }
}

fn observed(jobs: Vec<ObservedJob>) -> Observed {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    std::fs::write(&file, "").unwrap();
    let request = config::Request {
        explicit: Some(file),
        ..config::Request::default()
    };
    let config = config::load(&request).unwrap_or_else(|errors| panic!("{errors}"));
    Observed {
        at: at(4600),
        daemon_started_at: at(0),
        config: Arc::new(config),
        reloads: Reloads {
            accepted: 0,
            refused: 0,
            is_refused: false,
            accepted_at: at(0),
        },
        jobs,
        servers: Vec::new(),
        notifiers: Vec::new(),
    }
}

#[rstest]
#[case(0.04, "0.0 s")]
#[case(1.25, "1.2 s")]
#[case(59.6, "60 s")]
#[case(120.0, "2 min")]
#[case(7200.0, "2 h")]
#[case(7260.0, "2 h 1 min")]
#[case(200_000.0, "2 d 7 h")]
#[case(-5.0, "0.0 s")]
fn durations_are_short(#[case] seconds: f64, #[case] expected: &str) {
    assert_eq!(duration(seconds), expected);
}

#[rstest]
#[case(7, "7")]
#[case(1234, "1\u{202f}234")]
#[case(1_234_567, "1\u{202f}234\u{202f}567")]
fn digits_are_grouped(#[case] count: u64, #[case] expected: &str) {
    assert_eq!(number(count), expected);
}

#[test]
fn a_time_is_relative_and_exact() {
    let text = time(at(1000), at(4600)).into_string();
    assert_eq!(
        text,
        "<time datetime=\"1970-01-01T00:16:40Z\" title=\"1970-01-01T00:16:40Z\">60 min ago</time>"
    );
    assert!(time(at(4660), at(4600)).into_string().contains(">in 60 s<"));
}

#[rstest]
#[case(job("j", "idle", None, None), &[Condition::Idle])]
#[case(job("j", "idle", Some(Outcome::Committed), None), &[Condition::Ok])]
#[case(job("j", "idle", Some(Outcome::RolledBack), None), &[Condition::Failing])]
#[case(job("j", "running", Some(Outcome::InDoubt), None), &[Condition::Failing, Condition::Running])]
#[case(job("j", "elsewhere", Some(Outcome::Committed), None), &[Condition::Running])]
#[case(job("j", "waiting", None, None), &[Condition::Waiting])]
fn a_job_has_conditions(#[case] job: ObservedJob, #[case] expected: &[Condition]) {
    assert_eq!(Condition::of(&job), expected);
}

#[test]
fn stale_data_are_a_condition() {
    let mut old = job("j", "idle", Some(Outcome::Committed), None);
    old.status.stale = Some(true);
    old.status.fresh_within_seconds = Some(7200.0);
    assert_eq!(Condition::of(&old), [Condition::Stale]);
    let page = super::overview(&observed(vec![old]), &Filter::default());
    assert!(
        page.contains("<strong>1</strong> stale") && page.contains("limit 2 h"),
        "{page}"
    );
}

#[test]
fn columns_that_are_not_copied_are_named() {
    let mut old = job("j", "idle", Some(Outcome::Committed), None);
    let page = |job: &ObservedJob| {
        let found = Ok(Recorded::default());
        super::job(
            &observed(vec![job.clone()]),
            "j",
            &found,
            &Refresh::default(),
        )
        .unwrap()
    };
    assert!(!page(&old).contains("Not copied"));
    old.status.not_copied.columns = vec!["public.t.<b>".to_owned()];
    let page = page(&old);
    let text = "1 column of the source is not copied: public.t.&lt;b&gt;";
    assert!(page.contains("Not copied") && page.contains(text), "{page}");
}

#[test]
fn a_paused_job_is_not_counted_as_ok() {
    let mut paused = job("j", "idle", Some(Outcome::Committed), None);
    paused.status.paused_since = Some(at(4000));
    assert_eq!(Condition::of(&paused), [Condition::Paused]);
    let mut running = job("k", "running", Some(Outcome::RolledBack), None);
    running.status.paused_since = Some(at(4000));
    let all = [Condition::Failing, Condition::Running, Condition::Paused];
    assert_eq!(Condition::of(&running), all);
    let observed = observed(vec![paused, running]);
    let page = super::overview(&observed, &Filter::default());
    for text in [
        "<strong>2</strong> paused",
        "<strong>0</strong> ok",
        ">for 10 min<",
    ] {
        assert!(page.contains(text), "{page}");
    }
    let found = Ok(Recorded {
        runs: Vec::new(),
        unread: Vec::new(),
    });
    let page = super::job(&observed, "j", &found, &Refresh::default()).unwrap();
    assert!(page.contains("tableferry resume j"), "{page}");
}

#[test]
fn notifiers_are_listed_with_what_went_wrong() {
    let mut observed = observed(Vec::new());
    let page = super::overview(&observed, &Filter::default());
    assert!(!page.contains("Notices"), "{page}");
    observed.notifiers.push(NotifierStatusReply {
        notifier: "ops".to_owned(),
        sent: 1234,
        failed: 2,
        last_error: Some("status <500>".to_owned()),
        ..NotifierStatusReply::default()
    });
    let page = super::overview(&observed, &Filter::default());
    for text in ["Notices", "ops", "1\u{202f}234", "status &lt;500&gt;"] {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

#[test]
fn an_empty_overview_says_so() {
    let page = super::overview(&observed(Vec::new()), &Filter::default());
    assert!(page.contains("No job is configured."), "{page}");
    assert!(page.contains("<strong>0</strong> all"), "{page}");
    let other = job("j", "idle", None, None);
    let filter = Filter {
        name: "k".to_owned(),
        ..Filter::default()
    };
    let page = super::overview(&observed(vec![other]), &filter);
    assert!(page.contains("No job matches."), "{page}");
}

#[test]
fn markup_and_control_characters_are_text_on_every_page() {
    let evil = "<b>\"'&\u{1b}[2J\u{202e}";
    let failed = job("evil", "idle", Some(Outcome::RolledBack), Some(evil));
    let mut observed = observed(vec![failed]);
    observed.jobs[0].status.job = evil.to_owned();
    let filter = Filter {
        name: String::new(),
        state: evil.to_owned(),
        refresh: evil.to_owned(),
    };
    let error = Error::new(ErrorKind::Auth, Phase::Connect, Side::Target, evil).hinted(evil);
    let found = Ok(Recorded {
        runs: Vec::new(),
        unread: vec![Unread::Failed(error)],
    });
    let pages = [
        super::overview(&observed, &filter),
        super::overview(&observed, &Filter::default()),
        super::job(&observed, evil, &found, &Refresh::default()).unwrap(),
        super::job(&observed, evil, &Err(evil.to_owned()), &Refresh::default()).unwrap(),
    ];
    for page in pages {
        assert!(!page.contains("<b>"), "{page}");
        assert!(!page.contains('\u{202e}'), "{page}");
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(!page.contains(is_control), "{page}");
    }
    assert!(super::job(&observed, "nobody", &found, &Refresh::default()).is_none());
}
