//! `on_error = "quarantine"` from files: each rejected row is told with its line.

use std::io::Write as _;

use rstest::rstest;

use super::{from_file, job, put, run};
use crate::support::dice::number;
use crate::support::{Database, assert_committed, assert_refused, databases};

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    TooFew,
    TooMany,
    NotUtf8,
    Conversion,
    Null,
    Duplicate,
    Orphan,
    Check,
    Domain,
    TooLong,
}

use Bad::{Check, Conversion, Domain, Duplicate, NotUtf8, Null, Orphan, TooFew, TooLong, TooMany};

const SEVEN: [Bad; 7] = [
    TooFew, TooMany, NotUtf8, Conversion, Null, Duplicate, Orphan,
];
const ALL: [Bad; 10] = [
    TooFew, TooMany, NotUtf8, Conversion, Null, Duplicate, Orphan, Check, Domain, TooLong,
];

impl Bad {
    /// What `tableferry.rejected` says of it: SQLSTATE, column, reason.
    fn expected(self) -> [Option<&'static str>; 3] {
        let (sqlstate, column, reason) = match self {
            TooFew => ("22P04", Some("qty"), "missing data for column \"qty\""),
            TooMany => ("22P04", None, "extra data after last expected column"),
            NotUtf8 => ("22021", None, "a character does not fit the encoding"),
            Conversion => (
                "22P02",
                Some("uid"),
                "invalid text or binary representation of a value, column \"uid\"",
            ),
            Null => (
                "23502",
                Some("name"),
                "null value violates a not-null constraint, column \"name\"",
            ),
            Duplicate => (
                "23505",
                Some("code"),
                "duplicate key value violates a unique constraint, constraint \"codes\"",
            ),
            Orphan => (
                "23503",
                Some("parent"),
                "a foreign key is violated, constraint \"parents\"",
            ),
            Check => (
                "23514",
                Some("qty"),
                "a check constraint is violated, constraint \"enough\"",
            ),
            Domain => (
                "23514",
                Some("grade"),
                "a check constraint is violated, constraint \"grades\", column \"grade\"",
            ),
            TooLong => (
                "22001",
                Some("name"),
                "a value is too long for its column, column \"name\"",
            ),
        };
        [Some(sqlstate), column, Some(reason)]
    }
}

const T: &str = "CREATE TABLE p (id int PRIMARY KEY);
    INSERT INTO p SELECT generate_series(0, 9);
    CREATE DOMAIN grade AS int CONSTRAINT grades CHECK (VALUE <= 5);
    CREATE TABLE t (id int PRIMARY KEY, uid uuid, name varchar(10) NOT NULL, qty int CONSTRAINT enough CHECK (qty >= 0),
                    grade grade, code text CONSTRAINT codes UNIQUE, parent int CONSTRAINT parents REFERENCES p);
    INSERT INTO t VALUES (0, NULL, 'old', 0, 0, 'old', 0)";

const HEADER: &str = "id,uid,name,qty,grade,code,parent";

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Csv,
    Crlf,
    Text,
}

