//! Mode `swap`: the new table has everything that the old one had, and readers notice nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::support::{
    Databases, Outcome, PATIENCE, assert_committed, assert_refused, assert_same_schema, databases,
    job, job_between, job_toml, run, schema_of, wait_until,
};

fn swap_of(tables: &str, more: &str) -> String {
    job_toml("swap", tables, more)
}

/// No table, index, sequence or type of ours is left.
#[track_caller]
fn assert_nothing_left(db: &Databases<'_>) {
    let left = db.target.rows(
        "SELECT relname FROM pg_class WHERE relname LIKE '%tableferry%' \
         UNION ALL SELECT typname FROM pg_type WHERE typname LIKE '%tableferry%' \
         UNION ALL SELECT conname FROM pg_constraint WHERE conname LIKE '%tableferry%' \
         UNION ALL SELECT stxname FROM pg_statistic_ext WHERE stxname LIKE '%tableferry%'",
    );
    assert_eq!(left, Vec::<Vec<Option<String>>>::new());
}

/// The source's side of the table that has everything.
const PLAIN: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app."T t" (id int, s int, "Na me" varchar(40), n numeric(12,2), r int, at timestamptz, j json, w int[],
                        self int, period int4range);
INSERT INTO app."T t" SELECT i, i, 'n' || i, i, i % 10, now(), '{"a":1}', ARRAY[i], NULLIF(i - 1, 0), int4range(i, i + 1)
  FROM generate_series(1, 500) i"#;

fn everything(role: &str) -> String {
    EVERYTHING.replace("@", role)
}

const EVERYTHING: &str = r#"
CREATE ROLE @_owner; CREATE ROLE @_read; CREATE ROLE @_chain; CREATE ROLE @_col;
CREATE SCHEMA app; GRANT CREATE, USAGE ON SCHEMA app TO @_owner; GRANT USAGE ON SCHEMA app TO @_read;
CREATE TABLE app.ref (id int PRIMARY KEY); INSERT INTO app.ref SELECT generate_series(0, 9);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE app."T t" (
  gone int,
  id int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME app."Id seq" START 5 INCREMENT 2 MAXVALUE 1000000 CACHE 3),
  s serial, "Na me" varchar(40) COLLATE "C" DEFAULT 'x''y\z', n numeric(12,2) NOT NULL DEFAULT 1.5,
  r int CONSTRAINT r_fk REFERENCES app.ref ON DELETE SET NULL, at timestamptz DEFAULT now(), j json, w int[],
  g int GENERATED ALWAYS AS (r * 2) STORED, self int, period int4range,
  CONSTRAINT "p k" PRIMARY KEY (id) INCLUDE (n) WITH (fillfactor = 71),
  CONSTRAINT u_def UNIQUE (s) DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT n_pos CHECK (n > 0), CONSTRAINT no_inh CHECK (s > 0) NO INHERIT,
  CONSTRAINT ex EXCLUDE USING gist (period WITH &&) WITH (fillfactor = 88) WHERE (self IS NOT NULL)
) WITH (fillfactor = 77, autovacuum_vacuum_scale_factor = 0.3, toast.autovacuum_enabled = false);
ALTER TABLE app."T t" DROP COLUMN gone;
INSERT INTO app."T t" (n) VALUES (1), (2), (3);
ALTER TABLE app."T t" ADD CONSTRAINT later CHECK (n < 100000) NOT VALID;
ALTER TABLE app."T t" ADD CONSTRAINT self_fk FOREIGN KEY (self) REFERENCES app."T t" (id) DEFERRABLE;
"#;

