//! One table of a job, as both servers have it.

use std::collections::BTreeMap;

use super::attachments::Attachments;
use super::change_mark::ChangeState;
use super::constraints::Constraints;
use super::creation::Creation;
use super::desc::{ColumnDesc, RelationDesc};
use super::load_state::LoadState;
use super::mark::WatermarkState;
use crate::config::spec::TableSpec;
use crate::pg::ident::Ident;

/// One table of a job with the descriptions of both servers: the input of planning.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// The specification of the table.
    pub spec: TableSpec,
    /// The source's relation; None if the source has no such relation.
    pub source: Option<RelationDesc>,
    /// The target's relation; None if the target has no such relation.
    pub target: Option<RelationDesc>,
    /// The target had no rows when it was described; asked only where the mode loads such a table differently.
    pub target_is_empty: bool,
    /// What this run makes on the target for it.
    pub creation: Option<Creation>,
    /// The attachments of the target; read only if the mode needs them.
    pub attachments: Option<Attachments>,
    /// The constraints of the target; read only for `on_error = "quarantine"` and for partitions.
    pub constraints: Option<Constraints>,
    /// The result columns of the `set` expressions, by target column.
    pub set: BTreeMap<Ident, ColumnDesc>,
    /// For a table with a watermark: how far it was read, and where the source is now.
    pub progress: Option<WatermarkState>,
    /// What the last run's mark says, where a run may look only for what has changed since.
    pub changes: Option<ChangeState>,
    /// What a run that died has loaded, where this run may keep it.
    pub load: Option<LoadState>,
}
