//! Which relations of two servers belong together. (pure)

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::catalog::{Candidate, is_system_schema};
use crate::pg::ident::QualifiedName;

/// The names of the relations on one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Ordinary and partitioned tables, without partitions.
    pub tables: BTreeSet<QualifiedName>,
    /// Partitions, views, materialized views, foreign tables and temporary tables.
    pub others: BTreeSet<QualifiedName>,
}

/// A table that both servers have, or that the run makes on the target.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub source: RelationDesc,
    /// As the source's, if the target lacks it.
    pub target: RelationDesc,
    /// The target lacks it.
    pub is_new: bool,
}

/// What both servers have, and what only one of them has.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub pairs: Vec<Pair>,
    /// Relations that are no pair of tables, and why.
    pub left_out: BTreeMap<QualifiedName, String>,
    /// Tables that only the target has.
    pub only_on_target: Vec<QualifiedName>,
}

impl Names {
    pub fn of(candidates: Vec<Candidate>) -> Self {
        let mut names = Names::default();
        for candidate in candidates {
            if is_system_schema(candidate.name.schema.as_str()) {
                continue;
            }
            match candidate.by_wildcard {
                true => names.tables.insert(candidate.name),
                false => names.others.insert(candidate.name),
            };
        }
        names
    }

    fn all(&self) -> impl Iterator<Item = &QualifiedName> {
        self.tables.iter().chain(&self.others)
    }
}

/// The relations of the source to describe.
pub(super) fn to_read(source: &Names, target: &Names) -> Vec<QualifiedName> {
    let mut names = common(source, target);
    names.extend(only(source, target));
    names
}

/// The tables that only one server has.
fn only(these: &Names, those: &Names) -> Vec<QualifiedName> {
    let those: BTreeSet<_> = those.all().collect();
    let lonely = these.tables.iter().filter(|name| !those.contains(name));
    lonely.cloned().collect()
}

/// The relations of one name, of which at least one is a table.
pub(super) fn common(source: &Names, target: &Names) -> Vec<QualifiedName> {
    let on_target: BTreeSet<_> = target.all().collect();
    let common = source.all().filter(|name| on_target.contains(name));
    let tables = common.filter(|name| source.tables.contains(name) || target.tables.contains(name));
    tables.cloned().collect()
}

/// Compares what was found. A relation that is not described any more was dropped meanwhile.
pub(super) fn survey(
    (source, target): (&Names, &Names),
    mut of_source: BTreeMap<QualifiedName, RelationDesc>,
    mut of_target: BTreeMap<QualifiedName, RelationDesc>,
) -> Survey {
    let mut survey = Survey::default();
    for name in to_read(source, target) {
        let Some(from) = of_source.remove(&name) else {
            continue;
        };
        let is_new = !target.all().any(|other| *other == name);
        let to = match is_new {
            true => Some(from.clone()),
            false => of_target.remove(&name),
        };
        let Some(to) = to else {
            continue;
        };
        match obstacle(&from, &to) {
            Some(why) => {
                survey.left_out.insert(name, why);
            }
            None => survey.pairs.push(Pair {
                source: from,
                target: to,
                is_new,
            }),
        }
    }
    survey.only_on_target = only(target, source);
    survey
}

