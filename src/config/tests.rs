//! Whole configurations: what is accepted, and every message of what is not.

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
mod servers;

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
#[case("a = ", "t.toml:1:5: not TOML: ")]
#[case(
    "[jobs.a]\nmode = truncate",
    "t.toml:2:8: not TOML: the value of `mode` is a text and needs quotes"
)]
#[case(
    "[jobs.a]\n\nevery = 5m\n",
    "t.toml:3:9: not TOML: the value of `every` is a text and needs quotes"
)]
#[case(
    "x = 1\ntables = [public.a]\n",
    "t.toml:2:11: not TOML: the value of `tables` is a text and needs quotes"
)]
#[case("listen = 127.0.0.1:9632", "t.toml:1:")]
#[case("[jobs.orders]\nmode = 'x", "t.toml:2:10: not TOML: ")]
#[case("[a]\n[a]", "t.toml:2:2: not TOML: ")]
fn what_is_not_toml_is_reported_with_line_and_column(#[case] text: &str, #[case] start: &str) {
    let error = read(text).unwrap_err();
    assert!(error.starts_with(start), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[rstest]
#[case(
    "log = 1",
    "t.toml:5: servers.mart.log: unknown key; known here: conninfo, password_file, password_env, password_credential, passfile, max_connections, encoding"
)]
#[case("[job.x]", "t.toml:5: job: unknown key; did you mean `jobs`?")]
#[case(
    "[jobs]\norders = 1",
    "t.toml:6: jobs.orders: must be a table `[jobs.orders]`, got integer"
)]
#[case(
    "[[jobs.orders]]\nmode = 'x'",
    "t.toml:5: jobs.orders: must be a table `[jobs.orders]`, got array of tables"
)]
#[case("[daemon.listen]", r#"t.toml:5: daemon.listen: must be an address with a port such as "127.0.0.1:9632", got a table"#)]
#[case(
    "[daemon]\nmax_running_jobs = 0",
    "t.toml:6: daemon.max_running_jobs: must be a whole number from 1 to 4294967295, got integer 0"
)]
#[case(
    "[daemon]\ntimezone = 'Mars'",
    r#"t.toml:6: daemon.timezone: must be an IANA time zone such as "Europe/Berlin", got "Mars""#
)]
#[case(
    "[daemon]\nhistory = 'some'",
    r#"t.toml:6: daemon.history: must be one of "target", "local", "off", got "some""#
)]
#[case(
    "password_file = 'a'\npassfile = 'b'",
    "t.toml:6: servers.mart.passfile: excludes `password_file`: a server has at most one source of its password"
)]
#[case(
    "[servers.third]\nmax_connections = 2",
    "t.toml:5: servers.third.conninfo: is required: how to connect, as libpq reads it (a text such as \"postgresql://user@host/database\")"
)]
#[case(
    "[servers.a__b]\nconninfo = 'host=x'",
    "t.toml:5: servers.a__b: the name must be of lower-case letters, digits and single underscores, a letter first"
)]
#[case(
    "passfile = 'b'\n[servers.x]\nconninfo = 'password=b'\npassword_env = 'P'",
    "t.toml:8: servers.x.password_env: excludes the password in `conninfo`: a server has at most one source of its password"
)]
fn wrong_in_general(#[case] text: &str, #[case] message: &str) {
    assert_eq!(errors(text), message);
}

#[rstest]
#[case("[jobs.x]\nsource = 'shop'\ntarget = 'mart'\ntables = ['a.b']", r#"t.toml:5: jobs.x.mode: is required: what the target holds afterwards (one of "append", "truncate", "swap", "merge", "upsert")"#)]
#[case("[jobs.x]\nsource = 'shop'\ntarget = 'mart'\nmode = 'append'", r#"t.toml:5: jobs.x.tables: is required, or a `[jobs.x.table."schema.name"]`: there is nothing to copy"#)]
#[case("[jobs.x]\nsource = 'shop'\ntarget = 'shop'\nmode = 'append'\ntables = ['a.b']", r#"t.toml:9: jobs.x.tables: source and target are the same server, so that this would copy a table onto itself: name another `source` in a `[jobs.x.table."schema.name"]`"#)]
#[case(
    "[jobs.x]\nsource = 'shop'\ntarget = 'nowhere'\nmode = 'append'\ntables = ['a.b']",
    "t.toml:7: jobs.x.target: unknown server `nowhere`; known are: mart, shop"
)]
fn wrong_in_a_new_job(#[case] text: &str, #[case] message: &str) {
    assert_eq!(errors(text), message);
}

