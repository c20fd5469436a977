//! What a refusal proposes in place of a column works: the server knows the cast, and what it gives
//! can be copied.

use std::collections::BTreeSet;

use tableferry::plan::format::{self, Carrier, ServerFacts};

use crate::support::databases;
use crate::support::looking;

const TYPES: &[&str] = &[
    "bool",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "numeric(8,2)",
    "money",
    "text",
    "varchar(9)",
    "char(3)",
    "name",
    "\"char\"",
    "bytea",
    "uuid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "json",
    "jsonb",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit(3)",
    "bit(4)",
    "varbit",
    "point",
    "box",
    "circle",
    "polygon",
    "int4range",
    "numrange",
    "tsvector",
    "int4[]",
    "int8[]",
    "text[]",
    "uuid[]",
    "bytea[]",
    "m.positive",
    "m.blob",
    "m.letters",
    "m.mood",
    "m.pair",
];

#[test]
fn what_a_refusal_proposes_works() {
    let db = databases("conversions");
    let columns: String = TYPES
        .iter()
        .enumerate()
        .map(|(at, ty)| format!(", c{at} {ty}"))
        .collect();
    db.both(&format!(
        "CREATE SCHEMA m; CREATE DOMAIN m.positive AS int CHECK (VALUE > 0);
         CREATE DOMAIN m.blob AS bytea; CREATE DOMAIN m.letters AS char(3);
         CREATE TYPE m.mood AS ENUM ('sad'); CREATE TYPE m.pair AS (a int, b text);
         CREATE TABLE m.t (id int{columns})"
    ));
    let jobs =
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['m.t']\n";
    let looked = looking::look(&db, jobs).unwrap_or_else(|error| panic!("{error}"));
    let described = looked.inspected[0].target.as_ref().unwrap();
    let of = |at: usize| {
        let name = format!("c{at}");
        let found = described.columns.iter().find(|c| c.name.as_str() == name);
        found.unwrap()
    };
    let ends = ServerFacts {
        target_version: described.server_version,
        source_monetary: "C",
        target_monetary: "C",
    };
    let carrier = |source: usize, target: usize| {
        let mut from = of(source).clone();
        from.name = of(target).name.clone();
        format::convert(ends, &from, of(target)).carrier
    };

    let (mut proposed, mut wrong) = (BTreeSet::new(), Vec::new());
    for (source, from) in TYPES.iter().enumerate() {
        for (target, to) in TYPES.iter().enumerate() {
            let Carrier::Refused { hint, .. } = carrier(source, target) else {
                continue;
            };
            let set = format!("such as `set.c{target} = ");
            let Some((_, toml)) = hint.split_once(&set) else {
                continue;
            };
            let toml = toml.split('`').next().unwrap();
            let sql = &toml[1..toml.len() - 1];
            let view = format!(
                "CREATE VIEW m.v AS SELECT {sql} AS v FROM (SELECT c{source} AS c{target} FROM m.t) AS s"
            );
            if let Err(error) = db.source.try_sql(&view) {
                wrong.push(format!("{from} → {to}: {sql}: {error:?}"));
                continue;
            }
            // Its type is the target's, or that which the target's domain is over.
            let fits = db.source.value(&format!(
                "SELECT a.atttypid = coalesce(nullif(t.typbasetype, 0), t.oid)
                   FROM pg_attribute AS a, pg_attribute AS b JOIN pg_type AS t ON t.oid = b.atttypid
                  WHERE a.attrelid = 'm.v'::regclass AND a.attname = 'v'
                    AND b.attrelid = 'm.t'::regclass AND b.attname = 'c{target}'"
            ));
            db.source.sql("DROP VIEW m.v");
            if fits != "t" {
                wrong.push(format!("{from} → {to}: {sql} is of another type"));
            }
            proposed.insert((*from, *to));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(proposed.contains(&("uuid", "bytea")), "{proposed:?}");
    assert!(proposed.contains(&("text", "m.positive")), "{proposed:?}");
    assert!(!proposed.contains(&("uuid", "int4")), "{proposed:?}");
    assert!(proposed.len() > 500, "{}", proposed.len());
}
