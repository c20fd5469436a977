//! The input of planning how differences are found.

use crate::catalog::change_mark::ChangeState;
use crate::catalog::desc::RelationDesc;
use crate::config::spec::{JobSpec, TableSpec};
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::columns::ColumnPair;
use crate::plan::compare::Comparison;

/// The input of `stream.rs` and `changed.rs`.
pub struct StreamInput<'a> {
    pub job: &'a JobSpec,
    pub spec: &'a TableSpec,
    pub source: &'a RelationDesc,
    pub target: &'a RelationDesc,
    pub pairs: &'a [ColumnPair<'a>],
    pub columns: &'a [ColumnPlan],
    pub format: &'a CopyFormat,
    /// The SELECT that reads the source.
    pub select: &'a str,
    pub comparison: &'a Comparison,
    /// What the last run's mark says, where it was read.
    pub changes: Option<&'a ChangeState>,
}
