//! Table inheritance. A query without ONLY on a parent also reads the rows of its children. A job reads and
//! writes each table with ONLY, so the children must be in the job, too.
//!
//! Only the names of children are checked, not whether they hold rows, because that may change after planning.
//! A hypertable is the same case: its chunks are children in a schema of the extension.
//!
//! The rows of a partition are rows of its parent, and no statement excludes them. So a job writes either the
//! partition or its parent.

use std::collections::BTreeSet;

use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, TableInput};
use crate::error::Side;
use crate::pg::ident::QualifiedName;
use crate::plan::refusal::Refusal;

/// How many children a message names.
const CHILDREN_NAMED_MAX: usize = 5;

/// Refuses a source with children that the job does not copy, and a target whose children would show rows
/// that the source does not have.
pub(super) fn check(job: &JobSpec, tables: &[Inspected], refusals: &mut Vec<Refusal>) {
    let read: BTreeSet<&QualifiedName> = tables
        .iter()
        .filter_map(|entry| match &entry.spec.input {
            TableInput::Relation(name) => Some(name),
            TableInput::Query(_) | TableInput::File(_) => None,
        })
        .collect();
    let written: BTreeSet<&QualifiedName> = tables.iter().map(|t| &t.spec.target).collect();
    for entry in tables {
        if let Some(source) = &entry.source {
            refusals.extend(check_source(job, entry, source, &read));
        }
        // Mode `swap` refuses every table from which others inherit.
        if let Some(target) = &entry.target {
            if job.mode != Mode::Swap {
                refusals.extend(check_target(entry, target, &written));
            }
            refusals.extend(check_partition(target, &written));
        }
    }
}

/// Refuses a partition beside a table above it. Partitions that a run replaces are not yet in the place of their table.
pub(super) fn check_partitions(tables: &[Inspected], refusals: &mut Vec<Refusal>) {
    let written: BTreeSet<&QualifiedName> = tables.iter().map(|t| &t.spec.target).collect();
    let targets = tables.iter().filter_map(|entry| entry.target.as_ref());
    refusals.extend(targets.filter_map(|target| check_partition(target, &written)));
}

fn check_source(
    job: &JobSpec,
    entry: &Inspected,
    source: &RelationDesc,
    read: &BTreeSet<&QualifiedName>,
) -> Option<Refusal> {
    if entry.spec.children {
        let inherited = [
            RelationKind::Table,
            RelationKind::Partitioned,
            RelationKind::Foreign,
        ];
        return (!inherited.contains(&source.kind)).then(|| {
            let message = format!("a {} has no inheritance children", source.kind.as_str());
            Refusal::mismatch(Side::Source, &source.name, message).hinted("leave `children` out")
        });
    }
    let missing: Vec<_> = source
        .children
        .iter()
        .filter(|c| !read.contains(c))
        .collect();
    (!missing.is_empty()).then(|| {
        let message = format!(
            "has inheritance children on the source that the job does not copy: {}",
            list(&missing)
        );
        Refusal::mismatch(Side::Source, &source.name, message).hinted(format!(
            "`children = true` in [jobs.{}.table.{:?}] reads the whole tree into this table; or name \
             the children in `tables`, so that each is copied into its own",
            job.name,
            entry.spec.target.to_string()
        ))
    })
}

fn check_target(
    entry: &Inspected,
    target: &RelationDesc,
    written: &BTreeSet<&QualifiedName>,
) -> Option<Refusal> {
    // With `children`, this table gets all rows of the tree, so rows in children of the target would appear
    // twice.
    let is_copied = |child: &&QualifiedName| !entry.spec.children && written.contains(child);
    let others: Vec<_> = target.children.iter().filter(|c| !is_copied(c)).collect();
    (!others.is_empty()).then(|| {
        let (message, hint) = if entry.spec.children {
            (
                "`children = true` writes all rows into this table, and a scan of it also reads its \
                 inheritance children on the target",
                "ALTER TABLE … NO INHERIT there; or leave `children` out and copy each child into \
                 its own table",
            )
        } else {
            (
                "a scan of it also reads its inheritance children on the target, which the job does \
                 not write",
                "name the children in `tables`, too; or ALTER TABLE … NO INHERIT there",
            )
        };
        let message = format!("{message}: {}", list(&others));
        Refusal::mismatch(Side::Target, &target.name, message).hinted(hint)
    })
}

fn check_partition(target: &RelationDesc, written: &BTreeSet<&QualifiedName>) -> Option<Refusal> {
    let parent = target.ancestors.iter().find(|up| written.contains(up))?;
    let message = format!(
        "is a partition of {parent} on the target, and the job writes both: rows would be duplicated"
    );
    let hint = "name the partitioned table or its partitions in `tables`, not both";
    Some(Refusal::mismatch(Side::Target, &target.name, message).hinted(hint))
}

