//! The relations that a run locks besides the tables of its job.

use std::collections::BTreeMap;

use crate::catalog::desc::RelationDesc;
use crate::config::spec::{JobSpec, Mode, Triggers};
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::columns::ColumnPair;
use crate::plan::setting::Setting;

/// How writing a table's rows uses another relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Foreign keys look up rows in it.
    LooksUp,
    /// The sequence advances.
    Advances,
    /// ON DELETE or ON UPDATE actions change its rows.
    Changes,
}

/// Relations that writing a table's rows locks besides the table.
pub type Used = BTreeMap<QualifiedName, Use>;

/// Adds a use. The use with the stronger lock counts.
pub fn add_use(used: &mut Used, relation: QualifiedName, new: Use) {
    let entry = used.entry(relation).or_insert(new);
    *entry = new.max(*entry);
}

/// The relations that are locked besides the target when rows are written: tables that foreign keys
/// reference, sequences of columns that are not copied, and sequences that are moved.
pub(super) fn by_writing(
    job: &JobSpec,
    target: &RelationDesc,
    setting: &Setting<'_>,
    pairs: &[ColumnPair<'_>],
    moved: &[&QualifiedName],
) -> Used {
    let mut used = Used::new();
    // `swap` adds foreign keys when it publishes.
    if job.triggers != Triggers::Skip && job.mode != Mode::Swap {
        let outer = target.foreign_keys.iter().map(|key| &key.to);
        for to in outer.filter(|to| !setting.targets.contains(to)) {
            add_use(&mut used, to.clone(), Use::LooksUp);
        }
    }
    let copied = |name: &Ident| pairs.iter().any(|pair| pair.target.name == *name);
    let defaults = target.columns.iter().filter(|column| !copied(&column.name));
    let defaults = defaults.flat_map(|column| column.sequences.iter().map(|s| &s.name));
    for name in defaults.chain(moved.iter().copied()) {
        add_use(&mut used, name.clone(), Use::Advances);
    }
    used
}

/// Locks that are not known from the plan alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLocks {
    /// The relations that planning has locked on the source. A run locks the same relations.
    pub source: Vec<QualifiedName>,
    /// The partitions, at all levels, of the target's partitioned tables that a run locks.
    pub partitions: BTreeMap<QualifiedName, Vec<QualifiedName>>,
}
