//! Whole configurations.

use std::time::Duration;

use rstest::rstest;
use secrecy::ExposeSecret;

use super::load::{assemble, load};
use super::locate::FileText;
use super::request::Request;
use super::spec::*;
use crate::pg::ident::QualifiedName;

mod any_text;
mod connections;
mod defaults;
mod refused;
mod servers;
mod sql;
mod warnings;

const SERVERS: &str = "\
[servers.shop]
conninfo = 'host=a'
[servers.mart]
conninfo = 'host=b'
";
const JOB: &str = "\
[jobs.orders]
source = 'shop'
target = 'mart'
mode = 'truncate'
tables = ['public.orders']
";

fn file(path: &str, text: &str) -> FileText {
    FileText {
        path: path.into(),
        text: Ok(text.to_owned()),
        is_shared: true,
    }
}

fn env(variables: &[(&str, &str)]) -> Request {
    Request {
        env: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Request::default()
    }
}

fn read_all(files: Vec<FileText>, request: &Request) -> Result<Config, String> {
    assemble("t.toml".into(), files, request).map_err(|errors| errors.to_string())
}

fn read(text: &str) -> Result<Config, String> {
    read_all(vec![file("t.toml", text)], &Request::default())
}

/// The warnings' texts.
fn said(config: &Config) -> Vec<&str> {
    let warnings = config.warnings.iter();
    warnings.map(|warning| warning.text.as_str()).collect()
}

/// Lines 1 to 4 are the servers.
fn errors(text: &str) -> String {
    read(&format!("{SERVERS}{text}")).unwrap_err()
}

/// Lines 5 to 9 are the job's first.
fn job_errors(text: &str) -> String {
    errors(&format!("{JOB}{text}"))
}

#[test]
fn ten_lines_are_enough_and_the_rest_has_defaults() {
    let config = read(&format!("{SERVERS}{JOB}")).unwrap();
    let job = &config.jobs["orders"];
    assert_eq!(job.mode, Mode::Truncate);
    assert_eq!(
        job.tables[0].literal(),
        Some(QualifiedName::new("public", "orders"))
    );
    assert_eq!(job.timeout, None);
    assert_eq!(job.lock_timeout, Duration::from_secs(30));
    assert_eq!(job.retry.max_backoff, Duration::from_secs(300));
    assert_eq!(job.guard.max_shrink, 0.5);
    assert!(job.schedule.on_demand && job.atomic && job.sequences && job.analyze);
    assert_eq!(config.daemon.max_running_jobs, 4);
    assert_eq!(config.daemon.history, History::Target);
    assert_eq!(config.servers["shop"].password, PasswordSource::Libpq);
    assert_eq!(said(&config), [""; 0]);
}

#[test]
fn a_table_of_its_own() {
    let config = read(&format!(
        r#"{SERVERS}{JOB}
[jobs.orders.table."Mart.Customers"]
source = 'public."Customer"'
columns = ["ID", '"Name"']
where = "deleted_at IS NULL"
set.email = "md5(email)"
[jobs.orders.table."mart.totals"]
query = "SELECT 1 AS n"
"#
    ))
    .unwrap();
    let tables = &config.jobs["orders"].table;
    let customers = &tables[&QualifiedName::new("mart", "customers")];
    let shown: Vec<_> = customers
        .columns
        .iter()
        .flatten()
        .map(|c| c.as_str())
        .collect();
    assert_eq!(shown, ["id", "Name"]);
    assert_eq!(
        customers.input,
        TableInput::Relation(QualifiedName::new("public", "Customer"))
    );
    assert_eq!(customers.set.values().collect::<Vec<_>>(), ["md5(email)"]);
    let totals = &tables[&QualifiedName::new("mart", "totals")];
    assert_eq!(totals.input, TableInput::Query("SELECT 1 AS n".to_owned()));
}