const EVERYTHING_2: &str = r#"
ALTER TABLE app."T t" ADD CONSTRAINT fk_nv FOREIGN KEY (r) REFERENCES app.ref NOT VALID;
CREATE INDEX "Idx x" ON app."T t" USING btree ((lower("Na me")), n DESC NULLS LAST) WITH (fillfactor = 60) WHERE r > 3;
CREATE INDEX gin_w ON app."T t" USING gin (w) WITH (fastupdate = off);
ALTER TABLE app."T t" ALTER s SET NOT NULL;
CREATE UNIQUE INDEX ident ON app."T t" (n, id, s);
ALTER TABLE app."T t" REPLICA IDENTITY USING INDEX ident; ALTER TABLE app."T t" CLUSTER ON ident;
ALTER INDEX app."Idx x" ALTER COLUMN 1 SET STATISTICS 44;
ALTER TABLE app."T t" ALTER "Na me" SET STATISTICS 55, ALTER n SET (n_distinct = -0.4), ALTER j SET STORAGE EXTERNAL;
CREATE STATISTICS app."St at" (ndistinct, dependencies) ON n, r FROM app."T t"; ALTER STATISTICS app."St at" SET STATISTICS 66;
CREATE TRIGGER "Tr 1" BEFORE INSERT OR UPDATE OF "Na me" ON app."T t" FOR EACH ROW WHEN (new.n > 0) EXECUTE FUNCTION app.touch('a''b');
CREATE TRIGGER tr_off AFTER DELETE ON app."T t" FOR EACH ROW EXECUTE FUNCTION app.touch(); ALTER TABLE app."T t" DISABLE TRIGGER tr_off;
CREATE CONSTRAINT TRIGGER tr_con AFTER INSERT ON app."T t" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app."T t" ENABLE ALWAYS TRIGGER tr_con;
CREATE TRIGGER tr_rep AFTER INSERT ON app."T t" FOR EACH STATEMENT EXECUTE FUNCTION app.touch(); ALTER TABLE app."T t" ENABLE REPLICA TRIGGER tr_rep;
ALTER TABLE app."T t" ENABLE ROW LEVEL SECURITY; ALTER TABLE app."T t" FORCE ROW LEVEL SECURITY;
CREATE POLICY "Po 1" ON app."T t" AS RESTRICTIVE FOR UPDATE TO @_read, @_chain
  USING (r IN (SELECT x.id FROM app.ref x WHERE x.id = "T t".r)) WITH CHECK (n > 1);
CREATE POLICY po2 ON app."T t" USING (true);
CREATE PUBLICATION "Pub 1" FOR TABLE app."T t";
GRANT SELECT ON app."T t" TO @_read WITH GRANT OPTION; GRANT INSERT, SELECT ON app."T t" TO PUBLIC;
GRANT UPDATE ("Na me"), SELECT (n) ON app."T t" TO @_col;
SET ROLE @_read; GRANT SELECT ON app."T t" TO @_chain; RESET ROLE;
REVOKE TRUNCATE ON app."T t" FROM postgres;
GRANT USAGE ON SEQUENCE app."Id seq" TO @_read; GRANT SELECT ON SEQUENCE app."T t_s_seq" TO @_col;
ALTER TABLE app."T t" OWNER TO @_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT DELETE ON TABLES TO @_chain;
ALTER DEFAULT PRIVILEGES GRANT UPDATE ON SEQUENCES TO @_chain;
COMMENT ON TABLE app."T t" IS 'table''s'; COMMENT ON COLUMN app."T t".n IS 'col'; COMMENT ON CONSTRAINT "p k" ON app."T t" IS 'pk';
COMMENT ON CONSTRAINT n_pos ON app."T t" IS 'chk'; COMMENT ON CONSTRAINT r_fk ON app."T t" IS 'fk'; COMMENT ON INDEX app."Idx x" IS 'idx';
COMMENT ON INDEX app."p k" IS 'pkidx'; COMMENT ON TRIGGER "Tr 1" ON app."T t" IS 'trg'; COMMENT ON POLICY po2 ON app."T t" IS 'pol';
COMMENT ON STATISTICS app."St at" IS 'stat'; COMMENT ON SEQUENCE app."Id seq" IS 'ids';
CREATE VIEW app.v WITH (security_barrier = true, check_option = local) AS SELECT id, n, upper("Na me") AS "Up" FROM app."T t" WHERE n > 0;
CREATE VIEW app.v2 AS SELECT "Up", count(*) AS many FROM app.v GROUP BY 1;
CREATE MATERIALIZED VIEW app.m AS SELECT count(*) FROM app.v2;
CREATE VIEW app.grouped AS SELECT t.s, t.n, count(*) FROM app."T t" t GROUP BY t.id;
GRANT SELECT ON app.v TO @_read; COMMENT ON VIEW app.v IS 'view'; ALTER VIEW app.v ALTER n SET DEFAULT 7; ALTER VIEW app.v OWNER TO @_owner;
CREATE TRIGGER iv INSTEAD OF DELETE ON app.v FOR EACH ROW EXECUTE FUNCTION app.touch();
"#;

