//! Detects jobs that write the same table, if one of them would replace rows that the other has written.

use std::collections::BTreeMap;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::spec::{JobSpec, Scope, TablePattern};
use crate::pg::ident::QualifiedName;

/// A job, and whether it removes rows that it did not write.
#[derive(Clone, Copy)]
struct WritingJob<'j> {
    job: &'j str,
    replaces: bool,
}

/// What is written on one server, by name and by wildcard.
#[derive(Default)]
struct WrittenTables<'j> {
    tables: BTreeMap<QualifiedName, Vec<WritingJob<'j>>>,
    /// By their text and that of `target_names`.
    wildcards: BTreeMap<(&'j str, &'j str), Vec<(&'j TablePattern, &'j JobSpec)>>,
}

/// Warns of them. Servers are told apart by name; two wildcards are compared by their text.
pub(super) fn check(jobs: &BTreeMap<String, JobSpec>, diagnostics: &mut Diagnostics) {
    let mut servers: BTreeMap<&str, WrittenTables> = BTreeMap::new();
    for job in jobs.values() {
        let written = servers.entry(&job.target).or_default();
        for name in job.table.keys() {
            add(written, name.clone(), job);
        }
        for pattern in &job.tables {
            let names = job.target_names.as_ref();
            match pattern.literal() {
                Some(name) if job.table.contains_key(&name) => {}
                Some(name) => {
                    // A name that cannot be made is an error of the run.
                    let target = names.map_or(Ok(name.clone()), |names| names.target_of(&name));
                    let target = target.ok().filter(|target| !job.table.contains_key(target));
                    target
                        .into_iter()
                        .for_each(|target| add(written, target, job));
                }
                None => {
                    let names = names.map_or("", |names| names.text.as_str());
                    let jobs = written.wildcards.entry((&pattern.text, names));
                    jobs.or_default().push((pattern, job));
                }
            }
        }
    }
    // Of two jobs, one table is named.
    let mut pairs: BTreeMap<(&str, &str), (String, &str)> = BTreeMap::new();
    for (server, written) in &servers {
        for (name, writers) in &written.tables {
            let mut all = writers.clone();
            for (pattern, job) in written.wildcards.values().flatten() {
                let is_left_out = job.exclude.iter().any(|left_out| left_out.matches(name));
                // The server knows what has the names that `target_names` makes.
                let is_named = job.target_names.is_none() && pattern.matches(name);
                if is_named && !is_left_out && !job.table.contains_key(name) {
                    all.push(writer(job, name));
                }
            }
            note(&mut pairs, &all, &name.to_string(), server);
        }
        for ((text, _), jobs) in &written.wildcards {
            let all: Vec<WritingJob> = jobs
                .iter()
                .map(|(_, job)| WritingJob {
                    job: &job.name,
                    replaces: !job.mode.keeps_other_rows(),
                })
                .collect();
            note(&mut pairs, &all, text, server);
        }
    }
    for ((replacing, other), (table, server)) in pairs {
        let path = KeyPath::from("jobs").child(replacing).child("tables");
        let message = format!(
            "job `{other}` writes {table} on `{server}`, too, and each run of `{replacing}` replaces what it has \
             written: let one job write a table"
        );
        diagnostics.warn(&path, message);
    }
}

fn add<'j>(written: &mut WrittenTables<'j>, name: QualifiedName, job: &'j JobSpec) {
    let writer = writer(job, &name);
    written.tables.entry(name).or_default().push(writer);
}

fn writer<'j>(job: &'j JobSpec, name: &QualifiedName) -> WritingJob<'j> {
    let is_part = job
        .table
        .get(name)
        .is_some_and(|table| table.scope == Scope::Where);
    WritingJob {
        job: &job.name,
        replaces: !job.mode.keeps_other_rows() && !is_part,
    }
}

fn note<'j>(
    pairs: &mut BTreeMap<(&'j str, &'j str), (String, &'j str)>,
    writers: &[WritingJob<'j>],
    table: &str,
    server: &'j str,
) {
    // The first that replaces stands for all that do: no more warnings than jobs.
    let Some(replacing) = writers.iter().find(|writer| writer.replaces) else {
        return;
    };
    for other in writers.iter().filter(|other| other.job != replacing.job) {
        pairs
            .entry((replacing.job, other.job))
            .or_insert_with(|| (table.to_owned(), server));
    }
}
