//! File → server.

use std::process::Command;

use rstest::rstest;

use super::{bytes, directory, from_file, job, put, run};
use crate::support::{MODES, assert_committed, assert_refused, changes, databases};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, price numeric)";

#[rstest]
#[case::rfc4180(
    "id,name,price\r\n1,\"a \"\"b\"\"\",1.5\r\n2,\"x\r\ny, z\",\r\n",
    "",
    "1=a \"b\"=1.5|2=x\r\ny, z="
)]
#[case::no_last_newline("id,name,price\n1,a,2", "", "1=a=2")]
#[case::other_order("price,id,name\n1,2,c\n", "", "2=c=1")]
#[case::semicolons_and_bom(
    "\u{feff}id;name;price\r\n1;\"ü;\";2\r\n",
    "csv = { delimiter = \";\" }",
    "1=ü;=2"
)]
#[case::cr("id,name,price\r1,a,\r", "", "1=a=")]
#[case::empty_is_null("id,name,price\n1,,\n2,\"\",\n", "", "1=NULL=|2==")]
#[case::force_null(
    "id,name,price\n1,\"\",\n",
    "csv = { force_null = [\"name\"] }",
    "1=NULL="
)]
#[case::other_null(
    "id,name,price\n1,NA,NA\n2,,3\n",
    "csv = { null = \"NA\" }",
    "1=NULL=|2==3"
)]
#[case::other_quotes(
    "id|name|price\n1|'it\\'s|'|2\n",
    "csv = { delimiter = \"|\", quote = \"'\", escape = '\\' }",
    "1=it's|=2"
)]
#[case::no_header("1,a,2\n2,b,3\n", "csv = { header = false }", "1=a=2|2=b=3")]
#[case::some_columns(
    "2,1\n",
    "columns = [\"price\", \"id\"]\ncsv = { header = false }",
    "1=NULL=2"
)]
#[case::some_columns_by_name("name,id\nx,1\n", "columns = [\"id\", \"name\"]", "1=x=")]
#[case::only_a_header("id,name,price\n", "", "")]
#[case::quoted_end_marker("id,name,price\n1,\"a\n\\.\nb\",\n2,c,\n", "", "1=a\n\\.\nb=|2=c=")]
fn a_csv_is_read_as_others_write_it(#[case] csv: &str, #[case] of_table: &str, #[case] rows: &str) {
    let db = databases("csv");
    db.target.sql(T);
    let job = job(
        &db,
        &from_file("append", &format!("file = \"t.csv\"\n{of_table}")),
    );
    put(&job, "t.csv", csv);
    assert_committed(&run(&job));
    let sql = "SELECT coalesce(string_agg(concat_ws('=', id, coalesce(name, 'NULL'), coalesce(price::text, '')), '|' ORDER BY id), '') FROM t";
    assert_eq!(db.target.value(sql), rows);
}

#[test]
fn a_bare_end_marker_is_data_in_csv_on_every_server() {
    let db = databases("marker");
    db.target.sql("CREATE TABLE t (v text)");
    let job = job(&db, &from_file("append", "file = \"t.csv\""));
    put(&job, "t.csv", "v\na\n\\.\nb\n");
    let outcome = run(&job);
    assert_eq!(assert_committed(&outcome)[0]["rows_written"], 3);
    let sql = "SELECT string_agg(v, ',' ORDER BY ctid) FROM t";
    assert_eq!(db.target.value(sql), "a,\\.,b");
}

