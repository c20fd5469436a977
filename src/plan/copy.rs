//! What a plan is: everything that moving one table needs, decided before a row moves.

use crate::catalog::desc::RelationKind;
use crate::pg::ident::{Ident, QualifiedName};

/// How one table will be copied.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyPlan {
    /// What is read, for people: a relation's name, or `(query)`.
    pub source: String,
    /// The relation that is written.
    pub target: QualifiedName,
    /// What the target is.
    pub target_kind: RelationKind,
    /// The columns that are written, in the order of both COPY statements.
    pub columns: Vec<ColumnPlan>,
    /// The COPY format and, for text, why.
    pub format: CopyFormat,
    /// `COPY (SELECT …) TO STDOUT (…)`.
    pub copy_out: String,
    /// `COPY … FROM STDIN (…)`.
    pub copy_in: String,
    /// Sequences to move past the copied values.
    pub sequences: Vec<SequencePlan>,
    /// Rows expected, for the progress bar.
    pub rows_estimate: Option<u64>,
    /// What works but deserves a word.
    pub warnings: Vec<String>,
}

impl CopyPlan {
    /// The target as a FROM item: without the rows of a plain table's inheritance children, which
    /// are not this table's.
    pub fn target_from(&self) -> String {
        match self.target_kind {
            RelationKind::Table => format!("ONLY {}", self.target.sql()),
            RelationKind::Partitioned
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::Foreign
            | RelationKind::Query => self.target.sql(),
        }
    }
}

/// One column of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnPlan {
    /// The target's column.
    pub name: Ident,
    /// The source's type, for people.
    pub source_type: String,
    /// The target's type, for people.
    pub target_type: String,
    /// Why this column needs text, if it does.
    pub needs_text: Option<FormatReason>,
}

/// A sequence that belongs to a copied column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePlan {
    /// The column.
    pub column: Ident,
    /// The sequence.
    pub sequence: QualifiedName,
}

/// The format of both COPY statements; the reason travels with the choice.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyFormat {
    /// `FORMAT binary`.
    Binary,
    /// `FORMAT text`, because of this.
    Text(FormatReason),
}

/// Why text and not binary.
#[derive(Clone, Debug, PartialEq)]
pub enum FormatReason {
    /// `format = "text"`.
    Configured,
    /// This column's types differ in a way that only text carries.
    TypeDiffers {
        /// The column, and the path within its type: `address.zip`.
        attribute: String,
        /// The source's type.
        source: String,
        /// The target's type.
        target: String,
    },
    /// A type has no binary output or input function.
    NoBinaryIo {
        /// The column, and the path within its type.
        attribute: String,
        /// The type.
        ty: String,
        /// The side that lacks it: "source" or "target".
        side: &'static str,
    },
    /// Binary would embed OIDs, which mean something else on the target.
    EmbedsOids {
        /// The column, and the path within its type.
        attribute: String,
        /// The type.
        ty: String,
    },
}
