//! How a partitioned table is cut, and its partitions.

use serde::Deserialize;

use crate::pg::ident::QualifiedName;

/// One partitioned table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Partitioning {
    /// `r`, `l` or `h`.
    pub strategy: String,
    /// The column of its key; None where the key has several, or an expression.
    pub column: Option<String>,
    /// That column's type, without a modifier.
    pub ty: Option<String>,
    /// The role may attach partitions.
    pub is_owner: bool,
    /// Its own partitions, in the order in which they were made.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Partition {
    schema: String,
    name: String,
    /// `FOR VALUES …` or `DEFAULT`.
    pub bound: String,
    /// It is a plain table.
    pub is_table: bool,
    /// The role may make tables in its schema.
    pub may_create: bool,
    /// UNLOGGED.
    pub unlogged: bool,
    /// Storage options, as WITH takes them.
    pub options: Option<String>,
    /// Its tablespace, unless it is the database's.
    pub tablespace: Option<String>,
    /// Its owner, unless that is the role.
    pub owner: Option<String>,
    /// What it grants to other roles.
    pub grants: Vec<Grant>,
    /// What its parent does not have: constraints, indexes, triggers and the like.
    pub own: Vec<String>,
}

/// A privilege on a partition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// The privilege.
    pub privilege: String,
    /// The role, quoted; or PUBLIC.
    pub grantee: String,
    /// WITH GRANT OPTION.
    pub grantable: bool,
}

impl Partition {
    /// Its name.
    pub fn name(&self) -> QualifiedName {
        QualifiedName::new(&self.schema, &self.name)
    }

    /// It takes what no other one does.
    pub fn is_default(&self) -> bool {
        self.bound == "DEFAULT"
    }
}
