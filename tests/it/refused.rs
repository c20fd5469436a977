//! What makes a run fail makes `plan` fail: it is refused by name before a row moves.

use rstest::rstest;

use crate::support::{
    Cluster, Standby, all_of_public, assert_committed, assert_refused, databases, databases_on,
    job, job_between, only_t, pair,
};

#[test]
fn a_guard_that_cannot_count_is_refused_and_not_fed_with_statistics() {
    let db = databases("refused_count");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    // Nobody has analyzed the table: by its statistics it may as well be empty.
    db.target.sql(&format!(
        "INSERT INTO t SELECT generate_series(1, 100); CREATE ROLE {role} LOGIN; \
         GRANT INSERT, TRUNCATE ON t TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let run = |more: &str| {
        let jobs = format!(
            "{}\n[daemon]\nhistory = 'off'",
            all_of_public("truncate", more)
        );
        job_between(&db.source.conninfo(), &target, &jobs).run(&["run", "j", "--json"])
    };

    assert_refused(&run(""), "permission", &["public.t", "SELECT", "guard"]);
    assert_eq!(db.target.count("t"), 100);
    assert_committed(&run("guard = { allow_empty = true, max_shrink = '100%' }"));
    db.assert_same("t");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// What a run would fail at, seen by the role `@` of the target, or `@src` of the source. `of_table` is TOML.
struct Case<'a> {
    both: &'a str,
    source: &'a str,
    target: &'a str,
    mode: &'a str,
    of_table: &'a str,
}

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')";
const ONLY_V: &str = "CREATE TABLE t (v text); INSERT INTO t VALUES ('a')";
const EMPTY: &str = "DELETE FROM t; GRANT ALL ON t TO @; ";
const F: &str = "CREATE FUNCTION f(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'; \
                 REVOKE EXECUTE ON FUNCTION f(text) FROM PUBLIC; ";

/// Runs `plan` and `run`, which must agree. What both say, and the rows of `t`.
fn plan_and_run(name: &str, case: &Case<'_>) -> (Option<i32>, String, Vec<String>) {
    let db = databases(name);
    let role = format!("{}_loader", db.target.name());
    let with = |sql: &str| sql.replace('@', &role);
    db.both(case.both);
    db.source.sql(&with(case.source));
    db.target.sql(&format!("CREATE ROLE {role} LOGIN"));
    db.target.sql(&with(case.target));
    let as_role =
        |conninfo: String, role: &str| conninfo.replace("user=postgres", &format!("user={role}"));
    let reads_as_role = case.source.contains("@src");
    let source = match reads_as_role {
        true => as_role(db.source.conninfo(), &format!("{role}src")),
        false => db.source.conninfo(),
    };
    let jobs = only_t(case.mode, "analyze = false\n", case.of_table);
    let jobs = format!("{jobs}\n[daemon]\nhistory = 'off'");
    let job = job_between(&source, &as_role(db.target.conninfo(), &role), &jobs);

    let plan = job.run(&["plan", "j"]);
    let run = job.run(&["run", "j", "--json"]);

    assert_eq!(plan.code, run.code, "{plan}\n{run}");
    let rows = db.target.rows("SELECT t::text FROM t ORDER BY 1");
    let rows = rows.iter().map(|row| row[0].clone().unwrap()).collect();
    if reads_as_role {
        db.source.sql(&with("DROP OWNED BY @src; DROP ROLE @src"));
    }
    db.target.sql(&with("DROP OWNED BY @ CASCADE; DROP ROLE @"));
    (run.code, format!("{plan}\n{run}"), rows)
}

#[rstest]
#[case::closes_a_parenthesis("set.v = \"'a'), (select 'b'\"", "`set.v`: syntax error")]
#[case::opens_another("set.v = \"'a') || (select 'b'\"", "`set.v`: syntax error")]
#[case::quote("set.v = \"'a\"", "unterminated quoted string")]
#[case::comment("set.v = \"v /* a\"", "unterminated /* comment")]
#[case::parameter("set.v = '$1'", "parameters")]
#[case::list("set.v = \"'a', 'b'\"", "record")]
#[case::aggregate("set.v = 'max(v)'", "GROUP BY")]
#[case::several_rows(
    "set.v = \"regexp_split_to_table(v, '')\"",
    "set-returning functions are not allowed in CASE"
)]
#[case::bare_subquery("set.v = \"select 'a'\"", "a subquery stands in parentheses")]
#[case::wider_condition("where = 'false) OR (true'", "`where`: syntax error")]
#[case::order("where = 'id = 1 ORDER BY id'", "syntax error")]
#[case::semicolon("where = 'id = 1; SELECT 1'", "multiple commands")]
fn text_of_the_configuration_is_one_expression(#[case] of_table: &str, #[case] message: &str) {
    let case = Case {
        both: T,
        source: "",
        target: EMPTY,
        mode: "append",
        of_table,
    };
    let (code, said, rows) = plan_and_run("refused_sql", &case);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(message), "{said}");
    assert_eq!(rows, [""; 0]);
}