fn drop_roles(db: &Databases<'_>, role: &str) {
    for name in ["owner", "read", "chain", "col"] {
        db.target.sql(&format!(
            "REASSIGN OWNED BY {role}_{name} TO postgres; DROP OWNED BY {role}_{name}"
        ));
        db.target.sql(&format!("DROP ROLE {role}_{name}"));
    }
}

#[test]
fn a_swapped_table_keeps_everything_that_was_attached_to_it() {
    let db = databases("everything");
    let role = db.target.name().to_owned();
    db.source.sql(PLAIN);
    db.target.sql(&everything(&role));
    db.target.sql(&EVERYTHING_2.replace("@", &role));
    if db.target.cluster.version() >= 150_000 {
        db.target.sql(
            "ALTER PUBLICATION \"Pub 1\" SET TABLE app.\"T t\" (id, n, s) WHERE (n > 3); \
             ALTER TABLE app.\"T t\" ALTER w SET COMPRESSION pglz",
        );
    }
    let settings = |db: &Databases<'_>| {
        db.target.rows(
            "SELECT relname, reloptions, relpersistence, relreplident, relrowsecurity, relforcerowsecurity, relacl \
             FROM pg_class WHERE relnamespace = 'app'::regnamespace ORDER BY 1",
        )
    };
    db.target.sql(
        "SELECT setval('app.\"T t_s_seq\"', 7000); SELECT setval('app.\"Id seq\"', 9001, false)",
    );
    let before = (schema_of(&db.target), settings(&db));

    let config = swap_of("app.*", "recreate_views = true");
    let outcome = run(&db, &config);

    let tables = assert_committed(&outcome);
    assert_eq!(tables[0]["mode"], "swap");
    assert_eq!(tables[0]["rows_inserted"], 500);
    assert_eq!(tables[0]["rows_deleted"], 3);
    assert_same_schema(&before.0, &db.target);
    assert_eq!(settings(&db), before.1);
    assert_nothing_left(&db);
    let rows = "SELECT md5(string_agg(md5((id, s, \"Na me\", n, r, at, j, w, self, period)::text), '' ORDER BY id)) FROM app.\"T t\"";
    assert_eq!(db.source.value(rows), db.target.value(rows));
    // The views read the new rows.
    assert_eq!(db.target.count("app.v"), 500);
    assert_eq!(db.target.count("app.v2"), 500);
    assert_eq!(db.target.count("app.grouped"), 500);
    // Sequences go on where they stood.
    assert_eq!(
        db.target
            .value("SELECT last_value || ' ' || is_called FROM app.\"T t_s_seq\""),
        "7000 true"
    );
    assert_eq!(
        db.target
            .value("SELECT last_value || ' ' || is_called FROM app.\"Id seq\""),
        "9001 false"
    );
    assert_eq!(
        db.target
            .value("INSERT INTO app.\"T t\" (n) VALUES (600) RETURNING id || ' ' || s"),
        "9001 7001"
    );
    // It has been analysed, and once more changes nothing.
    assert_ne!(
        db.target
            .count("pg_stats WHERE tablename = 'T t' AND schemaname = 'app'"),
        0
    );
    let guard = "guard = { max_shrink = '90%' }";
    assert_committed(&run(
        &db,
        &swap_of("app.*", &format!("recreate_views = true\n{guard}")),
    ));
    assert_same_schema(&before.0, &db.target);
    assert_eq!(settings(&db), before.1);
    drop_roles(&db, &role);
}

#[rstest]
#[case("CREATE VIEW v AS SELECT id FROM t", "", &["view public.v", "merge", "recreate_views"])]
#[case("CREATE MATERIALIZED VIEW m AS SELECT id FROM t", "recreate_views = true", &["materialized view public.m", "merge"])]
#[case("CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "", &["function public.f(public.t)", "merge"])]
#[case("CREATE TABLE child (id int CONSTRAINT points REFERENCES t)", "", &["public.child", "points", "merge"])]
#[case("CREATE TABLE uses (x t)", "", &["column x of table public.uses", "merge"])]
#[case("CREATE TABLE uses (x t[])", "", &["column x of table public.uses", "merge"])]
#[case("CREATE TABLE other (id int); CREATE POLICY p ON other USING (id IN (SELECT id FROM public.t))", "", &["policy p on table public.other"])]
#[case("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING; ALTER TABLE t DISABLE RULE r", "", &["rule r"])]
#[case("CREATE SCHEMA o; CREATE TABLE o.heir () INHERITS (t)", "", &["inherit"])]
#[case("CREATE SCHEMA o; CREATE TABLE o.top (id int); ALTER TABLE t INHERIT o.top", "", &["inherits from o.top"])]
fn what_cannot_follow_is_named_before_a_row_moves(
    #[case] bound: &str,
    #[case] more: &str,
    #[case] parts: &[&str],
) {
    let db = databases("bound");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t VALUES (1)");
    db.target.sql("INSERT INTO t VALUES (2)");
    db.target.sql(bound);
    let before = schema_of(&db.target);

    let outcome = run(&db, &swap_of("public.t", more));

    assert_refused(&outcome, "schema_mismatch", parts);
    assert_eq!(db.target.value("SELECT id FROM t"), "2");
    assert_same_schema(&before, &db.target);
    let plan = job(&db, &swap_of("public.t", more)).run(&["plan", "j"]);
    assert_eq!(plan.code, Some(1), "{plan}");
}

