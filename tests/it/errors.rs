//! What an error says: where it happened, of which kind it is, and a hint that works.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::support::{
    PATIENCE, all_of_public, assert_committed, assert_refused, databases, job, job_between, only_t,
    run, wait_until,
};

const SLOW: &str = "query = 'SELECT id FROM public.t, pg_catalog.pg_sleep(60)'";

#[rstest]
#[case::locked("tables = ['public.t']", "lock", "taking locks failed: ")]
#[case::copying(SLOW, "copy_in", "COPY failed: ")]
fn a_timeout_names_the_phase_that_it_ended(
    #[case] what: &str,
    #[case] phase: &str,
    #[case] text: &str,
) {
    let db = databases("error_timeout");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let holder = db.target.connect();
    let jobs = match what {
        SLOW => only_t("append", "timeout = '4s'\n", SLOW),
        _ => {
            holder.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
            all_of_public("append", "timeout = '4s'")
        }
    };

    let outcome = run(&db, &jobs);

    let error = &outcome.report()["error"];
    assert_refused(&outcome, "timeout", &[text, "not done within 4 s"]);
    assert_eq!(error["phase"], phase, "{outcome}");
}

#[test]
fn a_cancelled_run_names_the_phase_that_it_was_in() {
    let db = databases("error_cancel");
    db.both("CREATE TABLE t (id int)");
    let running = job(&db, &only_t("append", "", SLOW));
    let running = running.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.source
            .count("pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
            == 1
    });
    running.kill(Signal::SIGINT);

    let outcome = running.wait(PATIENCE);

    assert_eq!(outcome.code, Some(3), "{outcome}");
    let error = &outcome.report()["error"];
    assert_eq!(
        error["message"], "COPY failed: cancelled by a signal",
        "{outcome}"
    );
}

#[test]
fn a_deadlock_in_the_ledger_is_tried_again_and_is_no_lost_run() {
    let db = databases("error_ledger");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let jobs = only_t("truncate", "", "").replace("max = 0", "max = 1, backoff = '10ms'");
    assert_committed(&run(&db, &jobs));
    db.target.sql(
        "CREATE SEQUENCE once;
         CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('public.once') = 1 THEN RAISE 'a deadlock' USING ERRCODE = '40P01'; END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER deadlock BEFORE UPDATE ON tableferry.run FOR EACH ROW
             WHEN (new.state = 'committed') EXECUTE FUNCTION deadlock()",
    );

    let outcome = run(&db, &jobs);

    assert_committed(&outcome);
    assert_eq!(outcome.report()["attempts"], 2, "{outcome}");
}

#[test]
fn a_query_with_side_effects_is_told_from_a_server_that_takes_no_writes() {
    let db = databases("error_writes");
    db.both("CREATE TABLE t (id int); CREATE SEQUENCE s");
    db.source.sql("INSERT INTO t VALUES (1)");
    let query = r#"query = "SELECT pg_catalog.nextval('public.s')::int AS id" "#;

    let outcome = run(&db, &only_t("append", "", query));

    assert_refused(&outcome, "config", &["25006", "nextval", "side effects"]);
    assert_eq!(outcome.report()["error"]["side"], "source", "{outcome}");
    assert_eq!(outcome.report()["attempts"], 1, "{outcome}");
}

#[test]
fn a_character_that_the_target_cannot_hold_is_not_the_fault_of_the_source() {
    let db = databases("error_latin");
    let latin = format!("{}_latin", db.target.name());
    db.target.sql(&format!(
        "CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    let target = db.target.conninfo().replace(
        &format!("dbname={}", db.target.name()),
        &format!("dbname={latin}"),
    );
    let connection = crate::support::Connection::open(&target);
    connection.sql("CREATE TABLE t (v text)");
    db.source
        .sql("CREATE TABLE t (v text); INSERT INTO t VALUES ('grö'), ('Ж')");
    let run = |more: &str| {
        job_between(&db.source.conninfo(), &target, &only_t("append", "", more))
            .run(&["run", "j", "--json"])
    };

    assert_refused(
        &run(""),
        "data_rejected",
        &["22P05", "encoding of the target's database"],
    );
    // As the hint says.
    assert_committed(&run("set.v = \"pg_catalog.translate(v, 'Ж', '?')\""));
    assert_eq!(
        connection.value("SELECT string_agg(v, ',' ORDER BY v) FROM t"),
        "?,grö"
    );
    drop(connection);
    db.target
        .sql(&format!("DROP DATABASE {latin} WITH (FORCE)"));
}

#[test]
fn what_row_security_hides_can_be_read_through_a_view_as_the_hint_says() {
    let db = databases("error_rls");
    let role = format!("{}_reader", db.source.name());
    db.both("CREATE TABLE t (id int)");
    db.source.sql(&format!(
        "INSERT INTO t VALUES (1), (2); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY only_one ON t USING (id = 1); CREATE VIEW ones AS SELECT * FROM t WHERE id = 1;
         CREATE ROLE {role} LOGIN; GRANT SELECT ON t, ones TO {role}"
    ));
    let source = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let run = |of_table: &str| {
        job_between(
            &source,
            &db.target.conninfo(),
            &only_t("append", "", of_table),
        )
        .run(&["run", "j", "--json"])
    };

    assert_refused(
        &run(""),
        "permission",
        &["row security", "a view", "BYPASSRLS"],
    );
    assert_committed(&run("source = 'public.ones'"));
    assert_eq!(
        db.target.value("SELECT string_agg(id::text, ',') FROM t"),
        "1"
    );
    db.source.sql(&format!("ALTER ROLE {role} BYPASSRLS"));
    assert_committed(&run(""));
    assert_eq!(db.target.count("t"), 3);
    db.source
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn every_warning_of_a_table_names_it() {
    let db = databases("error_warnings");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    db.source.sql("ALTER TABLE b ADD only_here int");
    db.target.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT INSERT, SELECT ON a, b TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let jobs = format!("{}\n[daemon]\nhistory = 'off'", all_of_public("append", ""));

    let outcome = job_between(&db.source.conninfo(), &target, &jobs).run(&["run", "j", "--json"]);

    assert_committed(&outcome);
    for line in [
        "public.a, public.b: ANALYZE is skipped",
        "public.b: only the source has only_here",
    ] {
        assert!(outcome.stderr.contains(line), "{outcome}");
    }
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