#[rstest]
#[case::open_quote("id,name,price\n1,a,2\n2,\"b,3\n", "truncated", "line 3")]
#[case::mixed_newlines("id,name,price\n1,a,2\r\n", "data_rejected", "line 2")]
#[case::too_few("id,name,price\n1,a,2\n2,b\n", "data_rejected", "line 3")]
#[case::too_many("id,name,price\n1,a,2\n2,b,3,4\n", "data_rejected", "line 3")]
#[case::not_a_number("id,name,price\n1,\"a\nb\",2\nx,b,3\n", "data_rejected", "line 4")]
#[case::a_key_twice("id,name,price\n1,a,2\n1,b,3\n", "data_rejected", "line 3")]
#[case::empty("", "truncated", "there is no header")]
#[case::missing_column("id,name\n1,a\n", "schema_mismatch", "the header lacks column price")]
#[case::unknown_column("id,name,Price\n1,a,2\n", "schema_mismatch", "did you mean price?")]
#[case::doubled_column(
    "id,name,price,id\n1,a,2,1\n",
    "schema_mismatch",
    "names column id twice"
)]
#[case::other_delimiter("id;name;price\n1;a;2\n", "schema_mismatch", "id;name;price")]
fn no_row_of_a_bad_file_is_published(#[case] csv: &str, #[case] kind: &str, #[case] part: &str) {
    let db = databases("bad");
    db.target
        .sql(&format!("{T}; INSERT INTO t VALUES (7, 'old')"));
    for mode in MODES {
        let job = job(&db, &from_file(mode, "file = \"t.csv\""));
        put(&job, "t.csv", csv);
        let outcome = run(&job);
        // Of a key that is there twice, only a load into the table itself knows the line.
        let is_staged = matches!(mode, "swap" | "merge" | "upsert") && csv.contains("1,a,2\n1,b");
        match is_staged {
            true => assert_eq!(outcome.code, Some(1), "{outcome}"),
            false => drop(assert_refused(&outcome, kind, &[part]).clone()),
        }
        assert_eq!(
            db.target.value("SELECT string_agg(name, ',') FROM t"),
            "old",
            "{mode}"
        );
    }
}

#[test]
fn bytes_that_are_not_utf8_are_an_error_with_their_line_unless_the_encoding_says_so() {
    let db = databases("encoding");
    db.target.sql(T);
    let latin = b"id,name,price\n1,a,\n2,\xe9,\n";
    let wrong = job(&db, &from_file("append", "file = \"t.csv\""));
    put(&wrong, "t.csv", latin);
    assert_refused(&run(&wrong), "data_rejected", &["line 3"]);
    let right = job(
        &db,
        &from_file(
            "append",
            "file = \"t.csv\"\ncsv = { encoding = \"LATIN1\" }",
        ),
    );
    put(&right, "t.csv", latin);
    assert_committed(&run(&right));
    assert_eq!(
        db.target
            .value("SELECT string_agg(name, ',' ORDER BY id) FROM t"),
        "a,é"
    );
}

#[test]
fn every_mode_makes_the_target_what_the_file_says() {
    let db = databases("modes");
    db.target.sql("CREATE TABLE old AS SELECT n AS id, 'old ' || n AS name, n / 3.0 AS price FROM generate_series(1, 300) n");
    let file: String = (100..400)
        .map(|n| {
            let name = if n % 2 == 0 { "old" } else { "new, \"quoted\"" };
            format!("{n},\"{} {n}\",\n", name.replace('"', "\"\""))
        })
        .collect();
    let file = format!("id,name,price\n{file}");
    let of_file = "SELECT n AS id, CASE WHEN n % 2 = 0 THEN 'old ' ELSE 'new, \"quoted\" ' END || n AS name, NULL::numeric AS price FROM generate_series(100, 399) n";
    for (mode, expected, counts) in [
        (
            "append",
            format!("SELECT * FROM old WHERE id < 100 UNION ALL {of_file}"),
            None,
        ),
        ("truncate", of_file.to_owned(), None),
        ("swap", of_file.to_owned(), None),
        ("merge", of_file.to_owned(), Some([99, 201, 99])),
        (
            "upsert",
            format!("SELECT * FROM old WHERE id < 100 UNION ALL {of_file}"),
            Some([99, 201, 0]),
        ),
    ] {
        let more = if mode == "append" {
            "WHERE id < 100"
        } else {
            ""
        };
        db.target.sql(&format!(
            "DROP TABLE IF EXISTS t; {T}; INSERT INTO t SELECT * FROM old {more}"
        ));
        let job = job(&db, &from_file(mode, "file = \"t.csv\""));
        put(&job, "t.csv", &file);
        let outcome = run(&job);
        let report = assert_committed(&outcome);
        assert_eq!(report[0]["format"], "csv");
        assert_eq!(report[0]["source"], "t.csv");
        assert_eq!(report[0]["rows_read"], 300);
        if let Some(counts) = counts {
            assert_eq!(changes(&report[0]), counts, "{mode}");
        }
        let differs = format!(
            "(TABLE t EXCEPT ALL ({expected})) UNION ALL (({expected}) EXCEPT ALL TABLE t)"
        );
        assert_eq!(
            db.target.rows(&differs),
            Vec::<Vec<Option<String>>>::new(),
            "{mode}"
        );
    }
    // The ledger knows these runs like any others.
    assert_eq!(
        db.target.count("tableferry.run WHERE state = 'committed'"),
        5
    );
}

