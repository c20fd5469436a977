//! Files as other programs write them.

use std::process::Command;

use rstest::rstest;

use super::{directory, from_file, job, put, run};
use crate::support::{assert_committed, assert_refused, databases};

/// The table's rows as one text: values between `|`, rows between `/`.
const ROWS: &str = "SELECT coalesce(string_agg(concat_ws('|', coalesce(a, 'NULL'), coalesce(b, 'NULL'), coalesce(c, 'NULL')), '/' ORDER BY ctid), '') FROM t";

/// The rules of RFC 4180, and the cases that csv-spectrum collects, as tables of three columns.
#[rstest]
#[case::simple("a,b,c\n1,2,3\n", "1|2|3")]
#[case::simple_crlf("a,b,c\r\n1,2,3\r\n", "1|2|3")]
#[case::last_line_without_crlf("a,b,c\r\naaa,bbb,ccc\r\nzzz,yyy,xxx", "aaa|bbb|ccc/zzz|yyy|xxx")]
#[case::blanks_belong_to_the_value("a,b,c\n 1 ,2, 3\n", " 1 |2| 3")]
#[case::all_quoted("\"a\",\"b\",\"c\"\r\n\"aaa\",\"bbb\",\"ccc\"\r\n", "aaa|bbb|ccc")]
#[case::comma_in_quotes(
    "a,b,c\nJohn,\"120 any st.\",\"Anytown, WW\"\n",
    "John|120 any st.|Anytown, WW"
)]
#[case::escaped_quotes("a,b,c\n1,\"ha \"\"ha\"\" ha\",3\n", "1|ha \"ha\" ha|3")]
#[case::only_quotes("a,b,c\n\"\"\"\",\"\"\"\"\"\",\"\"\n", "\"|\"\"|")]
#[case::newlines(
    "a,b,c\n1,2,3\n\"Once upon \na time\",5,6\n7,8,9\n",
    "1|2|3/Once upon \na time|5|6/7|8|9"
)]
#[case::newlines_crlf(
    "a,b,c\r\n\"Once upon \r\na time\",5,6\r\n",
    "Once upon \r\na time|5|6"
)]
#[case::newlines_cr(
    "a,b,c\r1,2,3\r\"Once upon \ra time\",5,6\r",
    "1|2|3/Once upon \ra time|5|6"
)]
#[case::quotes_and_newlines("a,b,c\n1,\"ha \n\"\"ha\"\" \nha\",4\n", "1|ha \n\"ha\" \nha|4")]
#[case::empty("a,b,c\n1,\"\",\"\"\n2,3,4\n", "1||/2|3|4")]
#[case::empty_crlf("a,b,c\r\n1,\"\",\"\"\r\n2,3,4\r\n", "1||/2|3|4")]
#[case::nothing_is_null("a,b,c\n1,,\n,,\n", "1|NULL|NULL/NULL|NULL|NULL")]
#[case::json(
    "a,b,c\n1,\"{\"\"type\"\": \"\"Point\"\", \"\"coordinates\"\": [102.0, 0.5]}\",x\n",
    "1|{\"type\": \"Point\", \"coordinates\": [102.0, 0.5]}|x"
)]
#[case::utf8("a,b,c\n1,2,3\n4,5,ʤ\n", "1|2|3/4|5|ʤ")]
#[case::quotes_within_a_value("a,b,c\nx\"y\"z,\"p\"q,r\n", "xyz|pq|r")]
fn rfc_4180_and_csv_spectrum(#[case] csv: &str, #[case] rows: &str) {
    let db = databases("spectrum");
    db.target.sql("CREATE TABLE t (a text, b text, c text)");
    let job = job(&db, &from_file("append", "file = \"t.csv\""));
    put(&job, "t.csv", csv);
    assert_committed(&run(&job));
    assert_eq!(db.target.value(ROWS), rows);
}

/// An export in another encoding, and lines that do not end alike: the right rows, or none.
#[rstest]
#[case::latin1(
    b"a,b,c\r\n1,caf\xe9,\r\n",
    "csv = { encoding = \"LATIN1\" }",
    "1|café|NULL"
)]
#[case::windows(
    b"a;b;c\r\n1;\x80 5;\r\n",
    "csv = { encoding = \"WIN1252\", delimiter = \";\" }",
    "1|€ 5|NULL"
)]
fn an_export_in_another_encoding(#[case] csv: &[u8], #[case] of_table: &str, #[case] rows: &str) {
    let db = databases("foreign_encoding");
    db.target.sql("CREATE TABLE t (a text, b text, c text)");
    let of_table = format!("file = \"t.csv\"\n{of_table}");
    let job = job(&db, &from_file("append", &of_table));
    put(&job, "t.csv", csv);
    assert_committed(&run(&job));
    assert_eq!(db.target.value(ROWS), rows);
}

const SALES: &str =
    "CREATE TABLE t (id int PRIMARY KEY, name text, price numeric, at timestamptz, ok boolean)";
const SOLD: &str = "SELECT string_agg(concat_ws('|', id, name, coalesce(price::text, 'NULL'), to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), ok), '/' ORDER BY id) FROM t";

