//! The settings of a job that the plan of a table needs.

use crate::catalog::desc::KeyActions;
use crate::pg::ident::QualifiedName;
use crate::plan::shared::Shared;

/// The input of a table's plan besides the table.
pub struct Setting<'a> {
    /// The position of the table in the job, which makes names unique.
    pub number: usize,
    /// Source and target are the same database of the same server.
    pub same_place: bool,
    /// Set if several workers load.
    pub shared: Option<&'a Shared>,
    /// The tables of the job that its foreign keys reference.
    pub refers_to: Vec<QualifiedName>,
    /// All targets of the job.
    pub targets: &'a [QualifiedName],
    /// Foreign keys that may change rows when rows of the targets change.
    pub actions: &'a KeyActions,
}
