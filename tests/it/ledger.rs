//! The ledger: what schema `tableferry` on the target says about runs, and that it is true.

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;

use crate::support::hang::{hang_at_commit, wait_waiting};
use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{
    Connection, Database, Databases, Outcome, PATIENCE, Proxy, databases, job, job_between, run,
    wait_until,
};

const JOB: &str = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\n\
                   tables = ['public.t']\nretry = { max = 0 }\nanalyze = false\n";

/// Three rows to copy, one old one, and a value that no message may show.
fn tables(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t VALUES (1, 'secret'), (2, 'b'), (3, 'c')");
    db.target.sql("INSERT INTO t VALUES (0, 'old')");
    db
}

/// The DDL, as `tableferry schema` prints it.
fn schema(db: &Databases<'_>) -> String {
    let printed = job(db, JOB).run(&["schema"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    printed.stdout
}

/// The run's row, as JSON.
#[track_caller]
fn row(target: &Database<'_>, outcome: &Outcome) -> Value {
    let run_id = outcome.report()["run_id"].as_str().unwrap();
    let sql = format!("SELECT to_json(run)::text FROM tableferry.run WHERE run_id = '{run_id}'");
    serde_json::from_str(&target.value(&sql)).unwrap()
}

fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Times are kept to the microsecond.
#[track_caller]
fn assert_same_time(a: &Value, b: &Value) {
    let apart = time(a).duration_since(time(b)).unsigned_abs();
    assert!(apart.as_micros() <= 1, "{a} {b}");
}

/// A role that may use `t` on the target and nothing else, and its conninfo.
fn loader(db: &Databases<'_>) -> (String, String) {
    let role = format!("{}_loader", db.target.name());
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT INSERT, SELECT ON t TO {role}"
    ));
    let conninfo = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    assert!(conninfo.contains(&role), "{conninfo}");
    (role, conninfo)
}

