//! The attachments of a table: everything that a table which replaces it must have, too.
//!
//! Plain data: names and the server's own definitions, no OIDs. So the attachments of the old and the new
//! table can be compared.

use serde::Deserialize;

use super::sequence::SequenceSettings;

mod question;

pub use question::{AttachmentsByTable, Question, attachments};

/// The attachments of one ordinary table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Attachments {
    pub schema: String,
    pub name: String,
    /// Both, quoted as the server does in its definitions.
    pub sql_name: String,
    pub owner: String,
    /// UNLOGGED.
    pub unlogged: bool,
    /// TEMPORARY.
    pub temporary: bool,
    /// Its access method, `heap` as a rule.
    pub access_method: Option<String>,
    /// Its tablespace, if it isn't the database's.
    pub tablespace: Option<String>,
    /// `fillfactor=70`.
    pub options: Vec<String>,
    /// The same of its TOAST table.
    pub toast_options: Vec<String>,
    /// ENABLE ROW LEVEL SECURITY.
    pub row_security: bool,
    /// FORCE ROW LEVEL SECURITY.
    pub force_row_security: bool,
    /// `d` default, `n` nothing, `f` full, `i` an index.
    pub replica_identity: String,
    pub comment: Option<String>,
    /// CREATE TABLE … OF.
    pub typed: bool,
    /// No privilege was ever granted or revoked.
    pub acl_is_default: bool,
    /// May the role create objects in the schema?
    pub may_create: bool,
    /// May the owner?
    pub owner_may_create: bool,
    /// Is the role a superuser?
    pub superuser: bool,
    /// May the role give a table to the owner?
    pub may_set_owner: bool,
    /// Tablespaces of the table and its indexes in which the role may not create objects.
    pub denied_tablespaces: Vec<String>,
    /// Grantors of its privileges that the role may not become, so that it cannot repeat the grants.
    pub denied_grantors: Vec<String>,
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// A publication of all tables or of the schema would publish a table under any name.
    pub published_unnamed: bool,
    /// The parents of plain inheritance.
    pub inherits: Vec<String>,
    /// Its parent, if it is a partition.
    pub partition: Option<Partition>,
    /// The privileges and comments of its row type.
    pub row_type: RowType,
    /// Roles that get default privileges on each new table or sequence of the role; None is PUBLIC.
    pub default_grantees: Vec<Option<String>>,
    /// Privileges on the table and its columns, in the order in which they were granted.
    pub grants: Vec<Grant>,
    /// Its live columns.
    pub columns: Vec<AttachedColumn>,
    /// CHECK constraints, and since version 18 NOT NULL ones.
    pub checks: Vec<CheckOrNotNull>,
    /// Its own foreign keys.
    pub foreign_keys: Vec<AttachedForeignKey>,
    /// Its valid indexes.
    pub indexes: Vec<Index>,
    /// Invalid indexes, which a failed CREATE INDEX CONCURRENTLY leaves behind.
    pub invalid_indexes: Vec<String>,
    /// Its own triggers, and a partition's copies of its parent's.
    pub triggers: Vec<AttachedTrigger>,
    /// The states (`O`, `D`, …) that occur among the triggers of its constraints.
    pub constraint_trigger_states: Vec<String>,
    /// Its row security policies.
    pub policies: Vec<Policy>,
    /// Its extended statistics.
    pub statistics: Vec<Statistics>,
    /// The publications that name it.
    pub publications: Vec<Publication>,
    /// Its security labels, and those of its columns.
    pub labels: Vec<Label>,
    /// Views that read it themselves.
    pub views: Vec<View>,
    /// Other objects that refer to the table by its OID: `function f()`, `materialized view m`.
    pub bound: Vec<String>,
}

/// The parent of a partition, and its bounds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Partition {
    /// The parent's schema.
    pub schema: String,
    /// The parent's name.
    pub name: String,
    /// May the role alter the parent?
    pub owned: bool,
    /// DETACH PARTITION … CONCURRENTLY has begun and is not finished.
    pub detaching: bool,
    /// The DEFAULT partition beside it.
    pub default: Option<TableName>,
    /// The DEFAULT partition has a CHECK constraint that excludes the rows of this partition.
    pub default_excludes: bool,
    /// `FOR VALUES …` or `DEFAULT`.
    pub bound: String,
    /// The bound as a condition over the columns.
    pub condition: Option<String>,
}

/// A table's name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

/// The privileges and comments of a table's row type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RowType {
    pub comment: Option<String>,
    /// The comment of the type of arrays of it.
    pub array_comment: Option<String>,
    /// No privilege was ever granted or revoked.
    pub acl_is_default: bool,
    /// Its privileges.
    pub grants: Vec<Grant>,
}

/// One privilege of one role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Grant {
    /// The column; None for the whole table.
    pub column: Option<String>,
    /// Who granted it.
    pub grantor: String,
    /// Who has it; None is PUBLIC.
    pub grantee: Option<String>,
    /// `SELECT`.
    pub privilege: String,
    /// WITH GRANT OPTION.
    pub grantable: bool,
}

