//! `compare = "changed"`: only what has changed since the last run is compared, and the target is the same
//! afterwards as if all had been.

use rstest::rstest;

use crate::support::dice::Dice;
use crate::support::{
    Connection, Databases, Outcome, PATIENCE, assert_committed, changes, databases, job, only_t,
    run, wait_until,
};

const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\nanalyze = false\n";

fn jobs(more: &str, of_table: &str) -> String {
    let more = format!("{ANY_SIZE}compare = 'changed'\n{more}");
    only_t("merge", &more, of_table)
}

/// The table's report of a committed run, and what it says of `compare`.
#[track_caller]
fn compare(outcome: &Outcome) -> String {
    let table = &assert_committed(outcome)[0];
    table["compare"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn rows_read(outcome: &Outcome) -> u64 {
    assert_committed(outcome)[0]["rows_read"].as_u64().unwrap()
}

/// Runs the job once all transactions that the servers have had so far are over.
#[track_caller]
fn run_quietly(db: &Databases<'_>, jobs: &str) -> Outcome {
    db.wait_for_transactions();
    run(db, jobs)
}

#[track_caller]
fn run_maybe_quietly(db: &Databases<'_>, jobs: &str, quiet: bool) -> Outcome {
    match quiet {
        true => run_quietly(db, jobs),
        false => run(db, jobs),
    }
}

/// Both sides with the same rows, 1 to `rows`, as a run has left them.
fn merged(name: &str, create: &str, rows: u32, jobs: &str) -> Databases<'static> {
    let db = databases(name);
    db.both(create);
    db.source.sql(&format!(
        "INSERT INTO t (id, v) SELECT i, 'v' || i FROM generate_series(1, {rows}) i"
    ));
    assert_ne!(compare(&run_quietly(&db, jobs)), "changed");
    db.both("ANALYZE t");
    db.assert_same("t");
    db
}

const PLAIN: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";

#[test]
fn only_what_has_changed_is_read() {
    let jobs = jobs("", "");
    let db = merged("changed_moved", PLAIN, 20_000, &jobs);
    let outcome = run_quietly(&db, &jobs);
    assert_eq!(compare(&outcome), "changed", "{outcome}");
    assert_eq!(rows_read(&outcome), 0, "{outcome}");

    db.source.sql(
        "UPDATE t SET v = 'new' WHERE id % 1000 = 7; DELETE FROM t WHERE id % 5000 = 3;
         INSERT INTO t SELECT 20000 + i, NULL FROM generate_series(1, 20) i",
    );
    db.target.sql("UPDATE t SET v = 'theirs' WHERE id = 4711; DELETE FROM t WHERE id = 815; INSERT INTO t VALUES (-5, 'theirs')");
    let outcome = run_quietly(&db, &jobs);

    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["compare"], "changed", "{outcome}");
    assert_eq!(changes(table), [21, 21, 5], "{outcome}");
    assert_eq!(table["rows_written"], 47, "{outcome}");
    assert!(rows_read(&outcome) < 2000, "{outcome}");
    db.assert_same("t");
    assert_eq!(
        db.target
            .value("SELECT compare FROM tableferry.run_table JOIN tableferry.run USING (run_id) ORDER BY started_at DESC LIMIT 1"),
        "changed"
    );
    let outcome = run_quietly(&db, &jobs);
    assert_eq!(
        (compare(&outcome).as_str(), rows_read(&outcome)),
        ("changed", 0),
        "{outcome}"
    );
}

