//! Schemas as they are met: names that need quotes, constraints that order matters to, pagila's shape.

use rstest::rstest;

use crate::support::{Databases, MODES, assert_committed, databases, job, job_toml, run};

/// Relations whose names a careless program cuts, folds or doesn't quote.
fn odd_names() -> Vec<String> {
    let longest = "n".repeat(61) + "é";
    [
        "Upper",
        "with space",
        " ",
        "dot.ted",
        "sel\"ect",
        "it's",
        "back\\slash",
        "select",
        "user",
        "ünïcode 名前",
        "100%",
        "$1",
        "a,b;--",
        "*",
        "Tableferry",
        &longest,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// One table a name, in a schema of that name, with columns, constraints and a foreign key of such names.
fn odd_tables(db: &Databases<'_>) -> Vec<String> {
    let mut relations = Vec::new();
    for name in odd_names() {
        let q = quoted(&name);
        db.both(&format!(
            "CREATE SCHEMA {q};
             CREATE TYPE {q}.\"e\"\"\" AS ENUM ('a', 'b');
             CREATE TABLE {q}.{q} ({q} serial CONSTRAINT \"k\"\".\" PRIMARY KEY, \"{{\" int,
                                   \"}}\" {q}.\"e\"\"\" DEFAULT 'a' CONSTRAINT \"c'\" CHECK (\"}}\" IS NOT NULL));
             ALTER TABLE {q}.{q} ADD CONSTRAINT \"f\"\"\" FOREIGN KEY (\"{{\") REFERENCES {q}.{q};
             CREATE INDEX \"i\\\" ON {q}.{q} (\"{{\", {q});
             COMMENT ON TABLE {q}.{q} IS 'it''s \"{{}}\" \\'"
        ));
        let rows =
            format!("INSERT INTO {q}.{q} (\"{{\", \"}}\") VALUES (NULL, 'b'), (1, 'a'), (1, 'b')");
        db.source.sql(&rows);
        relations.push(format!("{q}.{q}"));
    }
    relations
}

#[rstest]
fn names_that_need_quotes(#[values(1, 3)] workers: u32) {
    let db = databases("odd_names");
    let relations = odd_tables(&db);
    for mode in MODES {
        for relation in &relations {
            db.target.sql(&format!("TRUNCATE {relation}"));
        }
        let tables = format!("{relations:?}");
        let jobs = job_toml(
            mode,
            "",
            &format!("tables = {tables}\nworkers = {workers}\nverify = 'count'"),
        );

        let outcome = run(&db, &jobs);

        assert_committed(&outcome);
        for relation in &relations {
            db.assert_same(relation);
            db.target.sql(&format!(
                "BEGIN; INSERT INTO {relation} DEFAULT VALUES; ROLLBACK"
            ));
        }
        // Nothing differs now, and a table of such a name is cut into ranges of keys.
        let verified = job(&db, &jobs).run(&["verify", "j", "--json"]);
        assert_eq!(verified.code, Some(0), "{mode}: {verified}");
    }
}

#[rstest]
fn columns_where_and_set_of_odd_names(#[values("truncate", "merge", "upsert", "swap")] mode: &str) {
    let db = databases("odd_columns");
    db.both("CREATE TABLE \"T.1\" (\"Key\" int PRIMARY KEY, \"a\"\"b\" text, \"select\" text DEFAULT 'd', \"x.y\" int)");
    db.source.sql(
        "INSERT INTO \"T.1\" VALUES (1, 'one', 's', 1), (2, 'two', 's', 2), (3, 'three', 's', 3)",
    );
    db.target
        .sql("INSERT INTO \"T.1\" VALUES (1, 'old', 's', 0)");
    let of_table = "[jobs.j.table.'public.\"T.1\"']\ncolumns = ['\"Key\"', '\"a\"\"b\"', '\"x.y\"']\n\
                    where = '\"x.y\" > 1'\nset.'\"a\"\"b\"' = 'upper(\"a\"\"b\")'\nkey = ['\"Key\"']\n";

    let outcome = run(&db, &job_toml(mode, "", of_table));

    assert_committed(&outcome);
    let mut expected = vec!["2|TWO|d|2", "3|THREE|d|3"];
    if mode == "upsert" {
        expected.insert(0, "1|old|s|0");
    }
    let rows = db.target.rows(
        "SELECT concat_ws('|', \"Key\", \"a\"\"b\", \"select\", \"x.y\") FROM \"T.1\" ORDER BY 1",
    );
    let rows: Vec<_> = rows.iter().filter_map(|row| row[0].as_deref()).collect();
    assert_eq!(rows, expected);
}

/// Values that two rows exchange violate a unique constraint between two statements, or between two rows.
const EXCHANGED: &str = "
    CREATE TABLE slot (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY IMMEDIATE,
                       during int4range, EXCLUDE USING gist (during WITH &&) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE parent (id int PRIMARY KEY, child int);
    CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE parent ADD FOREIGN KEY (child) REFERENCES child DEFERRABLE INITIALLY IMMEDIATE";

#[rstest]
fn exclusion_and_deferrable_constraints(
    #[values("truncate", "swap", "merge", "upsert")] mode: &str,
) {
    let db = databases("deferrable");
    db.both(EXCHANGED);
    db.target.sql(
        "INSERT INTO slot VALUES (1, 1, '[1,5)'), (2, 2, '[5,9)'), (3, 3, '[9,12)');
         INSERT INTO parent VALUES (1, NULL), (2, NULL); INSERT INTO child VALUES (1, 1), (2, 2);
         UPDATE parent SET child = id",
    );
    db.source.sql(
        "INSERT INTO slot VALUES (1, 2, '[5,9)'), (2, 3, '[9,12)'), (3, 1, '[1,5)');
         INSERT INTO parent VALUES (1, NULL), (2, NULL); INSERT INTO child VALUES (1, 2), (2, 1);
         UPDATE parent SET child = 3 - id",
    );

    let outcome = run(&db, &job_toml(mode, "public.*", ""));

    assert_committed(&outcome);
    for table in ["slot", "parent", "child"] {
        db.assert_same(table);
    }
    let still = "SELECT string_agg(conname || condeferrable || condeferred, ' ' ORDER BY conname) FROM pg_constraint WHERE connamespace = 'public'::regnamespace";
    assert_eq!(db.source.value(still), db.target.value(still));
}

/// After pagila: payments in partitions, each with foreign keys of its own, which the parent lacks.
const PAGILA: &str = "
    CREATE DOMAIN year AS integer CHECK (VALUE BETWEEN 1901 AND 2155);
    CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
    CREATE FUNCTION last_updated() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.last_update = now(); RETURN NEW; END';
    CREATE TABLE staff (staff_id serial PRIMARY KEY, store_id int NOT NULL, name text, picture bytea);
    CREATE TABLE store (store_id serial PRIMARY KEY, manager_staff_id int NOT NULL UNIQUE);
    CREATE TABLE customer (customer_id serial PRIMARY KEY, store_id int NOT NULL, email text,
                           active bool DEFAULT true, last_update timestamptz DEFAULT now());
    CREATE TABLE film (film_id serial PRIMARY KEY, title text NOT NULL, release_year year, rating mpaa_rating DEFAULT 'G',
                       special_features text[], fulltext tsvector NOT NULL, length int2, cost numeric(5,2) DEFAULT 19.99);
    CREATE TABLE rental (rental_id serial PRIMARY KEY, film_id int NOT NULL, customer_id int NOT NULL, staff_id int NOT NULL,
                         rented timestamptz NOT NULL, UNIQUE (rented, film_id, customer_id));
    CREATE TABLE payment (payment_id serial NOT NULL, customer_id int NOT NULL, staff_id int NOT NULL,
                          rental_id int NOT NULL, amount numeric(5,2) NOT NULL, paid timestamptz NOT NULL,
                          PRIMARY KEY (paid, payment_id)) PARTITION BY RANGE (paid);
    CREATE TABLE payment_p2022_01 (amount numeric(5,2) NOT NULL, payment_id int DEFAULT nextval('payment_payment_id_seq') NOT NULL,
                                   customer_id int NOT NULL, staff_id int NOT NULL, rental_id int NOT NULL, paid timestamptz NOT NULL);
    ALTER TABLE payment ATTACH PARTITION payment_p2022_01 FOR VALUES FROM ('2022-01-01') TO ('2022-02-01');
    CREATE TABLE payment_p2022_02 PARTITION OF payment FOR VALUES FROM ('2022-02-01') TO ('2022-03-01');
    CREATE INDEX ON film USING gist (fulltext);
    CREATE VIEW customer_list AS SELECT customer_id AS id, email, CASE WHEN active THEN 'active' ELSE '' END AS notes FROM customer;
    ALTER TABLE staff ADD FOREIGN KEY (store_id) REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE store ADD FOREIGN KEY (manager_staff_id) REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE customer ADD FOREIGN KEY (store_id) REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT;
    ALTER TABLE rental ADD FOREIGN KEY (film_id) REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
                       ADD FOREIGN KEY (customer_id) REFERENCES customer ON UPDATE CASCADE ON DELETE RESTRICT,
                       ADD FOREIGN KEY (staff_id) REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT;
    ALTER TABLE payment_p2022_01 ADD FOREIGN KEY (customer_id) REFERENCES customer, ADD FOREIGN KEY (staff_id) REFERENCES staff,
                                 ADD FOREIGN KEY (rental_id) REFERENCES rental;
    ALTER TABLE payment_p2022_02 ADD FOREIGN KEY (customer_id) REFERENCES customer, ADD FOREIGN KEY (staff_id) REFERENCES staff,
                                 ADD FOREIGN KEY (rental_id) REFERENCES rental";

const PAGILA_TABLES: [&str; 6] = ["staff", "store", "customer", "film", "rental", "payment"];

const PAGILA_ROWS: &str = "
    BEGIN;
    INSERT INTO staff SELECT i, i, 'staff ' || i, '\\x00ff' FROM generate_series(1, 2) i;
    INSERT INTO store SELECT i, 3 - i FROM generate_series(1, 2) i;
    COMMIT;
    INSERT INTO customer SELECT i, 1 + i % 2, 'c' || i || '@example.org' FROM generate_series(1, 30) i;
    INSERT INTO film SELECT i, 'Film ' || i, 1990 + i, (enum_range(NULL::mpaa_rating))[1 + i % 5], '{Trailers,\"Deleted Scenes\"}',
                            to_tsvector('simple', 'film ' || i), i FROM generate_series(1, 20) i;
    INSERT INTO rental SELECT i, 1 + i % 20, 1 + i % 30, 1 + i % 2, '2022-01-01'::timestamptz + i * interval '1 h' FROM generate_series(1, 100) i;
    INSERT INTO payment SELECT i, 1 + i % 30, 1 + i % 2, i, 2.99, '2022-01-01 00:00+00'::timestamptz + i * interval '13 h' FROM generate_series(1, 100) i";

#[rstest]
fn pagila(
    #[values("append", "truncate", "merge", "upsert")] mode: &str,
    #[values(1, 3)] workers: u32,
) {
    let db = databases("pagila");
    db.both(PAGILA);
    db.source.sql(PAGILA_ROWS);
    db.target.sql(
        "CREATE TRIGGER last_updated BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION last_updated()",
    );
    let jobs = job_toml(
        mode,
        "public.*",
        &format!("workers = {workers}\nguard = {{ max_shrink = '100%' }}"),
    );

    let outcome = run(&db, &jobs);

    assert_committed(&outcome);
    for table in PAGILA_TABLES {
        db.assert_same(table);
    }
    db.target.sql(
        "BEGIN; INSERT INTO payment (customer_id, staff_id, rental_id, amount, paid) VALUES (1, 1, 1, 1, '2022-02-02');
         INSERT INTO rental (film_id, customer_id, staff_id, rented) VALUES (1, 1, 1, now()); ROLLBACK",
    );
    if matches!(mode, "append" | "upsert") {
        return;
    }
    // Children first, parents last; and payments that move to the other partition.
    db.source.sql(
        "DELETE FROM payment WHERE payment_id > 60; DELETE FROM rental WHERE rental_id > 60;
         DELETE FROM film WHERE film_id NOT IN (SELECT film_id FROM rental);
         DELETE FROM customer WHERE customer_id NOT IN (SELECT customer_id FROM rental);
         UPDATE payment SET paid = paid + interval '20 days' WHERE paid < '2022-01-10';
         UPDATE film SET title = upper(title), rating = NULL WHERE film_id % 3 = 0",
    );

    let outcome = run(&db, &jobs);

    assert_committed(&outcome);
    for table in PAGILA_TABLES {
        db.assert_same(table);
    }
}

/// Rows that a trigger routes to children by hand, as before there were partitions.
const ROUTED: &str = "
    CREATE TABLE measurement (id bigint PRIMARY KEY, taken date NOT NULL, value int);
    CREATE TABLE measurement_old (CHECK (taken < '2024-01-01'), PRIMARY KEY (id)) INHERITS (measurement);
    CREATE TABLE measurement_new (CHECK (taken >= '2024-01-01'), PRIMARY KEY (id)) INHERITS (measurement);
    CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.taken < '2024-01-01' THEN INSERT INTO measurement_old VALUES (NEW.*);
        ELSE INSERT INTO measurement_new VALUES (NEW.*); END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER route BEFORE INSERT ON measurement FOR EACH ROW EXECUTE FUNCTION route()";

#[rstest]
fn trigger_routed_partitions_are_copied_table_by_table(
    #[values("append", "truncate", "merge", "upsert")] mode: &str,
) {
    let db = databases("routed");
    db.both(ROUTED);
    db.source.sql(
        "INSERT INTO measurement SELECT i, date '2023-12-01' + i, i FROM generate_series(1, 60) i",
    );

    let outcome = run(&db, &job_toml(mode, "public.*", ""));

    assert_committed(&outcome);
    for table in [
        "measurement",
        "measurement_old",
        "measurement_new",
        "ONLY measurement",
    ] {
        db.assert_same(table);
    }
}
