//! What is read of real servers: patterns, locks, relations, and what SQL gives.

use std::collections::BTreeMap;
use std::time::Instant;

use tableferry::catalog;
use tableferry::catalog::desc::{ColumnSequence, Identity, RelationDesc, RelationKind, TypeShape};
use tableferry::config::spec::JobSpec;
use tableferry::error::{Error, ErrorKind, Phase, Side};
use tableferry::pg::ident::{Ident, QualifiedName};

use crate::support::looking::{block_on, job_spec, look, session};
use crate::support::{Database, Databases, databases};

fn job_of(tables: &str, more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = {tables}\n{more}"
    )
}

fn expand(db: &Databases<'_>, tables: &str, more: &str) -> Result<Vec<String>, Error> {
    let job: JobSpec = job_spec(db, &job_of(tables, more));
    let conninfo = db.source.conninfo();
    block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let entries = catalog::expand(&source, &job).await?.tables;
        Ok(entries
            .iter()
            .map(|entry| entry.target.to_string())
            .collect())
    })
}

fn read(db: &Database<'_>, side: Side, names: &[&str]) -> BTreeMap<String, RelationDesc> {
    let names: Vec<QualifiedName> = names
        .iter()
        .map(|name| QualifiedName::parse(name).unwrap())
        .collect();
    let conninfo = db.conninfo();
    let read = block_on(async {
        let session = session(&conninfo, side).await;
        catalog::read(&session, &names).await
    });
    read.unwrap_or_else(|error| panic!("{error}: {:?}", error.detail()))
        .into_iter()
        .map(|(name, relation)| (name.to_string(), relation))
        .collect()
}

const KINDS: &str = "
    CREATE SCHEMA s; CREATE SCHEMA tableferry;
    CREATE TABLE s.plain (id int); CREATE UNLOGGED TABLE s.unlogged (id int);
    CREATE TABLE s.parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE s.parted_1 PARTITION OF s.parted FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
    CREATE TABLE s.parted_1a PARTITION OF s.parted_1 FOR VALUES FROM (0) TO (5);
    CREATE TABLE s.child () INHERITS (s.plain);
    CREATE VIEW s.view AS SELECT 1 AS id;
    CREATE MATERIALIZED VIEW s.matview AS SELECT 1 AS id;
    CREATE FOREIGN DATA WRAPPER f; CREATE SERVER far FOREIGN DATA WRAPPER f;
    CREATE FOREIGN TABLE s.\"foreign\" (id int) SERVER far;
    CREATE SEQUENCE s.seq; CREATE TABLE tableferry.run (id int); CREATE TEMP TABLE temp (id int);
    CREATE ROLE ROLE_NAME LOGIN;";

#[test]
fn a_wildcard_means_tables_and_partitioned_parents_a_name_means_anything() {
    let db = databases("expand");
    db.source.sql(&KINDS.replace("ROLE_NAME", db.source.name()));

    let all = expand(&db, "['*.*']", "").unwrap();
    assert_eq!(all, ["s.child", "s.parted", "s.plain", "s.unlogged"]);
    let names = "['s.parted_1a', 's.view', 's.matview', 's.foreign', 'pg_catalog.pg_class']";
    let named = expand(&db, names, "").unwrap();
    let expected = [
        "pg_catalog.pg_class",
        "s.\"foreign\"",
        "s.matview",
        "s.parted_1a",
        "s.view",
    ];
    assert_eq!(named.len(), expected.len(), "{named:?}");
    let left = expand(&db, "['s.*']", "exclude = ['s.p*']\n").unwrap();
    assert_eq!(left, ["s.child", "s.unlogged"]);
    let renamed = expand(
        &db,
        "['s.p*']",
        "[jobs.j.table.'mart.plain']\nsource = 's.plain'\n[jobs.j.table.'s.parted']\nwhere = 'id > 1'\n",
    );
    assert_eq!(renamed.unwrap(), ["mart.plain", "s.parted"]);
}

#[test]
fn a_wildcard_leaves_out_what_workers_of_another_job_load() {
    let db = databases("shadows");
    db.source.sql(
        "CREATE TABLE t (id int); CREATE TABLE tableferry_shadow_0123456789abcdef_1 (id int);
         COMMENT ON TABLE tableferry_shadow_0123456789abcdef_1 IS 'tableferry: shadow of public.t, by run 1 of job k';
         CREATE TABLE tableferry_plan (id int); COMMENT ON TABLE tableferry_plan IS 'a shadow'",
    );
    assert_eq!(
        expand(&db, "['public.*']", "").unwrap(),
        ["public.t", "public.tableferry_plan"]
    );
}

