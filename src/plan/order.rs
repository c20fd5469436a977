//! In which order tables are loaded: a table that others refer to comes before them.

use crate::catalog::desc::{ForeignKey, RelationDesc};
use crate::pg::ident::QualifiedName;

/// An order of loading, and the foreign keys that it cannot respect because they form a circle.
#[derive(Debug, PartialEq)]
pub struct Order<'a> {
    /// Positions in the given list.
    pub positions: Vec<usize>,
    /// Foreign keys whose referenced table comes later.
    pub against: Vec<&'a ForeignKey>,
}

/// Orders targets by their foreign keys; otherwise as given.
pub fn by_foreign_keys<'a>(targets: &[&'a RelationDesc]) -> Order<'a> {
    let position = |name: &QualifiedName| targets.iter().position(|t| t.name == *name);
    let edges: Vec<(usize, usize, &ForeignKey)> = targets
        .iter()
        .enumerate()
        .flat_map(|(at, target)| target.foreign_keys.iter().map(move |key| (at, key)))
        .filter_map(|(at, key)| position(&key.to).map(|to| (at, to, key)))
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
        // Where nothing is free there is a circle: break it at its first table in the given order.
        let first_in_circle = || {
            left.iter()
                .position(|at| refers_to_itself(*at, &left, &edges))
        };
        let next = free.or_else(first_in_circle).unwrap_or(0);
        positions.push(left.remove(next));
    }
    let rank = |wanted: usize| positions.iter().position(|at| *at == wanted);
    let against = edges
        .iter()
        .filter(|(from, to, _)| rank(*to) > rank(*from))
        .map(|(_, _, key)| *key)
        .collect();
    Order { positions, against }
}

/// Follows the references among the tables that are left, from `start` back to it.
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
