//! `[jobs.NAME.table."schema.name"]`.

use std::collections::BTreeMap;

use super::columns::column_names;
use super::csv;
use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawTable;
use super::spec::{FileSpec, Mode, Scope, TableInput, TableSpec};
use crate::pg::ident::{Ident, QualifiedName};

/// All tables of a job, by target relation.
pub(super) fn tables(
    raw: BTreeMap<String, RawTable>,
    mode: Option<Mode>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<QualifiedName, TableSpec> {
    let mut tables = BTreeMap::new();
    for (name, raw) in raw {
        let path = path.child(&name);
        if let Some(mode) = mode {
            check_mode(&raw, mode, &path, diagnostics);
        }
        // A name that does not parse was reported with its layer.
        let Ok(target) = QualifiedName::parse(&name) else {
            continue;
        };
        let spec = table(target.clone(), raw, &path, diagnostics);
        if tables.insert(target.clone(), spec).is_some() {
            diagnostics.error(&path, format!("{target} has a table of its own already"));
        }
    }
    tables
}

fn check_mode(raw: &RawTable, mode: Mode, path: &KeyPath, diagnostics: &mut Diagnostics) {
    if raw.watermark.is_some() {
        diagnostics.only_for(
            &[Mode::Append, Mode::Upsert],
            mode,
            &path.child("watermark"),
        );
    }
    let scope = path.child("scope");
    if diagnostics.is_set(&scope) {
        diagnostics.only_for(&[Mode::Merge], mode, &scope);
    }
}

fn table(
    target: QualifiedName,
    raw: RawTable,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> TableSpec {
    if raw.query.is_some() && raw.source.is_some() {
        let message = "excludes `source`: a table is read from a relation or from a query";
        diagnostics.error(&path.child("query"), message);
    }
    if raw.query.is_some() && raw.children {
        let message = "excludes `query`: add the conditions to the query";
        diagnostics.error(&path.child("children"), message);
    }
    if raw.watermark_overlap.is_some() && raw.watermark.is_none() {
        diagnostics.error(&path.child("watermark_overlap"), "needs a `watermark`");
    }
    if raw.scope == Scope::Where && raw.filter.is_none() {
        diagnostics.error(&path.child("scope"), "needs a `where`");
    }
    let source = raw.source.and_then(|name| QualifiedName::parse(&name).ok());
    TableSpec {
        input: match (raw.query, source) {
            (Some(query), _) => TableInput::Query(query),
            (None, Some(source)) => TableInput::Relation(source),
            (None, None) => TableInput::Relation(target.clone()),
        },
        target,
        children: raw.children,
        columns: column_names(raw.columns, &path.child("columns"), diagnostics),
        filter: raw.filter,
        key: column_names(raw.key, &path.child("key"), diagnostics),
        watermark: raw.watermark.and_then(|name| Ident::parse(&name).ok()),
        watermark_overlap: raw.watermark_overlap,
        scope: raw.scope,
        lossy: raw.lossy,
        create_partitions: raw.create_partitions,
        set: set(raw.set, &path.child("set"), diagnostics),
        file: FileSpec {
            name: raw.file,
            format: None,
            options: csv::options(raw.csv, &path.child("csv"), diagnostics),
        },
    }
}

fn set(
    raw: BTreeMap<String, String>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<Ident, String> {
    let mut set = BTreeMap::new();
    for (name, expression) in raw {
        let Ok(column) = Ident::parse(&name) else {
            continue;
        };
        if set.insert(column.clone(), expression).is_some() {
            diagnostics.error(&path.child(&name), format!("sets {column} twice"));
        }
    }
    set
}