#[test]
fn a_named_table_is_copied_also_where_another_entry_reads_it() {
    let db = databases("both_copies");
    db.source
        .sql("CREATE TABLE \"T t\" (id int); INSERT INTO \"T t\" VALUES (1)");
    db.target
        .sql("CREATE TABLE \"T t\" (id int); CREATE TABLE w (id int)");
    let jobs = |tables: &str| {
        job_of(
            tables,
            "[jobs.j.table.'public.w']\nsource = 'public.\"T t\"'\n",
        )
    };
    let wildcard = crate::support::job(&db, &jobs("['public.*']")).run(&["plan", "j"]);
    assert!(
        wildcard.stdout.contains("is copied to public.w only"),
        "{wildcard}"
    );

    crate::support::assert_committed(&crate::support::run(&db, &jobs("['public.\"T t\"']")));
    db.assert_same("\"T t\"");
    assert_eq!(db.target.count("w"), 1);
}

#[test]
fn patterns_without_a_match_are_named() {
    let db = databases("no_match");
    db.source
        .sql("CREATE TABLE t (id int); CREATE VIEW v AS SELECT 1");
    let error = expand(&db, "['public.t', 'public.v*', 'nowhere.x']", "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    let text = error.to_string();
    assert!(text.contains("`public.v*`, `nowhere.x`"), "{text}");
    assert!(!text.contains("public.t`"), "{text}");
    let empty = expand(&db, "['public.t']", "exclude = ['*.*']\n").unwrap_err();
    assert!(empty.to_string().contains("no table left"), "{empty}");
}

#[test]
fn a_table_that_a_wildcard_matches_and_the_role_cannot_read_is_refused_by_name() {
    let db = databases("unreadable");
    let role = db.source.name();
    db.source.sql(&format!(
        "CREATE ROLE {role} LOGIN; CREATE TABLE open (id int); CREATE TABLE shut (id int);
         CREATE TABLE part (id int, secret int); CREATE SCHEMA closed; CREATE TABLE closed.t (id int);
         GRANT SELECT ON open, closed.t TO {role}; GRANT SELECT (id) ON part TO {role}"
    ));
    let job = job_spec(&db, &job_of("['*.*']", ""));
    let conninfo = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let (listed, readable) = block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let tables = catalog::expand(&source, &job).await.unwrap().tables;
        let all = catalog::lock_list(&source, &tables).await;
        let fewer: Vec<_> = tables
            .into_iter()
            .filter(|table| !matches!(table.target.name.as_str(), "shut" | "t"))
            .collect();
        (all, catalog::lock_list(&source, &fewer).await.unwrap())
    });
    let error = listed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    let text = error.to_string();
    assert!(text.contains("SELECT on public.shut"), "{text}");
    assert!(text.contains("USAGE on the schema of closed.t"), "{text}");
    // A role with SELECT on columns cannot LOCK; the table is read without, and that is said.
    assert_eq!(
        catalog::lock_statement(&readable).unwrap(),
        "LOCK TABLE ONLY \"public\".\"open\" IN ACCESS SHARE MODE"
    );
    let part = readable
        .iter()
        .find(|target| target.name.name.as_str() == "part")
        .unwrap();
    assert!(part.skipped.as_ref().unwrap().contains("whole table"));
}

#[test]
fn what_a_query_reads_is_locked_before_the_snapshot() {
    let db = databases("query_locks");
    db.source.sql(
        "CREATE SCHEMA s; CREATE TABLE s.a (id int); CREATE TABLE s.b (id int); CREATE TABLE s.c (id int);
         CREATE VIEW s.v AS SELECT * FROM s.c; CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS id",
    );
    let jobs = job_of(
        "['s.m', 's.v']",
        "[jobs.j.table.'public.t']\nquery = 'SELECT id FROM s.a WHERE id IN (SELECT id FROM s.b) -- all'\n",
    );
    let job = job_spec(&db, &jobs);
    let conninfo = db.source.conninfo();
    block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let tables = catalog::expand(&source, &job).await.unwrap().tables;
        let targets = catalog::lock_list(&source, &tables).await.unwrap();
        assert_eq!(
            catalog::lock_statement(&targets).unwrap(),
            "LOCK TABLE ONLY \"s\".\"a\", ONLY \"s\".\"b\", \"s\".\"v\" IN ACCESS SHARE MODE"
        );
        source
            .run(
                Phase::Lock,
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )
            .await
            .unwrap();
        catalog::lock(&source, &targets).await.unwrap();
        // Had LOCK fixed the snapshot, this row would not be seen.
        db.source.sql("INSERT INTO s.a VALUES (1)");
        let rows = source
            .query(Phase::Inspect, "SELECT id FROM s.a", &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 1);
        let held = db.source.value(
            "SELECT string_agg(relation::regclass::text, ' ' ORDER BY relation::regclass::text)
             FROM pg_locks WHERE mode = 'AccessShareLock' AND relation >= 16384 AND pid <> pg_backend_pid()
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        assert_eq!(held, "s.a s.b s.c s.v");
    });
}

