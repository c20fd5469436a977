//! Statements and parameters of the user's own: `[jobs.NAME.sql]`, `[jobs.NAME.params]`.

use rstest::rstest;

use crate::support::{
    Databases, assert_committed, assert_refused, databases, job, job_toml, only_t, run,
};

/// Both sides have `t`; the target has one row, and a table in which statements note what they see.
fn noted(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz)");
    db.source.sql(&format!("INSERT INTO t {THREE}"));
    db.target.sql(
        "INSERT INTO t VALUES (9, 'old'); \
         CREATE TABLE seen (no int GENERATED ALWAYS AS IDENTITY, what text, ids text)",
    );
    db
}

const THREE: &str = "SELECT i, 'v' || i, '2026-01-01Z'::timestamptz + i * interval '1 day' \
     FROM generate_series(1, 3) AS i";

/// A statement that notes which rows it sees.
fn note(what: &str) -> String {
    format!(
        "INSERT INTO public.seen (what, ids) SELECT '{what}', \
         string_agg(id::text, ',' ORDER BY id) FROM public.t"
    )
}

fn seen(db: &Databases<'_>) -> Vec<String> {
    let rows = db
        .target
        .rows("SELECT what || ' ' || ids FROM seen ORDER BY no");
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

fn ids(db: &Databases<'_>) -> String {
    db.target
        .value("SELECT string_agg(id::text, ',' ORDER BY id) FROM t")
}

#[rstest]
#[case("append", "1,2,3,9")]
#[case("truncate", "1,2,3")]
#[case("swap", "1,2,3")]
#[case("merge", "1,2,3")]
#[case("upsert", "1,2,3,9")]
fn statements_see_the_rows_of_their_moment(#[case] mode: &str, #[case] after: &str) {
    let db = noted(&format!("sql_{mode}"));
    let toml = job_toml(
        mode,
        "public.t",
        &format!(
            "sql.before_load = [\"{}\"]\n\
             sql.before_commit = [\"{}\", \"UPDATE public.t SET v = 'changed' WHERE id = 2\"]\n\
             sql.after_commit = [\"{}\", 'VACUUM public.t']",
            note("load"),
            note("commit"),
            note("done"),
        ),
    );
    let dry = job(&db, &toml).run(&["run", "--dry-run", "j", "--json"]);
    assert_eq!(dry.code, Some(0), "{dry}");
    assert_eq!(seen(&db), [""; 0]);

    assert_committed(&run(&db, &toml));
    let expected = [
        "load 9".to_owned(),
        format!("commit {after}"),
        format!("done {after}"),
    ];
    assert_eq!(seen(&db), expected);
    assert_eq!(db.target.value("SELECT v FROM t WHERE id = 2"), "changed");

    // What before_commit has written is not taken for the source's rows.
    if mode != "append" {
        let toml = toml.replace("'changed'", "v || '?'");
        assert_committed(&run(&db, &toml.replace("sql.before_load", "#")));
        assert_committed(&run(&db, &toml.replace("sql.before_load", "#")));
        assert_eq!(db.target.value("SELECT v FROM t WHERE id = 2"), "v2?");
    }
}

#[rstest]
#[case(
    "before_load = ['SELECT 1', 'SELECT 1/0']",
    "data_rejected",
    "sql.before_load, statement 2",
    "(22012)"
)]
#[case(
    "before_commit = ['DELETE FROM public.seen', 'SELECT nothing']",
    "schema_mismatch",
    "sql.before_commit, statement 2",
    "(42703)"
)]
#[case(
    "before_commit = ['DELETE FROM public.t; COMMIT']",
    "schema_mismatch",
    "sql.before_commit, statement 1",
    "each text of the list is one statement"
)]
#[case(
    "before_commit = ['DO $$ BEGIN COMMIT; END $$']",
    "data_rejected",
    "sql.before_commit, statement 1",
    "(2D000)"
)]
#[case(
    "before_load = [\"SET DateStyle = 'SQL, DMY'\"]",
    "config",
    "sql.before_load has changed what the copy relies on",
    "datestyle"
)]
fn a_statement_that_fails_takes_the_rows_back(
    #[case] sql: &str,
    #[case] kind: &str,
    #[case] place: &str,
    #[case] why: &str,
) {
    let db = noted("sql_fails");
    db.target.sql(&note("before"));
    let outcome = run(
        &db,
        &job_toml("truncate", "public.t", &format!("sql.{sql}")),
    );
    let error = assert_refused(&outcome, kind, &[place, why]);
    assert_eq!(error["side"], "target");
    assert_eq!(ids(&db), "9");
    assert_eq!(seen(&db), ["before 9"]);
}