/// A file of `rows` rows, every `every`th of which is bad until `most` are; and what has to be said of these: line,
/// key, SQLSTATE, column, reason.
fn made(
    style: Style,
    rows: u64,
    every: u64,
    most: usize,
    ways: &[Bad],
) -> (Vec<u8>, Vec<Vec<Option<String>>>) {
    let newline: &[u8] = if style == Style::Crlf { b"\r\n" } else { b"\n" };
    let mut file = Vec::new();
    let mut said = Vec::new();
    let mut line = 1;
    if style != Style::Text {
        file.extend_from_slice(HEADER.as_bytes());
        file.extend_from_slice(newline);
        line += 1;
    }
    for id in 1..=rows {
        let bad = (id % every == 0 && said.len() < most).then(|| ways[said.len() % ways.len()]);
        if let Some(bad) = bad {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let mut row = vec![Some(format!("{line}")), Some(format!("{id}"))];
            row.extend(bad.expected().map(text));
            said.push(row);
        }
        let mut name: Vec<u8> = format!("n{}", id % 1000).into_bytes();
        let is_long = id % 5 == 0 && style != Style::Text && bad.is_none_or(|bad| bad != Null);
        if is_long {
            // Two lines.
            name = [b"\"n", newline, b",\"\"\""].concat();
            line += 1;
        }
        match bad {
            Some(Null) if style == Style::Text => name = b"\\N".to_vec(),
            Some(Null) => name.clear(),
            Some(NotUtf8) if is_long => name.insert(1, 0xff),
            Some(NotUtf8) => name.push(0xff),
            Some(TooLong) if is_long => drop(name.splice(1..1, *b"xxxxxxxxxxx")),
            Some(TooLong) => name.extend_from_slice(b"xxxxxxxxxxx"),
            _ => {}
        }
        let text = |text: &str| text.as_bytes().to_vec();
        let null = if style == Style::Text { "\\N" } else { "" };
        let mut fields = vec![
            text(&id.to_string()),
            text(if bad == Some(Conversion) {
                "no uuid"
            } else {
                null
            }),
            name,
            text(if bad == Some(Check) { "-1" } else { "7" }),
            text(if bad == Some(Domain) { "6" } else { "3" }),
            text(&format!(
                "c{}",
                if bad == Some(Duplicate) { id - 1 } else { id }
            )),
            text(if bad == Some(Orphan) { "77" } else { "4" }),
        ];
        match bad {
            Some(TooFew) => fields.truncate(3),
            Some(TooMany) => fields.push(text("8")),
            _ => {}
        }
        let delimiter: &[u8] = if style == Style::Text { b"\t" } else { b"," };
        file.write_all(&fields.join(delimiter)).unwrap();
        file.write_all(newline).unwrap();
        line += 1;
    }
    (file, said)
}

fn rejected(target: &Database<'_>) -> Vec<Vec<Option<String>>> {
    target.rows(
        "SELECT line, key->>'id', sqlstate, column_name, reason FROM tableferry.rejected ORDER BY line",
    )
}

#[rstest]
fn each_bad_row_of_a_file_is_told_with_its_line(
    #[values("append", "truncate", "merge", "upsert")] mode: &str,
    #[values(Style::Csv, Style::Crlf, Style::Text)] style: Style,
) {
    let db = databases("bad");
    db.target.sql(T);
    let name = if style == Style::Text {
        "t.txt"
    } else {
        "t.csv"
    };
    let jobs = from_file(mode, &format!("file = \"{name}\"")).replace(
        "[jobs.j]",
        "[jobs.j]\non_error = 'quarantine'\nreject_limit = 200",
    );
    let job = job(&db, &jobs);
    let (file, said) = made(style, 6_000, 43, 137, &ALL);
    put(&job, name, file);
    let outcome = run(&job);
    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["rows_read"], 6_000, "{outcome}");
    assert_eq!(table["rows_rejected"], 137, "{outcome}");
    assert_eq!(table["rows_written"], 6_000 - 137, "{outcome}");
    assert_eq!(rejected(&db.target), said);
    let bad = "id % 43 = 0 AND id <= 43 * 137";
    let good = format!("t WHERE id > 0 AND NOT ({bad}) AND code = 'c' || id");
    assert_eq!(db.target.count(&good), 6_000 - 137);
    assert_eq!(db.target.count(&format!("t WHERE id > 0 AND {bad}")), 0);
    let keeps = matches!(mode, "append" | "upsert");
    assert_eq!(db.target.count("t WHERE id = 0"), u64::from(keeps));
    // No value but the key's.
    let others = "tableferry.rejected WHERE \"row\" IS DISTINCT FROM key";
    assert_eq!(db.target.count(others), 0);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!said.contains("no uuid"), "{outcome}");
}

