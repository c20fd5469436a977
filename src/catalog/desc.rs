//! The description of a relation: plain data, read once under a lock. Planning uses it without I/O.

use std::collections::BTreeMap;

use crate::pg::ident::{Ident, QualifiedName};

/// A table, view, or the result of a query, on one server.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationDesc {
    /// Its name; for a query, the name of the target it feeds.
    pub name: QualifiedName,
    /// The kind of relation.
    pub kind: RelationKind,
    /// `server_version_num`, e.g. 150018.
    pub server_version: u32,
    /// Live columns in `attnum` order, generated ones included.
    pub columns: Vec<ColumnDesc>,
    /// Primary key columns, in key order; empty when there is none.
    pub primary_key: Vec<Ident>,
    /// Unique indexes and exclusion constraints, the primary key first; then those that only a partition
    /// has.
    pub unique_indexes: Vec<UniqueIndex>,
    /// Foreign keys of this table, of its partitions, and of the partitioned tables above it.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys of any table that reference it, its partitions, or the partitioned tables above it.
    pub referenced_by: Vec<ForeignKey>,
    /// Names of user rules (not a view's `_RETURN`).
    pub rules: Vec<String>,
    /// Names of user triggers that fire in this session, its partitions' included.
    pub triggers: Vec<String>,
    /// Row security is enabled and applies to the role that is logged in.
    pub row_security_applies: bool,
    /// Its inheritance children at any level (not partitions): a scan without ONLY reads them, too.
    pub children: Vec<QualifiedName>,
    /// The partitioned tables that it is a partition of, nearest first.
    pub ancestors: Vec<QualifiedName>,
    /// The estimated number of rows from `reltuples` (sum of the partitions); None if it was never
    /// analyzed.
    pub rows_estimate: Option<u64>,
    /// Bytes on disk (sum of the partitions).
    pub bytes_estimate: u64,
    /// On the source: the number of blocks, if ranges of blocks can be read.
    pub blocks: Option<u64>,
    /// The privileges of the current role.
    pub privileges: Privileges,
    /// The database's `lc_monetary`, which money's text output depends on.
    pub lc_monetary: String,
}

impl RelationDesc {
    /// The description of a query's result. Missing privileges are found when the query's relations are
    /// locked, or when it runs.
    pub fn query(
        name: QualifiedName,
        server_version: u32,
        columns: Vec<ColumnDesc>,
        lc_monetary: String,
    ) -> Self {
        RelationDesc {
            name,
            kind: RelationKind::Query,
            server_version,
            columns,
            primary_key: Vec::new(),
            unique_indexes: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            rules: Vec::new(),
            triggers: Vec::new(),
            row_security_applies: false,
            children: Vec::new(),
            ancestors: Vec::new(),
            rows_estimate: None,
            bytes_estimate: 0,
            blocks: None,
            privileges: Privileges {
                select: true,
                usage: true,
                ..Privileges::default()
            },
            lc_monetary,
        }
    }
}

/// The kinds of relations that can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A partitioned parent.
    Partitioned,
    View,
    MaterializedView,
    /// A foreign table.
    Foreign,
    /// The result of a query.
    Query,
    File,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDesc {
    pub name: Ident,
    /// Its type.
    pub ty: TypeDesc,
    /// `atttypmod`, -1 for none.
    pub typmod: i32,
    /// `format_type()`'s text, for people: `numeric(12,2)`.
    pub type_text: String,
    /// NOT NULL.
    pub not_null: bool,
    /// It has a default, also by a domain or as an identity column.
    pub has_default: bool,
    /// GENERATED ALWAYS AS (…), stored or virtual: the expression.
    pub generated: Option<String>,
    /// GENERATED … AS IDENTITY.
    pub identity: Option<Identity>,
    /// The sequences that give its values.
    pub sequences: Vec<ColumnSequence>,
    /// May the role select this column (source) or insert it (target)?
    pub privileged: bool,
}

impl ColumnDesc {
    /// A column of a query or an expression.
    pub fn computed(name: &str, ty: TypeDesc, typmod: i32, type_text: String) -> Self {
        ColumnDesc {
            name: Ident::new(name),
            ty,
            typmod,
            type_text,
            not_null: false,
            has_default: false,
            generated: None,
            identity: None,
            sequences: Vec::new(),
            privileged: true,
        }
    }
}

/// A sequence that generates a column's values: the column's own, the one in its default, or that of the
/// same column of a partitioned table above this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSequence {
    pub name: QualifiedName,
    /// May the role move it past the column's values: USAGE on its schema, SELECT and UPDATE on the
    /// sequence, SELECT on the column?
    pub may_set: bool,
}

/// GENERATED … AS IDENTITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// GENERATED ALWAYS.
    Always,
    /// GENERATED BY DEFAULT.
    ByDefault,
}

/// A type with all types that it consists of, because OIDs are different on another server.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeDesc {
    /// Schema and name.
    pub name: QualifiedName,
    /// The extension that owns it.
    pub extension: Option<String>,
    /// Has a binary output function.
    pub can_send: bool,
    /// Has a binary input function.
    pub can_receive: bool,
    /// The structure of the type.
    pub shape: TypeShape,
}

/// The structure of a type.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeShape {
    /// A base type.
    Base,
    /// An enum and its labels, in order.
    Enum(Vec<String>),
    /// A domain, its base type and that one's typmod.
    Domain {
        /// The base type.
        base: Box<TypeDesc>,
        /// `typtypmod`.
        typmod: i32,
    },
    /// A composite's attributes, in order.
    Composite(Vec<AttributeDesc>),
    /// A range over its subtype.
    Range(Box<TypeDesc>),
    /// A multirange over its range.
    Multirange(Box<TypeDesc>),
    /// An array of its elements.
    Array(Box<TypeDesc>),
    /// A pseudo-type, which no table column has.
    Pseudo,
}

