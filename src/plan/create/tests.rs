//! What older targets are refused, and what they get instead.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::config::spec::Mode;
use crate::plan::fixtures::{self, column, inspected, table};

/// A table `public.t` of one column, with more of each.
fn made(of_column: &Value, of_table: &Value) -> MadeTable {
    let mut column = json!({
        "name": "a", "type": "integer", "type_name": {"schema": "pg_catalog", "name": "int4"}, "not_null": false,
        "generated": "", "identity": "", "sequences": [],
    });
    let mut table = json!({
        "root": {"schema": "public", "name": "t"}, "schema": "public", "name": "t", "kind": "r", "depth": 0,
        "unlogged": false, "temporary": false, "options": [], "toast_options": [], "checks": [],
        "foreign_keys": [], "indexes": [], "left_out": [],
    });
    let merge = |into: &mut Value, from: &Value| {
        for (key, value) in from.as_object().unwrap() {
            into[key] = value.clone();
        }
    };
    merge(&mut column, of_column);
    table["columns"] = json!([column]);
    merge(&mut table, of_table);
    serde_json::from_value(table).unwrap()
}

fn planned(made: MadeTable, version: u32) -> Result<Creation, Vec<Refusal>> {
    let mut entry = inspected(
        table("t", vec![column("a", "int4")]),
        table("t", Vec::new()),
    );
    entry.target = None;
    let job = JobSpec {
        create: Create::Missing,
        ..fixtures::job(Mode::Merge)
    };
    let present = Present {
        schemas: vec!["public".to_owned()],
        ..Present::default()
    };
    let material = Material {
        tables: &[entry],
        made: &[made],
        types: &[],
        present: &present,
        version,
    };
    plan(&job, &material).map(|planned| planned.into_values().next().unwrap())
}

fn index(definition: &str) -> Value {
    json!({"indexes": [{
        "name": "t_a_key", "unique": true, "is_primary": false, "tail": null, "tablespace": null, "options": [],
        "columns": ["a"], "constraint": {"definition": definition},
    }]})
}

#[rstest]
#[case::virtual_column(json!({"expression": "1", "generated": "v"}), json!({}), 180_000, "column a is a virtual generated column")]
#[case::nulls(json!({}), index("UNIQUE NULLS NOT DISTINCT (a)"), 150_000, "index t_a_key has NULLS NOT DISTINCT")]
#[case::periods(json!({}), index("UNIQUE (a WITHOUT OVERLAPS)"), 180_000, "index t_a_key has WITHOUT OVERLAPS")]
#[case::collation(json!({"collation": {"schema": "public", "name": "german"}}), json!({}), u32::MAX, "column a has collation public.german")]
#[case::tablespace(json!({}), json!({"tablespace": "fast"}), u32::MAX, "it is in tablespace fast")]
#[case::access_method(json!({}), json!({"access_method": "columnar"}), u32::MAX, "its access method columnar")]
fn what_an_older_target_lacks_is_refused(
    #[case] of_column: Value,
    #[case] of_table: Value,
    #[case] since: u32,
    #[case] expected: &str,
) {
    let refusals = planned(made(&of_column, &of_table), since - 1).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].message.starts_with(expected), "{refusals:?}");
    if since != u32::MAX {
        planned(made(&of_column, &of_table), since).unwrap();
    }
}

#[test]
fn compression_is_left_out_of_an_older_target() {
    let table = || made(&json!({"compression": "lz4"}), &json!({}));
    let statements = |creation: &Creation| {
        let objects = creation.objects.iter();
        let all: Vec<&str> = objects
            .flat_map(|o| &o.before)
            .map(String::as_str)
            .collect();
        all.join("\n")
    };
    let new = planned(table(), 140_000).unwrap();
    assert!(statements(&new).ends_with("ALTER COLUMN \"a\" SET COMPRESSION lz4"));
    let old = planned(table(), 130_000).unwrap();
    assert!(statements(&old).ends_with("CREATE TABLE \"public\".\"t\" (\"a\" integer)"));
    assert!(
        old.note.ends_with("left out: compression lz4 of column a"),
        "{}",
        old.note
    );
}