/// Changed rows explain all differences; or only those near them; or keys differ elsewhere, too.
#[rstest]
#[case::updated("UPDATE t SET v = 'new' WHERE id % 1000 = 7", "", [0, 20, 0], 20)]
#[case::updated_on_the_target("", "UPDATE t SET v = 'new' WHERE id % 1000 = 7", [0, 20, 0], 20)]
#[case::appended("INSERT INTO t SELECT 20000 + i, 'new' FROM generate_series(1, 50) i", "", [50, 0, 0], 50)]
#[case::inserted_by_another("", "INSERT INTO t VALUES (-7, 'theirs')", [0, 0, 1], 0)]
#[case::replaced("INSERT INTO t VALUES (-7, 'new'); DELETE FROM t WHERE id = 4711", "", [1, 0, 1], 100)]
#[case::deleted_near_a_changed_one("DELETE FROM t WHERE id = 4711; UPDATE t SET v = 'new' WHERE id IN (4710, 4712)", "", [0, 2, 1], 2)]
#[case::deleted("DELETE FROM t WHERE id % 1000 = 7", "", [0, 0, 20], 1000)]
#[case::moved("UPDATE t SET id = id + 30000 WHERE id % 1000 = 7", "", [20, 0, 20], 1000)]
fn rows_that_explain_the_difference_are_read(
    #[case] on_source: &str,
    #[case] on_target: &str,
    #[case] expected: [u64; 3],
    #[case] rows_read_max: u64,
) {
    let jobs = jobs("", "");
    let db = merged("changed_tiers", PLAIN, 20_000, &jobs);
    db.source.sql(on_source);
    db.target.sql(on_target);

    let outcome = run_quietly(&db, &jobs);

    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["compare"], "changed", "{outcome}");
    assert_eq!(changes(table), expected, "{outcome}");
    assert!(rows_read(&outcome) <= rows_read_max, "{outcome}");
    db.assert_same("t");
}

/// The same number of rows on both sides, and in each range of keys.
#[test]
fn a_row_deleted_on_each_side_is_two_differences() {
    let jobs = jobs("", "");
    let db = merged("changed_two", PLAIN, 200, &jobs);
    db.source.sql("DELETE FROM t WHERE id = 100");
    db.target.sql("DELETE FROM t WHERE id = 101");

    let outcome = run(&db, &jobs);

    assert_eq!(compare(&outcome), "changed", "{outcome}");
    assert_eq!(
        changes(&assert_committed(&outcome)[0]),
        [1, 0, 1],
        "{outcome}"
    );
    db.assert_same("t");
}

#[test]
fn the_plan_says_how_and_why() {
    let jobs = jobs("", "");
    let db = databases("changed_plan");
    db.both(PLAIN);
    db.both("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i; ANALYZE t");
    let planned = |full: &[&str]| {
        let plan = job(&db, &jobs).run(&[&["plan", "j", "--json"], full].concat());
        let table = plan.report()["tables"][0].clone();
        let text = |key: &str| table[key].as_str().unwrap_or_default().to_owned();
        (text("compare"), text("compare_reason"))
    };
    let (way, why) = planned(&[]);
    assert_eq!(way, "stream");
    assert!(why.contains("no run has recorded"), "{why}");
    run(&db, &jobs);
    assert_eq!(planned(&[]), ("changed".to_owned(), String::new()));
    let shown = job(&db, &jobs).run(&["plan", "j", "--sql"]);
    assert!(shown.stdout.contains("changed"), "{shown}");
    assert!(shown.stdout.contains("age(xmin)"), "{shown}");

    let outcome = job(&db, &jobs).run(&["run", "j", "--full", "--json"]);
    assert_eq!(compare(&outcome), "stream", "{outcome}");
    assert_eq!(compare(&run(&db, &jobs)), "changed");
    db.target.sql("DELETE FROM tableferry.mark");
    assert_eq!(compare(&run(&db, &jobs)), "stream");
    assert_eq!(compare(&run(&db, &jobs)), "changed");
}

/// A large table needs no configuration; a small one is read as quickly.
#[test]
fn auto_uses_a_mark_where_there_is_one() {
    let jobs = only_t("merge", ANY_SIZE, "");
    let db = merged("changed_auto", PLAIN, 30_000, &jobs);
    let outcome = run(&db, &jobs);
    assert_eq!(compare(&outcome), "changed", "{outcome}");
    db.both("TRUNCATE t; INSERT INTO t VALUES (1, 'v'); ANALYZE t");
    assert_eq!(compare(&run(&db, &jobs)), "stream");
    assert_eq!(compare(&run(&db, &jobs)), "stream");
    db.assert_same("t");
}