/// A table as pandas' `to_csv(index=False)` and a spreadsheet write it.
#[rstest]
#[case::pandas(
    "id,name,price,at,ok\n1,\"a, b\",1.5,2026-01-31 12:30:00+00:00,True\n2,é,,2026-02-01 00:00:00+00:00,False\n",
    "",
    "1|a, b|1.5|2026-01-31 12:30|t/2|é|NULL|2026-02-01 00:00|f"
)]
#[case::pandas_with_a_text_for_nan(
    "id,name,price,at,ok\n1,nan,nan,2026-01-31T12:30:00Z,True\n",
    "csv = { null = \"nan\" }",
    "1|NULL|2026-01-31 12:30|t"
)]
#[case::spreadsheet(
    "\u{feff}id;name;price;at;ok\r\n1;\"x;\"\"y\"\"\";1.5;2026-01-31 12:30;TRUE\r\n2;\"zwei\nZeilen\";;2026-02-01;FALSE\r\n",
    "csv = { delimiter = \";\" }",
    "1|x;\"y\"|1.5|2026-01-31 12:30|t/2|zwei\nZeilen|NULL|2026-02-01 00:00|f"
)]
fn pandas_and_spreadsheets(#[case] csv: &str, #[case] of_table: &str, #[case] rows: &str) {
    let db = databases("exports");
    db.target.sql(SALES);
    let of_table = format!("file = \"t.csv\"\n{of_table}");
    for mode in ["upsert", "merge"] {
        let job = job(&db, &from_file(mode, &of_table));
        put(&job, "t.csv", csv);
        assert_committed(&run(&job));
        assert_eq!(db.target.value(SOLD), rows);
    }
}

/// What such a program may also write, and the target does not take: named, and no row is published.
#[rstest]
#[case::index_of_pandas(
    b",id,name,price,at,ok\n0,1,a,1.5,2026-01-31,True\n".to_vec(), "schema_mismatch", "column 1 without a name"
)]
#[case::separator_line(
    b"sep=;\r\nid;name;price;at;ok\r\n1;a;1;2026-01-31;TRUE\r\n".to_vec(), "schema_mismatch", "sep="
)]
#[case::decimal_comma(
    b"id,name,price,at,ok\r\n1,a,\"1,5\",2026-01-31,TRUE\r\n".to_vec(), "data_rejected", "line 2"
)]
#[case::columns_without_a_name(
    b"id,name,price,at,ok,,\r\n1,a,1,2026-01-31,TRUE,,\r\n".to_vec(), "schema_mismatch", "column 6 without a name"
)]
#[case::utf16(utf16("id,name,price,at,ok\r\n", 0xfeff), "data_rejected", "UTF-16")]
#[case::utf16_without_a_mark(utf16("d,name,price,at,ok\r\n", 0x69), "data_rejected", "UTF-16")]
#[case::mixed_newlines(
    b"id,name,price,at,ok\r\n1,a,1,2026-01-31,TRUE\n".to_vec(), "data_rejected", "line 2"
)]
#[case::notes_below_the_table(
    b"id,name,price,at,ok\r\n1,a,1,2026-01-31,TRUE\r\n\r\nSum: 1\r\n".to_vec(), "data_rejected", "line 3"
)]
fn what_the_target_does_not_take_is_named(
    #[case] csv: Vec<u8>,
    #[case] kind: &str,
    #[case] part: &str,
) {
    let db = databases("not_taken");
    db.target.sql(SALES);
    let job = job(&db, &from_file("append", "file = \"t.csv\""));
    put(&job, "t.csv", csv);
    assert_refused(&run(&job), kind, &["t.csv", part]);
    assert_eq!(db.target.count("t"), 0);
}

fn utf16(text: &str, first: u16) -> Vec<u8> {
    let units = std::iter::once(first).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// Every dialect of Python's module, with values that need quotes.
#[rstest]
#[case::excel("dialect='excel'", "")]
#[case::excel_tab("dialect='excel-tab'", "csv = { delimiter = \"\\t\" }")]
#[case::unix("dialect='unix'", "")]
#[case::nonnumeric("quoting=csv.QUOTE_NONNUMERIC", "")]
#[case::escaped(
    "quoting=csv.QUOTE_ALL, doublequote=False, escapechar='\\\\', lineterminator='\\n'",
    "csv = { escape = '\\' }"
)]
#[case::semicolons(
    "delimiter=';', quotechar=\"'\"",
    "csv = { delimiter = \";\", quote = \"'\" }"
)]
fn python_writes_what_the_target_reads(#[case] dialect: &str, #[case] of_table: &str) {
    let db = databases("python");
    db.target.sql("CREATE TABLE t (id int, a text, b text)");
    let of_table = format!("file = \"t.csv\"\n{of_table}");
    let job = job(&db, &from_file("append", &of_table));
    let script = format!(
        "import csv, sys, random\n\
         random.seed(7)\n\
         w = csv.writer(open(sys.argv[1], 'w', newline=''), {dialect})\n\
         w.writerow(['id', 'a', 'b'])\n\
         for n in range(2000):\n\
         \x20   v = ''.join(random.choice('ab\",;\\n\\r\\\\.\\' \\t') for _ in range(random.randint(1, 30)))\n\
         \x20   w.writerow([n, v, v.encode().hex()])\n"
    );
    let path = directory(&job).join("t.csv");
    let made = Command::new("python3")
        .args(["-c", &script])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    assert_committed(&run(&job));
    assert_eq!(db.target.count("t"), 2000);
    let differs = "t WHERE a IS DISTINCT FROM convert_from(decode(b, 'hex'), 'UTF8')";
    assert_eq!(db.target.count(differs), 0);
}
