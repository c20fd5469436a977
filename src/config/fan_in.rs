//! `source = ["eu", "us"]`: several sources, one table.

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::spec::{Create, JobSpec, Mode, NewColumns};

impl JobSpec {
    /// The servers that are read, in order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let more = self.more_sources.iter().map(String::as_str);
        std::iter::once(self.source.as_str()).chain(more)
    }
}

/// Checks what several sources allow.
pub(super) fn check(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    let source = path.child("source");
    let all: Vec<&str> = job.sources().collect();
    for (at, name) in all.iter().enumerate() {
        if all[..at].contains(name) {
            diagnostics.error(&source, format!("names server `{name}` twice"));
        }
    }
    let Some(column) = &job.source_column else {
        if all.len() > 1 {
            let message = "several servers need `source_column`: the column of the target that holds the name of a \
                           row's server";
            diagnostics.error(&source, message);
        }
        return;
    };
    let key = path.child("source_column");
    diagnostics.only_for(&[Mode::Append, Mode::Merge, Mode::Upsert], job.mode, &key);
    let mut refuse = |name: &str, is_set: bool, why: &str| {
        if is_set {
            let message = format!("cannot be combined with `source_column`: {why}");
            diagnostics.error(&path.child(name), message);
        }
    };
    refuse(
        "workers",
        job.workers > 1,
        "the sources are read one after the other",
    );
    refuse(
        "atomic",
        !job.atomic,
        "the rows of all sources are published together",
    );
    let makes = job.create == Create::Missing;
    refuse("create", makes, "the sources' tables lack the column");
    let adds = job.new_columns == NewColumns::Add;
    refuse("new_columns", adds, "each source may have other columns");
    for (target, table) in &job.table {
        let path = path.child("table").child(&target.to_string());
        if table.watermark.is_some() {
            let message =
                "cannot be combined with `source_column`: a watermark is that of one source";
            diagnostics.error(&path.child("watermark"), message);
        }
        let is_named = table.columns.iter().flatten().any(|name| name == column);
        if is_named || table.set.contains_key(column) {
            let message =
                format!("column {column} is the job's `source_column`, which the run fills");
            diagnostics.error(&path, message);
        }
    }
}