/// `TABLEFERRY_REJECTED` is the number of rows; `sh tests/rejected.sh` takes a million, on several versions.
#[test]
fn of_a_large_file_each_bad_row_is_told_and_the_others_are_published() {
    let rows = number("TABLEFERRY_REJECTED").unwrap_or(100_000);
    let db = databases("large");
    db.target.sql(T);
    let jobs = from_file("append", "file = \"t.csv\"").replace(
        "[jobs.j]",
        "[jobs.j]\non_error = 'quarantine'\nreject_limit = '0.2%'",
    );
    let job = job(&db, &jobs);
    let (file, said) = made(Style::Csv, rows, rows / 138, 137, &SEVEN);
    put(&job, "t.csv", file);
    let outcome = run(&job);
    let table = &assert_committed(&outcome)[0];
    assert_eq!(table["rows_rejected"], 137, "{outcome}");
    assert_eq!(rejected(&db.target), said);
    assert_eq!(db.target.count("t WHERE id > 0"), rows - 137);
    let version = db.target.value("SHOW server_version");
    println!(
        "{rows} rows, 137 rejected, on PostgreSQL {version}: {}",
        table["seconds"]
    );
}

#[test]
fn rows_of_a_file_are_kept_whole_with_log_values() {
    let db = databases("values");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY CHECK (id = 3), v text)");
    let jobs = from_file("append", "file = \"t.csv\"").replace(
        "[jobs.j]",
        "[jobs.j]\non_error = 'quarantine'\nlog_values = true",
    );
    let job = job(&db, &jobs);
    put(
        &job,
        "t.csv",
        b"id,v\n1,\"a,\"\"b\nc\"\n2,\n3,x\n4,\"\"\n5,\xff\0\n6\n7,y,z\nx,y",
    );
    assert_eq!(assert_committed(&run(&job))[0]["rows_rejected"], 7);
    let rows = db.target.rows(
        "SELECT line, sqlstate, \"row\"->>'id', \"row\"->>'v' FROM tableferry.rejected ORDER BY line",
    );
    let text = |text: &str| Some(text.to_owned());
    let (check, format) = ("23514", "22P04");
    assert_eq!(
        rows,
        [
            vec![text("2"), text(check), text("1"), text("a,\"b\nc")],
            vec![text("4"), text(check), text("2"), None],
            vec![text("6"), text(check), text("4"), text("")],
            vec![
                text("7"),
                text("22021"),
                text("5"),
                text("\u{fffd}\u{fffd}")
            ],
            vec![text("8"), text(format), text("6"), None],
            vec![text("9"), text(format), text("7"), text("y")],
            vec![text("10"), text("22P02"), text("x"), text("y")],
        ]
    );
}

#[rstest]
#[case::delimiter_and_null(
    "a;b;c\n1;NA;x\nNA;2;y\n",
    "csv = { delimiter = \";\", null = \"NA\" }",
    "3 23502"
)]
#[case::no_header("1,2,x\n2,z,y\n", "csv = { header = false }", "2 22P02")]
#[case::bom("\u{feff}a,b,c\n1,z,x\n", "", "2 22P02")]
#[case::cr("a,b,c\r1,2,x\r1,3,y\r", "", "3 23505")]
#[case::end_marker("a,b,c\n1,2,x\n\\.\n2,3,y\n", "", "3 22P02")]
#[case::blank_line("a,b,c\n\n2,3,y\n\n", "", "2 22P04|4 22P04")]
#[case::digits(
    "a1b1c\n'2'1'3'1x\n'4'1z1y\n",
    "csv = { delimiter = \"1\", quote = \"'\" }",
    "3 22P02"
)]
#[case::only_bad_rows("a,b,c\nx,1,1\n1,x,1\n", "", "2 22P02|3 22P02")]
fn options_of_copy_hold_for_each_block(
    #[values("append", "upsert")] mode: &str,
    #[case] csv: &str,
    #[case] of_table: &str,
    #[case] said: &str,
) {
    let db = databases("options");
    db.target
        .sql("CREATE TABLE t (a int PRIMARY KEY, b int, c text)");
    let jobs = from_file(mode, &format!("file = \"t.csv\"\n{of_table}"))
        .replace("[jobs.j]", "[jobs.j]\non_error = 'quarantine'");
    let job = job(&db, &jobs);
    put(&job, "t.csv", csv);
    // An empty target takes an empty set.
    let outcome = run(&job);
    assert_committed(&outcome);
    let found = db.target.value(
        "SELECT string_agg(COALESCE(line::text, '?') || ' ' || sqlstate, '|' ORDER BY line) FROM tableferry.rejected",
    );
    assert_eq!(found, said, "{outcome}");
}

