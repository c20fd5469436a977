//! `[jobs.NAME.sql]` and `[jobs.NAME.params]`.

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::spec::{BUILT_IN_PARAMS, Compare, JobSpec, TableInput};
use crate::pg::variables::variables;

/// Checks the job's statements and parameters, and notes which parameters are used.
pub(super) fn check(job: &mut JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    check_statements(job, &path.child("sql"), diagnostics);
    check_compare(job, &path.child("compare"), diagnostics);
    let params = path.child("params");
    for name in job.params.keys() {
        if BUILT_IN_PARAMS.contains(&name.as_str()) {
            let message = "is built in: choose another name";
            diagnostics.error(&params.child(name), message);
        }
    }
    let mut used = std::mem::take(&mut job.params_used);
    for (key, sql) in texts(job, path) {
        for name in variables(sql) {
            if !job.params.contains_key(name) && !BUILT_IN_PARAMS.contains(&name) {
                let known: Vec<&str> = job.params.keys().map(String::as_str).collect();
                let known = [&known[..], &BUILT_IN_PARAMS].concat().join(", ");
                let message = format!("there is no parameter `{name}`; known are: {known}");
                diagnostics.error(&key, message);
            }
            used.insert(name.to_owned());
        }
    }
    job.params_used = used;
    for name in job.params.keys() {
        let key = params.child(name);
        // Of a default, other jobs may make use.
        if !job.params_used.contains(name) && diagnostics.is_set(&key) {
            diagnostics.warn(
                &key,
                format!("is not used: no SQL of the job has :'{name}'"),
            );
        }
    }
}

fn check_statements(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    if job.atomic {
        return;
    }
    for (key, statements) in &job.sql.lists()[..2] {
        if !statements.is_empty() {
            let message =
                "cannot be combined with `atomic = false`: no transaction publishes all tables";
            diagnostics.error(&path.child(key), message);
        }
    }
}

/// Rows that these statements write are seen neither by another connection that reads the target, nor by a mark that
/// counts all rows of the publishing transaction as the source's.
fn check_compare(job: &mut JobSpec, key: &KeyPath, diagnostics: &mut Diagnostics) {
    let refused = match job.compare {
        Compare::Stream => !job.sql.before_load.is_empty(),
        Compare::Changed => job.sql.is_in_transaction(),
        Compare::Auto | Compare::Full => false,
    };
    if refused && job.mode.compares() {
        let message = "cannot be combined with these statements of `sql`: it would not see what they write; use \
                       `compare = \"auto\"`";
        diagnostics.error(key, message);
    }
    if job.compare == Compare::Auto && !job.sql.before_load.is_empty() {
        job.compare = Compare::Full;
    }
}

/// All texts that may name parameters, with their keys.
fn texts<'j>(job: &'j JobSpec, path: &KeyPath) -> Vec<(KeyPath, &'j str)> {
    let mut texts = Vec::new();
    for (target, table) in &job.table {
        let path = path.child("table").child(&target.to_string());
        if let TableInput::Query(query) = &table.input {
            texts.push((path.child("query"), query.as_str()));
        }
        let filter = table.filter.iter();
        texts.extend(filter.map(|filter| (path.child("where"), filter.as_str())));
        let set = table.set.iter();
        texts.extend(set.map(|(column, expression)| {
            (
                path.child("set").child(&column.to_string()),
                expression.as_str(),
            )
        }));
    }
    for (key, statements) in job.sql.lists() {
        let key = path.child("sql").child(key);
        texts.extend(statements.iter().map(|sql| (key.clone(), sql.as_str())));
    }
    texts
}