#[test]
fn a_run_that_is_rolled_back_leaves_the_old_mark() {
    let jobs = only_t("merge", "compare = 'changed'\n", "");
    let db = merged("changed_rolled_back", PLAIN, 200, &jobs);
    let mark = || {
        db.target
            .value("SELECT mark || run_id FROM tableferry.mark")
    };
    let before = mark();
    db.source
        .sql("DELETE FROM t WHERE id > 50; UPDATE t SET v = 'new' WHERE id = 1");
    let refused = run(&db, &jobs);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("75.0 % less"), "{refused}");
    assert_eq!(mark(), before);
    db.source
        .sql("INSERT INTO t SELECT i, 'again' FROM generate_series(51, 200) i");

    assert_eq!(compare(&run(&db, &jobs)), "changed");

    assert_ne!(mark(), before);
    db.assert_same("t");
}

/// Another job, and another configuration of this one, are sessions like any other.
#[test]
fn what_other_jobs_write_is_noticed() {
    let jobs_of_j = jobs("", "");
    let db = merged("changed_jobs", PLAIN, 300, &jobs_of_j);
    let other = jobs("", "where = 'id < 100'").replace("jobs.j", "jobs.k");
    let outcome = job(&db, &other).run(&["run", "k", "--json"]);
    assert_committed(&outcome);
    assert_eq!(db.target.count("t"), 99);
    assert_eq!(compare(&run(&db, &jobs_of_j)), "changed");
    db.assert_same("t");

    let outcome = run(&db, &jobs("", "where = 'id < 200'"));
    assert_eq!(compare(&outcome), "stream", "{outcome}");
    assert_eq!(db.target.count("t"), 199);
    assert_eq!(compare(&run(&db, &jobs_of_j)), "stream");
    db.assert_same("t");
}

/// Tables, the `where` of their job, and an expression of the key over a number.
const TABLES: [(&str, &str, &str); 6] = [
    ("CREATE TABLE t (id int PRIMARY KEY, v text, n int)", "", ""),
    ("CREATE TABLE t (v text, n int, id bigint PRIMARY KEY)", "n IS NULL OR n < 3", ""),
    ("CREATE TABLE t (id smallint PRIMARY KEY, v text, n int)", "", "format = 'text'\n"),
    (
        "CREATE TABLE t (id int, d date DEFAULT '2026-01-01', v text, n int, PRIMARY KEY (id, d))",
        "n <> 2",
        "",
    ),
    (
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (150); CREATE TABLE t2 PARTITION OF t DEFAULT",
        "",
        "",
    ),
    (
        "CREATE TABLE t (id bigint, u uuid DEFAULT '00000000-0000-0000-0000-000000000001', v text, n int, PRIMARY KEY (id, u))",
        "",
        "",
    ),
];

/// Random changes by a session; keys between -20 and 380.
fn change(dice: &mut Dice, at: &Connection, count: u64) {
    for _ in 0..dice.below(count) {
        let key = i64::try_from(dice.below(400)).unwrap() - 20;
        let (v, n) = (dice.below(4), dice.below(4));
        let done = at.try_sql(&match dice.below(9) {
            0..=2 => format!("INSERT INTO t (id, v, n) VALUES ({key}, {v}, {n}) ON CONFLICT DO NOTHING"),
            3 | 4 => format!("UPDATE t SET v = {v}, n = {n} WHERE id = {key}"),
            5 | 6 => format!("DELETE FROM t WHERE id = {key}"),
            7 => format!("SAVEPOINT a; UPDATE t SET n = {n} WHERE id = {key}; ROLLBACK TO a; SAVEPOINT b; UPDATE t SET n = {n} + 1 WHERE id = {key}; RELEASE b"),
            _ => format!("UPDATE t SET id = {key} + 7 WHERE id = {key} AND NOT EXISTS (SELECT FROM t WHERE id = {key} + 7)"),
        });
        done.unwrap();
    }
}

