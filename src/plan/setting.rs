//! The settings of a job that the plan of a table needs.

use crate::catalog::desc::KeyActions;
use crate::pg::ident::QualifiedName;
use crate::plan::shared::Shared;

/// What the plan of a table has to know of its job.
pub struct Setting<'a> {
    /// Tells the table from the job's others.
    pub number: usize,
    /// Source and target are one database of one server.
    pub same_place: bool,
    /// Where several workers load.
    pub shared: Option<&'a Shared>,
    /// The tables of the job that its foreign keys point to.
    pub refers_to: Vec<QualifiedName>,
    /// All targets of the job.
    pub targets: &'a [QualifiedName],
    /// Foreign keys that may change rows when rows of the targets change.
    pub actions: &'a KeyActions,
}
