//! Source and target do not have the same columns, or no longer: `new_columns`, and what is told of the drift.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Databases, Outcome, PATIENCE, assert_committed, assert_refused, databases, job, job_toml,
    only_t, run, wait_until,
};

/// The report and the ledger say the same of the run's only table, and the view what is left of it.
#[track_caller]
fn assert_drift(db: &Databases<'_>, outcome: &Outcome, drift: &Value, in_view: &str) {
    let table = &assert_committed(outcome)[0];
    assert_eq!(table["drift"], *drift, "{outcome}");
    let run_id = outcome.report()["run_id"].as_str().unwrap();
    let sql = format!(
        "SELECT COALESCE(drift, 'null') FROM tableferry.run_table WHERE run_id = '{run_id}'"
    );
    let recorded: Value = serde_json::from_str(&db.target.value(&sql)).unwrap();
    assert_eq!(recorded, *drift, "{outcome}");
    let view = db
        .target
        .value("SELECT COALESCE(drift::text, '') FROM tableferry.job_status");
    assert_eq!(view, in_view);
}

#[rstest]
fn new_columns_are_added_named_or_refused(
    #[values("append", "truncate", "swap", "merge", "upsert")] mode: &str,
) {
    let db = databases("drift");
    db.source.sql(
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id int PRIMARY KEY, v text, m mood, n numeric(4,1)[] NOT NULL, twice int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t VALUES (1, 'a', 'ok', '{1.5}'), (2, 'b', NULL, '{}')",
    );
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (v)");
    if mode != "append" {
        db.target.sql("INSERT INTO t VALUES (1, 'a'), (2, 'old')");
    }
    let jobs = |value: &str| only_t(mode, &format!("new_columns = '{value}'\nworkers = 2\n"), "");
    let error = run(&db, &jobs("error"));
    assert_refused(
        &error,
        "schema_mismatch",
        &[
            "the target lacks columns that the source has: m, n, twice",
            "ADD COLUMN n numeric(4,1)[]",
        ],
    );
    assert_eq!(error.report()["tables"], json!([]));
    let recorded = "SELECT count(*) FROM tableferry.run WHERE error LIKE '%has: m, n, twice%'";
    assert_eq!(db.target.value(recorded), "1");

    let add = job(&db, &jobs("add"));
    let plan = add.run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let sql = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_swap = mode == "swap";
    let parts = match is_swap {
        true => [
            "\"m\" public.mood, ",
            "everybody while the tables are replaced",
        ],
        false => [
            "ADD COLUMN \"m\" public.mood",
            "target: ACCESS EXCLUSIVE on public.t",
        ],
    };
    for part in ["CREATE TYPE \"public\".\"mood\""].into_iter().chain(parts) {
        assert!(sql.contains(part), "{part}: {plan}");
    }
    assert_eq!(
        db.target
            .count("pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"),
        2
    );
    assert_eq!(
        plan.stdout.contains("ALTER TABLE \"public\".\"t\" ADD"),
        !is_swap
    );
    let added = run(&db, &jobs("add"));
    let column = |column: &str, change: &str, ty: &str| json!({"column": column, "change": change, "type": ty});
    let drift = [
        ("m", "public.mood"),
        ("n", "numeric(4,1)[]"),
        ("twice", "integer"),
    ];
    let drift = drift.map(|(name, ty)| column(name, "added", ty));
    assert_drift(&db, &added, &json!(drift), "");
    let rows = "SELECT id, v, m, n, twice FROM t ORDER BY id";
    assert_eq!(db.target.rows(rows), db.source.rows(rows));
    let columns = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 2 ORDER BY 1";
    let columns = db.target.rows(columns);
    assert_eq!(columns.len(), 3);
    assert!(
        columns.iter().all(|row| row[2].as_deref() == Some("f")),
        "{columns:?}"
    );

    db.source.sql("ALTER TABLE t ADD more int");
    if mode == "append" {
        db.target.sql("TRUNCATE t");
    }
    let warned = run(&db, &jobs("warn"));
    assert_committed(&warned);
    assert!(
        warned
            .stderr
            .contains("public.t: only the source has more: left out"),
        "{warned}"
    );
    assert_eq!(db.target.rows(rows), db.source.rows(rows));
    let drift = json!([column("more", "not_copied", "integer")]);
    assert_drift(&db, &warned, &drift, "{\"public.t.more: not_copied\"}");
    let history = job(&db, &jobs("warn"));
    let shown = history.run(&["history", "--limit", "1"]);
    let line = "public.t: columns not copied: more";
    assert!(shown.stdout.contains(line), "{shown}");
    let shown = history.run(&["history", "--json", "--limit", "1"]);
    assert_eq!(shown.report()["tables"][0]["drift"], drift);
    let shown = history.run(&["plan", "--json"]);
    assert_eq!(shown.report()["tables"][0]["drift"], drift, "{shown}");

    // What `columns` does not choose is no drift.
    if mode == "append" {
        db.target.sql("TRUNCATE t");
    }
    let chosen = format!("{}columns = ['id', 'v']\n", jobs("error"));
    assert_drift(&db, &run(&db, &chosen), &Value::Null, "");

    // Mended.
    db.target
        .sql("ALTER TABLE t ADD more int, ADD own int DEFAULT 5");
    if mode == "append" {
        db.target.sql("TRUNCATE t");
    }
    let mended = run(&db, &jobs("error"));
    let drift = json!([column("own", "only_on_target", "integer")]);
    assert_drift(&db, &mended, &drift, "{\"public.t.own: only_on_target\"}");
    db.target.sql("ALTER TABLE t DROP own");
    if mode == "append" {
        db.target.sql("TRUNCATE t");
    }
    assert_drift(&db, &run(&db, &jobs("warn")), &Value::Null, "");
}

