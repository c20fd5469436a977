//! A target without rows: `merge` and `upsert` load it as `append` does, without staging.
//!
//! The run checks again that the target is empty, after it has locked it against DDL. Rows that other sessions
//! insert later have other keys, or one of the two transactions fails at the unique index.

use super::parts::Parts;
use super::source_key::SourceKey;
use super::types::Staged;
use crate::catalog::desc::RelationKind;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, OnError};
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::partitions::types::Partitions;
use crate::plan::sql;

/// May the rows of this table be copied into the target itself?
///
/// Not if a trigger or rule could change them, nor if the run sets the time of writing, and not if the source could send a row that only staging
/// describes well: a NULL or repeated key, or one without a partition.
pub(super) fn may_load_directly(
    job: &JobSpec,
    inspected: &Inspected,
    parts: &Parts<'_>,
    staged: &Staged,
) -> bool {
    let target = parts.target;
    // COPY fills a column that it does not write by its default.
    let is_left_null = |name: &Ident| target.column(name).is_some_and(|c| !c.has_default);
    parts.spec.synced_at.is_none()
        && parts.spec.source_value.is_none()
        && parts.spec.on_missing.as_ref().is_none_or(is_left_null)
        && inspected.target_is_empty
        // Its statements may insert rows, which are compared with the source's.
        && job.sql.before_load.is_empty()
        && job.mode.compares()
        && job.on_error == OnError::Abort
        && job.loaders() == 1
        && target.kind == RelationKind::Table
        && target.triggers.is_empty()
        && target.rules.is_empty()
        && staged.partitionless.is_none()
        && parts.source_key == SourceKey::CERTAIN
}

/// Decides which tables are loaded directly: those that may be, if all tables of the job that they refer to are
/// loaded before them in the same way, and if no table that is staged may change their rows: after a direct load
/// nothing is compared. A table that the run itself makes is always loaded directly: nobody else sees it. `references` are pairs of a table and one that it refers to.
pub(in crate::plan) fn choose(
    tables: &mut [CopyPlan],
    references: &[(QualifiedName, QualifiedName)],
) {
    let staged = |table: &CopyPlan| match &table.load {
        Load::Staged(staged) => Some((table.target.clone(), staged.clone())),
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
    };
    let all: Vec<(QualifiedName, Box<Staged>)> = tables.iter().filter_map(staged).collect();
    let candidates = all.iter().filter(|(_, staged)| staged.may_load_directly);
    let mut direct: Vec<&QualifiedName> = candidates.map(|(table, _)| table).collect();
    loop {
        let is_loaded_before = |at: usize, to: &QualifiedName| direct[..at].contains(&to);
        let is_kept = |(at, table): &(usize, &&QualifiedName)| {
            let mut referenced = references.iter().filter(|(from, _)| from == **table);
            let mut others = all.iter().filter(|(other, _)| !direct.contains(&other));
            referenced.all(|(_, to)| to == **table || is_loaded_before(*at, to))
                && !others.any(|(_, other)| other.effects.may_change(table))
        };
        let kept: Vec<&QualifiedName> = (0..)
            .zip(&direct)
            .filter(is_kept)
            .map(|(_, t)| *t)
            .collect();
        if kept.len() == direct.len() {
            break;
        }
        direct = kept;
    }
    for table in tables {
        let is_staged = matches!(table.load, Load::Staged(_));
        let creation = table.creation.as_ref().filter(|creation| creation.is_new);
        let is_new = creation.is_some_and(|creation| !creation.is_staged);
        if is_staged && is_new && table.quarantine.is_none() {
            table.copy_in = sql::copy_in(&table.target, &table.columns, &table.format);
            table.load = Load::Direct;
            // It has the source's partitions.
            table.partitions = Partitions::default();
        } else if direct.contains(&&table.target) {
            table.copy_in = sql::copy_in(&table.target, &table.columns, &table.format);
            table.load = Load::Direct;
            table.must_be_empty = true;
        }
    }
}