/// Why two relations of one name are not simply copied.
fn obstacle(source: &RelationDesc, target: &RelationDesc) -> Option<String> {
    let is_table = |relation: &RelationDesc| {
        matches!(
            relation.kind,
            RelationKind::Table | RelationKind::Partitioned
        )
    };
    for (relation, here, there) in [(target, "target", "source"), (source, "source", "target")] {
        if !is_table(relation) {
            let kind = relation.kind.as_str();
            let so = match here {
                "target" => ", which is not written",
                _ => ": name it in `tables` to copy its rows into the target's table",
            };
            return Some(format!("it is a {kind} on the {here}{so}"));
        }
        if let Some(parent) = relation.ancestors.first() {
            return Some(format!(
                "it is a partition of {parent} on the {here}, and a table of its own on the {there}: name it in \
                 `tables` to copy it"
            ));
        }
    }
    // Planning refuses all tables of a job at once if it may not read several of them.
    if !source.privileges.usage {
        return Some("the role lacks USAGE on its schema on the source".to_owned());
    }
    let may_read =
        source.privileges.select || source.columns.iter().any(|column| column.privileged);
    (!may_read).then(|| "the role lacks SELECT on it on the source".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{column, table};
    use rstest::rstest;

    fn names(tables: &[&str], others: &[&str]) -> Names {
        let parse = |names: &[&str]| {
            names
                .iter()
                .map(|n| QualifiedName::new("app", *n))
                .collect()
        };
        Names {
            tables: parse(tables),
            others: parse(others),
        }
    }

    fn described(kinds: &[(&str, RelationKind)]) -> BTreeMap<QualifiedName, RelationDesc> {
        let relation = |(name, kind): &(&str, RelationKind)| {
            let mut relation = table(name, vec![column("id", "int4")]);
            relation.name = QualifiedName::new("app", *name);
            relation.kind = *kind;
            (relation.name.clone(), relation)
        };
        kinds.iter().map(relation).collect()
    }

    #[test]
    fn relations_of_one_name_are_pairs_if_both_are_tables() {
        use RelationKind::{Foreign, MaterializedView, Partitioned, Table};
        let source = names(&["t", "p", "gone", "v", "new"], &["m", "view"]);
        let target = names(&["t", "p", "gone", "m", "own"], &["v", "view"]);
        let from = described(&[
            ("t", Table),
            ("p", Partitioned),
            ("v", Table),
            ("m", MaterializedView),
            ("new", Table),
        ]);
        let to = described(&[("t", Table), ("p", Table), ("v", Foreign), ("m", Table)]);
        assert_eq!(common(&source, &target).len(), 5);
        let found = survey((&source, &target), from, to);
        let pairs: Vec<_> = found
            .pairs
            .iter()
            .map(|p| (p.source.name.to_string(), p.is_new))
            .collect();
        let pair = |name: &str, is_new| (name.to_owned(), is_new);
        let expected = [
            pair("app.p", false),
            pair("app.t", false),
            pair("app.new", true),
        ];
        assert_eq!(pairs, expected);
        let left_out: Vec<_> = found
            .left_out
            .iter()
            .map(|(n, why)| format!("{n}: {why}"))
            .collect();
        assert_eq!(
            left_out,
            [
                "app.m: it is a materialized view on the source: name it in `tables` to copy its rows into the \
                 target's table",
                "app.v: it is a foreign table on the target, which is not written",
            ]
        );
        assert_eq!(found.only_on_target, [QualifiedName::new("app", "own")]);
    }

    #[rstest]
    #[case(true, true, true, None)]
    #[case(true, false, true, None)]
    #[case(true, false, false, Some("SELECT"))]
    #[case(false, true, true, Some("USAGE"))]
    fn a_table_that_cannot_be_read_is_left_out(
        #[case] usage: bool,
        #[case] select: bool,
        #[case] of_column: bool,
        #[case] expected: Option<&str>,
    ) {
        let mut source = table("t", vec![column("id", "int4")]);
        let target = source.clone();
        source.privileges.usage = usage;
        source.privileges.select = select;
        source.columns[0].privileged = of_column;
        let why = obstacle(&source, &target);
        assert_eq!(why.is_some(), expected.is_some(), "{why:?}");
        assert!(
            why.unwrap_or_default()
                .contains(expected.unwrap_or_default())
        );
    }

    #[rstest]
    #[case(true, false, Some("a partition of app.p on the source"))]
    #[case(false, true, Some("a partition of app.p on the target"))]
    #[case(false, false, None)]
    fn a_partition_is_copied_with_its_parent(
        #[case] on_source: bool,
        #[case] on_target: bool,
        #[case] expected: Option<&str>,
    ) {
        let parent = |is_partition: bool| match is_partition {
            true => vec![QualifiedName::new("app", "p")],
            false => Vec::new(),
        };
        let [mut source, mut target] = [(); 2].map(|()| table("t", vec![column("id", "int4")]));
        source.ancestors = parent(on_source);
        target.ancestors = parent(on_target);
        let why = obstacle(&source, &target);
        match expected {
            Some(part) => assert!(why.unwrap().contains(part)),
            None => assert_eq!(why, None),
        }
    }
}