/// `swap` needs no ALTER TABLE: the table that takes the target's place has the new columns.
#[test]
fn swap_adds_columns_while_others_read() {
    let db = databases("drift_reads");
    db.both("CREATE TABLE t (id int PRIMARY KEY); CREATE VIEW all_of_t AS SELECT * FROM t");
    db.target.sql("INSERT INTO t VALUES (0)");
    db.source.sql(
        "ALTER TABLE t ADD v text; INSERT INTO t VALUES (1, 'a'), (2, 'b');
         CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_advisory_lock_shared(4721); RETURN i; END'",
    );
    let holder = db.source.connect();
    holder.sql("SELECT pg_advisory_lock(4721)");
    let job = job(
        &db,
        &only_t(
            "swap",
            "new_columns = 'add'\nrecreate_views = true\n",
            "source = 'public.t'\nset.id = 'public.slow(id)'\n",
        ),
    );
    let running = job.spawn(&["run", "j", "--json"]);
    wait_until(PATIENCE, || {
        db.source.count(
            "pg_locks JOIN pg_database d ON d.oid = database \
             WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted",
        ) == 1
    });
    let reader = db.target.connect();
    reader.sql("SET lock_timeout = '10ms'");
    assert_eq!(reader.value("SELECT id FROM all_of_t"), "0");
    drop(holder);
    let table = &assert_committed(&running.wait(PATIENCE))[0].clone();
    assert_eq!(table["drift"][0]["change"], "added", "{table}");
    let rows = "SELECT id, v FROM t ORDER BY id";
    assert_eq!(db.target.rows(rows), db.source.rows(rows));
    assert_eq!(db.target.value("SELECT count(id) FROM all_of_t"), "2");
}

/// A table, what is done to it between two runs, and what the second run says: a part of the refusal, or the drift.
/// `+column` is not copied, `-column` only on the target.
struct Drifted {
    table: &'static str,
    source: &'static str,
    target: &'static str,
    expected: Result<&'static str, &'static str>,
}

const fn drifted(
    table: &'static str,
    source: &'static str,
    target: &'static str,
    expected: Result<&'static str, &'static str>,
) -> Drifted {
    Drifted {
        table,
        source,
        target,
        expected,
    }
}

/// Each table has `id int PRIMARY KEY, v text, n int NOT NULL`.
const DRIFTED: [Drifted; 18] = [
    drifted("s_added", "ADD x text", "", Ok("+x")),
    drifted(
        "s_added_not_null",
        "ADD x int NOT NULL DEFAULT 3",
        "",
        Ok("+x"),
    ),
    drifted("s_dropped", "DROP v", "", Ok("-v")),
    drifted(
        "s_dropped_not_null",
        "DROP n",
        "",
        Err("column n is NOT NULL without a default"),
    ),
    drifted(
        "s_renamed",
        "RENAME v TO w",
        "",
        Err("column v seems to be renamed to w"),
    ),
    drifted(
        "s_renamed_not_null",
        "RENAME n TO m",
        "",
        Err("column n is NOT NULL without a default"),
    ),
    drifted("s_renamed_key", "RENAME id TO no", "", Err("column id")),
    drifted("s_retyped", "ALTER n TYPE smallint", "", Ok("")),
    drifted(
        "s_retyped_wider",
        "ALTER n TYPE bigint",
        "",
        Err("n: bigint → integer"),
    ),
    drifted("t_added", "", "ADD x text", Ok("-x")),
    drifted(
        "t_added_not_null",
        "",
        "ADD x int NOT NULL DEFAULT 3; ALTER TABLE t_added_not_null ALTER x DROP DEFAULT",
        Err("column x is NOT NULL without a default"),
    ),
    drifted(
        "t_added_default",
        "",
        "ADD x int NOT NULL DEFAULT 3",
        Ok("-x"),
    ),
    drifted("t_dropped", "", "DROP v", Ok("+v")),
    drifted(
        "t_renamed",
        "",
        "RENAME v TO w",
        Err("column w seems to be renamed to v"),
    ),
    drifted(
        "own_column",
        "ADD x text",
        "ADD own text DEFAULT 'mine'",
        Ok("+x -own"),
    ),
    drifted(
        "t_renamed_not_null",
        "",
        "RENAME n TO m",
        Err("column m is NOT NULL without a default"),
    ),
    drifted("t_retyped_wider", "", "ALTER n TYPE bigint", Ok("")),
    drifted(
        "t_retyped",
        "",
        "ALTER v TYPE bytea USING v::bytea",
        Err("v: text → bytea"),
    ),
];