#[rstest]
#[case(
    "every = '5m'\ncron = '* * * * *'",
    "t.toml:10: jobs.orders.every: excludes `cron`: keep one of them"
)]
#[case(
    "every = '0s'",
    r#"t.toml:10: jobs.orders.every: must be a duration such as "30s", got "0s": it must be above zero"#
)]
#[case("cron = '0 0 30 2 *'", r#"t.toml:10: jobs.orders.cron: must be a cron expression of five fields such as "*/15 * * * *", got "0 0 30 2 *": it never comes"#)]
#[case("signal = 'RTMIN+31'", r#"t.toml:10: jobs.orders.signal: must be a real-time signal from "RTMIN+0" to "RTMIN+30", got "RTMIN+31""#)]
#[case(
    "overlap = 'both'",
    r#"t.toml:10: jobs.orders.overlap: must be one of "skip", "queue", got "both""#
)]
#[case(
    "after = ['order']",
    "t.toml:10: jobs.orders.after: unknown job `order`; did you mean `orders`?"
)]
#[case(
    "after = ['orders']",
    "t.toml:10: jobs.orders.after: the jobs wait for each other: orders after orders"
)]
#[case(
    "retry = { backoff = '10m' }",
    "t.toml:10: jobs.orders.retry.max_backoff: must not be shorter than `backoff`, the first pause"
)]
#[case("guard.max_shrink = '120%'", r#"t.toml:10: jobs.orders.guard.max_shrink: must be a share such as "50%" or 0.5, got "120%": it is not between 0% and 100%"#)]
#[case("exclude = [\n  'sales.*',\n  'audit',\n]", r#"t.toml:12: jobs.orders.exclude: must be a relation or a pattern such as "public.orders" or "sales.*", got "audit": it is not of the form schema.name"#)]
#[case("[jobs.orders.table.customers]", r#"t.toml:10: jobs.orders.table.customers: the name must be a relation with its schema such as "public.orders": `customers` is not of the form schema.name"#)]
#[case("[jobs.orders.table.\"a.b\"]\nsource = 'a.c'\nquery = 'SELECT'", r#"t.toml:12: jobs.orders.table."a.b".query: excludes `source`: a table is read from a relation or from a query"#)]
#[case(
    "[jobs.orders.table.\"a.b\"]\n[jobs.orders.table.\"A.b\"]",
    r#"t.toml:10: jobs.orders.table."a.b": a.b has a table of its own already"#
)]
#[case(
    "[jobs.orders.table.\"a.b\"]\ncolumns = ['x', 'X']",
    r#"t.toml:11: jobs.orders.table."a.b".columns: names x twice"#
)]
#[case("[jobs.orders.table.\"a.b\"]\nset.\"a b\" = 'x'", r#"t.toml:11: jobs.orders.table."a.b".set."a b": the name must be a column's name (in double quotes where it has capitals or blanks): ` ` in `a b` needs double quotes around the identifier"#)]
#[case("[jobs.orders.table.\"a.b\"]\nscope = 'table'", r#"t.toml:11: jobs.orders.table."a.b".scope: is only for mode merge; this job's mode is truncate"#)]
#[case(
    "[jobs.orders.table.\"a.b\"]\nwatermark_overlap = 5",
    r#"t.toml:11: jobs.orders.table."a.b".watermark_overlap: needs a `watermark`"#
)]
#[case(
    "recreate_views = true",
    "t.toml:10: jobs.orders.recreate_views: is only for mode swap; this job's mode is truncate"
)]
#[case(
    "reject_limit = '1.5'",
    r#"t.toml:10: jobs.orders.reject_limit: must be a number of rows such as 100, or a share such as "0.1%", got "1.5""#
)]
fn wrong_in_a_job(#[case] text: &str, #[case] message: &str) {
    assert_eq!(job_errors(text), message);
}

#[test]
fn a_key_that_is_gone_is_unknown() {
    let said = job_errors("indexes = 'rebuild'");
    assert!(
        said.starts_with("t.toml:10: jobs.orders.indexes: unknown key"),
        "{said}"
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
#[case("postgresql://reader:hunter2@host/db", true)]
#[case("postgresql://reader@host/db?password=hunter2", true)]
#[case("host=a password = 'hunter2'", true)]
#[case("postgresql://reader@host/db", false)]
#[case("postgresql://host:5432/db?sslmode=disable", false)]
#[case("host=a passfile=/x", false)]
fn a_password_in_a_file_that_others_read_is_a_warning(#[case] conninfo: &str, #[case] warns: bool) {
    let text = format!("[servers.a]\nconninfo = \"{conninfo}\"");
    let config = read(&text).unwrap();
    let expected = "t.toml: holds a password and can be read by others than its owner: chmod 600, or use `password_file`";
    // The passfile is not there, which is another warning.
    let of_all = config
        .warnings
        .iter()
        .filter(|warning| warning.about == About::All);
    let of_all: Vec<_> = of_all.map(|warning| warning.text.as_str()).collect();
    assert_eq!(of_all, vec![expected; usize::from(warns)]);
    assert_eq!(config.servers["a"].conninfo.expose_secret(), conninfo);
    assert!(!format!("{config:?}").contains("hunter2"));

    let private = FileText {
        is_shared: false,
        ..file("t.toml", &text)
    };
    let config = read_all(vec![private], &Request::default()).unwrap();
    let mut warnings = config.warnings.iter();
    assert!(warnings.all(|warning| warning.about != About::All));
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
    "[daemon]\nlisten = '127.0.0.1:9632'",
    "t.toml:11: daemon.listen: `listen = \"127.0.0.1:9632\"` is not available in this version"
)]
#[case(
    "rate_limit = '50'",
    "t.toml:10: jobs.orders.rate_limit: must be a size such as \"50MB\", got \"50\": it has no unit (B, kB, MB, GB, KiB, MiB, GiB)"
)]
#[case(
    "rate_limit = 50",
    "t.toml:10: jobs.orders.rate_limit: must be a size such as \"50MB\", got integer 50"
)]
fn what_would_do_nothing_or_mean_something_else_is_refused(
    #[case] text: &str,
    #[case] expected: &str,
) {
    assert_eq!(job_errors(text), expected);
}