#[rstest]
#[case("set.v = \"'b' -- a comment\"", "(1,b)")]
#[case("set.v = \"(select 'b') || ')' || $q$($q$\"", "(1,b)()")]
#[case("set.v = \"(v IS NULL OR v = 'a')::text\"", "(1,true)")]
#[case("set.v = \"row_number() OVER (ORDER BY id)::text\"", "(1,1)")]
#[case("where = 'id = 1 -- a comment'", "(1,a)")]
#[case("where = \"v IS NOT NULL AND id IN (SELECT 1)\"", "(1,a)")]
fn expressions_may_be_as_they_like(#[case] of_table: &str, #[case] row: &str) {
    let case = Case {
        both: T,
        source: "",
        target: EMPTY,
        mode: "append",
        of_table,
    };
    let (code, said, rows) = plan_and_run("accepted_sql", &case);
    assert_eq!(code, Some(0), "{said}");
    let quoted = row.trim_matches(['(', ')']);
    assert!(rows[0].replace('"', "").contains(quoted), "{rows:?}");
}

#[rstest]
#[case::type_of_a_staging_table(Case {
    both: "CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, v d); INSERT INTO t VALUES (1, 1)",
    source: "", target: "REVOKE USAGE ON DOMAIN d FROM PUBLIC; GRANT ALL ON t TO @", mode: "merge", of_table: "",
}, "USAGE on type public.d")]
#[case::type_of_an_array(Case {
    both: "CREATE TYPE d AS ENUM ('a'); CREATE TABLE t (id int PRIMARY KEY, v d[]); INSERT INTO t VALUES (1, '{a}')",
    source: "", target: "REVOKE USAGE ON TYPE d FROM PUBLIC; GRANT ALL ON t TO @", mode: "upsert", of_table: "",
}, "USAGE on type public.d")]
#[case::columns_but_not_the_table(Case {
    both: T, source: "", target: "DELETE FROM t; GRANT INSERT (id, v), SELECT ON t TO @", mode: "append", of_table: "",
}, "INSERT on columns only")]
#[case::sequence_of_a_default(Case {
    both: ONLY_V, source: "", target: "DELETE FROM t; ALTER TABLE t ADD id serial; GRANT ALL ON t TO @", mode: "append", of_table: "",
}, "USAGE on sequence public.t_id_seq")]
#[case::function_of_a_default(Case {
    both: ONLY_V, source: "", target: &format!("{EMPTY}{F}ALTER TABLE t ADD id text DEFAULT f('a')"), mode: "append", of_table: "",
}, "EXECUTE on function public.f(text)")]
#[case::function_of_a_check(Case {
    both: T, source: "", target: &format!("{EMPTY}{F}ALTER TABLE t ADD CHECK (f(v) = v)"), mode: "append", of_table: "",
}, "EXECUTE on function public.f(text)")]
#[case::function_of_an_index(Case {
    both: T, source: "", target: &format!("{EMPTY}{F}CREATE INDEX ON t (f(v))"), mode: "append", of_table: "",
}, "EXECUTE on function public.f(text)")]
#[case::function_of_a_generated_column(Case {
    both: T, source: "", target: &format!("{EMPTY}{F}ALTER TABLE t ADD g text GENERATED ALWAYS AS (f(v)) STORED"), mode: "append", of_table: "",
}, "EXECUTE on function public.f(text)")]
#[case::function_of_a_domain(Case {
    both: T, source: "", target: &format!("{EMPTY}{F}CREATE DOMAIN d AS text CHECK (f(value) = value); ALTER TABLE t ALTER v TYPE d"), mode: "append", of_table: "",
}, "EXECUTE on function public.f(text)")]
#[case::unfilled_materialized_view(Case {
    both: T, source: "ALTER TABLE t RENAME TO u; CREATE MATERIALIZED VIEW t AS SELECT * FROM u WITH NO DATA", target: EMPTY, mode: "append", of_table: "",
}, "has not been populated")]
#[case::function_of_a_view(Case {
    both: T, source: &format!("{F}ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT id, f(v) AS v FROM u; CREATE ROLE @src LOGIN; GRANT SELECT ON t TO @src"),
    target: EMPTY, mode: "append", of_table: "",
}, "permission denied for function f")]
#[case::function_of_set(Case {
    both: T, source: &format!("{F}CREATE ROLE @src LOGIN; GRANT SELECT ON t TO @src"),
    target: EMPTY, mode: "append", of_table: "set.v = 'public.f(v)'",
}, "permission denied for function f")]
#[case::table_of_where(Case {
    both: T, source: "CREATE TABLE u (id int); CREATE ROLE @src LOGIN; GRANT SELECT ON t TO @src",
    target: EMPTY, mode: "append", of_table: "where = 'id NOT IN (SELECT id FROM public.u)'",
}, "permission denied for table u")]
fn what_would_fail_later_is_refused_while_planning(#[case] case: Case<'_>, #[case] message: &str) {
    let (code, said, _) = plan_and_run("refused_late", &case);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(message), "{said}");
}