/// Random changes on both sides between runs, by transactions that end at once, stay open over several runs, or
/// are prepared; and an independent comparison after each run.
#[rstest]
fn both_sides_are_equal_whatever_has_changed(#[values(0, 1, 2, 3, 4, 5)] at: usize) {
    let (create, filter, more) = TABLES[at];
    let mut dice = Dice::new(77_101 + at as u64);
    let db = databases("changed_model");
    db.both(create);
    let of_table = match filter {
        "" => String::new(),
        filter => format!("where = '{filter}'"),
    };
    let jobs = jobs(more, &of_table);
    db.source.sql(
        "INSERT INTO t (id, v, n) SELECT i, i, i % 4 FROM generate_series(1, 300) i; ANALYZE t",
    );
    let prepares = db.source.value("SHOW max_prepared_transactions") != "0";
    let condition = if filter.is_empty() { "true" } else { filter };
    let expected = format!("SELECT t::text FROM t WHERE {condition} ORDER BY 1");
    let mut open: Vec<(u64, Connection)> = Vec::new();
    let mut prepared: Vec<(u64, String)> = Vec::new();
    let (mut used, mut ranges) = (0, 0);
    for round in 0..14 {
        for side in [&db.source, &db.target] {
            let session = side.connect();
            session.sql("SET lock_timeout = '20ms'");
            session.sql("BEGIN");
            change_some(&mut dice, &session);
            session.sql("COMMIT");
        }
        // A transaction that stays open, of rows that nobody else touches.
        if dice.below(3) == 0 {
            let session = db.source.connect();
            session.sql("BEGIN");
            session.sql(&format!(
                "INSERT INTO t (id, v, n) VALUES ({0}, 'late', 1); SAVEPOINT s; INSERT INTO t (id, v, n) VALUES ({0} + 1, 'late', 1)",
                1000 + 10 * round
            ));
            match prepares && dice.below(2) == 0 {
                true => {
                    let name = format!("{}_{round}", db.source.name());
                    session.sql(&format!("PREPARE TRANSACTION '{name}'"));
                    prepared.push((round + 1 + dice.below(3), name));
                }
                false => open.push((round + 1 + dice.below(3), session)),
            }
        }
        open.retain(|(until, session)| {
            let stays = *until > round;
            if !stays {
                session.sql("COMMIT");
            }
            stays
        });
        prepared.retain(|(until, name)| {
            let stays = *until > round;
            if !stays {
                db.source.sql(&format!("COMMIT PREPARED '{name}'"));
            }
            stays
        });
        let outcome = run_maybe_quietly(&db, &jobs, open.is_empty() && prepared.is_empty());
        let way = compare(&outcome);
        assert_eq!(way == "changed", round > 0, "{outcome}");
        used += u32::from(way == "changed");
        let rows = db.source.rows(&expected);
        ranges += u32::from(rows_read(&outcome) < rows.len() as u64);
        assert_eq!(
            db.target.rows("SELECT t::text FROM t ORDER BY 1"),
            rows,
            "round {round} of {create}: {outcome}"
        );
    }
    assert!(used == 13 && ranges > 0, "{used} {ranges}");
    for (_, name) in prepared {
        db.source.sql(&format!("ROLLBACK PREPARED '{name}'"));
    }
}

fn change_some(dice: &mut Dice, at: &Connection) {
    let count = [2, 8, 25][usize::try_from(dice.below(3)).unwrap()];
    change(dice, at, count);
}

