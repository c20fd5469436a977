//! `sql`: each block runs on a target with a ledger. Those of docs/privileges.md are run in `privileges.rs`.

use super::blocks::blocks_in;
use crate::support::{databases, job};

#[test]
fn every_statement_runs_on_a_target() {
    let db = databases("doc_statements");
    let schema = job(&db, "").run(&["schema"]);
    db.target.sql(&schema.stdout);
    db.target
        .sql("INSERT INTO tableferry.job (job) VALUES ('catalogue')");
    let mut run = 0;
    for block in blocks_in("sql") {
        if block.place.starts_with("docs/privileges.md") {
            continue;
        }
        assert!(
            block.text.starts_with("-- on the target"),
            "{}",
            block.place
        );
        if let Err(error) = db.target.try_sql(&block.text) {
            panic!("{}: {error}", block.place);
        }
        run += 1;
    }
    assert!(run > 3, "{run}");
    assert_eq!(db.target.count("tableferry.request"), 1);
}
