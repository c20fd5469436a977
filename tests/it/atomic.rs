//! All tables at once, or with `atomic = false` one after the other: what readers see, what is reported.

use rstest::rstest;
use serde_json::Value;

use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{
    Databases, Outcome, PATIENCE, Proxy, all_of_public, databases, job, job_between, run,
    wait_until,
};

fn jobs(mode: &str, more: &str) -> String {
    all_of_public(mode, &format!("guard = {{ max_shrink = '100%' }}\n{more}"))
}

/// Three tables on both sides, with a row of the source's in each.
fn three(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both(
        "CREATE TABLE a (id int); CREATE TABLE b (id int CHECK (id > 0)); CREATE TABLE c (id int)",
    );
    db.source
        .sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)");
    db
}

#[track_caller]
fn counts(db: &Databases<'_>) -> [u64; 3] {
    ["a", "b", "c"].map(|table| db.target.count(table))
}

fn committed_flags(outcome: &Outcome) -> Vec<&Value> {
    let tables = outcome.report()["tables"].as_array().unwrap();
    tables.iter().map(|table| &table["committed"]).collect()
}

#[test]
fn a_reader_never_sees_a_torn_group() {
    let db = databases("torn");
    db.both("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int)");
    for table in ["a", "b", "c"] {
        db.source.sql(&format!(
            "INSERT INTO {table} SELECT generate_series(1, 30000)"
        ));
    }
    let reader = db.target.connect();
    let look = || {
        reader.rows(
            "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM c)",
        )
    };

    let job = job(&db, &jobs("append", ""));
    let mut running = job.spawn(&["run", "j", "--json"]);
    let mut looks = 0;
    while !running.has_ended() {
        let rows = look();
        let [a, b, c] = rows[0].as_slice() else {
            panic!("{rows:?}");
        };
        assert!(a == b && b == c, "torn: {rows:?}");
        looks += 1;
    }
    assert!(looks > 0);
    assert_eq!(running.wait(PATIENCE).code, Some(0));
    assert_eq!(look()[0][2].as_deref(), Some("30000"));
}

#[test]
fn one_by_one_publishes_all_and_says_so() {
    let db = three("one_by_one");
    db.target.sql("INSERT INTO a VALUES (7), (8)");

    let outcome = run(
        &db,
        &jobs("truncate", "atomic = false\nverify = 'checksum'"),
    );

    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "committed", "{outcome}");
    assert_eq!(committed_flags(&outcome), [true, true, true], "{outcome}");
    assert_eq!(counts(&db), [1, 1, 1]);
    let atomic = run(&db, &jobs("truncate", ""));
    assert_eq!(committed_flags(&atomic), [&Value::Null; 3], "{atomic}");
}

#[test]
fn a_failure_leaves_what_was_published_before_and_says_what() {
    let db = three("half");
    db.source
        .sql("ALTER TABLE b DROP CONSTRAINT b_id_check; INSERT INTO b VALUES (-1)");

    let outcome = run(&db, &jobs("append", "atomic = false"));

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "rolled_back", "{outcome}");
    assert_eq!(
        outcome.report()["error"]["relation"],
        "public.b",
        "{outcome}"
    );
    assert_eq!(committed_flags(&outcome), [true], "{outcome}");
    assert!(
        outcome
            .stderr
            .contains("published before that: public.a; the rest is as it was"),
        "{outcome}"
    );
    assert_eq!(counts(&db), [1, 0, 0]);
}

#[test]
fn the_ledger_names_what_was_published() {
    let db = three("ledger");
    let ledger = "SELECT state, (SELECT string_agg(target, ' ' ORDER BY target) \
                  FROM tableferry.run_table t WHERE t.run_id = r.run_id) \
                  FROM tableferry.run r ORDER BY started_at DESC LIMIT 1";
    let told =
        |state: &str, tables: &str| vec![vec![Some(state.to_owned()), Some(tables.to_owned())]];
    let job = job(&db, &jobs("append", "atomic = false"));
    assert_eq!(job.run(&["run", "j"]).code, Some(0));
    assert_eq!(
        db.target.rows(ledger),
        told("committed", "public.a public.b public.c")
    );

    db.source
        .sql("ALTER TABLE b DROP CONSTRAINT b_id_check; INSERT INTO b VALUES (-1)");

    assert_eq!(job.run(&["run", "j"]).code, Some(1));
    assert_eq!(db.target.rows(ledger), told("rolled_back", "public.a"));
}

#[test]
fn a_connection_cut_at_any_message_leaves_each_table_as_the_report_says() {
    let db = three("cut");
    let mut at = 1;
    let mut halves = 0;
    loop {
        let proxy = Proxy::start(db.target.cluster.port());
        let through = proxy.conninfo(&db.target.conninfo());
        let rule = Rule::new(Way::ToServer, Trigger::Message(at), Fault::Cut).on_connection(1);
        let armed = proxy.arm(rule);
        let outcome = job_between(
            &db.source.conninfo(),
            &through,
            &jobs("append", "atomic = false"),
        )
        .run(&["run", "j", "--json"]);
        let report = outcome.report();
        let tables = report["tables"].as_array().unwrap();
        let said = ["public.a", "public.b", "public.c"].map(|name| {
            let of = tables.iter().find(|table| table["target"] == name);
            u64::from(of.is_some_and(|table| table["committed"] == true))
        });
        assert_eq!(counts(&db), said, "cut at message {at}: {outcome}");
        let done = report["outcome"] == "committed";
        assert_eq!(done, said == [1, 1, 1], "cut at message {at}: {outcome}");
        halves += u64::from(!done && said != [0, 0, 0]);
        db.target.sql("TRUNCATE a, b, c");
        if !armed.has_struck() {
            break;
        }
        at += 1 + at / 40;
    }
    assert!(halves > 2, "{halves} cuts between two tables");
}

