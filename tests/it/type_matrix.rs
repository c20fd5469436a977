//! Every class of types, really copied: catalogue → plan → both COPY statements → the same text.
//!
//! The target's type OIDs are shifted against the source's, so that a format which carries OIDs shows.

use std::collections::BTreeMap;

use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tableferry::catalog::desc::KeyActions;
use tableferry::catalog::inspected::Inspected;
use tableferry::config::spec::JobSpec;
use tableferry::error::{Phase, Side};
use tableferry::pg::session::Session;
use tableferry::plan::checksum::{self, Alphabet};
use tableferry::plan::column::CopyFormat;
use tableferry::plan::copy::CopyPlan;
use tableferry::plan::form::ComparedSide;
use tableferry::plan::shared::Attempt;
use tableferry::plan::{self, Refusal};

use crate::support::looking::{self, session};
use crate::support::{Databases, databases};

/// One column on each side, its values on the source, and what must become of it.
struct Case {
    source: &'static str,
    target: &'static str,
    expected: Expected,
    values: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Expected {
    Binary,
    Text,
    /// Refused unless `lossy = true`; then binary.
    LossyBinary,
    /// Refused unless `lossy = true`; then text.
    LossyText,
    Refused,
}
use Expected::{Binary, LossyBinary, LossyText, Refused, Text};

/// Made on both sides.
const TYPES: &str = r#"
CREATE SCHEMA m;
CREATE SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION ltree SCHEMA ext;
CREATE EXTENSION cube SCHEMA ext; CREATE EXTENSION seg SCHEMA ext; CREATE EXTENSION isn SCHEMA ext;
CREATE EXTENSION intarray SCHEMA ext;
CREATE TYPE m.mood AS ENUM ('sad', 'it''s ok', 'größer');
CREATE DOMAIN m.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN m.short AS varchar(5) NOT NULL;
CREATE DOMAIN m.moods AS m.mood[];
CREATE DOMAIN m.relation AS regclass;
CREATE TYPE m.address AS (street text, zip m.positive, mood m.mood);
CREATE TYPE m.person AS (name text, homes m.address[]);
CREATE TYPE m.floats AS RANGE (subtype = float8);
CREATE TYPE m.plain_numbers AS (n int);
CREATE TABLE m.thing (id int, name text);
CREATE FUNCTION m.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
CREATE TEXT SEARCH CONFIGURATION m.words (COPY = pg_catalog.simple);
CREATE TEXT SEARCH DICTIONARY m.dict (TEMPLATE = pg_catalog.simple);
"#;

const SOURCE_TYPES: &str = "
CREATE TYPE m.lacking AS ENUM ('a', 'b'); CREATE TYPE m.turned AS ENUM ('a', 'b');
CREATE TYPE m.differs AS (a int, b text); CREATE TYPE m.wider AS (a int, b text);
CREATE DOMAIN m.rebased AS int; CREATE TYPE m.span AS RANGE (subtype = float8);";
const TARGET_TYPES: &str = "
CREATE TYPE m.lacking AS ENUM ('a'); CREATE TYPE m.turned AS ENUM ('b', 'a');
CREATE TYPE m.differs AS (b text, a int); CREATE TYPE m.wider AS (a bigint, b text);
CREATE DOMAIN m.rebased AS real; CREATE TYPE m.span AS RANGE (subtype = float4);";

/// A type into itself.
const fn same(ty: &'static str, expected: Expected, values: &'static [&'static str]) -> Case {
    case(ty, ty, expected, values)
}

const fn case(
    source: &'static str,
    target: &'static str,
    expected: Expected,
    values: &'static [&'static str],
) -> Case {
    Case {
        source,
        target,
        expected,
        values,
    }
}

const CASES: &[Case] = &[
    // Binary in, binary out.
    same("bool", Binary, &["true", "false"]),
    same("int2", Binary, &["-32768", "32767"]),
    same("int4", Binary, &["-2147483648", "2147483647"]),
    same(
        "int8",
        Binary,
        &["-9223372036854775808", "9223372036854775807"],
    ),
    same(
        "float4",
        Binary,
        &["'NaN'", "'-Infinity'", "0.1", "-0.0", "1e-45"],
    ),
    same(
        "float8",
        Binary,
        &[
            "'NaN'",
            "'Infinity'",
            "0.1",
            "-0.0",
            "5e-324",
            "1.7976931348623157e308",
        ],
    ),
    same(
        "numeric",
        Binary,
        &[
            "'NaN'",
            "0.000000000000000000000000000001",
            "1e131071",
            "-12.340",
        ],
    ),
    same("numeric(12,2)", Binary, &["-9999999999.99", "0.10"]),
    same(
        "text",
        Binary,
        &[
            "''",
            "E'a\\tb\\nc\\rd\\\\e'",
            "'\\N'",
            "'\\.'",
            "'größe 🐘'",
            "repeat('x', 100000)",
        ],
    ),
    same("varchar(5)", Binary, &["'a    '", "'größe'", "''"]),
    same("bpchar(5)", Binary, &["'a'", "'größe'"]),
    same("name", Binary, &["'Ä\"b'", "''"]),
    same("\"char\"", Binary, &["'a'", "''", "(-1)::\"char\"", "'\\'"]),
    same(
        "bytea",
        Binary,
        &["''", "'\\x00ff5c0a'", "decode(repeat('00ff', 5000), 'hex')"],
    ),
    same(
        "date",
        Binary,
        &["'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"],
    ),
    same("time", Binary, &["'24:00:00'", "'00:00:00.000001'"]),
    same(
        "timetz",
        Binary,
        &["'23:59:59.999999-15:59'", "'00:00:00+12'"],
    ),
    same(
        "timestamp",
        Binary,
        &[
            "'-infinity'",
            "'4713-01-01 00:00:00 BC'",
            "'2000-02-29 23:59:59.999999'",
        ],
    ),
    same(
        "timestamptz",
        Binary,
        &[
            "'infinity'",
            "'294276-12-31 23:59:59.999999+00'",
            "'2020-03-29 02:30:00+01'",
        ],
    ),
    same(
        "interval",
        Binary,
        &[
            "'-1 year 2 mons -3 days 04:05:06.789'",
            "'178000000 years'",
            "'0'",
        ],
    ),
    same(
        "uuid",
        Binary,
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    same(
        "json",
        Binary,
        &["'{\"b\": 1,  \"a\":2, \"a\" : null}'", "'\"\\u0041\\n\"'"],
    ),
    same(
        "jsonb",
        Binary,
        &["'{\"b\": 1e400, \"a\": [null, true, {}]}'", "'\"a\\nb\"'"],
    ),
    same("jsonpath", Binary, &["'$.a[*] ? (@.b > 1)'"]),
    same("bit(5)", Binary, &["B'10101'"]),
    same("varbit", Binary, &["B''", "B'101'"]),
    same(
        "inet",
        Binary,
        &["'192.168.0.1/24'", "'::ffff:1.2.3.4'", "'fe80::1/64'"],
    ),
    same("cidr", Binary, &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    same("macaddr", Binary, &["'08:00:2b:01:02:03'"]),
    same("macaddr8", Binary, &["'08:00:2b:01:02:03:04:05'"]),
    same("point", Binary, &["'(0.1,-Infinity)'"]),
    same("line", Binary, &["'{1,-2,3}'"]),
    same("lseg", Binary, &["'[(0,0),(1,1)]'"]),
    same("box", Binary, &["'(1,1),(0,0)'"]),
    same("path", Binary, &["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"]),
    same("polygon", Binary, &["'((0,0),(1,1),(1,0))'"]),
    same("circle", Binary, &["'<(0,0),1.5>'"]),
    same("tsvector", Binary, &["'a:1A fat:2B,4C cat:5'", "''"]),
    same("tsquery", Binary, &["'fat & (rat | !cat:AB) <-> x'"]),
    same("pg_lsn", Binary, &["'FFFFFFFF/FFFFFFFF'"]),
    same("xid", Binary, &["'4294967295'"]),
    same("xid8", Binary, &["'18446744073709551615'"]),
    same("cid", Binary, &["'7'"]),
    same("tid", Binary, &["'(4294967295,65535)'"]),
    same("oid", Binary, &["4294967295"]),
    same("txid_snapshot", Binary, &["'10:20:10,14,15'"]),
    same("pg_snapshot", Binary, &["'10:20:10,14,15'"]),
    same("xml", Binary, &["'<a b=\"1\">größe</a>'", "'no root'"]),
    same("money", Binary, &["'-12345.67'", "'92233720368547758.07'"]),
    same("int2vector", Binary, &["'1 -2 3'"]),
    same("oidvector", Binary, &["'1 2 3'"]),
    same("int4range", Binary, &["'empty'", "'[1,5]'", "'(,)'"]),
    same("numrange", Binary, &["'[1.5,2.50)'"]),
    same("tsrange", Binary, &["'[2020-01-01,infinity)'"]),
    same("daterange", Binary, &["'[2020-01-01,2020-02-01]'"]),
    same("int4multirange", Binary, &["'{}'", "'{[1,3],[7,9)}'"]),
    same(
        "int4[]",
        Binary,
        &["'{}'", "'{NULL,1}'", "'[-1:1]={1,2,3}'", "'{{1,2},{3,4}}'"],
    ),
    same(
        "text[]",
        Binary,
        &["'{NULL,\"NULL\",\"\",\"a,b\",\"\\\"\"}'"],
    ),
    same("bpchar(3)[]", Binary, &["'{a,b}'"]),
    same("timestamptz[]", Binary, &["'{infinity}'"]),
    same("int4range[]", Binary, &["'{\"[1,2]\",empty}'"]),
    // Types that users and extensions make.
    same("m.mood", Binary, &["'sad'", "'it''s ok'", "'größer'"]),
    same("m.mood[]", Binary, &["'{sad,NULL,\"it''s ok\"}'"]),
    same("m.positive", Binary, &["7"]),
    same("m.positive[]", Binary, &["'{7,8}'"]),
    same("m.short", Binary, &["'größe'"]),
    same("m.moods", Binary, &["'{sad}'"]),
    same(
        "m.address",
        Binary,
        &["('a, \"b\"', 7, 'sad')", "(NULL, NULL, NULL)"],
    ),
    same(
        "m.address[]",
        Binary,
        &["ARRAY[('a', 7, 'sad')::m.address, NULL]"],
    ),
    same(
        "m.person",
        Binary,
        &["('x', ARRAY[('a', 7, 'sad')::m.address])"],
    ),
    same("m.thing", Binary, &["(1, 'x')"]),
    same("m.floats", Binary, &["'[0.1,2)'", "'empty'"]),
    same("m.floats[]", Binary, &["'{\"[0.1,2)\"}'"]),
    same("m.floats_multirange", Binary, &["'{[1,2)}'"]),
    same("ext.citext", Binary, &["'GrÖße'"]),
    same("ext.citext[]", Binary, &["'{A,a}'"]),
    same("ext.hstore", Binary, &["'a=>1, \"b c\"=>NULL'"]),
    same("ext.ltree", Binary, &["'a.b.c'", "''"]),
    same("ext.lquery", Binary, &["'a.*{1,2}.!b'"]),
    same("ext.cube", Binary, &["'(1,2),(3,4)'"]),
    same("m.turned", Binary, &["'a'", "'b'"]),
    // No binary form.
    same("aclitem", Text, &["'=r/postgres'"]),
    same("gtsvector", Text, &[]),
    same("ext.seg", Text, &["'1.5 .. 2.50'", "'<3'"]),
    same("ext.query_int", Text, &["'1&(2|!3)'"]),
    same("ext.isbn", Text, &["'0-306-40615-2'"]),
    same("ext.ean13", Text, &["'978-0-11-000222-4'"]),
    // OIDs in disguise, and what contains them.
    same(
        "regclass",
        Text,
        &["'m.thing'", "'pg_catalog.pg_class'", "0"],
    ),
    same("regproc", Text, &["'m.twice'"]),
    same("regprocedure", Text, &["'m.twice(int)'"]),
    same("regoper", Text, &["'pg_catalog.||/'"]),
    same("regoperator", Text, &["'pg_catalog.+(int4,int4)'"]),
    same("regtype", Text, &["'m.mood'", "'m.address[]'", "'int4'"]),
    same("regnamespace", Text, &["'m'"]),
    same("regconfig", Text, &["'m.words'"]),
    same("regdictionary", Text, &["'m.dict'"]),
    same("regrole", Text, &["'postgres'"]),
    same("regcollation", Text, &["'pg_catalog.\"C\"'"]),
    same("regclass[]", Text, &["'{m.thing,NULL}'"]),
    same("m.relation", Text, &["'m.thing'"]),
    // No server reads these back.
    same("pg_node_tree", Refused, &[]),
    same("pg_ndistinct", Refused, &[]),
    same("pg_dependencies", Refused, &[]),
    same("pg_mcv_list", Refused, &[]),
    same("pg_brin_bloom_summary", Refused, &[]),
    same("pg_brin_minmax_multi_summary", Refused, &[]),
    // Different types with one binary form.
    case("varchar", "text", Binary, &["'a  '", "''"]),
    case("bpchar(5)", "text", Binary, &["'a'"]),
    case("name", "text", Binary, &["'Ä'"]),
    case("name", "varchar(63)", Binary, &["'Ä'"]),
    case("text", "varchar", Binary, &["'a  '"]),
    case("varchar(3)", "varchar(5)", Binary, &["'a  '"]),
    case("text", "ext.citext", Binary, &["'GrÖße'"]),
    case("ext.citext", "text", Binary, &["'GrÖße'"]),
    case("m.mood", "text", Binary, &["'it''s ok'", "'größer'"]),
    case("text", "m.mood", Binary, &["'it''s ok'", "'größer'"]),
    case("varchar", "m.mood", Binary, &["'sad'"]),
    case("json", "text", Binary, &["'{\"a\":  1}'"]),
    case("text", "json", Binary, &["'{\"a\":  1}'"]),
    case("xml", "text", Binary, &["'<a>größe</a>'"]),
    case("cidr", "inet", Binary, &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    case("bit(3)", "varbit", Binary, &["B'101'"]),
    case("bit(3)", "varbit(9)", Binary, &["B'101'"]),
    case(
        "timestamp(3)",
        "timestamp",
        Binary,
        &["'2000-01-01 00:00:00.123'"],
    ),
    case("interval(3)", "interval", Binary, &["'1.123 s'"]),
    case(
        "interval day to second",
        "interval",
        Binary,
        &["'1 day 1.5 s'"],
    ),
    case("numeric(10,2)", "numeric", Binary, &["12.30"]),
    case("m.positive", "int4", Binary, &["7"]),
    case("int4", "m.positive", Binary, &["7"]),
    case("m.positive[]", "int4[]", Binary, &["'{7}'"]),
    case("int4[]", "m.positive[]", Binary, &["'{7}'"]),
    case("text[]", "ext.citext[]", Binary, &["'{Ab}'"]),
    case("m.moods", "m.mood[]", Binary, &["'{sad}'"]),
    // Only text carries these.
    case("int2", "int4", Text, &["-32768"]),
    case("int4", "int8", Text, &["-2147483648"]),
    case("int2", "int8", Text, &["-32768"]),
    case("int8", "numeric", Text, &["-9223372036854775808"]),
    case("int4", "numeric(12,0)", Text, &["-2147483648"]),
    case("int4", "text", Text, &["-2147483648"]),
    case("float8", "text", Text, &["'NaN'", "0.1", "1e300"]),
    case("float4", "text", Text, &["0.1"]),
    case("float8", "numeric", Text, &["'NaN'", "0.1"]),
    case("float4", "float8", Text, &["0.1", "'-Infinity'"]),
    case("numeric", "text", Text, &["1.50", "'NaN'"]),
    case("jsonb", "json", Text, &["'{\"a\": 1}'"]),
    case("jsonb", "text", Text, &["'{\"a\": 1}'"]),
    case("text", "jsonb", Text, &["'{\"a\": 1}'"]),
    case("int4range", "int8range", Text, &["'[1,5]'", "'empty'"]),
    case("int4[]", "int8[]", Text, &["'{1,NULL}'", "'[0:0]={1}'"]),
    case("varchar[]", "text[]", Text, &["'{a,NULL}'"]),
    case(
        "uuid",
        "text",
        Text,
        &["'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    ),
    case(
        "text",
        "uuid",
        Text,
        &["'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    ),
    case("ext.ltree", "text", Text, &["'a.b'"]),
    case("text", "ext.ltree", Text, &["'a.b'"]),
    same("m.wider", Text, &["(1, 'x')"]),
    same("m.wider[]", Text, &["ARRAY[(1, 'x')::m.wider]"]),
    // The same width in binary, and another meaning.
    case("int8", "timestamp", Refused, &["0"]),
    case("timestamp", "int8", Refused, &[]),
    case("int8", "float8", Refused, &["0"]),
    case("int8", "money", Refused, &["0"]),
    case("int4", "float4", Refused, &["0"]),
    case("int4", "date", Refused, &["0"]),
    case("oid", "int4", Refused, &["0"]),
    case("bool", "text", Refused, &["true"]),
    case("uuid", "bytea", Refused, &[]),
    case("bytea", "uuid", Refused, &[]),
    case("text", "bytea", Refused, &["'a'"]),
    case("bytea", "text", Refused, &["'a'"]),
    case("text", "int4", Refused, &["'1'"]),
    case("int8", "int4", Refused, &["1"]),
    same("m.rebased", Refused, &["5"]),
    same("m.rebased[]", Refused, &["'{5}'"]),
    same("m.span", Refused, &[]),
    same("m.differs", Refused, &["(1, 'x')"]),
    same("m.lacking", Refused, &["'a'"]),
    // Something gets lost, without an error.
    case("numeric", "numeric(12,2)", LossyBinary, &["1.239"]),
    case("numeric(12,4)", "numeric(12,2)", LossyBinary, &["1.239"]),
    case(
        "timestamp",
        "timestamp(0)",
        LossyBinary,
        &["'2000-01-01 00:00:00.6'"],
    ),
    case("varchar(9)", "varchar(3)", LossyBinary, &["'abc   '"]),
    case("text", "varchar(3)", LossyBinary, &["'abc   '"]),
    case("text", "bpchar(3)", LossyBinary, &["'a '"]),
    case(
        "interval",
        "interval day",
        LossyBinary,
        &["'1 day 01:02:03'"],
    ),
    case("timestamp", "date", LossyText, &["'2000-01-01 12:00:00'"]),
    case(
        "json",
        "jsonb",
        LossyText,
        &["'{\"b\":1, \"a\":1, \"a\":2}'"],
    ),
    case(
        "timestamp",
        "timestamptz",
        LossyText,
        &["'2000-01-01 12:00:00'"],
    ),
    case(
        "timestamptz",
        "timestamp",
        LossyText,
        &["'2000-01-01 12:00:00+01'"],
    ),
    case("text", "name", LossyText, &["repeat('x', 70)"]),
    case("float8", "numeric(12,2)", LossyText, &["1.239"]),
];

fn table(index: usize) -> String {
    format!("m.t{index:03}")
}

fn exists(case: &Case, version: u32) -> bool {
    let newer = |name: &str| case.source.contains(name) || case.target.contains(name);
    version >= 140_000 || !(newer("multirange") || newer("pg_brin"))
}

/// Tables of one case each, with a key so that rows can be compared in order.
fn fill(db: &Databases<'_>, cases: &[(usize, &Case)]) {
    db.both(TYPES);
    db.source.sql(SOURCE_TYPES);
    db.target.sql(TARGET_TYPES);
    for (index, case) in cases {
        let name = table(*index);
        let not_null = case.source.contains("short");
        let null = (!not_null).then_some("NULL");
        let rows: String = case
            .values
            .iter()
            .copied()
            .chain(null)
            .enumerate()
            .map(|(row, value)| {
                format!(
                    "INSERT INTO {name} VALUES ({row}, CAST({value} AS {}));",
                    case.source
                )
            })
            .collect();
        db.source.sql(&format!(
            "CREATE TABLE {name} (id int, c {}); {rows}",
            case.source
        ));
        db.target
            .sql(&format!("CREATE TABLE {name} (id int, c {})", case.target));
    }
}

#[test]
fn every_class_of_types_goes_as_it_must_and_arrives_as_it_was() {
    let db = databases("type_matrix");
    let version = db.source.cluster.version().min(db.target.cluster.version());
    let cases: Vec<(usize, &Case)> = CASES
        .iter()
        .enumerate()
        .filter(|(_, case)| exists(case, version))
        .collect();
    fill(&db, &cases);
    let jobs = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['m.t*']\n\
                exclude = ['m.thing']\n";
    let job = looking::job_spec(&db, jobs);
    let looked = looking::look(&db, jobs).unwrap_or_else(|error| panic!("{error}"));
    let by_name: BTreeMap<String, Inspected> = looked
        .inspected
        .into_iter()
        .map(|one| (one.spec.target.to_string(), one))
        .collect();

    let old_side = version < 140_000;
    let old_target = db.target.cluster.version() < 140_000;
    let mut wrong = Vec::new();
    let mut copies: Vec<(&Case, CopyPlan)> = Vec::new();
    for (index, case) in &cases {
        let one = &by_name[&table(*index)];
        let decided = decide(&job, one);
        let expected = match case.expected {
            // Arrays and composites of user types, which version 13 takes as text only.
            // cube got its binary form in version 14.
            Binary if version < 140_000 && case.source.ends_with("cube") => Text,
            Binary if old_target && carries_user_oids(case) => Text,
            // Version 13's cube has no send and receive functions.
            Binary if old_side && case.source.contains("cube") => Text,
            other => other,
        };
        if decided.0 != expected {
            wrong.push(format!(
                "{} → {}: {:?} instead of {expected:?}: {:?}",
                case.source, case.target, decided.0, decided.1
            ));
        } else if let Some(plan) = decided.2 {
            copies.push((case, plan));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let failed = copy_all(&db, &copies);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let unequal = compare_all(&db, &copies);
    assert!(unequal.is_empty(), "{}", unequal.join("\n"));
    for (case, plan) in &copies {
        // Version 13 prints "char" with the high bit as one byte, which is no UTF-8.
        let value = if case.source == "\"char\"" {
            "c::int"
        } else {
            "c"
        };
        let query = format!("SELECT id, {value} FROM {} ORDER BY id", plan.target.sql());
        let (there, here) = (db.source.rows(&query), db.target.rows(&query));
        let lossless = matches!(case.expected, Binary | Text);
        assert_eq!(there.len(), here.len(), "{} → {}", case.source, case.target);
        assert_eq!(
            there == here,
            lossless || case.values.is_empty(),
            "{} → {}: {there:?} {here:?}",
            case.source,
            case.target
        );
    }
}

/// What the plan says without `lossy`, its reasons, and a plan that can be run.
fn decide(job: &JobSpec, one: &Inspected) -> (Expected, Vec<Refusal>, Option<CopyPlan>) {
    let planned = |one: &Inspected| {
        plan::job(
            job,
            vec![one.clone()],
            false,
            Attempt::default(),
            &KeyActions::default(),
        )
        .map(|mut plan| plan.tables.remove(0))
    };
    match planned(one) {
        Ok(plan) if plan.format == CopyFormat::Binary => (Binary, Vec::new(), Some(plan)),
        Ok(plan) => (Text, Vec::new(), Some(plan)),
        Err(reasons) => {
            let mut allowing = one.clone();
            allowing.spec.lossy = true;
            match planned(&allowing) {
                Ok(plan) if plan.format == CopyFormat::Binary => (LossyBinary, reasons, Some(plan)),
                Ok(plan) => (LossyText, reasons, Some(plan)),
                Err(reasons) => (Refused, reasons, None),
            }
        }
    }
}

fn carries_user_oids(case: &Case) -> bool {
    let user = |ty: &str| ty.starts_with("m.") || ty.starts_with("ext.");
    let composites = ["m.address", "m.person"];
    [case.source, case.target]
        .iter()
        .any(|ty| user(ty) && ty.ends_with("[]") || composites.contains(ty) || *ty == "m.moods")
}

/// Pairs that lose nothing and yet have no form in which both sides can be compared.
const INCOMPARABLE: &[(&str, &str)] = &[("xml", "text"), ("xml", "varchar")];

/// Both servers' checksums of what was copied. What should be equal and isn't, or can't be compared
/// and should, is said.
fn compare_all(db: &Databases<'_>, copies: &[(&Case, CopyPlan)]) -> Vec<String> {
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    let digest = async |session: &Session, plan: &CopyPlan, writer| {
        let from = plan.target_from();
        let sql = checksum::digest(&plan.comparison, writer, &Alphabet::Plain, &from);
        let rows = session.query(Phase::Verify, &sql, &[]).await;
        let rows = rows.map_err(|error| format!("{error}: {:?}", error.detail()))?;
        let row = &rows[0];
        Ok::<_, String>((
            row.get::<_, i64>(0),
            row.get::<_, String>(1),
            row.get::<_, String>(2),
        ))
    };
    looking::block_on(async {
        let source = session(&source, Side::Source).await;
        let target = session(&target, Side::Target).await;
        let mut wrong = Vec::new();
        for (case, plan) in copies {
            let lossless = matches!(case.expected, Binary | Text)
                && !INCOMPARABLE.contains(&(case.source, case.target));
            let left_out = &plan.comparison.left_out;
            if left_out.is_empty() != lossless {
                wrong.push(format!("{} → {}: {left_out:?}", case.source, case.target));
            }
            let sums = (
                digest(&source, plan, ComparedSide::Source).await,
                digest(&target, plan, ComparedSide::Target).await,
            );
            if sums.0.is_err() || sums.0 != sums.1 {
                wrong.push(format!("{} → {}: {sums:?}", case.source, case.target));
            }
        }
        wrong
    })
}

/// Runs the plans' statements; what fails is said.
fn copy_all(db: &Databases<'_>, copies: &[(&Case, CopyPlan)]) -> Vec<String> {
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    looking::block_on(async {
        let source = session(&source, Side::Source).await;
        let mut target_session = session(&target, Side::Target).await;
        let mut failed = Vec::new();
        for (case, plan) in copies {
            let result: Result<u64, tokio_postgres::Error> = async {
                let rows = source.client().copy_out(plan.copy_out.as_str()).await?;
                let blocks: Vec<bytes::Bytes> = rows.try_collect().await?;
                let sink = target_session
                    .client()
                    .copy_in(plan.copy_in.as_str())
                    .await?;
                pin_mut!(sink);
                for block in blocks {
                    sink.feed(block).await?;
                }
                sink.finish().await
            }
            .await;
            if let Err(error) = result {
                let text = tableferry::error::chain(&error);
                failed.push(format!("{} → {}: {text}", case.source, case.target));
                target_session = session(&target, Side::Target).await;
            }
        }
        failed
    })
}
