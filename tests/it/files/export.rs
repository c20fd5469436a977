//! Server → file.

use rstest::rstest;

use super::{bytes, directory, job, listed, put, run};
use crate::support::{assert_committed, assert_refused, databases};

fn export(more: &str) -> String {
    format!("[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"truncate\"\n{more}\n")
}

#[test]
fn tables_go_to_files_of_their_names() {
    let db = databases("export");
    db.source.sql("CREATE TABLE a (id int, v text, g int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO a VALUES (1, 'x,y'), (2, NULL)");
    db.source.sql(
        "CREATE TABLE b (id int); INSERT INTO b VALUES (7), (8); CREATE VIEW w AS SELECT 1 AS one",
    );
    let jobs = export(
        "tables = [\"public.*\"]\ncsv = { delimiter = \";\" }\n\
         [jobs.j.table.\"public.b\"]\nfile = \"sub/b.txt\"\nwhere = \"id > 7\"\ncsv = { delimiter = \"|\" }\n\
         [jobs.j.table.\"public.w\"]\nquery = \"SELECT one, 'é' AS two FROM public.w\"\nfile = \"w.csv\"\ncsv = { header = false, encoding = \"LATIN1\" }\n",
    );
    let job = job(&db, &jobs);
    std::fs::create_dir(directory(&job).join("sub")).unwrap();
    let outcome = run(&job);
    assert_committed(&outcome);
    let report = outcome.report();
    assert_eq!(report["tables"].as_array().unwrap().len(), 3);
    assert_eq!(report["tables"][0]["target"], "public.a.csv");
    assert_eq!(report["tables"][0]["rows_written"], 2);
    assert!(report["snapshot"]["lsn"].is_string());
    assert_eq!(
        bytes(directory(&job).join("public.a.csv")),
        b"id;v\n1;x,y\n2;\n"
    );
    assert_eq!(bytes(directory(&job).join("sub/b.txt")), b"8\n");
    assert_eq!(bytes(directory(&job).join("w.csv")), b"1;\xe9\n");
    assert_eq!(listed(&job), ["public.a.csv", "sub", "w.csv"]);
    // There is no ledger in a directory: the run is in the local history.
    let history = job.run(&["history", "j", "--json"]);
    assert_eq!(history.report()["state"], "committed", "{history}");
    let plan = job.run(&["plan", "j", "--sql"]);
    assert!(plan.stdout.contains("renames them"), "{plan}");
    assert_eq!(job.run(&["check", "--connect"]).code, Some(0));
}

#[test]
fn exports_come_back_without_a_change() {
    let db = databases("come_back");
    let all = "CREATE TABLE kinds (id int PRIMARY KEY, b bool, n numeric, f float8, t text, y bytea, a int[], j jsonb, x xml, d date, s interval, u uuid, p point, r int4range, i inet, m money, q tsvector);
        INSERT INTO kinds (id) VALUES (2); INSERT INTO kinds VALUES (1, true, 'NaN', 'Infinity', '', '\\x00ff', '{1,NULL}', '{\"a\": [1.50]}', '<a/>', 'infinity', '1 mon -3 days', '00000000-0000-0000-0000-000000000001', '(1,2)', '[1,5)', '10.0.0.1/8', '1.5', 'a:1 b');
        CREATE TABLE \"Odd name\" (\"a,b\" text PRIMARY KEY, \"quoted \"\"x\"\"\" int); INSERT INTO \"Odd name\" VALUES ('\\.', 1), (E'\\n', 2), ('NULL', NULL);
        CREATE TABLE one (v text PRIMARY KEY); INSERT INTO one VALUES ('\\.'), (''), (' ');
        CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts DEFAULT; INSERT INTO parts SELECT n, 'v' || n FROM generate_series(1, 500) n";
    db.both(all);
    let tables = [
        "public.kinds",
        "public.one",
        "public.parts",
        "public.\\\"Odd name\\\"",
    ];
    let sections = |job: &str| -> String {
        let section = |(at, name): (usize, &&str)| {
            format!("[jobs.{job}.table.\"{name}\"]\nfile = \"{at}.csv.zst\"\n")
        };
        tables.iter().enumerate().map(section).collect()
    };
    let back = "[jobs.back]\nsource = \"files\"\ntarget = \"target\"\nmode = \"merge\"\n";
    let job = job(
        &db,
        &(export("") + &sections("j") + back + &sections("back")),
    );
    assert_committed(&run(&job));
    let outcome = job.run(&["run", "back", "--json"]);
    assert_committed(&outcome);
    for table in outcome.report()["tables"].as_array().unwrap() {
        for changed in ["rows_inserted", "rows_updated", "rows_deleted"] {
            assert_eq!(table[changed], 0, "{outcome}");
        }
        assert_ne!(table["rows_read"], 0);
    }
    db.target.sql("DELETE FROM kinds; UPDATE one SET v = 'x' WHERE v = ''; TRUNCATE parts; DELETE FROM \"Odd name\"");
    assert_committed(&job.run(&["run", "back", "--json"]));
    for table in ["kinds", "one", "parts", "\"Odd name\""] {
        db.assert_same(&format!("public.{table}"));
    }
}

#[test]
fn a_failed_export_leaves_the_old_files_and_nothing_else() {
    let db = databases("failed_export");
    db.source
        .sql("CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 100000)");
    let jobs = export(
        "[jobs.j.table.\"public.a\"]\n\
         [jobs.j.table.\"public.z\"]\nquery = \"SELECT 1 / (50000 - id) AS v FROM public.a\"\n",
    );
    let job = job(&db, &jobs);
    put(&job, "public.a.csv", "old");
    put(&job, ".tableferry-dead.tmp", "left by a killed run");
    let outcome = run(&job);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"old");
    assert_eq!(listed(&job), ["public.a.csv"]);
}

#[test]
fn what_cannot_be_replaced_is_refused_before_a_row_moves() {
    let db = databases("unwritable");
    db.source.sql("CREATE TABLE a (id int)");
    let job = job(&db, &export("tables = [\"public.a\"]\n"));
    let place = directory(&job).join("public.a.csv");
    std::os::unix::fs::symlink("elsewhere", &place).unwrap();
    assert_refused(&run(&job), "config", &["symbolic link"]);
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    assert_refused(&run(&job), "config", &["not a regular file"]);
    std::fs::remove_dir(&place).unwrap();
    std::fs::remove_dir(directory(&job)).unwrap();
    let outcome = run(&job);
    assert_eq!(outcome.code, Some(1), "{outcome}");
}

#[rstest]
#[case("guard = { min_rows = 3 }", 1)]
#[case("guard = { min_rows = 2 }", 0)]
fn fewer_rows_than_the_guard_wants_are_not_published(#[case] guard: &str, #[case] code: i32) {
    let db = databases("min_rows");
    db.source
        .sql("CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)");
    let job = job(&db, &export(&format!("tables = [\"public.a\"]\n{guard}")));
    let outcome = run(&job);
    assert_eq!(outcome.code, Some(code), "{outcome}");
    assert_eq!(listed(&job).len(), usize::from(code == 0));
}