#[test]
fn what_fails_after_commit_is_reported_and_the_run_stays_committed() {
    let db = noted("sql_after");
    let toml = job_toml(
        "truncate",
        "public.t",
        &format!(
            "sql.after_commit = [\"{}\", 'SELECT 1/0', \"{}\"]",
            note("one"),
            note("three")
        ),
    );
    let outcome = run(&db, &toml);
    assert_committed(&outcome);
    let error = &outcome.report()["after_commit_error"];
    assert_eq!(error["sqlstate"], "22012", "{outcome}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("sql.after_commit, statement 2"),
        "{message}"
    );
    assert!(
        outcome.stderr.contains("the run is committed, but"),
        "{outcome}"
    );
    assert_eq!(seen(&db), ["one 1,2,3"]);
    let recorded = db
        .target
        .value("SELECT state || ': ' || error FROM tableferry.run");
    assert!(
        recorded.starts_with("committed: the work after COMMIT"),
        "{recorded}"
    );
}

#[test]
fn parameters_are_literals_wherever_the_jobs_sql_names_them() {
    let db = noted("sql_params");
    let value = r#"it's $$ \ "x" :'odd' -- /*"#;
    let toml = only_t(
        "truncate",
        "",
        &format!(
            "source = 'public.t'\nwhere = \"at >= :'since'\"\n\
             set.v = \"id || :'odd' || ':''odd'''\"\n\
             [jobs.j.params]\nsince = '2026-01-03Z'\nodd = {value:?}\n[jobs.j.sql]\n\
             before_commit = [\"INSERT INTO public.seen (what, ids) VALUES (:'odd', :'run_id')\"]\n"
        ),
    );
    let outcome = run(&db, &toml);
    assert_committed(&outcome);
    let text = |value: &str| Some(value.to_owned());
    let row = |id: &str| vec![text(id), text(&format!("{id}{value}:'odd'"))];
    let rows = db.target.rows("SELECT id, v FROM t ORDER BY id");
    assert_eq!(rows, [row("2"), row("3")]);
    let run_id = outcome.report()["run_id"].as_str().unwrap();
    let rows = db.target.rows("SELECT what, ids FROM seen");
    assert_eq!(rows, [vec![text(value), text(run_id)]]);

    let job = job(&db, &toml);
    let other = job.run(&["run", "j", "--json", "--param", "since=2026-01-04Z"]);
    assert_committed(&other);
    assert_eq!(ids(&db), "3");
    for (param, why) in [
        ("sinse=1", "has no parameter `sinse`: it has odd, since"),
        ("run_id=1", "has no parameter"),
        ("x", "is not NAME=VALUE"),
    ] {
        let refused = job.run(&["run", "j", "--param", param]);
        assert_eq!(refused.code, Some(2), "{refused}");
        assert!(refused.stderr.contains(why), "{refused}");
    }
    let plan = job.run(&["plan", "j", "--sql"]);
    assert!(plan.stdout.contains("at >= '2026-01-03Z'"), "{plan}");
    let named = "-- sql.before_commit, statement 1:";
    assert!(plan.stdout.contains(named), "{plan}");
    assert_committed(&job.run(&["run", "j", "--json"]));
    // It compares the same rows as a run copies.
    let verified = job.run(&["verify", "j"]);
    assert_eq!(verified.code, Some(0), "{verified}");
}

#[test]
fn built_in_parameters_move_and_the_rows_with_them() {
    let db = noted("sql_built_in");
    db.source.sql(
        "UPDATE t SET at = now() - interval '1 day'; \
         UPDATE t SET at = now() + interval '3 s' WHERE id = 3",
    );
    let toml = only_t(
        "merge",
        "guard.max_shrink = '100%'\n",
        "where = \"at <= :'due_at'\"\n[jobs.j.sql]\nafter_commit = [\"INSERT INTO public.seen \
         (what, ids) SELECT COALESCE(:'last_success', 'none'), 'x'\"]\n",
    );
    assert_committed(&run(&db, &toml));
    assert_eq!(ids(&db), "1,2");
    // The third row is as it was, but its time has come. No mark of the last run hides it.
    db.source.sql("SELECT pg_sleep(4)");
    assert_committed(&run(&db, &toml));
    assert_eq!(ids(&db), "1,2,3");
    let seen = db.target.rows(
        "SELECT what = 'none', what ~ '^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z$' FROM seen ORDER BY no",
    );
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(seen, [[text("t"), text("f")], [text("f"), text("t")]]);
    // The last success of the second run is the first.
    let same = db.target.value(
        "SELECT count(*) FROM (SELECT snapshot_at FROM tableferry.run ORDER BY started_at LIMIT 1) AS run \
         JOIN seen ON NULLIF(what, 'none')::timestamptz = run.snapshot_at",
    );
    assert_eq!(same, "1");
}

#[test]
fn statements_that_change_rows_change_how_they_are_compared() {
    let db = noted("sql_compare");
    db.target.sql(&format!("INSERT INTO t {THREE}"));
    let toml = job_toml(
        "merge",
        "public.t",
        "sql.before_load = [\"UPDATE public.t SET v = 'other'\"]\n",
    );
    for _ in 0..2 {
        let outcome = run(&db, &toml);
        assert_eq!(
            assert_committed(&outcome)[0]["compare"],
            "full",
            "{outcome}"
        );
        db.assert_same("public.t");
    }
}

