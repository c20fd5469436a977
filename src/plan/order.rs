//! The order in which tables are loaded: referenced tables first.

use std::collections::BTreeMap;

use crate::catalog::desc::{ForeignKey, RelationDesc};
use crate::pg::ident::QualifiedName;

/// An order of loading, and the foreign keys that it violates because they form a circle.
#[derive(Debug, PartialEq)]
pub struct LoadOrder<'a> {
    /// Positions in the given list.
    pub positions: Vec<usize>,
    /// Foreign keys whose referenced table comes later.
    pub against: Vec<&'a ForeignKey>,
}

/// A reference from one table of the job to another one, or to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableReference<'a> {
    /// Position of the referencing table.
    pub from: usize,
    /// Position of the referenced table.
    pub to: usize,
    /// The foreign key.
    pub key: &'a ForeignKey,
}

/// The foreign keys among targets. A key that is declared on a partition, or references one, also applies
/// to the partition's parents (see [`RelationDesc::foreign_keys`]).
pub fn references<'a>(targets: &[&'a RelationDesc]) -> Vec<TableReference<'a>> {
    let mut referred: BTreeMap<(&QualifiedName, &str), Vec<usize>> = BTreeMap::new();
    for (at, target) in targets.iter().enumerate() {
        for key in &target.referenced_by {
            referred.entry((&key.from, &key.name)).or_default().push(at);
        }
    }
    let mut references = Vec::new();
    for (from, target) in targets.iter().enumerate() {
        for key in &target.foreign_keys {
            let to = referred.get(&(&key.from, key.name.as_str()));
            references.extend(to.into_iter().flatten().map(|to| TableReference {
                from,
                to: *to,
                key,
            }));
        }
    }
    references
}

/// Orders targets by their foreign keys, otherwise in the given order.
pub fn by_foreign_keys<'a>(
    targets: &[&'a RelationDesc],
    references: &[TableReference<'a>],
) -> LoadOrder<'a> {
    let edges: Vec<(usize, usize, &ForeignKey)> = references
        .iter()
        .map(|reference| (reference.from, reference.to, reference.key))
        .filter(|(from, to, _)| from != to)
        .collect();
    let mut positions: Vec<usize> = Vec::with_capacity(targets.len());
    let mut left: Vec<usize> = (0..targets.len()).collect();
    while !left.is_empty() {
        let free = left.iter().position(|candidate| {
            edges
                .iter()
                .filter(|(from, _, _)| from == candidate)
                .all(|(_, to, _)| positions.contains(to))
        });
        // If every table references another one that is left, there is a circle: break it at its first
        // table in the given order.
        let first_in_circle = || {
            left.iter()
                .position(|at| refers_to_itself(*at, &left, &edges))
        };
        let next = free.or_else(first_in_circle).unwrap_or(0);
        positions.push(left.remove(next));
    }
    let rank = |wanted: usize| positions.iter().position(|at| *at == wanted);
    let mut against: Vec<&ForeignKey> = Vec::new();
    for (from, to, key) in edges {
        // A key of a partitioned table also applies to each partition that the job names.
        if rank(to) > rank(from) && !against.contains(&key) {
            against.push(key);
        }
    }
    LoadOrder { positions, against }
}

/// Does following the references among the tables that are left lead from `start` back to it?
fn refers_to_itself(start: usize, left: &[usize], edges: &[(usize, usize, &ForeignKey)]) -> bool {
    let mut seen = Vec::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for (_, to, _) in edges.iter().filter(|(from, _, _)| *from == at) {
            if *to == start {
                return true;
            }
            if left.contains(to) && !seen.contains(to) {
                seen.push(*to);
                open.push(*to);
            }
        }
    }
    false
}
