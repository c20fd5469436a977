//! `[jobs.NAME.table."schema.name"]`.

use std::collections::BTreeMap;

use super::columns::column_names;
use super::csv;
use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawTable;
use super::spec::{FileSpec, Mode, OnConflict, Scope, TableInput, TableSpec};
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
    const BY_KEY: &[Mode] = &[Mode::Merge, Mode::Upsert];
    let of_modes: [(&str, &[Mode]); 5] = [
        ("scope", &[Mode::Merge]),
        ("on_missing", &[Mode::Merge]),
        ("on_conflict", &[Mode::Upsert]),
        ("insert_only", BY_KEY),
        ("synced_at", BY_KEY),
    ];
    for (key, modes) in of_modes {
        let key = path.child(key);
        if diagnostics.is_set(&key) {
            diagnostics.only_for(modes, mode, &key);
        }
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
    let on_missing = path.child("on_missing");
    if diagnostics.is_set(&on_missing) && !diagnostics.is_set(&on_missing.child("set")) {
        diagnostics.error(&on_missing, "needs `set`: the column that is set");
    }
    if raw.on_conflict == OnConflict::Keep && raw.insert_only.is_some() {
        let message = "has no effect with `on_conflict = \"keep\"`, which never updates a row";
        diagnostics.error(&path.child("insert_only"), message);
    }
    let column = |name: Option<String>| name.and_then(|name| Ident::parse(&name).ok());
    let insert_only = column_names(raw.insert_only, &path.child("insert_only"), diagnostics);
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
        watermark: column(raw.watermark),
        watermark_overlap: raw.watermark_overlap,
        scope: raw.scope,
        on_missing: column(raw.on_missing.set),
        on_conflict: raw.on_conflict,
        insert_only: insert_only.unwrap_or_default(),
        synced_at: column(raw.synced_at),
        source_value: None,
        lossy: raw.lossy,
        create_partitions: raw.create_partitions,
        partition: None,
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