#[test]
fn a_query_that_would_run_more_than_itself_is_refused_and_runs_nothing() {
    let db = databases("query_tricks");
    db.source.sql("CREATE TABLE kept (id int)");
    let conninfo = db.source.conninfo();
    for query in [
        "SELECT 1) AS a; DROP TABLE public.kept; SELECT (1",
        "SELECT 1; DROP TABLE public.kept",
        "DROP TABLE public.kept",
        "DELETE FROM public.kept RETURNING id",
    ] {
        let jobs = format!(
            "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\n\
             [jobs.j.table.'public.t']\nquery = '{query}'\n"
        );
        let job = job_spec(&db, &jobs);
        let error = block_on(async {
            let source = session(&conninfo, Side::Source).await;
            let tables = catalog::expand(&source, &job).await.unwrap().tables;
            catalog::lock_list(&source, &tables).await.unwrap_err()
        });
        assert_eq!(error.relation(), Some("public.t"), "{query}: {error}");
        assert_eq!(db.source.count("kept"), 0);
    }
}

#[test]
fn a_lock_that_is_refused_names_the_relation() {
    let db = databases("lock_refused");
    db.source.sql("CREATE TABLE gone (id int)");
    let job = job_spec(&db, &job_of("['public.*']", ""));
    let conninfo = db.source.conninfo();
    let error = block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let tables = catalog::expand(&source, &job).await.unwrap().tables;
        let targets = catalog::lock_list(&source, &tables).await.unwrap();
        db.source.sql("DROP TABLE gone");
        source.run(Phase::Lock, "BEGIN").await.unwrap();
        catalog::lock(&source, &targets).await.unwrap_err()
    });
    assert_eq!(error.relation(), Some("public.gone"), "{error}");
}

