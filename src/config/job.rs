//! `[jobs.NAME]`.

use std::collections::BTreeMap;

use super::csv;
use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::merge::Stacks;
use super::raw::{RawJob, RawServer};
use super::spec::{
    Compare, JobSpec, Mode, OnError, Replace, TableInput, TablePattern, TargetNames,
};
use super::{connections, fan_in, files, schedule, sql, table};
use crate::pg::ident::Ident;
use crate::wording::nearest;

/// The modes for which `resume` is: others load in the transaction that publishes.
const RESUMED: [Mode; 3] = [Mode::Swap, Mode::Merge, Mode::Upsert];

/// All jobs that could be made sense of.
pub(super) fn jobs(
    layers: &mut Stacks,
    servers: &BTreeMap<String, RawServer>,
    diagnostics: &mut Diagnostics,
) -> Result<BTreeMap<String, JobSpec>, config::ConfigError> {
    let names = layers.job_names();
    let mut jobs = BTreeMap::new();
    while let Some((name, raw)) = layers.next_job() {
        let raw = raw?;
        let path = KeyPath::from("jobs").child(&name);
        diagnostics.require(&path.child("source"), raw.source.first());
        diagnostics.require(&path.child("target"), raw.target.as_ref());
        let sources = raw.source.iter().map(|server| ("source", server));
        for (key, server) in sources.chain(raw.target.iter().map(|server| ("target", server))) {
            if !servers.contains_key(server) {
                let message = no_such("server", server, servers.keys());
                diagnostics.error(&path.child(key), message);
            }
        }
        for job in &raw.after {
            if !names.contains(job) {
                diagnostics.error(&path.child("after"), no_such("job", job, names.iter()));
            }
        }
        if let Some(mut job) = job(name.clone(), raw, &path, diagnostics) {
            connections::fit(&mut job, servers, &path, diagnostics);
            files::check(&job, servers, &path, diagnostics);
            jobs.insert(name, job);
        }
    }
    Ok(jobs)
}