#[test]
fn later_layers_win_key_by_key() {
    let main = file(
        "t.toml",
        &format!("{SERVERS}{JOB}retry = {{ max = 5, backoff = '1s' }}"),
    );
    let more = file(
        "conf.d/a.toml",
        "[jobs.orders]\nretry.max = 6\ntables = ['public.b']",
    );
    let mut request = env(&[
        ("TABLEFERRY__DAEMON__MAX_RUNNING_JOBS", "9"),
        ("TABLEFERRY__JOBS__ORDERS__TABLES", "public.c, public.d"),
        ("TABLEFERRY__SERVERS__SHOP__PASSWORD_ENV", "0012"),
        ("TABLEFERRY__JOBS__ORDERS__ANALYZE", "false"),
        ("TABLEFERRY_CONFIG", "not a key"),
    ]);
    request.overrides = vec![("daemon.max_running_jobs".into(), "7".into())];
    let config = read_all(vec![main, more], &request).unwrap();
    let job = &config.jobs["orders"];
    assert_eq!(
        (job.retry.max, job.retry.backoff),
        (6, Duration::from_secs(1))
    );
    let tables: Vec<_> = job.tables.iter().map(|table| table.text.as_str()).collect();
    assert_eq!(tables, ["public.c", "public.d"]);
    assert!(!job.analyze);
    assert_eq!(config.daemon.max_running_jobs, 7);
    assert_eq!(
        config.servers["shop"].password,
        PasswordSource::Env("0012".into())
    );
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_layers() {
    let main = file(
        "t.toml",
        &format!("{SERVERS}{JOB}lock_timout = '3s'\nlock_timeout = 30\n"),
    );
    let more = file("u.toml", "[jobs.orders]\ntarget = 'marts'\n");
    let request = env(&[("TABLEFERRY__DAEMON__LISTEN", "here")]);
    assert_eq!(
        read_all(vec![main, more], &request).unwrap_err(),
        r#"t.toml:10: jobs.orders.lock_timout: unknown key; did you mean `lock_timeout`?
t.toml:11: jobs.orders.lock_timeout: must be a duration such as "30s", got integer 30
u.toml:2: jobs.orders.target: unknown server `marts`; did you mean `mart`?
$TABLEFERRY__DAEMON__LISTEN: daemon.listen: must be an address with a port such as "127.0.0.1:9632", got "here""#
    );
}

#[rstest]
#[case(
    "merge",
    "[jobs.x.table.\"a.b\"]\nkey = ['id']\nscope = 'where'\nwhere = 'true'"
)]
#[case("upsert", "[jobs.x.table.\"a.b\"]\nkey = ['id']")]
fn staged_modes_take_their_own_keys(#[case] mode: &str, #[case] more: &str) {
    let text =
        format!("[jobs.x]\nsource='shop'\ntarget='mart'\nmode='{mode}'\ntables=['a.c']\n{more}");
    let read = read(&format!("{SERVERS}{text}"));
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn jobs_that_share_a_signal_or_wait_for_each_other() {
    let job =
        |name: &str, more: &str| format!("{}{more}\n", JOB.replace("orders]", &format!("{name}]")));
    let text = [
        job("a", "after = ['c']\nsignal = 'RTMIN+1'"),
        job("b", "after = ['a']"),
        job("c", "after = ['b']"),
        job("d", "after = ['a']\nsignal = 'RTMIN+1'"),
    ];
    assert_eq!(
        errors(&text.concat()),
        "t.toml:10: jobs.a.after: the jobs wait for each other: a after c after b after a\n\
         t.toml:30: jobs.d.signal: RTMIN+1 already runs job `a`"
    );
}

#[test]
fn jobs_may_wait_for_several_others_and_in_long_chains() {
    let job = |name: &str, after: &str| {
        let own = JOB.replace("orders]", &format!("{name}]"));
        format!("{own}after = [{after}]\n")
    };
    let mut text = SERVERS.to_owned();
    text += &job("a", "'b', 'c', 'b'");
    text += &job("b", "'d'");
    text += &job("c", "'d'");
    text += &job("d", "");
    text += &job("n0", "'a'");
    for n in 1..300 {
        text += &job(&format!("n{n}"), &format!("'n{}'", n - 1));
    }
    assert_eq!(read(&text).unwrap().jobs.len(), 304);
}

#[rstest]
#[case("[servers.a]\nconninfo = ['postgresql://u:hunter2@h/d']")]
#[case("[servers.a]\nconninfo = { password = 'hunter2' }")]
#[case("[servers.a]\npassword = 'hunter2'")]
#[case("[servers.a]\nconninfo = 'postgresql://u:hunter2@h/d")]
#[case("[servers]\na = 'postgresql://u:hunter2@h/d'")]
fn no_error_shows_a_password(#[case] text: &str) {
    let error = read(text).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[rstest]
#[case(
    "TABLEFERRY__DAEMON__LISTN",
    "1",
    "daemon.listn: unknown key; did you mean `listen`?"
)]
#[case("TABLEFERRY__DAEMON", "1", "daemon: is a table: set one of its keys")]
#[case(
    "TABLEFERRY__DAEMON__HISTORY__X",
    "1",
    r#"daemon.history: must be one of "target", "local", "off", got a table"#
)]
#[case(
    "TABLEFERRY__JOBS__ORDERS__WORKERS",
    "one",
    r#"jobs.orders.workers: must be a whole number from 1 to 4294967295, got "one""#
)]
#[case(
    "TABLEFERRY__JOBS__ORDERS__ANALYZE",
    "yes",
    r#"jobs.orders.analyze: must be true or false, got "yes""#
)]
#[case(
    "TABLEFERRY__SERVERS__SHOP__CONNINFO",
    "",
    r#"servers.shop.conninfo: must be a text such as "postgresql://user@host/database", got string: it is empty"#
)]
fn a_wrong_variable_is_named(#[case] name: &str, #[case] value: &str, #[case] message: &str) {
    let main = file("t.toml", &format!("{SERVERS}{JOB}"));
    let error = read_all(vec![main], &env(&[(name, value)])).unwrap_err();
    assert_eq!(error, format!("${name}: {message}"));
}