/// What must not be missed: each changes rows, or what they mean, without a row version that tells.
#[rstest]
#[case::a_fast_default(
    "ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v text DEFAULT 'fast'",
    "stream"
)]
#[case::renamed_into_place(
    "CREATE TABLE other (LIKE t INCLUDING ALL); INSERT INTO other SELECT id, 'other' FROM t",
    "stream"
)]
#[case::vacuum_full("UPDATE t SET v = 'new' WHERE id = 5; VACUUM FULL t", "stream")]
#[case::cluster("DELETE FROM t WHERE id = 5; CLUSTER t USING t_pkey", "stream")]
#[case::truncated(
    "TRUNCATE t; INSERT INTO t SELECT i, 'again' FROM generate_series(1, 300) i",
    "stream"
)]
#[case::truncated_and_not_filled("TRUNCATE t", "stream")]
#[case::rewritten(
    "ALTER TABLE t ALTER v TYPE varchar(99) USING v || '!'; ALTER TABLE t ALTER v TYPE text",
    "stream"
)]
#[case::frozen("UPDATE t SET v = 'new' WHERE id = 5; VACUUM FREEZE t", "changed")]
#[case::in_a_subtransaction(
    "BEGIN; SAVEPOINT a; UPDATE t SET v = 'new' WHERE id = 5; RELEASE a; COMMIT",
    "changed"
)]
#[case::locked(
    "BEGIN; SELECT * FROM t FOR UPDATE; COMMIT; DELETE FROM t WHERE id = 5",
    "changed"
)]
fn events_that_hide_changes_are_seen(
    #[case] event: &str,
    #[case] way: &str,
    #[values("source", "target")] side: &str,
) {
    let jobs = jobs("", "");
    let db = merged("changed_event", PLAIN, 300, &jobs);
    let at = if side == "source" {
        &db.source
    } else {
        &db.target
    };
    let rename = event.starts_with("CREATE TABLE other");
    if rename {
        // Written before the last run, and in place after it.
        at.sql(event);
        assert_eq!(compare(&run(&db, &jobs)), "changed");
        at.sql("ALTER TABLE t RENAME TO gone; ALTER TABLE other RENAME TO t");
    } else {
        for statement in event.split("; ") {
            at.sql(statement);
        }
    }

    let outcome = run(&db, &jobs);

    // An empty target is loaded directly.
    assert_eq!(
        compare(&outcome) == "changed",
        way == "changed",
        "{outcome}"
    );
    db.assert_same("t");
    assert_eq!(compare(&run(&db, &jobs)), "changed");
    db.assert_same("t");
}

/// A partition brings rows that were written before the last run, and that the target has otherwise.
#[rstest]
fn an_attached_partition_is_compared_whole(#[values("source", "target")] side: &str) {
    let create = "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (1000); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (1100)";
    let jobs = jobs("", "");
    let db = merged("changed_attach", create, 1099, &jobs);
    let at = if side == "source" {
        &db.source
    } else {
        &db.target
    };
    at.sql("CREATE TABLE twin (LIKE t INCLUDING ALL); INSERT INTO twin SELECT id, 'twin' FROM t2");
    assert_eq!(compare(&run_quietly(&db, &jobs)), "changed");
    at.sql("ALTER TABLE t DETACH PARTITION t2; ALTER TABLE t ATTACH PARTITION twin FOR VALUES FROM (1000) TO (1100)");

    let outcome = run_quietly(&db, &jobs);

    assert_eq!(compare(&outcome), "changed", "{outcome}");
    let read = rows_read(&outcome);
    assert!((100..300).contains(&read), "{outcome}");
    db.assert_same("t");
}

#[test]
fn a_renamed_label_is_another_value() {
    let jobs = jobs("", "");
    let db = databases("changed_label");
    db.source.sql("CREATE TYPE mood AS ENUM ('sad', 'glad')");
    db.target
        .sql("CREATE TYPE mood AS ENUM ('sad', 'glad', 'blue')");
    db.both("CREATE TABLE t (id int PRIMARY KEY, m mood)");
    db.source
        .sql("INSERT INTO t SELECT i, 'sad' FROM generate_series(1, 20) i");
    assert_committed(&run(&db, &jobs));
    db.source
        .sql("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'");

    let outcome = run(&db, &jobs);

    assert_ne!(compare(&outcome), "changed", "{outcome}");
    db.assert_same("t");
}

/// What a mark must not be used for, by a mark that says so.
#[rstest]
#[case::another_system(
    "'{source,history,system}', '\"1\"'",
    "the source is a different cluster"
)]
#[case::another_target(
    "'{target,history,system}', '\"1\"'",
    "the target is a different cluster"
)]
#[case::another_database(
    "'{source,history,database}', '1'",
    "the source is a different database"
)]
#[case::another_timeline("'{source,history,timeline}', '7'", "was on 7 at the last run")]
#[case::timeline_of_the_target("'{target,history,timeline}', '7'", "was on 7 at the last run")]
#[case::ahead("'{source,xmin}', '99999999999'", "restored")]
#[case::another_table("'{target,relation,leaves}', '{\"1\": \"1:1\"}'", "replaced")]
#[case::another_query("'{source,query}', '\"x\"'", "what is read has changed")]
#[case::another_release("'{source}', '7'", "another release")]
fn a_mark_of_another_past_is_not_used(#[case] edit: &str, #[case] why: &str) {
    let jobs = jobs("", "");
    let db = merged("changed_past", PLAIN, 50, &jobs);
    db.target.sql(&format!(
        "UPDATE tableferry.mark SET mark = jsonb_set(mark::jsonb, {edit})::text"
    ));
    let plan = job(&db, &jobs).run(&["plan", "j", "--json"]);
    let table = &plan.report()["tables"][0];
    assert_eq!(table["compare"], "stream", "{plan}");
    assert!(
        table["compare_reason"].as_str().unwrap().contains(why),
        "{plan}"
    );
    db.source.sql("UPDATE t SET v = 'new' WHERE id = 5");
    assert_eq!(compare(&run(&db, &jobs)), "stream");
    db.assert_same("t");
    assert_eq!(compare(&run(&db, &jobs)), "changed");
}

