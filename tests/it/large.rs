//! Size: wide rows, many tables, and memory that does not grow with the table.

use std::fmt::Write as _;

use crate::support::{PATIENCE, databases, job, wait_until};

fn all_of_public(more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'truncate'\ntables = ['public.*']\n{more}"
    )
}

#[test]
fn one_row_of_200_mb_is_copied() {
    let db = databases("wide");
    db.both("CREATE TABLE t (id int, v bytea)");
    db.source.sql(
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
         INSERT INTO t SELECT 1, decode(repeat('00ff5c0a', 50000000), 'hex'); INSERT INTO t VALUES (2, 'x')",
    );

    let outcome = job(&db, &all_of_public("")).run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    let digest = "SELECT string_agg(id || md5(v), ',' ORDER BY id) FROM t";
    assert_eq!(db.source.value(digest), db.target.value(digest));
}

/// Every type of the catalogue that a table column can have, in tables of their own, beside
/// copies of the catalogue itself: what a real server holds.
#[test]
fn hundreds_of_tables_of_every_built_in_type_are_copied_in_one_job() {
    let db = databases("catalogue");
    let types = db.source.rows(
        "SELECT format_type(oid, NULL), typname FROM pg_type \
         WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') \
           AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = pg_type.typelem AND e.typtype = 'c') \
           AND typname NOT IN ('_cstring', 'pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list', \
                               'pg_brin_bloom_summary', 'pg_brin_minmax_multi_summary') \
         ORDER BY oid",
    );
    let relations = db.source.rows(
        "SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_class c \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
         WHERE c.relkind IN ('r', 'v') AND c.relnamespace = 'pg_catalog'::regnamespace \
           AND c.relname NOT IN ('pg_shadow', 'pg_authid') AND c.relname NOT LIKE 'pg_stat%' \
           AND c.relname NOT LIKE 'pg_replication%' AND c.relname NOT LIKE 'pg_backend%' \
           AND a.atttypid NOT IN ('pg_node_tree'::regtype, 'pg_ndistinct'::regtype, 'anyarray'::regtype, \
                                  'pg_dependencies'::regtype, 'pg_mcv_list'::regtype, \
                                  -- An overloaded function's name is ambiguous.\n\
                                  'regproc'::regtype) \
         GROUP BY 1 ORDER BY 1",
    );
    let mut create = String::new();
    let mut fill = String::new();
    for (number, row) in types.iter().enumerate() {
        let ty = row[0].as_deref().unwrap();
        writeln!(create, "CREATE TABLE type_{number} (id int, v {ty});").unwrap();
        writeln!(
            fill,
            "INSERT INTO type_{number} VALUES (1, NULL), (2, NULL);"
        )
        .unwrap();
    }
    for row in &relations {
        let (name, columns) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
        writeln!(
            create,
            "CREATE TABLE copy_of_{name} AS SELECT {columns} FROM pg_catalog.{name} WITH NO DATA;"
        )
        .unwrap();
        writeln!(
            fill,
            "INSERT INTO copy_of_{name} SELECT {columns} FROM pg_catalog.{name};"
        )
        .unwrap();
    }
    db.both(&create);
    db.source.sql(&fill);
    let tables = types.len() + relations.len();
    assert!(tables > 200, "{tables} tables");

    let outcome = job(&db, &all_of_public("analyze = false")).run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(0), "{outcome}");
    let reported = outcome.report()["tables"].as_array().unwrap();
    assert_eq!(reported.len(), tables);
    for table in reported {
        let name = table["target"].as_str().unwrap();
        db.assert_same(name);
        // What has no binary form, or embeds OIDs, goes as text; everything else as binary.
        let needs_text: i64 = db
            .source
            .value(&format!(
                "SELECT count(*) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                 LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' \
                 WHERE a.attrelid = '{name}'::regclass AND a.attnum > 0 AND ( \
                   t.typsend = 0 OR t.typreceive = 0 OR COALESCE(e.typsend = 0 OR e.typreceive = 0, false) \
                   OR COALESCE(e.typname, t.typname) ~ '^reg')"
            ))
            .parse()
            .unwrap();
        let expected = if needs_text == 0 { "binary" } else { "text" };
        assert_eq!(
            table["format"], expected,
            "{name}: {}",
            table["format_reason"]
        );
    }
}

#[test]
fn memory_stays_small_whatever_the_tables_size() {
    let db = databases("memory");
    db.both("CREATE TABLE t (id int, filler text)");
    let config = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\n\
         [jobs.j.table.'public.t']\n\
         query = \"SELECT i AS id, repeat('x', 500) AS filler FROM pg_catalog.generate_series(1, 400000) i\"\n";
    let job = job(&db, config);
    let mut running = job.spawn(&["run", "j", "--json"]);
    let mut peak_kib = 0;
    wait_until(PATIENCE, || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0);
        peak_kib = peak_kib.max(kib);
        running.has_ended()
    });
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["tables"][0]["rows_written"], 400_000);
    // A debug build; 200 MB were copied.
    assert!(
        peak_kib > 0 && peak_kib < 64 * 1024,
        "peak resident memory: {peak_kib} KiB"
    );
}
