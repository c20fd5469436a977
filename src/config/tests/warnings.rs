//! Configurations that are accepted with a warning.

use rstest::rstest;

use super::*;

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
#[case::fresh_within_the_period(
    "every = '2h'\nfresh_within = '2h'",
    Some(
        "t.toml:11: jobs.x.fresh_within: 2h is not longer than the time between two fires (2h): the data become stale before each run"
    )
)]
#[case::fresh_without_a_schedule(
    "fresh_within = '2h'",
    Some(
        "t.toml:10: jobs.x.fresh_within: nothing runs the job regularly (`cron`, `every` or `after`): its data become stale unless it is triggered in time"
    )
)]
#[case::fresh("cron = '0 * * * *'\nfresh_within = '2h'", None)]
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
