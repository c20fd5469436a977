//! `[jobs.NAME.sql]` and `[jobs.NAME.params]`.

use rstest::rstest;

use super::*;

#[test]
fn statements_and_parameters_are_kept_as_they_are() {
    let text = "\
params.since = '2026-01-01'
params.days = 7
sql.before_load = ['SET LOCAL work_mem = DEFAULT']
sql.after_commit = [\"SELECT f(:'since', :'run_id')\", 'VACUUM public.orders']
[jobs.orders.table.'public.old']
where = \"at > :'last_success' AND at < date :'since' + :'days'::int\"
";
    let config = read(&format!("{SERVERS}{JOB}{text}")).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let job = &config.jobs["orders"];
    assert_eq!(job.params["days"], "7");
    let used: Vec<&str> = job.params_used.iter().map(String::as_str).collect();
    assert_eq!(used, ["days", "last_success", "run_id", "since"]);
    assert_eq!(job.sql.after_commit.len(), 2);
}

#[rstest]
#[case(
    "sql.before_commit = ['SELECT 1', ' /* */ commit']",
    r#"t.toml:10: jobs.orders.sql.before_commit: must be an SQL statement, got " /* */ commit": it begins or ends a transaction"#
)]
#[case(
    "sql.after_load = []",
    "t.toml:10: jobs.orders.sql.after_load: unknown key; known here: before_load, before_commit, after_commit"
)]
#[case(
    "sql.after_commit = [\"SELECT :'sinse'\"]\nparams.since = 'x'",
    "t.toml:10: jobs.orders.sql.after_commit: there is no parameter `sinse`; known are: since, due_at, last_success, run_id"
)]
#[case(
    "[jobs.orders.table.'public.old']\nset.a = \":'x'\"",
    "t.toml:11: jobs.orders.table.\"public.old\".set.a: there is no parameter `x`; known are: due_at, last_success, run_id"
)]
#[case(
    "params.run_id = 'x'",
    "t.toml:10: jobs.orders.params.run_id: is built in: choose another name"
)]
#[case(
    "params.at = 2026-01-01",
    "t.toml:10: jobs.orders.params.at: must be a text without NUL, got a date or time"
)]
#[case(
    "params.at = \"a\\u0000b\"",
    "t.toml:10: jobs.orders.params.at: must be a text without NUL, got \"a\\0b\""
)]
#[case(
    "atomic = false\nsql.before_load = ['SELECT 1']",
    "t.toml:11: jobs.orders.sql.before_load: cannot be combined with `atomic = false`: no transaction publishes all tables"
)]
fn wrong_sql_is_reported_at_its_line(#[case] text: &str, #[case] message: &str) {
    assert_eq!(job_errors(text), message);
}

#[rstest]
#[case("stream", "before_load", true)]
#[case("stream", "before_commit", false)]
#[case("changed", "before_commit", true)]
#[case("changed", "after_commit", false)]
#[case("full", "before_load", false)]
#[case("auto", "before_load", false)]
fn a_comparison_that_does_not_see_their_rows_is_refused(
    #[case] compare: &str,
    #[case] list: &str,
    #[case] is_refused: bool,
) {
    let job = JOB.replace("truncate", "merge");
    let text = format!("{SERVERS}{job}compare = '{compare}'\nsql.{list} = ['SELECT 1']");
    match (read(&text), is_refused) {
        (Ok(config), false) if list == "before_load" => {
            assert_eq!(config.jobs["orders"].compare, Compare::Full);
        }
        (Ok(_), false) => {}
        (Err(error), true) => assert!(error.starts_with("t.toml:10: jobs.orders.compare: cannot")),
        (read, _) => panic!("{read:?}"),
    }
}

#[test]
fn a_parameter_that_nothing_uses_is_a_warning() {
    let config = read(&format!("{SERVERS}{JOB}params.since = 'x'")).unwrap();
    let expected =
        "t.toml:10: jobs.orders.params.since: is not used: no SQL of the job has :'since'";
    assert_eq!(said(&config), [expected]);
    let config = read(&format!("{SERVERS}[defaults.params]\nsince = 'x'\n{JOB}")).unwrap();
    assert_eq!(said(&config), [""; 0]);
}
