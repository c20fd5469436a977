//! Configurations that are errors, with their messages.

use rstest::rstest;

use super::*;

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
    "t.toml:5: servers.mart.log: unknown key; known here: dir, conninfo, password_file, password_env, password_credential, password_command, passfile, proxy_command, max_connections, encoding"
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
    "password_command = ['token']\npassfile = 'b'",
    "t.toml:6: servers.mart.passfile: excludes `password_command`: a server has at most one source of its password"
)]
#[case(
    "password_command = []",
    "t.toml:5: servers.mart.password_command: must be a list, each a text, got an empty list"
)]
#[case(
    "password_command = ['', 'a']",
    "t.toml:5: servers.mart.password_command: begins with an empty text: name a program"
)]
#[case(
    "proxy_command = 'ssh -W %r bastion'",
    r#"t.toml:5: servers.mart.proxy_command: must be a command such as "ssh -W %h:%p bastion", got "ssh -W %r bastion": %r is not known: %h is the host, %p the port, %% a percent sign"#
)]
#[case(
    "[servers.x]\nconninfo = 'dbname=d'\nproxy_command = 'p'",
    "t.toml:7: servers.x.proxy_command: needs a `host` in the conninfo, for %h: it has none, or one that is a Unix socket"
)]
#[case(
    "[servers.x]\ndir = '/srv'\nproxy_command = 'p'",
    "t.toml:7: servers.x.proxy_command: excludes `dir`: a directory is no database"
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
    "[jobs.orders.table.\"a.b\"]\non_missing = { set = 'gone_at' }",
    r#"t.toml:11: jobs.orders.table."a.b".on_missing: is only for mode merge; this job's mode is truncate"#
)]
#[case(
    "[jobs.orders.table.\"a.b\"]\nsynced_at = 'x'",
    r#"t.toml:11: jobs.orders.table."a.b".synced_at: is only for mode merge and upsert; this job's mode is truncate"#
)]
#[case(
    "[jobs.orders.table.\"a.b\"]\non_conflict = 'keep'",
    r#"t.toml:11: jobs.orders.table."a.b".on_conflict: is only for mode upsert; this job's mode is truncate"#
)]
#[case(
    "target_names = 'm.{name}'",
    r#"t.toml:10: jobs.orders.target_names: must be a name such as "mirror.{schema}_{table}", got "m.{name}": unknown placeholder {name}; known are {schema} and {table}"#
)]
#[case(
    "source_column = 'x'",
    "t.toml:10: jobs.orders.source_column: is only for mode append and merge and upsert; this job's mode is truncate"
)]
#[case(
    "replace = 'some'",
    r#"t.toml:10: jobs.orders.replace: must be one of "table", "partitions", got "some""#
)]
#[case(
    "recreate_views = true",
    "t.toml:10: jobs.orders.recreate_views: is only for mode swap; this job's mode is truncate"
)]
#[case(
    "resume = true",
    "t.toml:10: jobs.orders.resume: is only for mode swap and merge and upsert; this job's mode is truncate"
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
