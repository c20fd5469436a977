//! Foreign keys of the target: in which order tables are written, and what ON DELETE and ON UPDATE do
//! to rows that were compared before.

use rstest::rstest;

use crate::support::{all_of_public, assert_committed, databases, job, job_toml, run};

/// In these tests tables shrink.
const ANY_SIZE: &str = "guard = { allow_empty = true, max_shrink = '100%' }\n";

/// Foreign keys on single partitions, as in pagila, and one to a partition. Names are such that the
/// alphabet is the wrong order.
const PARTITIONED: &str = "
    CREATE TABLE z_customer (id int PRIMARY KEY, name text);
    CREATE TABLE y_staff (id int PRIMARY KEY, name text);
    CREATE TABLE b_payment (id int, at date, customer int, staff int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE b_payment_1 PARTITION OF b_payment FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE b_payment_2 PARTITION OF b_payment FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
        PARTITION BY RANGE (at);
    CREATE TABLE b_payment_2_1 PARTITION OF b_payment_2 DEFAULT;
    ALTER TABLE b_payment_1 ADD FOREIGN KEY (customer) REFERENCES z_customer;
    ALTER TABLE b_payment_2_1 ADD FOREIGN KEY (staff) REFERENCES y_staff;
    CREATE TABLE a_receipt (id int PRIMARY KEY, payment int, at date, FOREIGN KEY (payment, at) REFERENCES b_payment_1 (id, at))";

const PARTITIONED_ROWS: &str = "
    INSERT INTO z_customer SELECT i, 'c' FROM generate_series(1, 20) i;
    INSERT INTO y_staff SELECT i, 's' FROM generate_series(1, 20) i;
    INSERT INTO b_payment SELECT i, date '2026-01-01' + i, i, i FROM generate_series(1, 20) i;
    INSERT INTO b_payment SELECT i, date '2026-02-01' + i, i, i FROM generate_series(1, 20) i;
    INSERT INTO a_receipt SELECT i, i, date '2026-01-01' + i FROM generate_series(1, 20) i";

/// With wildcards, partitions are copied with their parents.
const PARENTS: [&str; 4] = ["z_customer", "y_staff", "b_payment", "a_receipt"];

#[rstest]
#[case::truncate("truncate", "")]
#[case::append("append", "")]
#[case::upsert("upsert", "")]
#[case::merge("merge", "")]
#[case::append_one_by_one("append", "atomic = false")]
#[case::merge_one_by_one("merge", "atomic = false")]
fn tables_are_ordered_by_the_foreign_keys_of_partitions(#[case] mode: &str, #[case] more: &str) {
    let db = databases("fk_partitions_order");
    db.both(PARTITIONED);
    db.source.sql(PARTITIONED_ROWS);

    let outcome = run(&db, &all_of_public(mode, &format!("{ANY_SIZE}{more}")));

    let tables = assert_committed(&outcome).as_array().unwrap();
    assert_eq!(tables.len(), 4, "{outcome}");
    for table in PARENTS {
        db.assert_same(table);
    }
}

#[test]
fn truncating_the_parents_of_partitions_with_foreign_keys_needs_no_cascade() {
    let db = databases("fk_partitions_truncate");
    db.both(PARTITIONED);
    db.both(PARTITIONED_ROWS);
    assert_committed(&run(&db, &all_of_public("truncate", ANY_SIZE)));
    for table in PARENTS {
        db.assert_same(table);
    }
    // A table outside of the job that refers to a partition is named before a row moves.
    db.target.sql(
        "CREATE SCHEMA o; CREATE TABLE o.outside (id int, at date, FOREIGN KEY (id, at) REFERENCES public.b_payment_2_1 (id, at))",
    );
    let plan = job(&db, &all_of_public("truncate", ANY_SIZE)).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
    assert!(plan.stdout.contains("o.outside refers to it"), "{plan}");
}

#[test]
fn merge_deletes_in_the_order_that_the_keys_of_partitions_need() {
    let db = databases("fk_partitions_delete");
    db.both(PARTITIONED);
    db.both(PARTITIONED_ROWS);
    db.source.sql(
        "DELETE FROM a_receipt; DELETE FROM b_payment; DELETE FROM z_customer WHERE id > 5;
         DELETE FROM y_staff WHERE id > 5; INSERT INTO z_customer VALUES (99, 'new');
         INSERT INTO b_payment VALUES (1, '2026-01-01', 99, 7)",
    );
    // Values that have to be free before others take them: deletions come first.
    db.target
        .sql("ALTER TABLE z_customer ADD UNIQUE (id, name)");

    assert_committed(&run(&db, &all_of_public("merge", ANY_SIZE)));

    for table in PARENTS {
        db.assert_same(table);
    }
}

/// A key that is declared on the parent holds for a partition that is copied alone.
#[rstest]
#[case::truncate("truncate")]
#[case::merge("merge")]
#[case::swap("swap")]
fn partitions_that_are_copied_alone_are_ordered_by_their_parents_keys(#[case] mode: &str) {
    let db = databases("fk_single_partitions");
    db.both(
        "CREATE TABLE z (id int PRIMARY KEY);
         CREATE TABLE a (id int, z int REFERENCES z, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (100);
         CREATE TABLE a2 PARTITION OF a FOR VALUES FROM (100) TO (200)",
    );
    db.source
        .sql("INSERT INTO z VALUES (1), (2); INSERT INTO a VALUES (1, 1), (101, 2)");
    let tables = match mode {
        // TRUNCATE and swap of z take all of a, too.
        "truncate" | "swap" => {
            db.target.sql("INSERT INTO z VALUES (1), (2)");
            "tables = ['public.a1', 'public.a2']"
        }
        _ => "tables = ['public.a1', 'public.a2', 'public.z']",
    };
    let jobs = format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\n{tables}\nretry = {{ max = 0 }}\n{ANY_SIZE}"
    );

    assert_committed(&run(&db, &jobs));

    db.assert_same("a");
    db.assert_same("z");
}

#[rstest]
#[case::merge_within_where(
    "merge",
    "where = 'region = 1'\nscope = 'where'",
    "outside of `where`",
    "c_p_fkey (ON DELETE SET NULL), c_p_fkey (ON UPDATE CASCADE)"
)]
#[case::upsert(
    "upsert",
    "",
    "that the source does not have",
    "c_p_fkey (ON UPDATE CASCADE)"
)]
fn actions_on_rows_that_the_job_leaves_alone_are_a_warning(
    #[case] mode: &str,
    #[case] of_child: &str,
    #[case] rows: &str,
    #[case] keys: &str,
) {
    let db = databases("kept_rows");
    db.both(
        "CREATE TABLE p (id int PRIMARY KEY, code int UNIQUE);
         CREATE TABLE c (id int PRIMARY KEY, region int, p int REFERENCES p (code) ON DELETE SET NULL ON UPDATE CASCADE)",
    );
    let jobs = job_toml(
        mode,
        "public.p",
        &format!("[jobs.j.table.'public.c']\n{of_child}"),
    );

    let outcome = run(&db, &jobs);

    assert_committed(&outcome);
    let warning = format!(
        "public.c: its rows {rows} also change when rows of public.p change, by foreign key {keys}"
    );
    assert!(outcome.stderr.contains(&warning), "{outcome}");
}