fn drop_role(db: &Databases<'_>, role: &str) {
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_committed_run_is_recorded_as_it_is_reported() {
    let db = tables("recorded");

    let outcome = run(&db, JOB);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    let (report, run) = (outcome.report(), row(&db.target, &outcome));
    assert_eq!(run["state"], "committed");
    for same in ["job", "trigger", "attempts", "error"] {
        assert_eq!(run[same], report[same], "{same}");
    }
    assert_same_time(&run["started_at"], &report["started_at"]);
    assert_same_time(&run["snapshot_at"], &report["snapshot"]["taken_at"]);
    assert!(time(&run["finished_at"]) <= time(&report["finished_at"]));
    assert_eq!(run["source_lsn"], report["snapshot"]["lsn"]);
    assert_eq!(run["due_at"], Value::Null);
    let (_, pid) = run["instance"].as_str().unwrap().rsplit_once(':').unwrap();
    assert!(pid.parse::<u32>().unwrap() > 0);

    let table = "SELECT to_json(t)::text FROM tableferry.run_table t";
    let table: Value = serde_json::from_str(&db.target.value(table)).unwrap();
    let reported = &report["tables"][0];
    for same in [
        "source",
        "target",
        "mode",
        "format",
        "rows_read",
        "rows_written",
        "rows_inserted",
        "rows_updated",
        "rows_deleted",
        "bytes",
    ] {
        assert_eq!(table[same], reported[same], "{same}");
    }
    assert_eq!(table["rows_inserted"], 3);
    assert_eq!(table["run_id"], report["run_id"]);
    assert_eq!(table["watermark"], Value::Null);
}

#[test]
fn a_failed_run_is_recorded_with_its_error_and_without_values() {
    let db = tables("failed");
    db.target.sql("ALTER TABLE t ADD CHECK (v <> 'secret')");

    let outcome = run(&db, &format!("{JOB}log_values = true\n"));

    assert_eq!(outcome.code, Some(1), "{outcome}");
    let run = row(&db.target, &outcome);
    assert_eq!(run["state"], "rolled_back");
    assert_same_time(&run["started_at"], &outcome.report()["started_at"]);
    assert_same_time(&run["finished_at"], &outcome.report()["finished_at"]);
    let error = run["error"].as_str().unwrap();
    assert!(
        error.contains("23514") && error.contains("public.t"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    assert!(outcome.stdout.contains("secret"), "{outcome}");
    assert_eq!(db.target.count("tableferry.run_table"), 0);
}

#[test]
fn an_error_is_recorded_whatever_its_text_looks_like_in_json() {
    let db = databases("escapes");
    db.source
        .sql(r#"CREATE TABLE "a\u0000b\n" (id int PRIMARY KEY)"#);
    let jobs = JOB.replace("public.t", r#"public."a\u0000b\n""#);
    let outcome = run(&db, &jobs);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let run = row(&db.target, &outcome);
    assert_eq!(run["state"], "rolled_back", "{outcome}");
    assert_eq!(run["error"], outcome.report()["error"]["message"]);
    assert!(run["error"].as_str().unwrap().contains(r"a\u0000b\n"));
}

#[test]
fn a_run_that_never_reached_its_source_is_recorded_too() {
    let db = tables("nosource");
    let nowhere = "host=127.0.0.1 port=1 user=postgres dbname=x sslmode=disable";
    let retried = JOB.replace("max = 0", "max = 1, backoff = '10ms'");

    let outcome =
        job_between(nowhere, &db.target.conninfo(), &retried).run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    let run = row(&db.target, &outcome);
    assert_eq!(run["state"], "rolled_back");
    assert_eq!(run["attempts"], 2);
    assert_eq!(run["error"], outcome.report()["error"]["message"]);
}

/// A job whose source waits for a lock in the middle of the rows, and the lock's holder.
fn slow(db: &Databases<'_>, key: u32) -> (String, Connection) {
    db.source.sql(&format!(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2 THEN PERFORM pg_advisory_lock_shared({key}); END IF; RETURN i; END'"
    ));
    let holder = db.source.connect();
    holder.sql(&format!("SELECT pg_advisory_lock({key})"));
    let config = format!("{JOB}[jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n");
    (config, holder)
}

fn wait_for_the_middle(db: &Databases<'_>) {
    wait_until(PATIENCE, || {
        db.source.count(
            "pg_locks JOIN pg_database d ON d.oid = database \
             WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted",
        ) == 1
    });
}

#[rstest]
#[case(Signal::SIGTERM, "cancelled")]
#[case(Signal::SIGKILL, "running")]
fn a_run_is_running_until_something_else_is_true(#[case] signal: Signal, #[case] state: &str) {
    let db = tables("running");
    let (config, holder) = slow(&db, 4720);
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_for_the_middle(&db);

    // Everybody sees it, although the target's own transaction is still open.
    assert_eq!(
        db.target.value(
            "SELECT state || ' ' || (finished_at IS NULL)::text FROM tableferry.run WHERE job = 'j'"
        ),
        "running true"
    );
    assert_eq!(
        db.target
            .value("SELECT running_since = (SELECT started_at FROM tableferry.run) FROM tableferry.job_status"),
        "t"
    );

    running.kill(signal);
    running.wait(PATIENCE);
    drop(holder);

    assert_eq!(db.target.value("SELECT state FROM tableferry.run"), state);
    assert_eq!(db.target.count("tableferry.run_table"), 0);
    assert_eq!(db.target.count("t"), 1);
}

#[test]
fn job_status_shows_how_each_job_stands() {
    let db = tables("status");
    let job = job(&db, JOB);
    let status = |column: &str| {
        db.target.value(&format!(
            "SELECT {column} FROM tableferry.job_status WHERE job = 'j'"
        ))
    };
    let good = job.run(&["run", "j", "--json"]);
    assert_eq!(good.code, Some(0), "{good}");
    assert_eq!(
        status(
            "last_success = (SELECT finished_at FROM tableferry.run) \
             AND freshness BETWEEN '0' AND '1 minute' AND last_error_at IS NULL \
             AND last_error IS NULL AND running_since IS NULL AND next_due IS NULL"
        ),
        "t"
    );
    db.target.sql(
        "INSERT INTO tableferry.job VALUES ('j', '2030-01-01 00:00+00'), ('never', NULL);
         UPDATE tableferry.run SET snapshot_at = snapshot_at - interval '3 hours'",
    );

    let bad = job.run(&["run", "j", "--json"]);

    assert_eq!(bad.code, Some(1), "{bad}");
    assert_eq!(
        status(
            "freshness BETWEEN '3 hours' AND '3 hours 1 minute' AND last_error LIKE '%23505%' \
             AND last_error_at > last_success AND next_due = '2030-01-01 00:00+00'"
        ),
        "t"
    );
    assert_eq!(
        db.target.value(
            "SELECT num_nulls(last_success, freshness, last_error_at, last_error, running_since, next_due) \
             FROM tableferry.job_status WHERE job = 'never'"
        ),
        "6"
    );
    // A job that has never committed counts from when it became known.
    let stale = "SELECT string_agg(COALESCE(stale::text, 'no limit'), ', ' ORDER BY job) FROM tableferry.job_status";
    assert_eq!(db.target.value(stale), "no limit, no limit");
    db.target
        .sql("UPDATE tableferry.job SET fresh_within = '2 hours'");
    assert_eq!(db.target.value(stale), "true, false");
    db.target.sql(
        "UPDATE tableferry.job SET fresh_within = '4 hours', known_at = now() - interval '5 hours'",
    );
    assert_eq!(db.target.value(stale), "false, true");
}

/// Drops what came after version 4, but for the columns of a view.
const BACK_TO_4: &str = "ALTER TABLE tableferry.job DROP COLUMN known_at, DROP COLUMN fresh_within; \
     DROP TABLE tableferry.pause, tableferry.request; DROP FUNCTION tableferry.request;";

/// Drops what came after version 6, but for the column of a view.
const BACK_TO_6: &str =
    "ALTER TABLE tableferry.run_table DROP COLUMN drift, DROP COLUMN drift_more;";

#[rstest]
#[case(4, "", &[BACK_TO_4, BACK_TO_6].concat())]
#[case(
    6,
    ", interval '0' AS fresh_within, true AS stale, recorded_at AS paused_at",
    BACK_TO_6
)]
fn a_ledger_of_an_older_version_gets_its_new_columns(
    #[case] version: u32,
    #[case] of_view: &str,
    #[case] back: &str,
) {
    let db = tables("from_older");
    db.target.sql(&schema(&db));
    let made = structure(&db.target);
    // The view as that version made it. Version 4 had no columns after `next_due`.
    db.target.sql(&format!(
        "DROP VIEW tableferry.job_status; \
         CREATE VIEW tableferry.job_status AS SELECT job, recorded_at AS last_success, \
             interval '0' AS freshness, recorded_at AS last_error_at, job AS last_error, \
             recorded_at AS running_since, next_due_at AS next_due{of_view} FROM tableferry.job; \
         {back} INSERT INTO tableferry.job (job) VALUES ('j'); \
         UPDATE tableferry.ledger SET version = {version}"
    ));
    let outcome = run(&db, JOB);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(structure(&db.target), made);
    assert_eq!(db.target.count("tableferry.job WHERE known_at <= now()"), 1);
}

#[test]
fn first_runs_that_start_at_once_make_one_ledger() {
    let db = databases("first");
    let jobs: Vec<String> = (0..6)
        .map(|n| {
            db.both(&format!("CREATE TABLE t{n} (id int)"));
            JOB.replace("public.t", &format!("public.t{n}"))
                .replace("jobs.j", &format!("jobs.j{n}"))
        })
        .collect();
    let job = job(&db, &jobs.concat());
    let running: Vec<_> = (0..6)
        .map(|n| job.spawn(&["run", &format!("j{n}"), "--json"]))
        .collect();
    for run in running {
        let outcome = run.wait(PATIENCE);
        assert_eq!(outcome.code, Some(0), "{outcome}");
    }
    assert_eq!(
        db.target.count("tableferry.run WHERE state = 'committed'"),
        6
    );
    assert_eq!(db.target.count("tableferry.ledger"), 1);
}

/// All that makes up the schema.
fn structure(target: &Database<'_>) -> Vec<Vec<Option<String>>> {
    target.rows(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
                obj_description(c.oid), CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid)
                                                      WHEN 'i' THEN pg_get_indexdef(c.oid) END,
                obj_description(c.relnamespace)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'tableferry'::regnamespace AND NOT a.attisdropped
         UNION ALL
         SELECT conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL, NULL, NULL, NULL
         FROM pg_constraint WHERE connamespace = 'tableferry'::regnamespace
         UNION ALL
         SELECT proname, pg_get_functiondef(oid), proacl::text, NULL, NULL, NULL, NULL, NULL, NULL
         FROM pg_proc WHERE pronamespace = 'tableferry'::regnamespace
         ORDER BY 1, 2",
    )
}

#[test]
fn the_printed_schema_makes_what_a_run_makes_and_may_be_run_again() {
    let db = tables("schema");
    let outcome = run(&db, JOB);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let made_by_run = structure(&db.target);
    assert!(made_by_run.len() > 50);

    let script = schema(&db);
    db.target.sql(&script);
    assert_eq!(structure(&db.target), made_by_run);
    assert_eq!(db.target.count("tableferry.run"), 1);
    db.target.sql("DROP SCHEMA tableferry CASCADE");
    db.target.sql(&script);
    assert_eq!(structure(&db.target), made_by_run);
}

#[test]
fn every_table_and_column_says_what_it_is() {
    let db = databases("comments");
    db.target.sql(&schema(&db));
    let silent = db.target.rows(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'tableferry'::regnamespace AND c.relkind IN ('r', 'v')
         AND a.attnum > 0 AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)",
    );
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn the_grants_that_the_schema_names_are_all_that_is_needed() {
    let db = tables("grants");
    let (role, conninfo) = loader(&db);
    let script = schema(&db);
    db.target.sql(&script);
    let grants: Vec<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix("--   GRANT"))
        .filter(|line| line.contains("loader"))
        .map(|line| format!("GRANT{}", line.replace("loader", &role)))
        .collect();
    assert_eq!(grants.len(), 5, "{script}");
    // Without DELETE old runs stay, and that is no error.
    db.target.sql(&grants[..2].concat());
    db.target
        .sql("UPDATE tableferry.ledger SET pruned_at = '2000-01-01'");
    let job = job_between(&db.source.conninfo(), &conninfo, JOB);

    let check = job.run(&["check", "--connect"]);
    assert_eq!(check.code, Some(0), "{check}");
    assert!(check.stdout.contains("has a ledger"), "{check}");
    let first = job.run(&["run", "j", "--json"]);
    let second = job.run(&["run", "j", "--json"]);

    assert_eq!((first.code, second.code), (Some(0), Some(1)), "{first}");
    assert_eq!(first.stderr.matches("recorded").count(), 0, "{first}");
    assert_eq!(row(&db.target, &first)["state"], "committed");
    assert_eq!(row(&db.target, &second)["state"], "rolled_back");
    let history = job.run(&["history", "--json"]);
    assert_eq!(history.reports.len(), 2, "{history}");
    db.target.sql(&grants[2]);
    db.target.sql("DELETE FROM t WHERE id > 0");
    assert_eq!(job.run(&["run", "j"]).code, Some(0));
    assert_eq!(
        db.target
            .count("tableferry.ledger WHERE pruned_at > '2001-01-01'"),
        1
    );
    drop_role(&db, &role);
}

#[rstest]
#[case("", "the ledger (schema tableferry) cannot be created")]
// Made by a DBA who forgot the grants.
#[case(
    "CREATE SCHEMA tableferry; CREATE TABLE tableferry.ledger (version int)",
    "permission denied"
)]
fn a_ledger_that_cannot_be_made_is_named_and_the_old_rows_stay(
    #[case] before: &str,
    #[case] message: &str,
) {
    let db = tables("denied");
    let (role, conninfo) = loader(&db);
    db.target.sql(before);

    let job = job_between(&db.source.conninfo(), &conninfo, JOB);
    let outcome = job.run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["error"]["kind"], "permission", "{outcome}");
    for part in [message, "tableferry schema", "history = \"local\""] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome}");
    }
    let check = job.run(&["check", "--connect"]);
    assert_eq!(check.code, Some(1), "{check}");
    assert!(check.stderr.contains("tableferry schema"), "{check}");
    assert_eq!(db.target.count("t"), 1);

    for elsewhere in ["off", "local"] {
        db.target.sql("DELETE FROM t WHERE id > 0");
        let config = format!("[daemon]\nhistory = '{elsewhere}'\nstate_dir = 'state'\n{JOB}");
        let outcome =
            job_between(&db.source.conninfo(), &conninfo, &config).run(&["run", "j", "--json"]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
    }
    drop_role(&db, &role);
}