/// A column and all that belongs to it alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AttachedColumn {
    pub name: String,
    /// `numeric(12,2)`.
    #[serde(rename = "type")]
    pub type_text: String,
    /// Its collation, quoted, if it isn't its type's.
    pub collation: Option<String>,
    /// May the role use the type for columns?
    pub may_use_type: bool,
    /// NOT NULL.
    pub not_null: bool,
    /// Its default, or its generation expression.
    pub expression: Option<String>,
    /// `s` stored, `v` virtual, or empty.
    pub generated: String,
    /// `a` always, `d` by default, or empty.
    pub identity: String,
    /// STORAGE, if it isn't its type's.
    pub storage: Option<String>,
    /// COMPRESSION, if it isn't the default.
    pub compression: Option<String>,
    /// Its statistics target.
    pub statistics: Option<i32>,
    /// `n_distinct=5`.
    pub options: Vec<String>,
    pub comment: Option<String>,
    /// The sequence of an identity column. Since version 17, a partition has none of its own.
    pub identity_sequence: Option<IdentitySequence>,
    /// The sequences that it owns otherwise.
    pub sequences: Vec<OwnedSequence>,
}

/// The sequence of an identity column, which cannot be given to another table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IdentitySequence {
    pub schema: String,
    pub name: String,
    #[serde(flatten)]
    pub settings: SequenceSettings,
    /// `bigint`: need not be the column's.
    #[serde(rename = "type")]
    pub type_text: String,
    /// UNLOGGED: need not be as the table.
    pub unlogged: bool,
    pub comment: Option<String>,
    /// No privilege was ever granted or revoked.
    pub acl_is_default: bool,
    /// Its privileges.
    pub grants: Vec<Grant>,
}

/// A sequence that a column owns, and that can be given to another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OwnedSequence {
    pub schema: String,
    pub name: String,
}

/// A CHECK or NOT NULL constraint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CheckOrNotNull {
    pub name: String,
    /// `CHECK (…) NOT VALID`.
    pub definition: String,
    /// NOT NULL.
    pub not_null: bool,
    /// It refers to the whole row by the table's name.
    pub whole_row: bool,
    pub comment: Option<String>,
}

/// A foreign key of the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AttachedForeignKey {
    pub name: String,
    /// The schema of the referenced table.
    pub to_schema: String,
    /// The name of the referenced table.
    pub to_name: String,
    /// `FOREIGN KEY (a, b) REFERENCES `.
    pub head: String,
    /// `(x, y) ON DELETE …`; None for a form that is not known.
    pub tail: Option<String>,
    /// May the role reference the table?
    pub may_reference: bool,
    /// It is validated: all rows have a referenced row.
    pub validated: bool,
    /// Schemas and names of the partitions of the referenced table.
    pub to_parts: Vec<(String, String)>,
    /// The states (`O`, `D`, …) of its triggers on the referenced table.
    pub states_there: Vec<String>,
    pub comment: Option<String>,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Index {
    pub name: String,
    /// UNIQUE.
    pub unique: bool,
    /// `USING btree (…)`; None for a form that is not known.
    pub tail: Option<String>,
    /// Its tablespace, if it isn't the database's.
    pub tablespace: Option<String>,
    /// `fillfactor=70`.
    pub options: Vec<String>,
    /// The parent's index that it is a partition of.
    pub parent: Option<String>,
    /// It refers to the whole row by the table's name.
    pub whole_row: bool,
    /// The table is CLUSTERed by it.
    pub clustered: bool,
    /// It is the replica identity.
    pub replica_identity: bool,
    pub comment: Option<String>,
    /// Column numbers and statistics targets that differ from the default.
    pub statistics: Vec<(i32, i32)>,
    pub constraint: Option<IndexConstraint>,
}

/// A PRIMARY KEY, UNIQUE or EXCLUDE constraint; its name is its index's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IndexConstraint {
    /// `p`, `u` or `x`.
    pub kind: String,
    /// The server's definition.
    pub definition: String,
    /// It can be made from a finished index.
    pub plain: bool,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub deferred: bool,
    pub comment: Option<String>,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AttachedTrigger {
    pub name: String,
    /// The server's definition.
    pub definition: String,
    /// `O`, `D`, `R` or `A`.
    pub enabled: String,
    pub comment: Option<String>,
    /// The same of the parent's trigger, of which it is a partition's copy.
    pub parent_enabled: Option<String>,
    pub function: String,
    /// May the role execute that function?
    pub may_execute: bool,
}

/// A row security policy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Policy {
    pub name: String,
    /// PERMISSIVE or RESTRICTIVE.
    pub permissive: bool,
    /// `*`, `r`, `a`, `w` or `d`.
    pub command: String,
    /// To whom; None is PUBLIC.
    pub roles: Vec<Option<String>>,
    /// USING.
    pub using: Option<String>,
    /// WITH CHECK.
    pub check: Option<String>,
    pub comment: Option<String>,
}

/// Extended statistics.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Statistics {
    pub schema: String,
    pub name: String,
    pub owner: String,
    /// Is the role a member of it?
    pub owned: bool,
    /// May the role and the owner create objects in the schema?
    pub may_create: bool,
    /// They refer to the whole row by the table's name.
    pub whole_row: bool,
    /// Their statistics target.
    pub target: Option<i32>,
    pub comment: Option<String>,
    /// `(ndistinct) ON a, b`; None for a form that is not known.
    pub middle: Option<String>,
}

/// A publication that names the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Publication {
    pub name: String,
    /// May the role alter it?
    pub owned: bool,
    /// Its columns, if not all.
    pub columns: Option<Vec<String>>,
    /// Its row filter.
    pub filter: Option<String>,
}

/// A security label.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Label {
    /// Whose.
    pub provider: String,
    pub label: String,
    /// The column; None for the table.
    pub column: Option<String>,
}

/// A view that reads the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct View {
    pub schema: String,
    pub name: String,
    pub owner: String,
    /// May the role alter it?
    pub owned: bool,
    /// TEMPORARY, of any session.
    pub temporary: bool,
    /// `security_barrier=true`.
    pub options: Vec<String>,
    /// Its query.
    pub definition: String,
}