#[test]
fn tables_that_refer_to_each_other_are_swapped_together() {
    let db = databases("family");
    db.both(
        "CREATE TABLE parent (id int PRIMARY KEY, favourite int);
         CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT of_parent REFERENCES parent ON DELETE CASCADE);
         ALTER TABLE parent ADD CONSTRAINT likes FOREIGN KEY (favourite) REFERENCES child",
    );
    db.source.sql(
        "INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT i, i FROM generate_series(1, 100) i;
         UPDATE parent SET favourite = 101 - id",
    );
    let before = schema_of(&db.target);

    assert_committed(&run(&db, &swap_of("public.*", "")));

    assert_same_schema(&before, &db.target);
    db.assert_same("parent");
    db.assert_same("child");
    db.target.sql("DELETE FROM child WHERE id > 0 AND false");
    assert!(
        db.target
            .try_sql("INSERT INTO child VALUES (1000, 1000)")
            .is_err(),
        "the key holds"
    );
    assert_nothing_left(&db);
}

#[test]
fn a_row_that_breaks_a_constraint_leaves_the_old_table() {
    let db = databases("broken");
    db.both("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int)");
    db.target.sql("ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (id) REFERENCES p; INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)");
    db.source.sql("INSERT INTO c VALUES (2)");

    assert_refused(
        &run(&db, &swap_of("public.c", "")),
        "data_rejected",
        &["23503", "c_p", "public.c"],
    );
    assert_eq!(db.target.value("SELECT id FROM c"), "1");
    assert_nothing_left(&db);

    db.source.sql("TRUNCATE c");
    assert_refused(&run(&db, &swap_of("public.c", "")), "guard", &["no rows"]);
    assert_eq!(db.target.value("SELECT id FROM c"), "1");
}

#[test]
fn a_partition_is_detached_and_the_new_one_attached() {
    let db = databases("partition");
    db.both(
        "CREATE TABLE p (id int NOT NULL, at date NOT NULL, v text, PRIMARY KEY (id, at), CONSTRAINT v_ok CHECK (v <> '')) PARTITION BY RANGE (at);
         CREATE INDEX p_v ON p (v);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
         CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r VALUES (1);
         ALTER TABLE p ADD COLUMN r int DEFAULT 1 REFERENCES r",
    );
    db.source.sql("INSERT INTO p SELECT i, date '2026-01-01' + i % 59, 'x' || i FROM generate_series(0, 999) i");
    db.target
        .sql("INSERT INTO p VALUES (1, '2026-01-01', 'old'), (2, '2026-02-01', 'old')");
    let before = schema_of(&db.target);

    assert_committed(&run(
        &db,
        &swap_of("public.p1", "")
            .replace("tables = ['public.p1']", "[jobs.j.table.'public.p1']")
            .replace("retry = { max = 0 }\n", ""),
    ));

    assert_same_schema(&before, &db.target);
    db.assert_same("p1");
    assert_eq!(db.target.count("p2"), 1);
    assert_eq!(db.target.count("p"), db.source.count("p1") + 1);
    assert_nothing_left(&db);

    // A row that belongs into another partition.
    db.source
        .sql("CREATE TABLE elsewhere AS SELECT id, date '2026-05-05' AS at, v FROM p1");
    let outcome = run(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'swap'\n[jobs.j.table.'public.p1']\nsource = 'public.elsewhere'\n",
    );
    assert_refused(&outcome, "data_rejected", &["public.p1", "23514"]);
    db.assert_same("p1");

    let outcome = run(&db, &swap_of("public.p", ""));
    assert_refused(&outcome, "schema_mismatch", &["partitioned", "merge"]);
}