#[test]
fn a_ledger_of_the_first_version_is_brought_up_to_date() {
    let db = tables("older");
    db.target.sql(&schema(&db));
    let made = structure(&db.target);
    db.target.sql(&format!(
        "DROP VIEW tableferry.job_status; \
         {BACK_TO_4} {BACK_TO_6} \
         DROP TABLE tableferry.fire, tableferry.rejected, tableferry.mark; ALTER TABLE tableferry.run DROP COLUMN retried; \
         ALTER TABLE tableferry.run_table DROP COLUMN rows_rejected, DROP COLUMN compare; \
         UPDATE tableferry.ledger SET version = 1; \
         INSERT INTO tableferry.run (run_id, job, state, trigger, started_at, instance, attempts) \
         VALUES (gen_random_uuid(), 'old', 'committed', 'manual', now(), 'x:1', 1)"
    ));
    let job = job(&db, JOB);
    // Reading changes nothing.
    let history = job.run(&["history", "--json"]);
    assert_eq!(
        (history.code, history.reports.len()),
        (Some(0), 1),
        "{history}"
    );
    let check = job.run(&["check", "--connect"]);
    assert_eq!(check.code, Some(0), "{check}");
    assert_eq!(
        db.target.value("SELECT version FROM tableferry.ledger"),
        "1"
    );

    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(structure(&db.target), made);
    assert_eq!(
        db.target.value("SELECT version FROM tableferry.ledger"),
        "7"
    );
    assert_eq!(db.target.count("tableferry.run"), 2);
}