#[test]
fn the_guard_believes_no_empty_file() {
    let db = databases("guard");
    db.target
        .sql(&format!("{T}; INSERT INTO t VALUES (7, 'old')"));
    let job = job(&db, &from_file("truncate", "file = \"t.csv\""));
    put(&job, "t.csv", "id,name,price\n");
    assert_refused(&run(&job), "guard", &["no rows"]);
    assert_eq!(db.target.count("t"), 1);
}

#[rstest]
#[case("csv", "", "t.csv")]
#[case("csv", ", HEADER", "t.csv.gz")]
#[case("text", "", "t.txt")]
#[case("binary", "", "t.bin")]
#[case("binary", "", "t.bin.zst")]
fn what_the_server_writes_is_read_whole(
    #[case] format: &str,
    #[case] option: &str,
    #[case] name: &str,
) {
    let db = databases("server_written");
    let make = "CREATE TABLE t (id int PRIMARY KEY, v text, b bytea, a text[], d timestamptz)";
    db.both(make);
    db.source.sql("INSERT INTO t SELECT n, CASE n % 7 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '\\.' ELSE E'x\\ty\\nz\\\\\"' || n END, decode(md5(n::text), 'hex'), ARRAY['a,b', NULL, n::text], '2024-02-29 12:00+00'::timestamptz + n * interval '1 hour' FROM generate_series(1, 3000) n");
    let header = if option.is_empty() {
        "csv = { header = false }"
    } else {
        ""
    };
    let of_table = format!(
        "file = \"{name}\"\n{}",
        if format == "csv" { header } else { "" }
    );
    let job = job(&db, &from_file("append", &of_table));
    let path = directory(&job).join("plain");
    let copy = format!("COPY t TO '{}' (FORMAT {format}{option})", "/dev/stdout");
    drop(copy);
    let psql = format!("\\copy t to '{}' (format {format}{option})", path.display());
    let written = Command::new("psql")
        .args(["-qX", "-d", &db.source.conninfo(), "-c", &psql])
        .status();
    assert!(written.unwrap().success());
    let plain = bytes(&path);
    let packed = match name.rsplit_once('.').unwrap().1 {
        "gz" => {
            Command::new("gzip")
                .arg("-c")
                .arg(&path)
                .output()
                .unwrap()
                .stdout
        }
        "zst" => zstd::encode_all(&plain[..], 3).unwrap(),
        _ => plain,
    };
    put(&job, name, packed);
    let outcome = run(&job);
    assert_eq!(assert_committed(&outcome)[0]["format"], format);
    db.assert_same("public.t");
}