#[rstest]
fn drift_between_runs_is_copied_around_or_refused_by_name(
    #[values("append", "truncate", "swap", "merge", "upsert")] mode: &str,
) {
    let db = databases("drifts");
    let tables = DRIFTED.iter().map(|case| case.table);
    let create =
        |table| format!("CREATE TABLE {table} (id int PRIMARY KEY, v text, n int NOT NULL);");
    db.both(&tables.clone().map(create).collect::<String>());
    let fill = |table| format!("INSERT INTO {table} VALUES (1, 'a', 1), (2, 'b', 2);");
    db.source.sql(&tables.map(fill).collect::<String>());
    assert_committed(&run(&db, &job_toml(mode, "public.*", "")));

    for case in &DRIFTED {
        db.source
            .sql(&format!("UPDATE {} SET id = 3 WHERE id = 2", case.table));
        for (side, change) in [(&db.source, case.source), (&db.target, case.target)] {
            if !change.is_empty() {
                side.sql(&format!("ALTER TABLE {} {change}", case.table));
            }
        }
    }
    // Nothing is written as long as one table is refused, and all of them are named.
    let before = db.target.rows("SELECT * FROM s_added ORDER BY id");
    let all = job(&db, &job_toml(mode, "public.*", ""));
    assert_refused(&all.run(&["run", "j", "--json"]), "schema_mismatch", &[]);
    assert_eq!(db.target.rows("SELECT * FROM s_added ORDER BY id"), before);
    let refused = all.run(&["plan", "--json"]);
    let refusals = refused.report()["refusals"].as_array().unwrap().clone();
    let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
    for refusal in &refusals {
        let relation = refusal["relation"].as_str().unwrap();
        let reason = reasons.entry(relation).or_default();
        reason.push_str(refusal["message"].as_str().unwrap());
    }
    let mut copied = Vec::new();
    for case in &DRIFTED {
        let name = format!("public.{}", case.table);
        match (case.expected, reasons.get(&*name)) {
            (Err(part), Some(reason)) => assert!(reason.contains(part), "{name}: {reason}"),
            (Ok(_), None) => copied.push(case),
            (expected, reason) => panic!("{name}: {expected:?} {reason:?}"),
        }
    }

    let names: Vec<String> = copied
        .iter()
        .map(|case| format!("'public.{}'", case.table))
        .collect();
    if mode == "append" {
        let tables: Vec<&str> = copied.iter().map(|case| case.table).collect();
        db.target.sql(&format!("TRUNCATE {}", tables.join(", ")));
    }
    let more = format!("tables = [{}]\n", names.join(", "));
    let outcome = run(&db, &job_toml(mode, "", &more));
    let reports = assert_committed(&outcome).as_array().unwrap();
    for case in copied {
        let name = format!("public.{}", case.table);
        let report = reports
            .iter()
            .find(|report| report["target"] == *name)
            .unwrap();
        let drift = report["drift"].as_array().cloned().unwrap_or_default();
        let shown = drift.iter().map(|column| {
            let sign = if column["change"] == "not_copied" {
                "+"
            } else {
                "-"
            };
            format!("{sign}{}", column["column"].as_str().unwrap())
        });
        let shown = shown.collect::<Vec<_>>().join(" ");
        assert_eq!(Ok(&*shown), case.expected, "{name}");
        // The columns that both have.
        let both = ["v", "n"]
            .into_iter()
            .filter(|column| !shown.contains(column));
        let both: Vec<&str> = std::iter::once("id").chain(both).collect();
        let rows = format!(
            "SELECT {} FROM {} WHERE id <> 2 ORDER BY id",
            both.join(", "),
            case.table
        );
        assert_eq!(db.target.rows(&rows), db.source.rows(&rows), "{name}");
        let gone = if mode == "upsert" { 1 } else { 0 };
        assert_eq!(
            db.target.count(&format!("{} WHERE id = 2", case.table)),
            gone,
            "{name}"
        );
    }
}

#[test]
fn a_renamed_column_is_refused_until_it_is_renamed_on_the_target() {
    let db = databases("renamed");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t VALUES (1, 'a', 1)");
    db.source
        .sql("ALTER TABLE t RENAME v TO w; INSERT INTO t VALUES (2, 'b', 2)");
    for value in ["warn", "add", "error"] {
        let refused = run(
            &db,
            &only_t("merge", &format!("new_columns = '{value}'\n"), ""),
        );
        let renamed = "ALTER TABLE public.t RENAME COLUMN v TO w";
        assert_refused(&refused, "schema_mismatch", &["renamed to w", renamed]);
        assert_eq!(db.target.value("SELECT string_agg(v, ',') FROM t"), "a");
    }
    let some = only_t("merge", "", "columns = ['id', 'n']\n");
    assert_committed(&run(&db, &some));
    db.target.sql("ALTER TABLE public.t RENAME COLUMN v TO w");
    assert_committed(&run(&db, &only_t("merge", "", "")));
    db.assert_same("public.t");
}
