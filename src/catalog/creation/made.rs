//! What tables and types are made of: names and the server's own definitions.

use serde::Deserialize;

use super::Name;
use crate::catalog::sequence::SequenceSettings;
use crate::pg::ident::QualifiedName;

/// A table, or a partition of one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeTable {
    /// The table of the job whose partition it is, or itself.
    pub root: Name,
    pub schema: String,
    pub name: String,
    /// `r`, `p`, or `f` for a partition that is a foreign table.
    pub kind: String,
    /// How many partitioned tables of the tree are above it.
    pub depth: i32,
    /// The table that it is a partition of.
    pub parent: Option<Name>,
    /// `FOR VALUES …` or `DEFAULT`.
    pub bound: Option<String>,
    /// `RANGE (at)`.
    pub partition_key: Option<String>,
    pub unlogged: bool,
    pub temporary: bool,
    pub access_method: Option<String>,
    /// Its tablespace, if it isn't the database's.
    pub tablespace: Option<String>,
    /// `fillfactor=70`.
    pub options: Vec<String>,
    /// The same of its TOAST table.
    pub toast_options: Vec<String>,
    pub comment: Option<String>,
    pub columns: Vec<MadeColumn>,
    pub checks: Vec<MadeCheck>,
    pub foreign_keys: Vec<MadeKey>,
    /// Valid indexes, the primary key first.
    pub indexes: Vec<MadeIndex>,
    /// What is not made, as a person says it.
    pub left_out: Vec<String>,
}

impl MadeTable {
    /// As the rest of the program names relations.
    pub fn qualified(&self) -> QualifiedName {
        QualifiedName::new(&self.schema, &self.name)
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeColumn {
    pub name: String,
    /// `numeric(12,2)`.
    #[serde(rename = "type")]
    pub type_text: String,
    pub type_name: Name,
    /// Its collation, if it isn't the type's.
    pub collation: Option<Name>,
    pub not_null: bool,
    /// Since version 18, NOT NULL is a constraint.
    pub not_null_constraint: Option<NotNull>,
    /// The default, or what it is generated from.
    pub expression: Option<String>,
    /// Empty, `s` stored or `v` virtual.
    pub generated: String,
    /// Empty, `a` always or `d` by default.
    pub identity: String,
    /// SET STORAGE, if it isn't the type's.
    pub storage: Option<String>,
    pub compression: Option<String>,
    pub comment: Option<String>,
    pub sequences: Vec<MadeSequence>,
}

/// A NOT NULL constraint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NotNull {
    pub name: String,
    pub no_inherit: bool,
}

/// A sequence of a column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeSequence {
    pub schema: String,
    pub name: String,
    /// It is that of an identity column.
    pub internal: bool,
    /// The column owns it.
    pub owned: bool,
    /// The literal that stands before `::regclass` in the default.
    pub literal: String,
    #[serde(rename = "type")]
    pub type_text: String,
    pub unlogged: bool,
    #[serde(flatten)]
    pub settings: SequenceSettings,
    pub comment: Option<String>,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeCheck {
    pub name: String,
    pub definition: String,
    /// Not NOT VALID.
    pub validated: bool,
    /// The columns that it uses; of a domain, none.
    #[serde(default)]
    pub columns: Vec<String>,
    pub comment: Option<String>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeKey {
    pub name: String,
    pub comment: Option<String>,
    pub references: Name,
    pub deferrable: bool,
    /// Its definition up to the referenced table.
    pub head: String,
    /// The rest of it; None if it could not be taken apart.
    pub tail: Option<String>,
    pub columns: Vec<String>,
    pub referenced_columns: Vec<String>,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeIndex {
    pub name: String,
    pub unique: bool,
    pub is_primary: bool,
    /// Its definition after the table's name; None if it could not be taken apart.
    pub tail: Option<String>,
    pub tablespace: Option<String>,
    pub options: Vec<String>,
    /// The columns that it uses.
    pub columns: Vec<String>,
    pub comment: Option<String>,
    /// The constraint that it belongs to.
    pub constraint: Option<IndexConstraint>,
}

/// PRIMARY KEY, UNIQUE or EXCLUDE.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IndexConstraint {
    pub definition: String,
    pub comment: Option<String>,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeType {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `pg_type.typtype`, `array`, or `row` for the row type of a table.
    pub kind: String,
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// The types that it is made of.
    pub parts: Vec<u32>,
    /// Of an enum.
    pub labels: Vec<String>,
    /// Of a domain.
    pub base: Option<String>,
    pub not_null: bool,
    pub default: Option<String>,
    pub collation: Option<String>,
    pub checks: Vec<MadeCheck>,
    /// Of a composite type.
    pub attributes: Vec<MadeAttribute>,
    /// The table whose row type it is.
    pub row_of: Option<Name>,
    pub range: Option<MadeRange>,
    pub comment: Option<String>,
}

/// An attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeAttribute {
    pub name: String,
    #[serde(rename = "type")]
    pub type_text: String,
    pub collation: Option<String>,
}

/// What a range type is made of.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MadeRange {
    pub subtype: String,
    pub operator_class: String,
    pub collation: Option<String>,
    pub canonical: Option<String>,
    pub difference: Option<String>,
    pub multirange: Option<Name>,
}

/// What there is on the target, of what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Present {
    pub schemas: Vec<String>,
    pub types: Vec<Name>,
    pub collations: Vec<Name>,
    pub sequences: Vec<Name>,
    pub access_methods: Vec<String>,
    pub tablespaces: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    pub schemas: Vec<&'a str>,
    pub types: Vec<&'a Name>,
    pub collations: Vec<&'a Name>,
    pub sequences: Vec<&'a Name>,
    pub access_methods: Vec<&'a str>,
    pub tablespaces: Vec<&'a str>,
}