#[test]
fn a_plan_shows_the_file_and_moves_nothing() {
    let db = databases("plan_files");
    db.target.sql(T);
    let job = job(&db, &from_file("merge", "file = \"t.csv\""));
    put(&job, "t.csv", "name,id,price\na,1,2\n");
    let outcome = job.run(&["plan", "j", "--sql"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for part in [
        "reads file t.csv (FORMAT csv, HEADER true)",
        "(\"name\", \"id\", \"price\")",
        "FROM STDIN",
    ] {
        assert!(outcome.stdout.contains(part), "{outcome}");
    }
    assert_eq!(job.run(&["check", "--connect"]).code, Some(0));
    put(&job, "t.csv", "nmae,id,price\na,1,2\n");
    let refused = job.run(&["plan", "j"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stdout.contains("did you mean name?"), "{refused}");
    assert_eq!(db.target.count("t"), 0);
    let verify = job.run(&["verify", "j"]);
    assert_eq!(verify.code, Some(1), "{verify}");
    assert!(verify.stderr.contains("directory"), "{verify}");
}

#[rstest]
#[case("file = \"../t.csv\"", "leaves the server's `dir`")]
#[case("file = \"t.xls\"", "ends in none of")]
#[case(
    "file = \"t.csv\"\nwatermark = \"id\"",
    "watermark: has no meaning here"
)]
#[case(
    "file = \"t.csv\"\nwhere = \"id > 1\"",
    "rows of a file are not filtered"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"files\"\ntarget = \"target\"\nmode = \"merge\"\ntables = [\"public.t\"]\ncompare = \"stream\"",
    "`stream` needs two databases"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"files\"\ntarget = \"target\"\nmode = \"merge\"\ntables = [\"public.t\"]\nverify = \"checksum\"",
    "`checksum` needs two databases"
)]
#[case(
    "file = \"t.csv\"\nset.name = \"'x'\"",
    "a file's values are not computed"
)]
#[case("file = \"t.csv\"\nquery = \"SELECT 1\"", "query: has no meaning here")]
#[case(
    "file = \"t.csv\"\ncsv = { delimiter = \"ab\" }",
    "one ASCII character"
)]
#[case("file = \"t.csv\"\ncsv = { encoding = \"SJIS\" }", "iconv")]
#[case(
    "file = \"t.txt\"\ncsv = { quote = \"'\" }",
    "`quote` does not apply to the text format"
)]
#[case(
    "file = \"t.csv\"\n[jobs.j.retry]\nmax = 0\n[jobs.k]\nsource = \"files\"\ntarget = \"target\"\nmode = \"append\"\ntables = [\"public.*\"]\nworkers = 2",
    "has a wildcard"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"files\"\ntarget = \"target\"\nmode = \"swap\"\ntables = [\"public.t\"]\nworkers = 2",
    "workers: must be 1"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"files\"\ntarget = \"files\"\nmode = \"truncate\"\ntables = [\"public.t\"]",
    "both directories"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"source\"\ntarget = \"files\"\nmode = \"merge\"\ntables = [\"public.t\"]",
    "a file is written whole"
)]
#[case(
    "file = \"t.csv\"\n[jobs.k]\nsource = \"source\"\ntarget = \"target\"\nmode = \"merge\"\n[jobs.k.table.\"public.t\"]\nfile = \"t.csv\"",
    "neither the source nor the target"
)]
fn what_makes_no_sense_is_refused_by_name(#[case] of_table: &str, #[case] part: &str) {
    let db = databases("no_sense");
    let job = job(&db, &from_file("upsert", of_table));
    let outcome = job.run(&["check"]);
    assert_eq!(outcome.code, Some(78), "{outcome}");
    assert!(outcome.stderr.contains(part), "{outcome}");
}

#[test]
fn files_outside_of_the_directory_are_not_read() {
    let db = databases("outside");
    db.target.sql(T);
    let job = job(&db, &from_file("append", "file = \"t.csv\""));
    let outside = job.file("secret.csv", "id,name,price\n1,a,2\n");
    std::os::unix::fs::symlink(outside, directory(&job).join("t.csv")).unwrap();
    assert_refused(&run(&job), "config", &["t.csv", "symbolic link"]);
    assert_eq!(db.target.count("t"), 0);
    std::fs::remove_file(directory(&job).join("t.csv")).unwrap();
    assert_refused(&run(&job), "schema_mismatch", &["t.csv", "No such file"]);
    let fifo = directory(&job).join("t.csv");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    assert_refused(&run(&job), "data_rejected", &["not a regular file"]);
}