#[test]
fn a_table_that_the_gate_refuses_is_reported_as_not_committed() {
    let db = three("gate");
    db.target.sql(
        "CREATE FUNCTION drop_all() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER drop_all BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION drop_all()",
    );

    let outcome = run(&db, &jobs("append", "atomic = false"));

    assert_eq!(outcome.report()["outcome"], "rolled_back", "{outcome}");
    assert_eq!(committed_flags(&outcome), [true, false], "{outcome}");
    assert_eq!(counts(&db), [1, 0, 0]);
}

#[test]
fn another_attempt_goes_on_where_the_last_one_failed() {
    let db = three("resume");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE");
    let jobs = jobs("append", "atomic = false\nlock_timeout = '100ms'").replace(
        "{ max = 0 }",
        "{ max = 1000, backoff = '10ms', max_backoff = '20ms' }",
    );

    let job = job(&db, &jobs);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || running.stderr().contains("attempt 3"));
    holder.sql("COMMIT");

    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(counts(&db), [1, 1, 1], "appended once each\n{outcome}");
    assert_eq!(committed_flags(&outcome), [true, true, true], "{outcome}");
}

#[test]
fn tables_that_refer_to_each_other_are_loaded_in_order_and_not_truncated_one_by_one() {
    let db = databases("fk");
    db.both(
        "CREATE TABLE b_parent (id int PRIMARY KEY);
         CREATE TABLE a_child (id int CONSTRAINT to_parent REFERENCES b_parent);
         INSERT INTO b_parent VALUES (1); INSERT INTO a_child VALUES (1)",
    );

    let refused = run(&db, &jobs("truncate", "atomic = false"));

    assert_eq!(refused.code, Some(1), "{refused}");
    for part in [
        "public.b_parent",
        "public.a_child",
        "to_parent",
        "atomic = true",
    ] {
        assert!(refused.stderr.contains(part), "{part}\n{refused}");
    }
    assert_eq!(db.target.count("a_child"), 1);
    db.target.sql("TRUNCATE a_child, b_parent");
    let outcome = run(&db, &jobs("append", "atomic = false"));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    db.assert_same("a_child");
}

/// Where tables refer to each other, each mode either refuses or leaves all of it as it should be.
#[rstest]
fn tables_that_refer_to_each_other_are_swapped_merged_and_upserted_one_by_one(
    #[values("swap", "merge", "upsert")] mode: &str,
) {
    let db = databases("fk_modes");
    db.both(
        "CREATE TABLE b_parent (id int PRIMARY KEY, v int);
         CREATE TABLE a_child (id int PRIMARY KEY, parent int CONSTRAINT to_parent REFERENCES b_parent)",
    );
    db.target
        .sql("INSERT INTO b_parent VALUES (1, 0); INSERT INTO a_child VALUES (1, 1)");
    db.source.sql(
        "INSERT INTO b_parent VALUES (1, 1), (2, 2); INSERT INTO a_child VALUES (1, 2), (3, 1)",
    );

    let outcome = run(&db, &jobs(mode, "atomic = false"));

    let keys = "pg_constraint WHERE conname = 'to_parent' AND confrelid = 'b_parent'::regclass \
                AND conrelid = 'a_child'::regclass AND convalidated";
    assert_eq!(
        db.target.count(keys),
        1,
        "the foreign key is lost: {outcome}"
    );
    if outcome.code == Some(0) {
        db.assert_same("b_parent");
        db.assert_same("a_child");
    } else {
        assert_eq!(mode, "swap", "{outcome}");
        assert!(outcome.stderr.contains("atomic"), "{outcome}");
        assert_eq!(db.target.count("b_parent"), 1, "{outcome}");
    }
}

#[test]
fn two_runs_of_one_job_never_mix() {
    let db = three("claim");
    let holder = db.target.connect();
    holder.sql("BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE");
    let job = job(&db, &jobs("append", "atomic = false"));
    let running = job.spawn(&["run", "j", "--json"]);
    // The first table is published, the second waits: between them no lock of a table is held.
    wait_until(PATIENCE, || db.target.count("a") == 1);

    let second = job.run(&["run", "j", "--json"]);

    assert_eq!(second.code, Some(1), "{second}");
    assert_eq!(second.report()["error"]["kind"], "locked", "{second}");
    holder.sql("COMMIT");
    assert_eq!(running.wait(PATIENCE).code, Some(0));
    assert_eq!(counts(&db), [1, 1, 1]);
}
