//! Columns that seem to have another name on the source since the last run.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::error::Side;
use crate::plan::refusal::Refusal;

/// Refuses what looks like a column that was renamed on the source: the target's column would lose its values, or keep
/// old ones. Both names are of columns of one type, after the same column. A default says that the target fills its
/// column itself. `unread` and `defaulted` are the columns that only the source and only the target has.
pub fn refuse(
    inspected: &Inspected,
    source: &RelationDesc,
    target: &RelationDesc,
    unread: &[&ColumnDesc],
    defaulted: &[&ColumnDesc],
) -> Option<Refusal> {
    let spec = &inspected.spec;
    let is_common = |column: &ColumnDesc| target.column(&column.name).is_some();
    let are_other = !source.columns.iter().any(is_common);
    if source.kind == RelationKind::Query || !spec.set.is_empty() || are_other {
        return None;
    }
    let creation = inspected.creation.iter();
    let added = creation.flat_map(|creation| &creation.added);
    let added = added.filter_map(|added| source.column(&added.name));
    let new: Vec<&ColumnDesc> = unread.iter().copied().chain(added).collect();
    let old = defaulted
        .iter()
        .filter(|column| !column.has_default && !spec.is_own(&column.name));
    let mut pairs = old.flat_map(|old| new.iter().map(move |new| (*old, *new)));
    let (old, new) = pairs.find(|(old, new)| {
        (&new.ty, new.typmod) == (&old.ty, old.typmod)
            && before(source, target, new) == before(target, source, old)
    })?;
    let message = format!(
        "column {} seems to be renamed to {} on the source: its values would not be copied",
        old.name, new.name
    );
    let hint = format!(
        "ALTER TABLE {} RENAME COLUMN {} TO {}; or, if these are two columns, name those to copy in `columns`, or give \
         column {} a default",
        target.name, old.name, new.name, old.name
    );
    let refusal = Refusal::mismatch(Side::Target, &target.name, message);
    Some(refusal.in_column(&old.name).hinted(hint))
}

/// The last column before this one that the other side has, too.
fn before<'a>(of: &'a RelationDesc, other: &RelationDesc, column: &ColumnDesc) -> Option<&'a str> {
    let earlier = of.columns.iter().take_while(|c| c.name != column.name);
    let common = earlier.filter(|c| other.column(&c.name).is_some());
    common.last().map(|c| c.name.as_str())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plan::fixtures::{column, inspected, table};

    #[rstest]
    #[case::renamed("id name:text at", "id title:text at", Some(("name", "title")))]
    #[case::last("id at name:text", "id at title:text", Some(("name", "title")))]
    #[case::first("name:text id", "title:text id", Some(("name", "title")))]
    #[case::one_of_two("id a:text b:text", "id x:text b:text y:text", Some(("a", "x")))]
    #[case::another_place("id name:text at", "id at title:text", None)]
    #[case::another_type("id name:text", "id title", None)]
    #[case::the_targets_own("id name:text=", "id title:text", None)]
    #[case::dropped("id name:text", "id", None)]
    #[case::added("id", "id title:text", None)]
    fn a_new_column_in_the_place_of_an_old_one_is_that_one_renamed(
        #[case] target: &str,
        #[case] source: &str,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let [source, target] = [source, target].map(|columns| {
            let of_text = |text: &str| {
                let (name, ty) = text
                    .trim_end_matches('=')
                    .split_once(':')
                    .unwrap_or((text, "int4"));
                ColumnDesc {
                    has_default: text.ends_with('='),
                    ..column(name, ty)
                }
            };
            table("t", columns.split(' ').map(of_text).collect())
        });
        let entry = inspected(source.clone(), target.clone());
        let alone = |of: &RelationDesc, other: &RelationDesc| -> Vec<ColumnDesc> {
            let columns = of.columns.iter().cloned();
            columns
                .filter(|c| other.column(&c.name).is_none())
                .collect()
        };
        let (unread, defaulted) = (alone(&source, &target), alone(&target, &source));
        let (unread, defaulted): (Vec<_>, Vec<_>) =
            (unread.iter().collect(), defaulted.iter().collect());
        let refused = refuse(&entry, &source, &target, &unread, &defaulted);
        let message = refused.map(|refusal| refusal.message);
        let expected = expected.map(|(old, new)| {
            format!("column {old} seems to be renamed to {new} on the source: its values would not be copied")
        });
        assert_eq!(message, expected);
    }
}
