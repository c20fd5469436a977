//! The relations that a run locks besides the tables of its job.

use std::collections::BTreeMap;

use crate::pg::ident::QualifiedName;

/// How writing a table's rows uses a relation that is not a target of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Foreign keys look rows up.
    LooksUp,
    /// The sequence is advanced.
    Advances,
    /// Foreign keys with ON DELETE or ON UPDATE change rows.
    Changes,
}

/// Relations that writing a table's rows locks besides the table.
pub type Used = BTreeMap<QualifiedName, Use>;

/// Adds a use. The use with the stronger lock counts.
pub fn add_use(used: &mut Used, relation: QualifiedName, new: Use) {
    let entry = used.entry(relation).or_insert(new);
    *entry = new.max(*entry);
}

/// The locks of a plan that only the servers know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLocks {
    /// The relations that planning has locked on the source. A run locks the same ones.
    pub source: Vec<QualifiedName>,
    /// The partitions, at every level, of the target's partitioned tables that a run locks.
    pub partitions: BTreeMap<QualifiedName, Vec<QualifiedName>>,
}
