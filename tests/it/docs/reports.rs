//! `json`: each block has the keys that the command prints.

use std::collections::BTreeSet;

use serde_json::Value;

use super::blocks::blocks_in;
use crate::support::{databases, job};

/// The keys of an object and of the objects in it: `tables.mode`.
fn keys(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = format!("{prefix}{name}");
                into.insert(path.clone());
                keys(field, &format!("{path}."), into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, prefix, into)),
        _ => {}
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found
}

#[test]
fn the_shown_reports_have_the_keys_of_real_ones() {
    let db = databases("doc_reports");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 10000) i");
    let job = job(
        &db,
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'merge'\ntables = ['public.t']\n",
    );
    let run = job.run(&["run", "j", "--json"]).report().clone();
    db.target.sql("DELETE FROM t WHERE id = 5000");
    let verified = job.run(&["verify", "j", "--json"]).reports[0].clone();
    let real = [run, verified].map(|report| keys_of(&report));
    for block in blocks_in("json") {
        let shown: Value = serde_json::from_str(&block.text)
            .unwrap_or_else(|error| panic!("{}: {error}", block.place));
        let shown = keys_of(&shown);
        assert!(
            real.contains(&shown),
            "{}: {shown:?} is none of {real:?}",
            block.place
        );
    }
}