#[test]
fn a_role_without_the_rights_is_told_before_a_row_moves() {
    let db = databases("rights");
    let role = db.target.name().to_owned();
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t VALUES (1)");
    db.target.sql(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON t TO {role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let run_as = || {
        let config = swap_of("public.t", "[daemon]\nhistory = 'off'");
        job_between(&db.source.conninfo(), &target, &config).run(&["run", "j", "--json"])
    };

    assert_refused(
        &run_as(),
        "permission",
        &["owns the table", "CREATE on schema public", "GRANT"],
    );

    // An owner that is no superuser is enough.
    db.target.sql(&format!(
        "ALTER TABLE t OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role}"
    ));
    let before = schema_of(&db.target);
    assert_committed(&run_as());
    assert_same_schema(&before, &db.target);
    db.target.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}"
    ));
    db.target.sql(&format!("DROP ROLE {role}"));
}

/// A source on which the copy waits in the middle of the rows, until the lock is released.
fn waiting_source(db: &Databases<'_>, key: u32, rows: u32) -> String {
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source.sql(&format!(
        "INSERT INTO t SELECT i, 'new' FROM generate_series(1, {rows}) i;
         CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = {} THEN PERFORM pg_advisory_lock_shared({key}); END IF; RETURN i; END'",
        rows / 2
    ));
    db.source.sql(&format!("SELECT pg_advisory_lock({key})"));
    "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'swap'\nretry = { max = 0 }\n\
     [jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n"
        .to_owned()
}

#[test]
fn sigkill_in_the_middle_leaves_nothing() {
    let db = databases("kill");
    let config = waiting_source(&db, 4721, 2000);
    db.target.sql("INSERT INTO t VALUES (-1, 'old')");
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("locktype = 'advisory'");

    running.kill(Signal::SIGKILL);
    running.wait(PATIENCE);

    db.source.sql("SELECT pg_advisory_unlock(4721)");
    wait_until(PATIENCE, || {
        db.target.count("pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%'") == 0
    });
    assert_nothing_left(&db);
    assert_eq!(db.target.value("SELECT v FROM t"), "old");
}

#[test]
fn what_changes_during_the_load_is_noticed() {
    let db = databases("changes");
    let config = waiting_source(&db, 4722, 2000);
    let job = job(&db, &config);
    let running = job.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("locktype = 'advisory'");

    // DDL waits, but a view needs no lock that readers don't take.
    db.target.sql("CREATE VIEW late AS SELECT id FROM t");
    assert!(
        db.target
            .try_sql("SET lock_timeout = '10ms'; ALTER TABLE t ADD CHECK (id > 0)")
            .is_err()
    );
    db.source.sql("SELECT pg_advisory_unlock(4722)");

    let outcome = running.wait(PATIENCE);
    assert_refused(&outcome, "conflict", &["views", "public.t"]);
    assert_eq!(db.target.count("t"), 0);
    assert_nothing_left(&db);
}

#[test]
fn a_leftover_of_a_dead_run_is_dropped_and_a_strangers_table_is_not() {
    let db = databases("leftover");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let config = swap_of("public.t", "");
    let plan = job(&db, &config).run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let at = plan.stdout.find("tableferry_shadow_").unwrap();
    let shadow: String = plan.stdout[at..]
        .chars()
        .take_while(|c| *c != '"')
        .collect();

    db.target.sql(&format!("CREATE TABLE {shadow} (mine int)"));
    assert_refused(
        &run(&db, &config),
        "schema_mismatch",
        &[&shadow, "not a table that a run left behind"],
    );
    assert_eq!(db.target.count(&shadow), 0);

    db.target.sql(&format!(
        "COMMENT ON TABLE {shadow} IS 'tableferry: shadow of public.t'"
    ));
    assert_committed(&run(&db, &config));
    db.assert_same("t");
    assert_nothing_left(&db);
}

