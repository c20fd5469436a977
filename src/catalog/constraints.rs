//! The constraints that decide which rows a table accepts. Read for `on_error = "quarantine"` and for
//! partitions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::partitioning::Partitioning;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

const CONSTRAINTS: &str = include_str!("constraints.sql");

/// The constraints of one table that a plan needs to find rows which the target would reject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Constraints {
    /// Triggers that fire once for each statement that inserts.
    pub statement_triggers: Vec<String>,
    /// CHECK constraints.
    pub checks: Vec<CheckConstraint>,
    /// Unique indexes and exclusion constraints.
    pub uniques: Vec<Unique>,
    /// The conditions of the leaf partitions; None for one that takes every row.
    pub leaves: Option<Vec<Option<String>>>,
    /// The same of a partitioned table, by name.
    pub leaf_tables: Option<Vec<Leaf>>,
    /// The columns of the partition keys, at all levels; None if a key has an expression.
    pub partition_columns: Option<Vec<String>>,
    /// Texts of the partition keys that are equal have the same bytes.
    pub equal_by_bytes: bool,
    /// Its own partitions; None for a table that is not partitioned.
    pub partitioning: Option<Partitioning>,
    /// Its own foreign keys.
    pub foreign_keys: Vec<ForeignKeyLookup>,
    /// Constraints, unique indexes and NOT NULL columns that only its partitions have.
    pub of_partitions: Vec<String>,
}

/// A partition that holds rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Leaf {
    schema: String,
    name: String,
    /// It is a plain table.
    pub is_table: bool,
    /// The role may truncate it.
    pub may_truncate: bool,
    /// The condition of its rows; None if it takes every row.
    pub condition: Option<String>,
}

impl Leaf {
    /// Its name.
    pub fn table(&self) -> QualifiedName {
        QualifiedName::new(&self.schema, &self.name)
    }
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckConstraint {
    pub name: String,
    /// The columns that it reads.
    pub columns: Vec<String>,
}

/// A unique index or an exclusion constraint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Unique {
    pub name: String,
    /// It can only be made as a constraint.
    pub is_constraint: bool,
    /// The definition that follows the table's name in CREATE UNIQUE INDEX, or the constraint's name in ADD
    /// CONSTRAINT.
    pub definition: String,
}

/// A foreign key, with the operators that find the referenced row.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ForeignKeyLookup {
    /// The constraint's name.
    pub name: String,
    schema: String,
    table: String,
    /// The referenced table is partitioned.
    pub partitioned: bool,
    /// MATCH FULL.
    pub full: bool,
    /// The role may read the referenced table.
    pub readable: bool,
    /// The columns, pair by pair.
    pub columns: Vec<ReferenceColumn>,
}

/// One pair of columns of a foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReferenceColumn {
    /// The table's own column.
    pub from: String,
    /// The referenced column.
    pub to: String,
    /// The schema of the operator that compares them: `to OPERATOR(…) from`.
    pub schema: String,
    pub operator: String,
    /// It is an equality over one collation; not the `PERIOD` of a temporal key.
    pub equal: bool,
}

impl ForeignKeyLookup {
    /// The referenced table.
    pub fn to(&self) -> QualifiedName {
        QualifiedName::new(&self.schema, &self.table)
    }
}

/// Reads the constraints of these tables.
pub async fn constraints(
    target: &Session,
    names: &[QualifiedName],
) -> Result<BTreeMap<QualifiedName, Constraints>> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let what = "the constraints";
    let rows = target
        .checked(Phase::Inspect, what, CONSTRAINTS, &[&schemas, &relations])
        .await?;
    let mut all = BTreeMap::new();
    for row in rows {
        let name = QualifiedName::new(row.get::<String>(0)?, row.get::<String>(1)?);
        let json: String = row.get(2)?;
        let read = serde_json::from_str(&json).map_err(|error| {
            let message = format!("the constraints cannot be read: {error}");
            Error::new(ErrorKind::Bug, Phase::Inspect, target.side(), message)
                .at(target.server())
                .on(&name)
        })?;
        all.insert(name, read);
    }
    Ok(all)
}