#[test]
fn relations_are_read_whole() {
    let db = databases("read");
    let role = db.source.name();
    db.source.sql(&KINDS.replace("ROLE_NAME", role));
    db.source.sql(&format!(
        "CREATE TYPE s.mood AS ENUM ('a', 'b'); CREATE DOMAIN s.d AS numeric(5,2) NOT NULL DEFAULT 1;
         CREATE TABLE s.referred (id int PRIMARY KEY);
         CREATE TABLE s.t (b int GENERATED ALWAYS AS IDENTITY, a serial, dropped int, m s.mood[], d s.d,
             g int GENERATED ALWAYS AS (1) STORED, r int REFERENCES s.referred DEFERRABLE,
             PRIMARY KEY (b, a));
         ALTER TABLE s.t DROP COLUMN dropped;
         CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER trig BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();
         CREATE TRIGGER off BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();
         ALTER TABLE s.t DISABLE TRIGGER off;
         CREATE RULE ru AS ON DELETE TO s.t DO INSTEAD NOTHING;
         INSERT INTO s.parted SELECT i % 5 FROM generate_series(1, 100) i; ANALYZE s.parted; ANALYZE s.parted_1a;
         ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; GRANT USAGE ON SCHEMA s TO {role};
         GRANT SELECT (a) ON s.t TO {role}"
    ));
    let names = [
        "s.t",
        "s.referred",
        "s.parted",
        "s.plain",
        "s.view",
        "s.matview",
        "s.foreign",
        "s.missing",
    ];
    let all = read(&db.source, Side::Source, &names);
    let kinds: Vec<_> = names
        .iter()
        .filter_map(|name| {
            all.values()
                .find(|r| r.name == QualifiedName::parse(name).unwrap())
        })
        .map(|r| r.kind)
        .collect();
    use RelationKind::{Foreign, MaterializedView, Partitioned, Table, View};
    assert_eq!(
        kinds,
        [
            Table,
            Table,
            Partitioned,
            Table,
            View,
            MaterializedView,
            Foreign
        ]
    );
    assert_eq!(all["s.parted"].rows_estimate, Some(100));
    assert!(all["s.parted"].bytes_estimate > 0);
    assert_eq!(all["s.view"].rows_estimate, None);
    let heirs = &all["s.plain"].children;
    assert!(!heirs.is_empty() && all["s.parted"].children.is_empty());
    assert!(all["s.view"].rules.is_empty());

    let t = &all["s.t"];
    let names: Vec<_> = t
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["b", "a", "m", "d", "g", "r"]);
    assert_eq!(t.primary_key, [Ident::new("b"), Ident::new("a")]);
    let [b, a, m, d, g, _] = t.columns.as_slice() else {
        panic!()
    };
    assert_eq!(
        (b.identity, b.not_null, b.has_default),
        (Some(Identity::Always), true, true)
    );
    let sequence = |name: &str| ColumnSequence {
        name: QualifiedName::new("s", name),
        may_set: true,
    };
    assert_eq!(b.sequences, [sequence("t_b_seq")]);
    assert_eq!(a.sequences, [sequence("t_a_seq")]);
    assert!(a.has_default && m.sequences.is_empty() && g.generated.is_some());
    assert_eq!(
        (d.not_null, d.has_default, d.type_text.as_str()),
        (true, true, "s.d")
    );
    assert!(
        matches!(&d.ty.shape, TypeShape::Domain { base, typmod: 327_686 } if base.is_builtin())
    );
    let TypeShape::Array(element) = &m.ty.shape else {
        panic!()
    };
    assert_eq!(
        element.shape,
        TypeShape::Enum(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(
        (t.rules.as_slice(), t.triggers.as_slice()),
        (&["ru".to_owned()][..], &["trig".to_owned()][..])
    );
    assert!(t.foreign_keys[0].deferrable && t.foreign_keys == all["s.referred"].referenced_by);
    assert!(!t.row_security_applies, "a superuser reads all rows");

    let conninfo = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let as_role = block_on(async {
        let session = session(&conninfo, Side::Source).await;
        catalog::read(&session, std::slice::from_ref(&t.name))
            .await
            .unwrap()
    });
    let t = &as_role[&t.name];
    assert!(
        t.row_security_applies
            && t.privileges.usage
            && !t.privileges.select
            && !t.privileges.skip_triggers
    );
    let privileged: Vec<_> = t
        .columns
        .iter()
        .filter(|c| c.privileged)
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(privileged, ["a"]);
}

#[test]
fn foreign_keys_through_partitions_belong_to_their_parents() {
    let db = databases("fk_partitions");
    db.target.sql(
        "CREATE TABLE r (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
         CREATE TABLE f (id int REFERENCES r) PARTITION BY RANGE (id);
         CREATE TABLE f1 PARTITION OF f FOR VALUES FROM (0) TO (10);
         CREATE TABLE own (id int PRIMARY KEY); ALTER TABLE f1 ADD FOREIGN KEY (id) REFERENCES own",
    );
    let all = read(
        &db.target,
        Side::Target,
        &["public.r", "public.r1", "public.own"],
    );
    let from = |name: &str| -> Vec<String> {
        all[name]
            .referenced_by
            .iter()
            .map(|key| key.from.to_string())
            .collect()
    };
    assert_eq!(from("public.r"), ["public.f"]);
    assert_eq!(
        from("public.r1"),
        ["public.f"],
        "a partition cannot be truncated alone"
    );
    assert_eq!(from("public.own"), ["public.f1"]);
    let all = read(&db.target, Side::Target, &["public.f", "public.f1"]);
    for name in ["public.f", "public.f1"] {
        let to: Vec<String> = all[name]
            .foreign_keys
            .iter()
            .map(|key| key.to.to_string())
            .collect();
        assert_eq!(to, ["public.r", "public.own"], "{name}");
    }
    let all = read(&db.target, Side::Target, &["public.own"]);
    assert_eq!(
        all["public.own"].referenced_by[0].from_ancestors,
        [QualifiedName::new("public", "f")]
    );
}

#[test]
fn several_hundred_tables_are_read_in_well_under_a_second() {
    let db = databases("hundreds");
    db.source.sql(
        "CREATE TYPE mood AS ENUM ('a', 'b');
         DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE format(
             'CREATE TABLE t%s (id serial PRIMARY KEY, a int[], b text, c mood, d numeric(10,2), e jsonb,
              f timestamptz, g int4range, h uuid, i bytea)', i); END LOOP; END $$",
    );
    let job = job_spec(&db, &job_of("['public.*']", ""));
    let conninfo = db.source.conninfo();
    block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let tables = catalog::expand(&source, &job).await.unwrap().tables;
        let names: Vec<_> = tables.iter().map(|table| table.target.clone()).collect();
        let began = Instant::now();
        let all = catalog::read(&source, &names).await.unwrap();
        let took = began.elapsed();
        assert_eq!(all.len(), 500);
        println!("500 tables, 5000 columns: {took:?}");
        assert!(took.as_millis() < 2000, "{took:?}");
    });
}