/// How long a reader waited at most, while a swap had to wait for another one.
fn longest_wait(db: &Databases<'_>) -> Duration {
    db.target
        .sql("TRUNCATE t; INSERT INTO t SELECT i, 'old' FROM generate_series(1, 1000) i");
    // Somebody reads for long: the swap has to wait, and nobody else with it.
    let long = db.target.connect();
    long.sql("BEGIN; SELECT count(*) FROM t");
    let job = job(db, &swap_of("public.t", "recreate_views = true"));
    let mut running = job.spawn(&["run", "j", "--json"]);
    let waiting = db.target.connect();
    let (mut longest, mut seen, mut held_back) = (Duration::ZERO, BTreeSet::new(), 0);
    while !running.has_ended() {
        for relation in ["t", "v"] {
            let began = Instant::now();
            seen.insert(db.target.count(relation));
            longest = longest.max(began.elapsed());
        }
        held_back += waiting.count("pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'");
        if held_back >= 3 {
            // It was seen waiting for the long reader more than once: let it have its moment.
            let _ = long.try_sql("COMMIT");
        }
    }
    seen.insert(db.target.count("t"));
    let outcome = running.wait(PATIENCE);
    assert_committed(&outcome);
    assert_eq!(seen, BTreeSet::from([1000, 50000]), "{outcome}");
    longest
}

#[test]
fn readers_see_the_old_or_the_new_rows_and_hardly_wait() {
    let db = databases("readers");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (v)");
    db.target.sql("CREATE VIEW v AS SELECT * FROM t");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' || i FROM generate_series(1, 50000) i");
    // A machine that is busy with other tests may keep anybody waiting: one good time of several
    // shows that it is not the swap that does.
    let mut waits = Vec::new();
    while waits.len() < 8 && waits.iter().all(|wait| *wait >= Duration::from_millis(200)) {
        waits.push(longest_wait(&db));
    }
    assert!(
        waits.iter().any(|wait| *wait < Duration::from_millis(200)),
        "readers waited {waits:?}"
    );
}

#[test]
fn a_reader_that_never_ends_is_an_error_after_lock_timeout() {
    let db = databases("never");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t VALUES (1)");
    let reader = db.target.connect();
    reader.sql("BEGIN; SELECT count(*) FROM t");

    let outcome = run(&db, &swap_of("public.t", "lock_timeout = '1s'"));

    assert_refused(&outcome, "locked", &["public", "lock_timeout", "55P03"]);
    assert_eq!(db.target.count("t"), 0);
    reader.sql("COMMIT");
    assert_committed(&run(&db, &swap_of("public.t", "")));
}

#[test]
fn an_old_snapshot_never_sees_the_new_table_empty() {
    let db = databases("snapshot");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    db.source.sql("INSERT INTO t SELECT generate_series(1, 10)");
    db.target.sql("INSERT INTO t SELECT generate_series(1, 10)");
    let reader = db.target.connect();
    reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");

    assert_committed(&run(&db, &swap_of("public.t", "")));

    assert_eq!(reader.count("t"), 10);
}

