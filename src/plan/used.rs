//! The relations that a run locks besides the tables of its job.

use std::collections::BTreeMap;

use crate::pg::ident::QualifiedName;

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

/// Locks that are not known from the plan alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLocks {
    /// The relations that planning has locked on the source. A run locks the same relations.
    pub source: Vec<QualifiedName>,
    /// The partitions, at all levels, of the target's partitioned tables that a run locks.
    pub partitions: BTreeMap<QualifiedName, Vec<QualifiedName>>,
}