fn list(names: &[&QualifiedName]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(CHILDREN_NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    match names.len().checked_sub(CHILDREN_NAMED_MAX) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{self, inspected, table};
    use rstest::rstest;

    /// `parent` and the other tables of the job, with these children on each side.
    fn refused(
        source: &[&str],
        target: &[&str],
        copied: &[&str],
        children: bool,
        mode: Mode,
    ) -> Vec<String> {
        let names = |list: &[&str]| {
            list.iter()
                .map(|n| QualifiedName::new("public", *n))
                .collect()
        };
        let (mut from, mut to) = (table("parent", Vec::new()), table("parent", Vec::new()));
        (from.children, to.children) = (names(source), names(target));
        let mut parent = inspected(from, to);
        parent.spec.children = children;
        let others = copied
            .iter()
            .map(|name| inspected(table(name, Vec::new()), table(name, Vec::new())));
        let tables: Vec<Inspected> = std::iter::once(parent).chain(others).collect();
        let mut refusals = Vec::new();
        check(&fixtures::job(mode), &tables, &mut refusals);
        refusals.iter().map(ToString::to_string).collect()
    }

    #[rstest]
    #[case::none(&[], &[], &[], false, &[])]
    #[case::left_behind(&["a", "b"], &[], &["b"], false, &["public.parent: has inheritance children on the source that the job does not copy: public.a"])]
    #[case::all_named(&["a", "b"], &["a", "b"], &["a", "b"], false, &[])]
    #[case::whole_tree(&["a", "b"], &[], &[], true, &[])]
    #[case::twice(&["a"], &["a"], &["a"], true, &["`children = true` writes all rows into this table"])]
    #[case::stays_on_the_target(&[], &["a"], &[], false, &["a scan of it also reads its inheritance children on the target"])]
    #[case::many(&["a", "b", "c", "d", "e", "f", "g"], &[], &[], false, &["public.e and 2 more"])]
    fn children_are_copied_or_refused(
        #[case] source: &[&str],
        #[case] target: &[&str],
        #[case] copied: &[&str],
        #[case] children: bool,
        #[case] expected: &[&str],
        #[values(Mode::Truncate, Mode::Append, Mode::Merge)] mode: Mode,
    ) {
        let refused = refused(source, target, copied, children, mode);
        assert_eq!(refused.len(), expected.len(), "{refused:?}");
        for (message, part) in refused.iter().zip(expected) {
            assert!(message.contains(part), "{message}");
        }
    }

    #[rstest]
    #[case::alone(&["up", "top"], &[], None)]
    #[case::beside_its_parent(&["up", "top"], &["up"], Some("up"))]
    #[case::beside_its_grandparent(&["up", "top"], &["top"], Some("top"))]
    #[case::beside_another(&["up"], &["top"], None)]
    fn a_partition_beside_a_table_above_it_is_refused(
        #[case] ancestors: &[&str],
        #[case] copied: &[&str],
        #[case] expected: Option<&str>,
        #[values(Mode::Append, Mode::Truncate, Mode::Merge, Mode::Upsert, Mode::Swap)] mode: Mode,
    ) {
        let name = |n: &&str| QualifiedName::new("public", *n);
        let mut leaf = table("leaf", Vec::new());
        leaf.ancestors = ancestors.iter().map(name).collect();
        let others = copied
            .iter()
            .map(|name| inspected(table(name, Vec::new()), table(name, Vec::new())));
        let tables: Vec<Inspected> = std::iter::once(inspected(table("leaf", Vec::new()), leaf))
            .chain(others)
            .collect();
        let mut refusals = Vec::new();
        check(&fixtures::job(mode), &tables, &mut refusals);
        let refused: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        match expected {
            None => assert!(refused.is_empty(), "{refused:?}"),
            Some(up) => assert_eq!(
                refused,
                [format!(
                    "public.leaf: is a partition of public.{up} on the target, and the job writes both: rows would be duplicated"
                )]
            ),
        }
    }

    #[test]
    fn a_view_has_no_children() {
        let mut entry = inspected(table("v", Vec::new()), table("v", Vec::new()));
        entry.spec.children = true;
        entry.source.as_mut().unwrap().kind = RelationKind::View;
        let mut refusals = Vec::new();
        check(&fixtures::job(Mode::Truncate), &[entry], &mut refusals);
        assert_eq!(
            refusals[0].to_string(),
            "public.v: a view has no inheritance children"
        );
    }
}
