//! `[defaults]`.

use rstest::rstest;

use super::*;

const DEFAULTS: &str = "\
[defaults]
source = 'shop'
target = 'mart'
mode = 'merge'
every = '5m'
retry = { max = 7, backoff = '1s' }
exclude = ['sales.audit_*', 'sales.old']
guard.min_rows = 3
recreate_views = true
resume = true
workers = 2
";

#[test]
fn a_job_has_what_it_sets_and_the_rest_by_default() {
    let jobs = "\
[jobs.small]
tables = ['sales.*']
[jobs.own]
mode = 'truncate'
tables = ['sales.*']
cron = '0 * * * *'
exclude = []
retry.max = 1
workers = 1
";
    let config = read(&format!("{SERVERS}{DEFAULTS}{jobs}")).unwrap();
    let (small, own) = (&config.jobs["small"], &config.jobs["own"]);
    assert_eq!(
        (small.source.as_str(), small.target.as_str()),
        ("shop", "mart")
    );
    assert_eq!((small.mode, own.mode), (Mode::Merge, Mode::Truncate));
    assert_eq!(small.schedule.every, Some(Duration::from_secs(300)));
    // A schedule of its own takes the place of the default's.
    assert_eq!(own.schedule.every, None);
    assert_eq!(own.schedule.cron.as_deref(), Some("0 * * * *"));
    // A list is replaced, a table is merged.
    assert_eq!((small.exclude.len(), own.exclude.len()), (2, 0));
    assert_eq!((small.retry.max, own.retry.max), (7, 1));
    assert_eq!(own.retry.backoff, Duration::from_secs(1));
    assert_eq!((small.guard.min_rows, own.guard.min_rows), (3, 3));
    // Modes that have no use for a default do without it.
    assert_eq!((small.resume, own.resume), (true, false));
}

#[test]
fn every_layer_has_its_defaults_and_the_jobs_own_key_wins() {
    let first = file(
        "a.toml",
        &format!("{SERVERS}{JOB}workers = 2\n[defaults]\njitter = '1s'\nanalyze = false"),
    );
    let second = file("b.toml", "[defaults]\nworkers = 3\njitter = '2s'");
    let request = env(&[("TABLEFERRY__DEFAULTS__JITTER", "3s")]);
    let config = read_all(vec![first, second], &request).unwrap();
    let job = &config.jobs["orders"];
    assert_eq!((job.workers, job.analyze), (2, false));
    assert_eq!(job.schedule.jitter, Duration::from_secs(3));
}

#[rstest]
#[case(
    "[defaults]\nworkrs = 2",
    "t.toml:11: defaults.workrs: unknown key; did you mean `workers`?"
)]
#[case(
    "[defaults]\nwhere = 'x'",
    r#"t.toml:11: defaults.where: unknown key; it belongs in `[jobs.NAME.table."schema.name"]`"#
)]
#[case(
    "[defaults]\nworkers = 0",
    "t.toml:11: defaults.workers: must be a whole number from 1 to 4294967295, got integer 0"
)]
#[case(
    "[defaults]\nretry = { backoff = '1h' }",
    "t.toml:11: jobs.orders.retry.max_backoff: must not be shorter than `backoff`, the first pause"
)]
#[case(
    "[defaults]\nafter = ['nobody']",
    "t.toml:11: jobs.orders.after: unknown job `nobody`; known are: orders"
)]
fn what_is_wrong_is_said_at_its_line(#[case] text: &str, #[case] message: &str) {
    let error = job_errors(text);
    assert_eq!(error, message);
}

#[test]
fn what_a_default_lacks_is_required_of_the_job() {
    let error =
        errors("[defaults]\nsource = 'shop'\n[jobs.orders]\nmode = 'merge'\ntables = ['public.t']");
    let expected = "t.toml:7: jobs.orders.target: is required: the server that is written";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let error = errors(
        "[defaults]\nsource = 5\ntarget = 'mart'\n[jobs.orders]\nmode = 'merge'\ntables = ['public.t']",
    );
    assert!(
        error.starts_with("t.toml:6: defaults.source: must be"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}
