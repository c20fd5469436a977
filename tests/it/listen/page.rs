//! The page.

use rstest::rstest;

use super::{client, listening_home, tables};
use crate::support::daemon::{Daemon, truncate_job};
use crate::support::{PATIENCE, wait_until};

#[test]
fn the_overview_lists_jobs_with_their_errors_and_filters() {
    let db = tables("overview");
    let jobs = format!(
        "{}{}{}",
        truncate_job("alpha", "cron = '0 3 * * *'"),
        truncate_job("beta", "").replace("public.t", "public.missing"),
        truncate_job("gamma", "")
    );
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    for job in ["alpha", "beta"] {
        daemon.ask(&["trigger", job, "--wait"]);
    }
    let page = client.text("/");
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("no {text} in {page}"))
    };
    // Failing jobs first, with the error and what to do.
    assert!(at("/jobs/beta") < at("/jobs/alpha") && at("/jobs/alpha") < at("/jobs/gamma"));
    assert!(
        page.contains("missing") && page.contains("Hint: "),
        "{page}"
    );
    assert!(page.contains("<strong>1</strong> failing"), "{page}");
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("http://"));
    let listed = |path: &str| {
        let page = client.text(path);
        ["alpha", "beta", "gamma"].map(|job| page.contains(&format!("/jobs/{job}\"")))
    };
    assert_eq!(listed("/?state=failing"), [false, true, false]);
    assert_eq!(listed("/?state=ok"), [true, false, false]);
    assert_eq!(listed("/?state=idle"), [false, false, true]);
    assert_eq!(listed("/?name=amm"), [false, false, true]);
    assert_eq!(
        listed("/?name=a&state=ok&refresh=off"),
        [true, false, false]
    );
    assert_eq!(listed("/?name=%3Cscript%3E"), [false, false, false]);
    assert!(
        client
            .text("/?name=%3Cscript%3E")
            .contains("&lt;script&gt;")
    );
    assert!(page.contains("http-equiv=\"refresh\""));
    assert!(!client.text("/?refresh=off").contains("http-equiv"));
    daemon.stop();
}

#[test]
fn a_jobs_page_shows_its_tables_and_its_history() {
    let db = tables("job_page");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    for _ in 0..3 {
        daemon.ask(&["trigger", "j", "--wait"]);
    }
    let page = client(&daemon).text("/jobs/j");
    for text in [
        "source → target, mode truncate",
        "Tables of the last run",
        "public.t",
        "binary",
        "<svg",
        "3 runs: ",
        "committed",
        "1\u{202f}000",
    ] {
        assert!(page.contains(text), "no {text} in {page}");
    }
    daemon.stop();
    // After a restart, the ledger still knows.
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let page = client.text("/jobs/j");
    assert!(
        page.contains("Tables of the last run") && page.contains("3 runs: "),
        "{page}"
    );
    let overview = client.text("/");
    assert!(overview.contains("<strong>1</strong> ok"), "{overview}");
    daemon.stop();
}

/// `truncate` waits in one statement, and `swap` in short attempts.
#[rstest]
#[case::truncate("truncate")]
#[case::swap("swap")]
fn a_jobs_page_says_who_holds_the_lock_that_a_run_waits_for(#[case] mode: &str) {
    let db = tables(&format!("page_lock_{mode}"));
    let job = truncate_job("j", "lock_timeout = '60s'\nstall_timeout = '1s'");
    let home = listening_home(&db, &job.replace("\"truncate\"", &format!("\"{mode}\"")));
    let holder = db.target.connect();
    holder.sql("SET application_name = 'a report'; BEGIN; SELECT FROM t LIMIT 1");
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    daemon.ask(&["trigger", "j"]);
    wait_until(PATIENCE, || {
        let page = client.text("/jobs/j");
        page.contains("It waits for a lock on target, held by pid ") && page.contains("a report")
    });
    holder.sql("COMMIT");
    daemon.wait_for(1, "committed", "j");
    assert!(!client.text("/jobs/j").contains("It waits"));
    daemon.stop();
}

#[test]
fn what_comes_from_a_server_is_no_markup() {
    let db = tables("markup");
    let name = "<img src=x onerror=alert(1)>\u{1b}[31m\u{202e}";
    db.both(&format!("CREATE TABLE \"{name}\" (id int PRIMARY KEY)"));
    db.source.sql(&format!("INSERT INTO \"{name}\" VALUES (1)"));
    db.target.sql(&format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''<script>alert(2)</script>''; END'; \
         CREATE TRIGGER refuse BEFORE INSERT ON \"{name}\" FOR EACH ROW EXECUTE FUNCTION refuse()"
    ));
    let all = truncate_job("j", "log_values = true").replace("public.t", "public.*");
    let home = listening_home(&db, &all);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    daemon.ask(&["trigger", "j", "--wait"]);
    db.target.sql(&format!("DROP TRIGGER refuse ON \"{name}\""));
    for path in ["/", "/jobs/j"] {
        let page = client.text(path);
        assert!(
            page.contains("alert(2)") || page.contains("onerror"),
            "{page}"
        );
        for harmful in ["<script", "<img", "\u{1b}", "\u{202e}"] {
            assert!(!page.contains(harmful), "{harmful} in {path}: {page}");
        }
    }
    daemon.ask(&["trigger", "j", "--wait"]);
    let page = client.text("/jobs/j");
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{page}"
    );
    for harmful in ["<img", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(harmful), "{page}");
    }
    daemon.stop();
}

#[test]
fn five_hundred_jobs_fit() {
    let db = tables("many_jobs");
    let jobs: String = (0..500)
        .map(|n| truncate_job(&format!("job_{n}"), ""))
        .collect();
    let home = listening_home(&db, &jobs);
    let daemon = Daemon::start(&home);
    let client = client(&daemon);
    let page = client.text("/");
    assert_eq!(page.matches("href=\"/jobs/job_").count(), 500);
    assert!(page.len() < 1 << 20, "{}", page.len());
    assert_eq!(client.text("/api/status").lines().count(), 500);
    let metrics = client.text("/metrics");
    assert_eq!(metrics.matches("tableferry_job_running{").count(), 500);
    daemon.stop();
}