pub(super) fn job(
    name: String,
    raw: RawJob,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> Option<JobSpec> {
    let schedule = schedule::schedule(&raw, path, diagnostics);
    let mode = diagnostics.require(&path.child("mode"), raw.mode);
    check_job_keys(&raw, path, diagnostics);
    let table = table::tables(raw.table, mode, &path.child("table"), diagnostics);
    let mut sources = raw.source.into_iter();
    let source = sources.next()?;
    let mut job = JobSpec {
        name,
        source,
        more_sources: sources.collect(),
        source_column: raw.source_column.and_then(|name| Ident::parse(&name).ok()),
        target: raw.target?,
        mode: mode?,
        tables: patterns(&raw.tables),
        exclude: patterns(&raw.exclude),
        target_names: target_names(raw.target_names.as_deref()),
        table,
        schedule,
        fresh_within: raw.fresh_within,
        timeout: raw.timeout,
        lock_timeout: raw.lock_timeout,
        stall_timeout: raw.stall_timeout,
        retry: raw.retry,
        format: raw.format,
        workers: raw.workers,
        atomic: raw.atomic,
        verify: raw.verify,
        guard: raw.guard,
        triggers: raw.triggers,
        sequences: raw.sequences,
        analyze: raw.analyze,
        rate_limit: raw.rate_limit,
        on_error: raw.on_error,
        reject_limit: raw.reject_limit,
        log_values: raw.log_values,
        recreate_views: raw.recreate_views,
        compare: raw.compare,
        replace: raw.replace,
        resume: raw.resume
            && (RESUMED.contains(&mode?) || diagnostics.is_set(&path.child("resume"))),
        create: raw.create,
        new_columns: raw.new_columns,
        max_snapshot_age: raw.max_snapshot_age,
        csv: csv::options(raw.csv, &path.child("csv"), diagnostics),
        sql: raw.sql,
        params: raw.params,
        params_used: Default::default(),
    };
    sql::check(&mut job, path, diagnostics);
    check_itself(&job, path, diagnostics);
    fan_in::check(&job, path, diagnostics);
    check_resume(&job, path, diagnostics);
    Some(job)
}

/// What concerns several keys of the job itself.
fn check_job_keys(raw: &RawJob, path: &KeyPath, diagnostics: &mut Diagnostics) {
    let tables = path.child("tables");
    if raw.tables.is_empty() && raw.table.is_empty() && !diagnostics.stands(&tables) {
        let message =
            format!("is required, or a `[{path}.table.\"schema.name\"]`: there is nothing to copy");
        diagnostics.error(&tables, message);
    }
    if raw.retry.max_backoff < raw.retry.backoff {
        let message = "must not be shorter than `backoff`, the first pause";
        diagnostics.error(&path.child("retry").child("max_backoff"), message);
    }
    if let Some(mode) = raw.mode
        && raw.recreate_views
        && diagnostics.is_set(&path.child("recreate_views"))
    {
        diagnostics.only_for(&[Mode::Swap], mode, &path.child("recreate_views"));
    }
    if let Some(mode) = raw.mode
        && raw.replace == Replace::Partitions
    {
        let modes = [Mode::Truncate, Mode::Swap];
        diagnostics.only_for(&modes, mode, &path.child("replace"));
    }
    let limit = path.child("reject_limit");
    if raw.on_error == OnError::Abort && diagnostics.is_set(&limit) {
        diagnostics.warn(&limit, "has no effect without `on_error = \"quarantine\"`");
    }
    let compare = path.child("compare");
    if let Some(mode) = raw.mode
        && diagnostics.is_set(&compare)
    {
        diagnostics.only_for(&[Mode::Merge, Mode::Upsert], mode, &compare);
    }
    if raw.compare == Compare::Stream && raw.workers > 1 {
        let message =
            "`compare = \"stream\"` reads each side in one stream: it needs `workers = 1`";
        diagnostics.error(&compare, message);
    }
    let guard = path.child("guard");
    if raw.mode.is_some_and(Mode::keeps_other_rows) && diagnostics.is_set(&guard) {
        let message = "has no effect in a mode that keeps the target's old rows";
        diagnostics.warn(&guard, message);
    }
}

/// What one worker loads is part of the publishing transaction: nothing of it is left if the run dies.
fn check_resume(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    let key = path.child("resume");
    if !job.resume {
        return;
    }
    if !RESUMED.contains(&job.mode) {
        diagnostics.only_for(&RESUMED, job.mode, &key);
    } else if job.on_error == OnError::Quarantine {
        let message = "cannot be combined with `on_error = \"quarantine\"`, which loads in one transaction: \
                       nothing of it is left if the run dies";
        diagnostics.error(&key, message);
    } else if job.loaders() < 2 {
        let message = "needs `workers` = 2 or more: one worker loads in the transaction that publishes, and \
                       nothing of it is left if the run dies";
        diagnostics.error(&key, message);
    }
}

/// A job from a server to itself must not read what it writes: TRUNCATE would wait for the
/// reader, and the reader for the rows.
fn check_itself(job: &JobSpec, path: &KeyPath, diagnostics: &mut Diagnostics) {
    if job.sources().all(|source| source != job.target) {
        return;
    }
    let message = format!(
        "source and target are the same server, so that this would copy a table onto itself: \
         name another `source` in a `[{path}.table.\"schema.name\"]`"
    );
    if !job.tables.is_empty() && job.target_names.is_none() {
        diagnostics.error(&path.child("tables"), message.as_str());
    }
    for (target, table) in &job.table {
        if table.input == TableInput::Relation(target.clone()) {
            diagnostics.error(
                &path.child("table").child(&target.to_string()),
                message.as_str(),
            );
        }
    }
}

/// One that does not parse was reported with its layer.
fn target_names(text: Option<&str>) -> Option<TargetNames> {
    TargetNames::parse(text?).ok()
}

/// Patterns that do not parse were reported with their layer.
fn patterns(texts: &[String]) -> Vec<TablePattern> {
    texts
        .iter()
        .flat_map(|text| TablePattern::parse(text))
        .collect()
}

/// "unknown server `shpo`; did you mean `shop`?"
fn no_such<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n String> + Clone) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown {what} `{name}`; none is configured"),
        None => format!("unknown {what} `{name}`; known are: {}", known.join(", ")),
    }
}