#[test]
fn a_target_without_a_partition_is_a_warning_of_the_plan() {
    let db = databases("refused_partition");
    db.source.sql(T);
    db.target
        .sql("CREATE TABLE t (id int, v text) PARTITION BY LIST (id)");
    let job = job(&db, &only_t("append", "", ""));

    let plan = job.run(&["plan", "j"]);

    assert_eq!(plan.code, Some(0), "{plan}");
    assert!(plan.stdout.contains("it has no partition"), "{plan}");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_refused(
        &outcome,
        "data_rejected",
        &["target `target`", "1 row without a partition"],
    );
}

#[test]
fn a_published_target_without_a_replica_identity_cannot_be_merged_into() {
    let db = databases("refused_published");
    db.both("CREATE TABLE t (id int UNIQUE NOT NULL, v text)");
    db.source.sql("INSERT INTO t VALUES (1, 'a')");
    db.target.sql("CREATE PUBLICATION p FOR TABLE t");
    let run = |mode: &str| {
        let jobs = only_t(mode, "", "key = ['id']");
        let job = job(&db, &jobs);
        (job.run(&["plan", "j"]), job.run(&["run", "j", "--json"]))
    };

    for mode in ["merge", "upsert"] {
        let (plan, outcome) = run(mode);
        assert_eq!(plan.code, Some(1), "{plan}");
        let parts = ["publication p", "REPLICA IDENTITY"];
        assert_refused(&outcome, "schema_mismatch", &parts);
    }
    // As the hint says.
    db.target
        .sql("ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key");
    for (mode, value) in [("upsert", "b"), ("merge", "c")] {
        db.source.sql(&format!("UPDATE t SET v = '{value}'"));
        assert_committed(&run(mode).1);
        db.assert_same("t");
    }
}

#[test]
fn a_plan_says_that_the_ledger_cannot_be_made() {
    let db = databases("refused_ledger");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE t (id int)");
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT INSERT ON t TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));

    let plan = job_between(&db.source.conninfo(), &target, &all_of_public("append", ""))
        .run(&["plan", "j"]);

    assert_eq!(plan.code, Some(1), "{plan}");
    assert!(plan.stdout.contains("tableferry schema"), "{plan}");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_plan_says_that_the_target_is_a_standby() {
    let primary = Cluster::start();
    let db = databases_on(pair().0, &primary, "refused_standby");
    db.both("CREATE TABLE t (id int)");
    let Some(standby) = Standby::of(&primary) else {
        return;
    };
    standby.catch_up(&primary);
    let target = standby.conninfo(db.target.name());

    let plan = job_between(&db.source.conninfo(), &target, &all_of_public("append", ""))
        .run(&["plan", "j"]);

    assert_eq!(plan.code, Some(1), "{plan}");
    assert!(plan.stdout.contains("is a standby"), "{plan}");
}