#[test]
fn the_reasons_of_earlier_attempts_are_recorded() {
    let db = tables("reasons");
    db.target.sql(&schema(&db));
    let proxy = Proxy::start(db.source.cluster.port());
    let through = proxy.conninfo(&db.source.conninfo());
    let rule = Rule::new(Way::ToServer, Trigger::Typed(b'Q', 3), Fault::Cut).on_connection(1);
    let _armed = proxy.arm(rule);
    let config = JOB.replace("max = 0", "max = 1, backoff = '10ms'");
    let outcome =
        job_between(&through, &db.target.conninfo(), &config).run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let row = row(&db.target, &outcome);
    assert_eq!(row["attempts"], 2, "{row}");
    assert_eq!(row["error"], Value::Null, "{row}");
    let reasons = row["retried"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{row}");
    assert!(reasons[0].as_str().unwrap().contains("source"), "{row}");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_the_old_rows_stay() {
    let db = tables("newer");
    db.target.sql(&schema(&db));
    db.target.sql("UPDATE tableferry.ledger SET version = 99");

    let job = job(&db, JOB);
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(
        outcome.report()["error"]["kind"],
        "schema_mismatch",
        "{outcome}"
    );
    assert!(
        outcome
            .stderr
            .contains("version 99, made by a newer tableferry"),
        "{outcome}"
    );
    assert_eq!(db.target.count("t"), 1);
    assert_eq!(db.target.count("tableferry.run"), 0);
    let history = job.run(&["history"]);
    assert_eq!(history.code, Some(1), "{history}");
    assert!(history.stderr.contains("version 99"), "{history}");
    assert!(db.target.try_sql(&schema(&db)).is_err());
}

/// A lost message, wherever it is and whether or not the server has it, costs an attempt at most.
/// `append` would show rows that were published twice.
#[rstest]
fn whatever_statement_is_lost_appended_rows_are_there_once(
    #[values(true, false)] server_has_it: bool,
    #[values("target", "off")] history: &str,
) {
    let db = tables("once");
    db.target.sql(&schema(&db));
    let config = format!(
        "[daemon]\nhistory = '{history}'\n{}",
        JOB.replace("max = 0", "max = 1, backoff = '10ms'")
    );
    let mut settled = 0;
    for at in 1.. {
        let proxy = Proxy::start(db.target.cluster.port());
        let through = proxy.conninfo(&db.target.conninfo());
        let rule = Rule::new(Way::ToServer, Trigger::Typed(b'Q', at), Fault::Cut).on_connection(1);
        let armed = proxy.arm(if server_has_it { rule.after() } else { rule });

        let outcome =
            job_between(&db.source.conninfo(), &through, &config).run(&["run", "j", "--json"]);

        let what = format!("statement {at}: {outcome}");
        assert_eq!(outcome.code, Some(0), "{what}");
        assert_eq!(outcome.report()["outcome"], "committed", "{what}");
        assert_eq!(db.target.count("t"), 4, "{what}");
        if history == "target" {
            let run = row(&db.target, &outcome);
            assert_eq!(run["state"], "committed", "{what}");
            assert_eq!(run["attempts"], outcome.report()["attempts"], "{what}");
            let published = format!(
                "tableferry.run_table WHERE run_id = '{}' AND rows_written = 3",
                outcome.report()["run_id"].as_str().unwrap()
            );
            assert_eq!(db.target.count(&published), 1, "{what}");
        }
        db.target.sql("DELETE FROM t WHERE id > 0");
        if !armed.has_struck() {
            assert!(at > 5, "{what}");
            break;
        }
        // The only statement that can be lost without a second attempt is COMMIT, once settled.
        settled += u64::from(outcome.report()["attempts"] == 1);
    }
    assert_eq!(settled, u64::from(server_has_it));
}

#[test]
fn what_became_of_a_commit_is_awaited_while_it_hangs() {
    let db = tables("hanging");
    db.target.sql(&schema(&db));
    let hanging = hang_at_commit(&db.target);
    let proxy = Proxy::start(db.target.cluster.port());
    let through = proxy.conninfo(&db.target.conninfo());
    let job = job_between(&db.source.conninfo(), &through, JOB);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_waiting(&db.target, "COMMIT");

    // The client's connection dies; the server's backend does not notice yet.
    proxy.cut();
    // Somebody asks, and waits too.
    wait_waiting(&db.target, "INSERT INTO tableferry.run_table");
    drop(hanging);

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["attempts"], 1, "{outcome}");
    assert_eq!(row(&db.target, &outcome)["state"], "committed");
    assert_eq!(db.target.count("t"), 4);
}

#[test]
fn runs_older_than_history_keep_are_forgotten_but_the_last_success() {
    let db = tables("keep");
    db.target.sql(&schema(&db));
    db.target.sql(
        "INSERT INTO tableferry.run (run_id, job, state, trigger, started_at, instance, attempts)
         SELECT gen_random_uuid(), job, state, 'manual', now() - age::interval, 'i', 1
         FROM (VALUES ('j', 'committed', '30 days'), ('j', 'running', '40 days'),
                      ('j', 'rolled_back', '5 days'), ('rare', 'committed', '300 days'),
                      ('rare', 'committed', '400 days')) AS old (job, state, age);
         INSERT INTO tableferry.run_table SELECT run_id, 't', 't', 'append', 'text', 0, 0, 0, 0, 0, 0
         FROM tableferry.run",
    );
    let config = format!("[daemon]\nhistory_keep = '10d'\n{JOB}triggers = 'skip'\n");
    let job = job(&db, &config);
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    // Not more than once a day, and the schema is new.
    assert_eq!(db.target.count("tableferry.run"), 6);

    db.target
        .sql("UPDATE tableferry.ledger SET pruned_at = now() - interval '25 hours'; DELETE FROM t");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let left = db.target.rows(
        "SELECT job, state, round(extract(epoch FROM now() - started_at) / 86400) \
         FROM tableferry.run ORDER BY started_at",
    );
    let expected = [
        ["rare", "committed", "300"],
        ["j", "rolled_back", "5"],
        ["j", "committed", "0"],
        ["j", "committed", "0"],
    ]
    .map(|row| row.map(|value| Some(value.to_owned())).to_vec());
    assert_eq!(left, expected);
    assert_eq!(
        db.target
            .count("tableferry.run_table WHERE run_id NOT IN (SELECT run_id FROM tableferry.run)"),
        0
    );
}

#[rstest]
fn history_shows_the_newest_runs_first(#[values("target", "local")] history: &str) {
    let db = tables("history");
    let config = format!(
        "[daemon]\nhistory = '{history}'\nstate_dir = 'state'\n{JOB}{}",
        JOB.replace("jobs.j", "jobs.other")
    );
    let job = job(&db, &config);
    let check = job.run(&["check", "--connect"]);
    assert_eq!(check.code, Some(0), "{check}");
    let announced = check.stdout.contains("the first run creates the ledger");
    assert_eq!(announced, history == "target", "{check}");
    let nothing = job.run(&["history", "--json"]);
    assert_eq!((nothing.code, nothing.reports.len()), (Some(0), 0));
    let runs = ["j", "other", "j"].map(|name| job.run(&["run", name, "--json"]));
    let outcomes = runs.each_ref().map(|run| run.code);
    assert_eq!(outcomes, [Some(0), Some(1), Some(1)]);

    let shown = job.run(&["history", "--json"]);

    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(shown.reports.len(), 3, "{shown}");
    for (entry, run) in shown.reports.iter().zip(runs.iter().rev()) {
        let report = run.report();
        assert_eq!(entry["state"], report["outcome"]);
        for same in ["run_id", "job", "trigger", "attempts"] {
            assert_eq!(entry[same], report[same], "{shown}");
        }
        assert_eq!(entry["error"], report["error"]["message"], "{shown}");
        assert_eq!(entry["server"], "target");
        assert_same_time(&entry["started_at"], &report["started_at"]);
    }
    assert_eq!(shown.reports[2]["tables"][0]["rows_written"], 3);
    assert_eq!(shown.reports[1]["tables"], Value::Array(Vec::new()));

    let one = job.run(&["history", "other", "--json"]);
    assert_eq!(one.reports.len(), 1, "{one}");
    let newest = job.run(&["history", "--json", "--limit", "1"]);
    assert_eq!(newest.reports, shown.reports[..1]);
    let table = job.run(&["history"]);
    for part in ["job", "other", "rolled_back", "committed", "23505"] {
        assert!(table.stdout.contains(part), "{part}: {table}");
    }
    assert_eq!(job.run(&["history", "nosuch"]).code, Some(2));
    let has_schema = db.target.count("pg_namespace WHERE nspname = 'tableferry'") == 1;
    assert_eq!(has_schema, history == "target");
}

#[test]
fn without_a_history_nothing_is_left_behind() {
    let db = tables("off");
    let config = format!("[daemon]\nhistory = 'off'\nstate_dir = 'state'\n{JOB}");
    let job = job(&db, &config);
    let outcome = job.run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(
        db.target.count("pg_namespace WHERE nspname = 'tableferry'"),
        0
    );
    assert!(!job.directory().join("state").exists());
    assert_eq!(job.run(&["history"]).code, Some(1));
}

#[test]
fn a_local_history_that_cannot_be_written_is_an_error_before_a_row_moves() {
    let db = tables("unwritable");
    let config = format!("[daemon]\nhistory = 'local'\nstate_dir = '/proc/ferry'\n{JOB}");
    let outcome = run(&db, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["error"]["kind"], "config", "{outcome}");
    assert!(
        outcome.stderr.contains("/proc/ferry/history.jsonl"),
        "{outcome}"
    );
    assert_eq!(db.target.count("t"), 1);
}