/// A target that the run makes is there for all statements, and empty before the load. What they insert is treated as
/// in a table that exists.
#[rstest]
#[case("append", "load -|commit 1,2,3,9|done 1,2,3,9")]
#[case("truncate", "load -|commit 1,2,3|done 1,2,3")]
#[case("swap", "load -|commit 1,2,3|done 1,2,3")]
#[case("merge", "load -|commit 1,2,3|done 1,2,3")]
#[case("upsert", "load -|commit 1,2,3,9|done 1,2,3,9")]
fn statements_find_the_tables_that_the_run_makes(#[case] mode: &str, #[case] expected: &str) {
    let db = noted(&format!("sql_new_{mode}"));
    db.target.sql("DROP TABLE t");
    let note = |what: &str| {
        note(what).replace(
            "string_agg(id::text, ',' ORDER BY id)",
            "COALESCE(string_agg(id::text, ',' ORDER BY id), '-')",
        )
    };
    let toml = |last: &str| {
        job_toml(
            mode,
            "public.t",
            &format!(
                "create = 'missing'\nguard.max_shrink = '100%'\nsql.before_load = [\"{}\", \"INSERT INTO public.t VALUES (9, 'own')\"]\n\
                 sql.before_commit = [\"{}\"{last}]\nsql.after_commit = [\"{}\"]\n",
                note("load"),
                note("commit"),
                note("done"),
            ),
        )
    };
    let fails = run(&db, &toml(", 'SELECT 1/0'"));
    assert_refused(&fails, "data_rejected", &["sql.before_commit, statement 2"]);
    assert_eq!(db.target.count("pg_class WHERE relname = 't'"), 0);
    assert_eq!(seen(&db), [""; 0]);

    assert_committed(&run(&db, &toml("")));
    assert_eq!(seen(&db).join("|"), expected);
    if !expected.contains('9') {
        db.assert_same("t");
    }
}

/// An empty target is loaded without staging, unless statements may insert rows into it.
#[rstest]
fn rows_that_before_load_inserts_into_an_empty_table_are_compared(
    #[values("merge", "upsert")] mode: &str,
) {
    let db = noted("sql_empty");
    db.target.sql("TRUNCATE t");
    let toml = job_toml(
        mode,
        "public.t",
        "sql.before_load = [\"INSERT INTO public.t VALUES (1, 'own') ON CONFLICT DO NOTHING\"]\n",
    );
    assert_committed(&run(&db, &toml));
    db.assert_same("t");
}

#[test]
fn plan_names_the_statements_at_their_places() {
    let db = noted("sql_plan");
    let long = format!("SELECT '{}'", "x".repeat(300));
    let toml = job_toml(
        "merge",
        "public.t",
        &format!(
            "sql.before_load = ['SELECT 1', \"{long}\"]\nsql.before_commit = [\"\"\"SELECT\n  3\"\"\"]\n\
             sql.after_commit = ['SELECT 4']\n"
        ),
    );
    let job = job(&db, &toml);
    let plan = job.run(&["plan"]);
    let shown = &plan.stdout;
    let from = shown
        .find("sql of the job")
        .unwrap_or_else(|| panic!("{plan}"));
    let lines: Vec<&str> = shown[from..].lines().map(str::trim_end).collect();
    let expected = [
        "sql of the job, on the target (its locks are not listed below):",
        "  before_load, when the tables still have their old rows:",
        "    1: SELECT 1",
    ];
    assert_eq!(lines[..3], expected, "{plan}");
    assert!(
        shown.contains(&"x".repeat(150)) && shown.contains('…'),
        "{plan}"
    );
    assert!(!shown.contains(&"x".repeat(250)), "{plan}");
    let rest = lines
        .iter()
        .position(|line| line.contains("before_commit"))
        .unwrap();
    let expected = [
        "  before_commit, when the tables have their new rows:",
        "    1: SELECT 3",
        "  after_commit, after COMMIT, each statement in a transaction of its own:",
        "    1: SELECT 4",
    ];
    assert_eq!(lines[rest..rest + 4], expected, "{plan}");

    let json = job.run(&["plan", "--json"]);
    let hooks = json.report()["hooks"].as_array().unwrap();
    let hooks = hooks
        .iter()
        .map(|hook| format!("{} {}", hook["list"], hook["number"]));
    let hooks: Vec<String> = hooks.map(|hook| hook.replace('"', "")).collect();
    let expected = [
        "before_load 1",
        "before_load 2",
        "before_commit 1",
        "after_commit 1",
    ];
    assert_eq!(hooks, expected);
    assert_eq!(json.report()["hooks"][1]["sql"], long);
}
