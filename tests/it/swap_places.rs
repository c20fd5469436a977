//! Mode `swap` where the table lies somewhere else than most tables do.

use crate::support::service::own_directory;
use crate::support::{Databases, databases, job, schema_of};

const JOB: &str = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'swap'\n\
                   tables = ['public.t']\nretry = { max = 0 }\n";

/// Swaps `t`, whose rows and schema are what they should be afterwards.
#[track_caller]
fn swap(db: &Databases<'_>) {
    let before = schema_of(&db.target);
    let old = db.target.value("SELECT 't'::regclass::oid");
    let outcome = job(db, JOB).run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_ne!(db.target.value("SELECT 't'::regclass::oid"), old);
    db.assert_same("t");
    let after = schema_of(&db.target);
    assert!(before == after, "{before:#?}\n{after:#?}");
}

#[test]
fn a_table_and_its_indexes_stay_in_their_tablespaces() {
    let db = databases("spaces");
    let directory = own_directory();
    let space = format!("{}_space", db.target.name());
    let path = directory.path().display();
    db.target
        .sql(&format!("CREATE TABLESPACE {space} LOCATION '{path}'"));
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 500) i",
    );
    db.target.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text) TABLESPACE {space};
         CREATE INDEX here ON t (v); CREATE INDEX there ON t (v) TABLESPACE {space};
         INSERT INTO t VALUES (0, 'old')"
    ));
    swap(&db);
    let there = format!(
        "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c \
         JOIN pg_tablespace s ON s.oid = c.reltablespace \
         WHERE s.spcname = '{space}' AND c.relkind IN ('r', 'i') AND c.relnamespace = 'public'::regnamespace"
    );
    let there = db.target.value(&there);
    // Without its directory, a tablespace would keep the server from every checkpoint.
    db.target.sql("DROP TABLE t");
    db.target.sql(&format!("DROP TABLESPACE {space}"));
    assert_eq!(there, "t there");
}

#[test]
fn a_default_partition_gives_way_to_the_new_one() {
    let db = databases("default_partition");
    db.source
        .sql("CREATE TABLE t (k int NOT NULL, v text); INSERT INTO t VALUES (2, 'b'), (3, 'c')");
    db.target.sql(
        "CREATE TABLE p (k int NOT NULL, v text) PARTITION BY LIST (k);
         CREATE TABLE one PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE t PARTITION OF p DEFAULT;
         CREATE INDEX ON p (v);
         INSERT INTO p VALUES (1, 'a'), (9, 'old')",
    );
    swap(&db);
    let rows = "SELECT string_agg(k || v, ' ' ORDER BY k) FROM p";
    assert_eq!(db.target.value(rows), "1a 2b 3c");

    // What belongs to another partition is refused, and the old one stays.
    db.source.sql("INSERT INTO t VALUES (1, 'elsewhere')");
    let outcome = job(&db, JOB).run(&["run", "j", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(
        outcome.report()["error"]["kind"],
        "data_rejected",
        "{outcome}"
    );
    assert_eq!(db.target.value(rows), "1a 2b 3c");
}
