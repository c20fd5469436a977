//! The statements that complete the new table after it is loaded.

use std::collections::BTreeMap;

use super::make::OWN_TABLESPACE;
use super::types::OuterKey;
use super::{Names, acl, comment, literal, quoted};
use crate::catalog::attachments::{
    AttachedForeignKey, Attachments, Index, IndexConstraint, Statistics,
};
use crate::pg::ident::QualifiedName;

/// The indexes, each with its own statements. CREATE INDEX only blocks writers, so several connections can
/// run it on one table. An exclusion constraint creates its own index under ACCESS EXCLUSIVE.
///
/// ATTACH PARTITION attaches to each index of the parent the oldest matching index. So of matching indexes,
/// the one that was attached is created first, by the same connection.
pub(super) fn indexes(names: &Names, old: &Attachments) -> Vec<Vec<String>> {
    let indexes = old.indexes.iter().enumerate();
    let mut simple: Vec<(usize, &Index)> = indexes.filter(|(_, i)| !makes_own(i)).collect();
    simple.sort_by_key(|(_, index)| index.parent.is_none());
    let mut made: Vec<(&str, Vec<String>)> = Vec::new();
    for (number, index) in simple {
        let unique = if index.unique { "UNIQUE " } else { "" };
        let tail = index.tail.as_deref().unwrap_or_default();
        let sql = format!(
            "CREATE {unique}INDEX {} ON {} {tail}",
            names.index(number).name.sql(),
            names.shadow.sql()
        );
        let statements = in_tablespace(index, sql);
        let of = columns_of(tail);
        match made.iter_mut().find(|(other, _)| *other == of) {
            Some((_, list)) if old.partition.is_some() => list.extend(statements),
            _ => made.push((of, statements)),
        }
    }
    made.into_iter().map(|(_, statements)| statements).collect()
}

/// Shortens `USING btree (v) WITH (fillfactor='60') WHERE …` to `USING btree (v)` or less, to find indexes
/// that may match.
fn columns_of(tail: &str) -> &str {
    let ends = [" WITH (", " INCLUDE (", " NULLS NOT DISTINCT", " WHERE "];
    let end = ends.iter().filter_map(|end| tail.find(end)).min();
    &tail[..end.unwrap_or(tail.len())]
}

/// Is it EXCLUDE, or a key WITHOUT OVERLAPS?
fn makes_own(index: &Index) -> bool {
    index.constraint.as_ref().is_some_and(|c| !c.plain)
}

fn in_tablespace(index: &Index, sql: String) -> Vec<String> {
    match &index.tablespace {
        None => vec![sql],
        Some(name) => vec![
            format!(
                "SET LOCAL default_tablespace = {}",
                literal(Some(name.as_str()))
            ),
            sql,
            OWN_TABLESPACE.to_owned(),
        ],
    }
}

/// Constraints, extended statistics, comments and security labels.
pub(super) fn build(names: &Names, old: &Attachments, analyze: bool) -> Vec<String> {
    let shadow = names.shadow.sql();
    let mut list = Vec::new();
    for (number, index) in old.indexes.iter().enumerate() {
        list.extend(finish_index(names, number, index));
    }
    match old.replica_identity.as_str() {
        "f" => list.push(format!("ALTER TABLE {shadow} REPLICA IDENTITY FULL")),
        "n" => list.push(format!("ALTER TABLE {shadow} REPLICA IDENTITY NOTHING")),
        _ => {}
    }
    for (number, statistics) in old.statistics.iter().enumerate() {
        list.extend(create_statistics(names, number, statistics));
    }
    for check in &old.checks {
        let what = format!("CONSTRAINT {} ON {shadow}", quoted(&check.name));
        list.extend(comment(&what, check.comment.as_ref()));
    }
    for column in &old.columns {
        let what = format!("COLUMN {shadow}.{}", quoted(&column.name));
        list.extend(comment(&what, column.comment.as_ref()));
    }
    for label in &old.labels {
        let what = match &label.column {
            Some(column) => format!("COLUMN {shadow}.{}", quoted(column)),
            None => format!("TABLE {shadow}"),
        };
        list.push(format!(
            "SECURITY LABEL FOR {} ON {what} IS {}",
            quoted(&label.provider),
            literal(Some(&label.label))
        ));
    }
    if analyze {
        list.push(format!("ANALYZE {shadow}"));
    }
    list
}

fn finish_index(names: &Names, number: usize, index: &Index) -> Vec<String> {
    let shadow = names.shadow.sql();
    let name = names.index(number);
    let (bare, full) = (name.name.sql(), name.sql());
    let mut list = Vec::new();
    match &index.constraint {
        Some(constraint) if makes_own(index) => {
            let definition = &constraint.definition;
            let sql = format!("ALTER TABLE {shadow} ADD CONSTRAINT {bare} {definition}");
            list.extend(in_tablespace(index, sql));
            if constraint.kind != "x" && !index.options.is_empty() {
                let options = super::options(&index.options);
                list.push(format!("ALTER INDEX {full} SET ({options})"));
            }
        }
        constraint => list.extend(constraint.as_ref().map(|c| using_index(&shadow, &bare, c))),
    }
    for (column, target) in &index.statistics {
        list.push(format!(
            "ALTER INDEX {full} ALTER COLUMN {column} SET STATISTICS {target}"
        ));
    }
    if index.clustered {
        list.push(format!("ALTER TABLE {shadow} CLUSTER ON {bare}"));
    }
    if index.replica_identity {
        list.push(format!(
            "ALTER TABLE {shadow} REPLICA IDENTITY USING INDEX {bare}"
        ));
    }
    list.extend(comment(&format!("INDEX {full}"), index.comment.as_ref()));
    let constraint_comment = index.constraint.as_ref().and_then(|c| c.comment.as_ref());
    list.extend(comment(
        &format!("CONSTRAINT {bare} ON {shadow}"),
        constraint_comment,
    ));
    list
}

