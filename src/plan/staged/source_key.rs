//! Properties of the key on the source, from its catalogs: checks that they make unnecessary are left out.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind, TypeDesc, UniqueIndex};
use crate::catalog::inspected::Inspected;
use crate::config::spec::TableInput;

/// Types without a collation, of which two values are equal if and only if their bytes are.
const PLAIN_TYPES: [&str; 10] = [
    "int2",
    "int4",
    "int8",
    "oid",
    "uuid",
    "bool",
    "date",
    "timestamp",
    "timestamptz",
    "bytea",
];

/// Properties that the source guarantees for the rows that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::plan) struct SourceKey {
    /// No row has NULL in the key.
    pub never_null: bool,
    /// No two rows have the same key.
    pub never_repeated: bool,
}

impl SourceKey {
    /// Each row has a different key.
    pub const CERTAIN: SourceKey = SourceKey {
        never_null: true,
        never_repeated: true,
    };
}

/// Compares the target's key with what the source declares.
///
/// Only types without a collation count. The order of text may change with the operating system's libraries,
/// and a unique index over text may then miss rows that are equal. A unique constraint that is DEFERRABLE does
/// not count: a disabled trigger lets rows pass.
pub(in crate::plan) fn of(
    inspected: &Inspected,
    target: &RelationDesc,
    key: &UniqueIndex,
) -> SourceKey {
    let Some(source) = &inspected.source else {
        return SourceKey::default();
    };
    let spec = &inspected.spec;
    let is_table = matches!(source.kind, RelationKind::Table | RelationKind::Partitioned)
        && matches!(spec.input, TableInput::Relation(_));
    // An index does not cover inheritance children.
    if !is_table || spec.children {
        return SourceKey::default();
    }
    let columns: Option<Vec<&ColumnDesc>> = key
        .columns
        .iter()
        .map(|part| {
            let (from, to) = (source.column(&part.name)?, target.column(&part.name)?);
            let computed = inspected.set.contains_key(&part.name);
            (!computed && is_plain(from, to)).then_some(from)
        })
        .collect();
    let Some(columns) = columns else {
        return SourceKey::default();
    };
    let over_key = |index: &&UniqueIndex| {
        index.columns.len() == columns.len()
            && index
                .columns
                .iter()
                .all(|part| columns.iter().any(|column| column.name == part.name))
    };
    let mut indexes = source.unique_indexes.iter().filter(over_key);
    // Since version 18, NOT NULL may be declared NOT VALID, but not of a primary key's columns.
    let is_never_null = |column: &&ColumnDesc| {
        source.primary_key.contains(&column.name)
            || column.not_null && source.server_version < 180_000
    };
    SourceKey {
        never_null: columns.iter().all(is_never_null),
        never_repeated: indexes.any(|index| index.is_plain && index.immediate),
    }
}

/// Is the column copied without a conversion, so that different values stay different?
fn is_plain(from: &ColumnDesc, to: &ColumnDesc) -> bool {
    from.ty == to.ty && from.typmod == to.typmod && equal_is_identical(&to.ty)
}

/// Are two values of this type equal if and only if their bytes are?
pub(super) fn equal_is_identical(ty: &TypeDesc) -> bool {
    ty.is_builtin() && PLAIN_TYPES.contains(&ty.name.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::ident::Ident;
    use crate::plan::fixtures::{column, inspected, table, unique_index};
    use rstest::rstest;

    fn index(columns: &[&str], is_plain: bool, immediate: bool) -> UniqueIndex {
        UniqueIndex {
            is_plain,
            immediate,
            ..unique_index(columns)
        }
    }

    fn relation(a: &str, b: &str, not_null: bool) -> RelationDesc {
        let mut columns = vec![column("a", a), column("b", b)];
        columns
            .iter_mut()
            .for_each(|column| column.not_null = not_null);
        table("t", columns)
    }

    /// The source's types, NOT NULL and version, and its index; what it rules out: NULL, repetition.
    #[rstest]
    #[case::as_declared("int4", true, 150_000, index(&["a", "b"], true, true), (true, true))]
    #[case::in_another_order("int4", true, 150_000, index(&["b", "a"], true, true), (true, true))]
    #[case::nullable("int4", false, 150_000, index(&["a", "b"], true, true), (false, true))]
    #[case::not_null_not_valid("int4", true, 180_000, index(&["a", "b"], true, true), (false, true))]
    #[case::part_of_the_key("int4", true, 150_000, index(&["a"], true, true), (true, false))]
    #[case::more_than_the_key("int4", true, 150_000, index(&["a", "b", "c"], true, true), (true, false))]
    #[case::partial("int4", true, 150_000, index(&["a", "b"], false, true), (true, false))]
    #[case::deferrable("int4", true, 150_000, index(&["a", "b"], true, false), (true, false))]
    #[case::another_type("int2", true, 150_000, index(&["a", "b"], true, true), (false, false))]
    #[case::text("text", true, 150_000, index(&["a", "b"], true, true), (false, false))]
    fn what_the_catalogue_rules_out(
        #[case] ty: &str,
        #[case] not_null: bool,
        #[case] version: u32,
        #[case] of_source: UniqueIndex,
        #[case] (never_null, never_repeated): (bool, bool),
    ) {
        let target = relation(if ty == "text" { "text" } else { "int4" }, "date", true);
        let mut source = relation(ty, "date", not_null);
        source.server_version = version;
        source.unique_indexes = vec![of_source];
        let expected = SourceKey {
            never_null,
            never_repeated,
        };
        let mut entry = inspected(source, target.clone());
        let key = index(&["a", "b"], true, true);

        assert_eq!(of(&entry, &target, &key), expected);

        entry.set.insert(Ident::new("a"), column("a", "int4"));
        assert_eq!(of(&entry, &target, &key), SourceKey::default());
    }
}