/// Where values could change without a row, or a key has no place, all is compared.
#[rstest]
#[case::function("where = \"lower(v) <> 'x'\"", PLAIN, "`where`")]
#[case::moving(
    "where = \"at < 'tomorrow'\"",
    "CREATE TABLE t (id int PRIMARY KEY, v text, at date DEFAULT '2026-01-01')",
    "`where`"
)]
#[case::set("set.v = 'upper(v)'", PLAIN, "computes column v")]
#[case::scope("where = 'id > 5'\nscope = 'where'", PLAIN, "scope")]
#[case::text_key("", "CREATE TABLE t (id int, v text, PRIMARY KEY (id, v))", "")]
#[case::first_column(
    "",
    "CREATE TABLE t (id int, v text, d uuid DEFAULT '00000000-0000-0000-0000-000000000001', PRIMARY KEY (d, id))",
    "not an integer"
)]
#[case::query("query = 'SELECT * FROM public.t'", PLAIN, "")]
#[case::triggers(
    "",
    "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
     CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    "triggers"
)]
fn what_cannot_be_told_is_compared(
    #[case] of_table: &str,
    #[case] create: &str,
    #[case] why: &str,
) {
    let jobs = jobs("", of_table);
    let db = databases("changed_not");
    db.both(create);
    db.source
        .sql("INSERT INTO t (id, v) SELECT i, 'v' FROM generate_series(1, 20) i");
    for _ in 0..2 {
        let outcome = run(&db, &jobs);
        assert_ne!(compare(&outcome), "changed", "{outcome}");
    }
    db.both("ANALYZE t");
    let plan = job(&db, &jobs).run(&["plan", "j", "--json"]);
    let table = &plan.report()["tables"][0];
    assert!(
        table["compare_reason"].as_str().unwrap().contains(why),
        "{plan}"
    );
    assert_eq!(db.target.value("SELECT count(*) FROM tableferry.mark"), "0");
}

/// What others do to the target while the run compares is theirs until the next run, and never half.
#[test]
fn rows_that_others_write_meanwhile_are_whole() {
    let jobs = jobs("", "");
    let db = merged(
        "changed_writer",
        "CREATE TABLE t (id int PRIMARY KEY, v text, w text)",
        2000,
        &jobs,
    );
    db.source
        .sql("UPDATE t SET v = 'new', w = 'new' WHERE id % 2 = 0");
    // Holds up the run where it writes, when all has been compared.
    let holder = db.target.connect();
    holder.sql("BEGIN; UPDATE t SET v = 'held', w = 'held' WHERE id = 2");
    let job = job(&db, &jobs);
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.target.count("pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'tableferry%' AND query LIKE 'UPDATE%'") == 1
    });
    holder.sql("DELETE FROM t WHERE id IN (4, 6, 7); UPDATE t SET v = 'theirs', w = 'theirs' WHERE id IN (1, 8); COMMIT");
    let outcome = running.wait(PATIENCE);
    assert_eq!(compare(&outcome), "changed");
    assert_eq!(db.target.value("SELECT v FROM t WHERE id = 1"), "theirs");
    assert_eq!(db.target.value("SELECT v FROM t WHERE id = 8"), "new");

    // The transaction had not ended when the run began: the next one looks at its rows.
    let outcome = run(&db, &jobs);

    assert_eq!(compare(&outcome), "changed", "{outcome}");
    db.assert_same("t");
}