fn using_index(shadow: &str, name: &str, constraint: &IndexConstraint) -> String {
    let kind = if constraint.kind == "p" {
        "PRIMARY KEY"
    } else {
        "UNIQUE"
    };
    let deferrable = match (constraint.deferrable, constraint.deferred) {
        (_, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, false) => "",
    };
    format!("ALTER TABLE {shadow} ADD CONSTRAINT {name} {kind} USING INDEX {name}{deferrable}")
}

fn create_statistics(names: &Names, number: usize, statistics: &Statistics) -> Vec<String> {
    let name = names.part(&statistics.schema, 'x', number).sql();
    let middle = statistics.middle.as_deref().unwrap_or_default();
    let mut list = vec![format!(
        "CREATE STATISTICS {name} {middle} FROM {}",
        names.shadow.sql()
    )];
    let target = statistics.target;
    list.extend(target.map(|target| format!("ALTER STATISTICS {name} SET STATISTICS {target}")));
    list.extend(comment(
        &format!("STATISTICS {name}"),
        statistics.comment.as_ref(),
    ));
    list.push(format!(
        "ALTER STATISTICS {name} OWNER TO {}",
        quoted(&statistics.owner)
    ));
    list
}

/// Foreign keys to other shadows, publications, the table's comment, and privileges.
pub(super) fn attach(
    names: &Names,
    old: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
) -> Vec<String> {
    let shadow = names.shadow.sql();
    let mut list = Vec::new();
    for key in &old.foreign_keys {
        if let Some(to) = shadows.get(&to_table(key)) {
            list.extend(add_foreign_key(&shadow, key, to));
        }
    }
    for publication in &old.publications {
        let mut sql = format!(
            "ALTER PUBLICATION {} ADD TABLE ONLY {shadow}",
            quoted(&publication.name)
        );
        if let Some(columns) = &publication.columns {
            let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
            sql.push_str(&format!(" ({})", columns.join(", ")));
        }
        if let Some(filter) = &publication.filter {
            sql.push_str(&format!(" WHERE ({filter})"));
        }
        list.push(sql);
    }
    for (number, column) in old.columns.iter().enumerate() {
        if let Some(sequence) = &column.identity_sequence {
            let object = format!(
                "SEQUENCE {}",
                names.part(&sequence.schema, 's', number).sql()
            );
            list.extend(comment(&object, sequence.comment.as_ref()));
            list.extend(acl::acl(
                &object,
                &old.owner,
                sequence.acl_is_default,
                &old.default_grantees,
                &sequence.grants,
            ));
        }
    }
    list.push(format!(
        "COMMENT ON TABLE {shadow} IS {}",
        literal(old.comment.as_deref())
    ));
    list.extend(acl::acl(
        &format!("TABLE {shadow}"),
        &old.owner,
        old.acl_is_default,
        &old.default_grantees,
        &old.grants,
    ));
    list
}

/// The foreign keys to tables that are not swapped. Adding one locks the referenced table.
pub(super) fn outer_keys(
    names: &Names,
    target: &QualifiedName,
    old: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
) -> Vec<OuterKey> {
    let keys = old.foreign_keys.iter();
    let outer = keys.filter(|key| !shadows.contains_key(&to_table(key)));
    outer
        .map(|key| OuterKey {
            statements: add_foreign_key(&names.shadow.sql(), key, &to_table(key)),
            // A partition must have its parent's foreign keys before it is attached.
            after_rename: (!key.to_parts.is_empty() && old.partition.is_none())
                .then(|| add_foreign_key(&target.sql(), key, &to_table(key))),
            reads_rows: key.validated,
            tables: std::iter::once(to_table(key))
                .chain(key.to_parts.iter().map(|(s, n)| QualifiedName::new(s, n)))
                .collect(),
        })
        .collect()
}

fn to_table(key: &AttachedForeignKey) -> QualifiedName {
    QualifiedName::new(&key.to_schema, &key.to_name)
}

/// A foreign key to a table that is swapped by the same job references that table's shadow.
fn add_foreign_key(shadow: &str, key: &AttachedForeignKey, to: &QualifiedName) -> Vec<String> {
    let to = to.sql();
    let tail = key.tail.as_deref().unwrap_or_default();
    let name = quoted(&key.name);
    let mut list = vec![format!(
        "ALTER TABLE {shadow} ADD CONSTRAINT {name} {}{to}{tail}",
        key.head
    )];
    list.extend(comment(
        &format!("CONSTRAINT {name} ON {shadow}"),
        key.comment.as_ref(),
    ));
    list
}