/// One attribute of a composite type.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeDesc {
    pub name: String,
    /// Its type.
    pub ty: TypeDesc,
    pub typmod: i32,
}

/// A foreign key, as it was declared: one on a partitioned table, whatever the number of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The table that has it.
    pub from: QualifiedName,
    /// The table that it points to.
    pub to: QualifiedName,
    /// The partitioned tables above `from`, nearest first: TRUNCATE of one of them truncates `from`.
    pub from_ancestors: Vec<QualifiedName>,
    /// It can be checked at COMMIT instead of after each statement.
    pub deferrable: bool,
}

/// A unique index or an exclusion constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueIndex {
    /// The index's name.
    pub name: String,
    /// Unique over its columns in the whole table: valid, not partial, without expressions, no exclusion
    /// constraint, not of one partition.
    pub is_plain: bool,
    /// Checked row by row; not DEFERRABLE.
    pub immediate: bool,
    /// Its columns, in index order; not those of INCLUDE.
    pub columns: Vec<KeyColumn>,
}

/// One column of a unique index, and the equality that the index uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column.
    pub name: Ident,
    /// The equality of its operator class.
    pub equality: OperatorName,
    /// The index's collation, if it differs from the column's.
    pub collation: Option<QualifiedName>,
    /// The equality supports hash joins, and `merges` merge joins: FULL JOIN needs one of them.
    pub hashes: bool,
    /// See `hashes`.
    pub merges: bool,
    /// Equal values have the same bytes. This is false for `citext`, `numeric` (1.0 = 1.00) and
    /// nondeterministic collations.
    pub equal_is_identical: bool,
}

/// An operator's name with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorName {
    pub schema: Ident,
    /// The operator.
    pub symbol: String,
}

/// The action of ON DELETE or ON UPDATE on referencing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferentialAction {
    /// CASCADE.
    Cascade,
    /// SET NULL.
    SetNull,
    /// SET DEFAULT.
    SetDefault,
}

/// A foreign key that changes or looks up rows when referenced rows change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAction {
    /// The constraint's name.
    pub name: String,
    /// The table that has it.
    pub table: QualifiedName,
    /// The topmost partitioned table above it; without one, the table itself.
    pub from: QualifiedName,
    /// The same for the table that it points to.
    pub to: QualifiedName,
    /// Its columns.
    pub from_columns: Vec<Ident>,
    /// The referenced columns.
    pub to_columns: Vec<Ident>,
    /// A referenced column is generated: it may change with any other column.
    pub to_generated: bool,
    /// The action when a referenced row is deleted; None for NO ACTION and RESTRICT, which only check for
    /// rows.
    pub on_delete: Option<ReferentialAction>,
    /// The action when the referenced columns are updated.
    pub on_update: Option<ReferentialAction>,
    /// The rows that it changes fire triggers or rules.
    pub runs_code: bool,
}

/// The foreign keys that may change or look up rows when rows of some tables change, directly or through
/// each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyActions {
    /// The topmost partitioned table above each of these tables; without one, the table itself.
    pub tops: BTreeMap<QualifiedName, QualifiedName>,
    pub keys: Vec<KeyAction>,
}

/// The privileges of the current role on a relation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// SELECT on the whole table.
    pub select: bool,
    /// INSERT on the whole table.
    pub insert: bool,
    /// UPDATE on the whole table.
    pub update: bool,
    /// DELETE.
    pub delete: bool,
    /// TRUNCATE.
    pub truncate: bool,
    /// Member of the owning role.
    pub owner: bool,
    /// USAGE on its schema.
    pub usage: bool,
    /// May ANALYZE it.
    pub analyze: bool,
    /// May create temporary tables in the database.
    pub temporary: bool,
    /// May set `session_replication_role`.
    pub skip_triggers: bool,
}

impl ReferentialAction {
    /// As in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            ReferentialAction::Cascade => "CASCADE",
            ReferentialAction::SetNull => "SET NULL",
            ReferentialAction::SetDefault => "SET DEFAULT",
        }
    }
}

impl RelationKind {
    /// It may have inheritance children, whose rows only a scan without ONLY reads.
    pub fn has_own_rows(self) -> bool {
        matches!(self, RelationKind::Table | RelationKind::Foreign)
    }

    /// The name of the kind in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            RelationKind::Table => "table",
            RelationKind::Partitioned => "partitioned table",
            RelationKind::View => "view",
            RelationKind::MaterializedView => "materialized view",
            RelationKind::Foreign => "foreign table",
            RelationKind::Query => "query",
            RelationKind::File => "file",
        }
    }
}

impl RelationDesc {
    /// The column of this name.
    pub fn column(&self, name: &Ident) -> Option<&ColumnDesc> {
        self.columns.iter().find(|column| column.name == *name)
    }

    /// Do the same constraints and triggers apply to written rows as in this other description?
    pub fn keeps_effects_of(&self, other: &RelationDesc) -> bool {
        self.unique_indexes == other.unique_indexes
            && self.foreign_keys == other.foreign_keys
            && self.referenced_by == other.referenced_by
            && self.triggers == other.triggers
    }
}

impl TypeDesc {
    /// Is it built into PostgreSQL, so that its OID is the same on every server?
    pub fn is_builtin(&self) -> bool {
        self.name.schema.as_str() == "pg_catalog" && self.extension.is_none()
    }
}