#[test]
fn a_plan_prints_every_statement() {
    let db = databases("plan");
    db.both("CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE INDEX by_v ON t (v)");
    let plan = job(&db, &swap_of("public.t", "")).run(&["plan", "j", "--sql"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    for part in [
        "SHARE UPDATE EXCLUSIVE",
        "CREATE TABLE",
        "FREEZE",
        "CREATE UNIQUE INDEX",
        "USING INDEX",
        "ACCESS EXCLUSIVE MODE",
        "RENAME TO \"t\"",
        "RENAME TO \"by_v\"",
        "OWNED BY",
        "DROP TABLE",
    ] {
        assert!(plan.stdout.contains(part), "{part} is missing in {plan}");
    }
    assert!(!plan.stdout.contains("CASCADE"), "{plan}");
}

#[test]
fn odd_tables_are_swapped() {
    let db = databases("odd");
    db.both(
        "CREATE TABLE none (); CREATE UNLOGGED TABLE unlogged (id int GENERATED BY DEFAULT AS IDENTITY (INCREMENT -1 MINVALUE -100) PRIMARY KEY);
         CREATE TABLE identity_full (id int, v text); ALTER TABLE identity_full REPLICA IDENTITY FULL;
         CREATE TABLE wide (a text COLLATE \"C\", b interval day to second(3), c timestamp(2), d bit varying(7), e char(3)[])",
    );
    db.source.sql(
        "INSERT INTO none DEFAULT VALUES; INSERT INTO unlogged VALUES (-1), (-2), (-60); INSERT INTO identity_full VALUES (1, 'x');
         INSERT INTO wide VALUES ('a', '1 day', now(), '101', '{a,b}')",
    );
    let before = schema_of(&db.target);
    assert_committed(&run(&db, &swap_of("public.*", "")));
    assert_same_schema(&before, &db.target);
    for table in ["none", "unlogged", "identity_full", "wide"] {
        db.assert_same(table);
    }
    assert_eq!(
        db.target
            .value("INSERT INTO unlogged DEFAULT VALUES RETURNING id"),
        "-61"
    );
}

#[rstest]
#[case("verify = 'checksum'")]
#[case("atomic = false")]
#[case("format = 'text'\nanalyze = false\nsequences = false\ntriggers = 'skip'")]
fn other_keys_go_with_swap(#[case] more: &str) {
    let db = databases("keys");
    db.both("CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, n numeric)");
    db.source.sql(
        "INSERT INTO t (v) SELECT i FROM generate_series(1, 100) i; INSERT INTO u SELECT i, i / 7.0 FROM generate_series(1, 100) i",
    );
    let before = schema_of(&db.target);

    assert_committed(&run(&db, &swap_of("public.*", more)));

    assert_same_schema(&before, &db.target);
    db.assert_same("t");
    db.assert_same("u");
    assert_nothing_left(&db);
}

/// What only newer versions have.
#[test]
fn newer_features_are_kept() {
    let db = databases("newer");
    let version = db.target.cluster.version();
    let virtual_column = if version >= 180_000 {
        ", d int GENERATED ALWAYS AS (a + 1) VIRTUAL"
    } else {
        ""
    };
    let distinct = if version >= 150_000 {
        "NULLS NOT DISTINCT"
    } else {
        ""
    };
    db.source
        .sql("CREATE TABLE t (id int PRIMARY KEY, a int, at int4range); INSERT INTO t SELECT i, i, int4range(i, i + 1) FROM generate_series(1, 9) i");
    db.target.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, a int, at int4range{virtual_column}, CONSTRAINT u UNIQUE {distinct} (a))"
    ));
    if version >= 180_000 {
        db.target.sql(
            "CREATE EXTENSION btree_gist; ALTER TABLE t ADD CONSTRAINT \"not N\" NOT NULL a NOT VALID;
             COMMENT ON CONSTRAINT \"not N\" ON t IS 'named';
             ALTER TABLE t ADD CONSTRAINT apart UNIQUE (id, at WITHOUT OVERLAPS) WITH (fillfactor = 80);
             CREATE TABLE r (id int PRIMARY KEY);
             ALTER TABLE t ADD CONSTRAINT free FOREIGN KEY (a) REFERENCES r NOT ENFORCED;
             ALTER TABLE t ADD CONSTRAINT lax CHECK (a > 100) NOT ENFORCED",
        );
    }
    let definitions = || {
        db.target.rows(
            "SELECT conname, contype, convalidated, pg_get_constraintdef(oid), obj_description(oid) FROM pg_constraint \
             WHERE conrelid = 't'::regclass ORDER BY conname",
        )
    };
    let before = (schema_of(&db.target), definitions());

    assert_committed(&run(&db, &swap_of("public.t", "")));

    assert_same_schema(&before.0, &db.target);
    assert_eq!(definitions(), before.1);
    assert_eq!(db.target.count("t"), 9);
}

/// Readers of every kind at once, again and again: prepared statements, cursors, views, joins.
#[test]
fn readers_of_every_kind_never_see_an_error() {
    let db = databases("busy");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY REFERENCES t)");
    db.target.sql(
        "CREATE VIEW v AS SELECT t.id FROM t JOIN u USING (id); CREATE VIEW vv AS SELECT * FROM v;
         CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.t); END'",
    );
    let fill = "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 500) i; INSERT INTO u SELECT id FROM t";
    db.both(fill);
    let job = job(&db, &swap_of("public.*", "recreate_views = true"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [
            "EXECUTE p",
            "SELECT count(*) FROM vv",
            "SELECT f()",
            "SELECT count(*) FROM u JOIN t USING (id)",
            "EXECUTE pv",
        ];
        for query in readers {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let reader = db.target.connect();
                reader.sql(
                    "PREPARE p AS SELECT count(*) FROM t; PREPARE pv AS SELECT count(*) FROM v",
                );
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    assert_eq!(reader.value(query), "500", "{query}");
                }
            });
        }
        let outcomes: Vec<Outcome> = (0..8).map(|_| job.run(&["run", "j", "--json"])).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        for outcome in outcomes {
            assert_committed(&outcome);
        }
    });
}