#[test]
fn queries_and_expressions_are_described_and_what_is_none_is_refused() {
    let db = databases("output");
    db.source.sql("CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (id int, m mood, n numeric(5,2), v varchar(7))");
    let conninfo = db.source.conninfo();
    block_on(async {
        let source = session(&conninfo, Side::Source).await;
        let describe = async |sql: &str| catalog::output_columns(&source, sql).await;
        let columns =
            describe("SELECT id + 1 AS next, m, n, v, ARRAY[m] FROM public.t -- and a comment")
                .await
                .unwrap();
        let texts: Vec<_> = columns
            .iter()
            .map(|c| (c.name.as_str(), c.type_text.as_str()))
            .collect();
        assert_eq!(
            texts,
            [
                ("next", "integer"),
                ("m", "public.mood"),
                ("n", "numeric(5,2)"),
                ("v", "character varying(7)"),
                ("array", "public.mood[]")
            ]
        );
        assert!(matches!(&columns[1].ty.shape, TypeShape::Enum(labels) if labels.len() == 1));
        for good in [
            "VALUES (1, 'x')",
            "TABLE public.t",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "SELECT id FROM public.t ORDER BY 1 LIMIT 1",
        ] {
            describe(good)
                .await
                .unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "SELECT 1; DROP TABLE public.t",
            "SELECT 1;",
            "DELETE FROM public.t RETURNING id",
            "SELECT 1) TO PROGRAM 'x' --",
            "SELECT 1) AS a, (SELECT 2",
            "WITH d AS (DELETE FROM public.t RETURNING id) SELECT * FROM d",
            "SELECT $1::int",
            "SELECT nope FROM public.t",
            "",
            "SHOW work_mem",
        ] {
            assert!(describe(bad).await.is_err(), "{bad}");
        }
    });
}

#[test]
fn a_job_with_sql_of_its_own_is_planned_and_its_mistakes_name_the_table() {
    let db = databases("own_sql");
    db.source
        .sql("CREATE TABLE people (id int, email text, gone bool)");
    db.target
        .sql("CREATE SCHEMA mart; CREATE TABLE mart.p (id bigint, email uuid)");
    let jobs = |more: &str| {
        format!(
            "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\n\
             [jobs.j.table.'mart.p']\nsource = 'public.people'\n{more}"
        )
    };
    let looked = look(
        &db,
        &jobs("where = 'NOT gone -- yet'\nset.email = 'pg_catalog.md5(email)::uuid'\n"),
    )
    .unwrap();
    let plan = looked.plan.unwrap_or_else(|reasons| panic!("{reasons:?}"));
    assert_eq!(
        plan.tables[0].copy_out,
        "COPY (SELECT \"id\", (pg_catalog.md5(email)::uuid) AS \"email\" FROM ONLY \"public\".\"people\" \
         WHERE (NOT gone -- yet\n)) TO STDOUT (FORMAT text)"
    );
    for wrong in [
        "where = 'nope'\n",
        "set.email = 'nope(email)'\n",
        "where = 'gone) OR (true; --'\n",
    ] {
        let error = look(&db, &jobs(wrong)).err().unwrap();
        assert_eq!(error.relation(), Some("mart.p"), "{error}");
        assert_eq!(
            (error.kind(), error.side()),
            (ErrorKind::SchemaMismatch, Side::Source),
            "{error}"
        );
    }
}

#[test]
fn generated_columns_of_both_kinds_are_known_as_such() {
    let db = databases("generated_kinds");
    db.source
        .sql("CREATE TABLE t (a int, s int GENERATED ALWAYS AS (a * 2) STORED)");
    let mut expected = vec![false, true];
    if db.source.cluster.version() >= 180_000 {
        db.source
            .sql("ALTER TABLE t ADD v int GENERATED ALWAYS AS (a * 3) VIRTUAL");
        expected.push(true);
    }
    let all = read(&db.source, Side::Source, &["public.t"]);
    let generated: Vec<bool> = all["public.t"]
        .columns
        .iter()
        .map(|c| c.generated.is_some())
        .collect();
    assert_eq!(generated, expected);
}
