//! Checks jobs whose source or target is a directory: `file`, `csv`, and the keys that are refused there.

use std::collections::BTreeMap;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawServer;
use super::spec::{Compare, FormatChoice, JobSpec, TableSpec, Verify};
use crate::files::layout::{Layout, format_of};

/// Keys of a job, and of its tables, that mean nothing where the source is a directory.
const NOT_FROM_FILES: [(&str, &str); 4] = [
    ("resume", "a file is read again from its beginning"),
    ("max_snapshot_age", "a file has no snapshot"),
    (
        "exclude",
        "tables of a directory are named without wildcards",
    ),
    (
        "target_names",
        "a table of a directory is named as the target: name its file in `file`",
    ),
];
const NOT_OF_A_FILE: [(&str, &str); 8] = [
    ("source", "the table is read from a file: name it in `file`"),
    ("query", "the table is read from a file: name it in `file`"),
    ("children", "a file has no inheritance children"),
    ("where", "rows of a file are not filtered"),
    ("watermark", "a file is read whole"),
    ("watermark_overlap", "a file is read whole"),
    ("lossy", "a file has no types: the target parses its values"),
    ("set", "a file's values are not computed"),
];

/// The same for the target.
const NOT_INTO_FILES: [(&str, &str); 11] = [
    ("sql", "a directory runs no SQL"),
    ("resume", "a file is written again from its beginning"),
    ("on_error", "a file takes every row"),
    ("reject_limit", "a file takes every row"),
    ("triggers", "files have no triggers"),
    ("sequences", "files have no sequences"),
    ("analyze", "files are not analyzed"),
    ("recreate_views", "files have no views"),
    (
        "guard.allow_empty",
        "the rows of the old file are not counted; `min_rows` works",
    ),
    (
        "guard.max_shrink",
        "the rows of the old file are not counted; `min_rows` works",
    ),
    ("csv.force_null", "it is only for files that are read"),
];
const NOT_INTO_A_FILE: [(&str, &str); 7] = [
    ("create_partitions", "a file has no partitions"),
    ("key", "the whole file is written"),
    ("scope", "the whole file is written"),
    ("watermark", "the whole file is written"),
    ("watermark_overlap", "the whole file is written"),
    ("lossy", "a file has no types"),
    ("csv.force_null", "it is only for files that are read"),
];

/// Checks a job against what its servers are.
pub(super) fn check(
    job: &JobSpec,
    servers: &BTreeMap<String, RawServer>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) {
    let is_directory = |name: &str| servers.get(name).is_some_and(|raw| raw.dir.is_some());
    if job.source_column.is_some() && job.sources().any(is_directory) {
        let message = "cannot be used where a source is a directory";
        diagnostics.error(&path.child("source_column"), message);
    }
    let from_files = job.sources().any(is_directory);
    match (from_files, is_directory(&job.target)) {
        (false, false) => no_files(job, path, diagnostics),
        (true, true) => {
            let message =
                "source and target are both directories: one of them has to be a database";
            diagnostics.error(&path.child("target"), message);
        }
        (true, false) => {
            refuse(path, &NOT_FROM_FILES, diagnostics);
            for pattern in job.tables.iter().filter(|p| p.literal().is_none()) {
                let message = format!(
                    "`{}` has a wildcard: where the source is a directory, name each table",
                    pattern.text
                );
                diagnostics.error(&path.child("tables"), message);
            }
            each_table(job, path, &NOT_OF_A_FILE, diagnostics);
            both(job, path, diagnostics);
        }
        (false, true) => {
            if !job.mode.replaces_all_rows() {
                let message = format!(
                    "`{}` needs a table: a file is written whole, by `truncate` or `swap`",
                    job.mode.as_str()
                );
                diagnostics.error(&path.child("mode"), message);
            }
            if !job.atomic {
                let message = "`false` cannot be used for files: a job's files are renamed after all of them have been written";
                diagnostics.error(&path.child("atomic"), message);
            }
            refuse(path, &NOT_INTO_FILES, diagnostics);
            each_table(job, path, &NOT_INTO_A_FILE, diagnostics);
            both(job, path, diagnostics);
        }
    }
}

/// What neither end allows.
fn both(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    if job.workers > 1 {
        let message = "must be 1 where source or target is a directory: a file is not split";
        diagnostics.error(&path.child("workers"), message);
    }
    if job.verify == Verify::Checksum {
        let message = "`checksum` needs two databases; rows are counted";
        diagnostics.error(&path.child("verify"), message);
    }
    if job.compare == Compare::Stream {
        let message = "`stream` needs two databases";
        diagnostics.error(&path.child("compare"), message);
    }
    if job.format != FormatChoice::Auto {
        let message = "must be \"auto\" where source or target is a directory: the ending of `file` says \
                       how it is written";
        diagnostics.error(&path.child("format"), message);
    }
    for (target, table) in &job.table {
        let path = path.child("table").child(&target.to_string());
        if let Err(message) = layout(job, table) {
            let key = match table.file.name {
                Some(_) => path.child("file"),
                None => path,
            };
            diagnostics.error(&key, message);
        }
    }
    if job.table.is_empty()
        && let Some(message) =
            Layout::with(crate::files::layout::FileFormat::Csv, job.csv.clone()).complaint()
    {
        diagnostics.error(&path.child("csv"), message);
    }
}

/// How a table's file is written. *Errors:* what is wrong with its name or its options.
pub fn layout(job: &JobSpec, table: &TableSpec) -> Result<Layout, String> {
    let name = table.file_name();
    let format = table.file.format.or_else(|| format_of(&name));
    let format = format.ok_or_else(|| {
        "ends in none of .csv, .txt and .bin, each with or without .gz or .zst".to_owned()
    })?;
    let layout = Layout::with(format, table.file.options.over(&job.csv));
    match layout.complaint() {
        Some(complaint) => Err(complaint),
        None => Ok(layout),
    }
}

fn refuse(path: &KeyPath, keys: &[(&str, &str)], diagnostics: &mut Diagnostics) {
    for (key, why) in keys {
        let key = key
            .split('.')
            .fold(path.clone(), |path, part| path.child(part));
        if diagnostics.is_set(&key) {
            diagnostics.error(&key, format!("has no meaning here: {why}"));
        }
    }
}

fn each_table(job: &JobSpec, path: &KeyPath, keys: &[(&str, &str)], diagnostics: &mut Diagnostics) {
    for target in job.table.keys() {
        refuse(
            &path.child("table").child(&target.to_string()),
            keys,
            diagnostics,
        );
    }
}

/// `file` and `csv` of a job between two databases.
fn no_files(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    let why = "neither the source nor the target is a server with a `dir`";
    let keys = [("file", why), ("csv", why)];
    refuse(path, &keys, diagnostics);
    each_table(job, path, &keys, diagnostics);
}