#[test]
fn what_keeps_rows_from_being_found_fails_the_run() {
    let db = databases("unfound");
    db.target.sql("CREATE TABLE t (id int, v text)");
    let cases: [(&str, &str, &str, &[u8]); 3] = [
        ("t.csv", "truncated", "line 3", b"id,v\n1,a\n2,\"b\n3,c\n"),
        ("t.csv", "data_rejected", "line 2", b"id,v\n1,a\r\n"),
        (
            "t.bin",
            "config",
            "reads no binary files",
            b"PGCOPY\n\xff\r\n\0",
        ),
    ];
    for (name, kind, part, contents) in cases {
        let jobs = from_file("append", &format!("file = \"{name}\""))
            .replace("[jobs.j]", "[jobs.j]\non_error = 'quarantine'");
        let job = job(&db, &jobs);
        put(&job, name, contents);
        assert_refused(&run(&job), kind, &[part]);
    }
    // A quote too many, and no other for 70 MB.
    let jobs = from_file("append", "file = \"t.csv\"")
        .replace("[jobs.j]", "[jobs.j]\non_error = 'quarantine'");
    let job = job(&db, &jobs);
    let mut long = b"id,v\n1,\"a\n".to_vec();
    long.extend(b"2,bbbbbbbb\n".repeat(7_000_000));
    put(&job, "t.csv", long);
    let outcome = run(&job);
    assert_refused(
        &outcome,
        "data_rejected",
        &["line 2: the row that begins here is longer than 64 MiB"],
    );
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn copy_sets_rejected_rows_aside() {
    let db = databases("copy");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)");
    let job = job(&db, &from_file("append", ""));
    let path = put(&job, "x.csv", "id,v\n1,1\n2,\n3,x\n4,4\n");
    let copy = |more: &[&str]| {
        let path = path.to_str().unwrap();
        let all = ["copy", path, "target#public.t", "--json"];
        job.run(&[&all[..], more].concat())
    };
    let outcome = copy(&["--on-error", "quarantine", "--reject-limit", "1"]);
    assert_refused(&outcome, "data_rejected", &["more than `reject_limit` = 1"]);
    let outcome = copy(&["--on-error", "quarantine", "--reject-limit", "50%"]);
    assert_eq!(
        assert_committed(&outcome)[0]["rows_rejected"],
        2,
        "{outcome}"
    );
    let found = db.target.value(
        "SELECT string_agg(concat_ws(' ', job, line, sqlstate), '|' ORDER BY line) FROM tableferry.rejected",
    );
    assert_eq!(found, "copy public.t 3 23502|copy public.t 4 22P02");
    assert_eq!(db.target.count("t"), 2);
    for wrong in [
        &["--reject-limit", "1"][..],
        &["--on-error", "ignore"],
        &["--on-error", "quarantine", "--reject-limit", "few"],
    ] {
        let outcome = copy(wrong);
        assert_eq!(outcome.code, Some(2), "{outcome}");
    }
}

#[test]
fn partitions_for_a_file_are_made_where_its_rows_are_staged() {
    let db = databases("parts");
    db.target.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    );
    for (mode, code) in [("append", 1), ("upsert", 0)] {
        let job = job(
            &db,
            &from_file(mode, "file = \"t.csv\"\ncreate_partitions = true"),
        );
        put(&job, "t.csv", "id,v\n1,a\n25,b\n");
        let outcome = run(&job);
        assert_eq!(outcome.code, Some(code), "{outcome}");
        let said = "a file is not read before it is loaded";
        assert_eq!(outcome.stderr.contains(said), code == 1, "{outcome}");
    }
    assert_eq!(db.target.count("t_20"), 1);
}
