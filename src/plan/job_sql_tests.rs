//! The statements that a job's plan is made of.

use std::collections::BTreeMap;

use rstest::rstest;

use super::tests::{entry, named, plan, source, target};
use super::*;
use crate::catalog::desc::{ColumnDesc, ColumnSequence, Identity};
use crate::config::spec::TableInput;
use crate::plan::column::CopyFormat;
use crate::plan::fixtures::{self, column, inspected, table};

#[test]
fn equal_tables_are_copied_as_binary_by_these_statements() {
    let plan = plan(Mode::Truncate, vec![entry(|_| {})]).unwrap();
    assert_eq!(
        fixtures::runs(&plan, "TRUNCATE"),
        ["TRUNCATE TABLE ONLY \"public\".\"t\""]
    );
    assert!(fixtures::runs(&plan, fixtures::DEFER).is_empty());
    assert!(plan.warnings.is_empty());
    let table = &plan.tables[0];
    assert_eq!(table.format, CopyFormat::Binary);
    assert_eq!(
        table.copy_out,
        "COPY \"public\".\"t\" (\"id\", \"name\") TO STDOUT (FORMAT binary)"
    );
    assert_eq!(
        table.copy_in,
        "COPY \"public\".\"t\" (\"id\", \"name\") FROM STDIN (FORMAT binary)"
    );
    assert_eq!(table.rows_estimate, Some(10));
    assert!(table.warnings.is_empty());
}

#[test]
fn generated_identity_and_defaulted_columns() {
    let plan = plan(
        Mode::Append,
        vec![entry(|e| {
            target(e).columns[0].identity = Some(Identity::Always);
            target(e).columns[0].sequences = vec![ColumnSequence {
                name: QualifiedName::new("public", "t_id_seq"),
                may_set: true,
            }];
            target(e).columns.push(ColumnDesc {
                generated: Some("(id * 2)".to_owned()),
                ..column("g", "int4")
            });
            target(e).columns.push(ColumnDesc {
                not_null: true,
                has_default: true,
                ..column("d", "int4")
            });
            source(e).columns.push(ColumnDesc {
                generated: Some("(id * 2)".to_owned()),
                ..column("g", "int4")
            });
            source(e).columns.push(column("extra", "int4"));
        })],
    );
    let table = &plan.unwrap().tables[0];
    let names: Vec<_> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["id", "name"]);
    // What both sides compute is not copied, and compared.
    let compared: Vec<_> = table
        .comparison
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(compared, ["id", "name", "g"]);
    assert_eq!(
        table.warnings,
        [
            "only the target has d: filled by default",
            "only the source has extra: left out"
        ]
    );
    assert_eq!(table.sequences[0].column, named("id"));
    assert!(table.sequences[0].sql.contains("pg_catalog.max(\"id\")"));
}

#[test]
fn columns_where_and_set_shape_the_statements() {
    let plan = plan(
        Mode::Append,
        vec![entry(|e| {
            e.spec.columns = Some(vec![named("id")]);
            e.spec.filter = Some("id > 1 -- all but one".to_owned());
            e.spec.set = BTreeMap::from([(named("name"), "upper(other)".to_owned())]);
            e.set = BTreeMap::from([(named("name"), column("name", "text"))]);
            target(e).columns.push(column("unwanted", "text"));
            source(e).columns.push(column("unwanted", "text"));
        })],
    );
    let table = &plan.unwrap().tables[0];
    assert_eq!(
        table.copy_out,
        "COPY (SELECT \"id\", (upper(other)) AS \"name\" FROM ONLY \"public\".\"t\" \
         WHERE (id > 1 -- all but one\n)) TO STDOUT (FORMAT binary)"
    );
    assert_eq!(table.rows_estimate, None);
    assert!(table.warnings.is_empty(), "{:?}", table.warnings);
}

/// COPY by name reads an ordinary table without its children, and refuses generated columns.
#[rstest]
#[case::children(|e: &mut Inspected| e.spec.children = true, "FROM \"public\".\"t\")")]
#[case::generated(
    |e: &mut Inspected| source(e).columns[1].generated = Some("upper(other)".to_owned()),
    "FROM ONLY \"public\".\"t\")",
)]
#[case::view(|e: &mut Inspected| source(e).kind = RelationKind::View, "FROM \"public\".\"t\")")]
#[case::materialized(
    |e: &mut Inspected| source(e).kind = RelationKind::MaterializedView,
    "FROM \"public\".\"t\")",
)]
#[case::foreign(
    |e: &mut Inspected| source(e).kind = RelationKind::Foreign,
    "FROM ONLY \"public\".\"t\")",
)]
fn what_copy_cannot_read_by_name_is_queried(#[case] change: fn(&mut Inspected), #[case] end: &str) {
    let plan = plan(Mode::Append, vec![entry(change)]).unwrap();
    assert_eq!(
        plan.tables[0].copy_out,
        format!("COPY (SELECT \"id\", \"name\" {end} TO STDOUT (FORMAT binary)")
    );
}

#[test]
fn queries_partitioned_tables_and_quoted_names_in_sql() {
    let odd = table("Odd \"one\"", vec![column("a b", "int4")]);
    let query = {
        let mut entry = inspected(odd.clone(), odd.clone());
        entry.spec.input = TableInput::Query("SELECT 1 AS \"a b\" -- x".to_owned());
        entry.source.as_mut().unwrap().kind = RelationKind::Query;
        entry
    };
    let mut parted = inspected(odd.clone(), odd);
    for side in [&mut parted.source, &mut parted.target] {
        let relation = side.as_mut().unwrap();
        relation.kind = RelationKind::Partitioned;
        relation.name = QualifiedName::new("public", "p");
    }
    parted.spec.target = QualifiedName::new("public", "p");
    parted.spec.input = TableInput::Relation(QualifiedName::new("public", "p"));
    let plan = plan(Mode::Truncate, vec![query, parted]).unwrap();
    assert_eq!(
        fixtures::runs(&plan, "TRUNCATE"),
        ["TRUNCATE TABLE ONLY \"public\".\"Odd \"\"one\"\"\", \"public\".\"p\""]
    );
    assert_eq!(plan.tables[0].source, "(query)");
    assert_eq!(
        plan.tables[0].copy_out,
        "COPY (SELECT \"a b\" FROM (SELECT 1 AS \"a b\" -- x\n) AS \"source\") TO STDOUT (FORMAT binary)"
    );
    assert!(plan.tables[1].copy_out.contains("FROM \"public\".\"p\")"));
}

#[test]
fn tables_without_columns_are_copied_without_lists() {
    let plan = plan(
        Mode::Append,
        vec![inspected(table("z", vec![]), table("z", vec![]))],
    )
    .unwrap();
    let table = &plan.tables[0];
    assert_eq!(
        table.copy_out,
        "COPY (SELECT FROM ONLY \"public\".\"z\") TO STDOUT (FORMAT binary)"
    );
    assert_eq!(
        table.copy_in,
        "COPY \"public\".\"z\" FROM STDIN (FORMAT binary)"
    );
}