#[test]
fn a_guard_without_effect_is_a_warning() {
    let text = format!(
        "{SERVERS}{}guard.min_rows = 5",
        JOB.replace("truncate", "append")
    );
    assert_eq!(
        said(&read(&text).unwrap()),
        ["t.toml:10: jobs.orders.guard: has no effect in a mode that keeps the target's old rows"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let request = Request {
        explicit: Some("/nonexistent/t.toml".into()),
        ..Request::default()
    };
    assert_eq!(
        load(&request).unwrap_err().to_string(),
        "/nonexistent/t.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[rstest]
#[case("a = ", "[", "]")]
#[case("a = ", "{ a = ", " }")]
#[case("", "a.", "")]
fn deep_nesting_is_refused(#[case] start: &str, #[case] open: &str, #[case] close: &str) {
    let depth = 20_000;
    let text = format!("{start}{}a{} = 1", open.repeat(depth), close.repeat(depth));
    assert!(read(&text).is_err());
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

#[rstest]
#[case::step(
    "cron = '*/70 * * * *'",
    Some(
        "t.toml:10: jobs.x.cron: `*/70` as minute means 0 only: its step is longer than the range"
    )
)]
#[case::short(
    "every = '1ms'",
    Some(
        "t.toml:10: jobs.x.every: 1ms is shorter than a second: a run takes longer, and most fires are skipped"
    )
)]
#[case::jitter(
    "every = '1m'\njitter = '2m'",
    Some(
        "t.toml:11: jobs.x.jitter: 2m is longer than the time between two fires (1m): the job runs at other times than its schedule says"
    )
)]
#[case::jitter_of_cron(
    "cron = '*/5 * * * *'\njitter = '10m'",
    Some(
        "t.toml:11: jobs.x.jitter: 10m is longer than the time between two fires (5m): the job runs at other times than its schedule says"
    )
)]
#[case::sound("cron = '5/20 * * * fri-mon'\njitter = '20m'", None)]
#[case::a_second("every = '1s'\njitter = '1s'", None)]
fn a_schedule_that_is_hardly_meant_is_a_warning(#[case] keys: &str, #[case] warning: Option<&str>) {
    let job = "[jobs.x]\nsource = 'shop'\ntarget = 'mart'\nmode = 'append'\ntables = ['a.b']";
    let config = read(&format!("{SERVERS}{job}\n{keys}")).unwrap();
    assert_eq!(said(&config), Vec::from_iter(warning));
}

#[rstest]
#[case::both_replace("truncate", "['a.b']", "swap", "['a.c', 'a.b']", "", Some("a.b"))]
#[case::one_replaces("append", "['a.b']", "merge", "['a.b']", "", Some("a.b"))]
#[case::a_wildcard("swap", "['a.*']", "append", "['a.b']", "", Some("a.b"))]
#[case::the_same_wildcard("swap", "['a.*']", "append", "['a.*']", "", Some("a.*"))]
#[case::by_another_name(
    "truncate",
    "['a.b']",
    "append",
    "['x.y']",
    "[jobs.y.table.'a.b']\nsource = 'c.d'",
    Some("a.b")
)]
#[case::left_out("swap", "['a.*']\nexclude = ['a.b']", "append", "['a.b']", "", None)]
#[case::none_replaces("append", "['a.b']", "upsert", "['a.b']", "", None)]
#[case::each_its_part(
    "append",
    "['a.b']",
    "merge",
    "['x.y']",
    "[jobs.y.table.'a.b']\nwhere = 'c = 1'\nscope = 'where'",
    None
)]
#[case::other_tables("truncate", "['a.b']", "truncate", "['a.c']", "", None)]
fn jobs_that_replace_what_others_write_are_a_warning(
    #[case] mode: &str,
    #[case] tables: &str,
    #[case] other_mode: &str,
    #[case] other_tables: &str,
    #[case] more: &str,
    #[case] table: Option<&str>,
) {
    let job = |name: &str, mode: &str, tables: &str| {
        format!(
            "[jobs.{name}]\nsource = 'shop'\ntarget = 'mart'\nmode = '{mode}'\ntables = {tables}\n"
        )
    };
    let x = job("x", mode, tables);
    let y = job("y", other_mode, other_tables);
    let config = read(&format!("{SERVERS}{x}{y}{more}")).unwrap();
    let said = said(&config);
    assert_eq!(said.len(), usize::from(table.is_some()), "{said:?}");
    if let Some(table) = table {
        assert!(
            said[0].contains(&format!("writes {table} on `mart`, too")),
            "{said:?}"
        );
    }
}
