//! Describes both sides and plans. Runs, `plan`, `check --connect` and `verify` share this.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::context::JobContext;
use super::creation::{self, Trial};
use super::ends::{self, End, SourceEnd, TargetEnd};
use super::files::{self, FileSource};
use super::snapshot_age::SnapshotAge;
use super::swapped::{self, Swapped};
use super::target_files::TargetFiles;
use super::{changes, ledger, modes, resume, watermark};
use crate::catalog;
use crate::catalog::attachments::Attachments;
use crate::catalog::constraints::Constraints;
use crate::catalog::desc::{KeyActions, RelationDesc, RelationKind};
use crate::catalog::present;
use crate::catalog::{Expanded, LockTarget};
use crate::config::spec::{JobSpec, Mode, OnError, TableInput, TableSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::JobPlan;
use crate::plan::shared::Attempt;
use crate::plan::staged::changed;
use crate::plan::{self, Inspected, Refusal};
use crate::report::{Event, Snapshot};

/// The source's transaction: all statements use one snapshot.
const SNAPSHOT: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The result of inspecting both sides.
pub(super) struct Inspection {
    /// The plan, or every reason why there is none.
    pub plan: Result<JobPlan, Vec<Refusal>>,
    /// The target's relations as they were described for the plan.
    pub target: BTreeMap<QualifiedName, RelationDesc>,
    /// The source's snapshot; files have none.
    pub snapshot: Option<Snapshot>,
}

/// Describes both sides and plans. A snapshot of the source stays open. `attempt` is the number of the attempt.
pub(super) async fn inspect(
    context: &JobContext,
    source: SourceEnd<'_>,
    target: TargetEnd<'_>,
    snapshot_age: &SnapshotAge,
    attempt: u32,
) -> Result<Inspection> {
    match (source, target) {
        (End::Server(source), End::Server(target)) => {
            servers(context, source, target, snapshot_age, attempt, true).await
        }
        (End::Files(files), End::Server(target)) => {
            from_files(context, files, target, attempt).await
        }
        (End::Server(source), End::Files(files)) => {
            into_files(context, source, files, snapshot_age).await
        }
        (End::Files(_), End::Files(_)) => {
            let what = "both ends of the job are files";
            Err(Error::new(ErrorKind::Bug, Phase::Plan, Side::Local, what))
        }
    }
}

/// Begins the source's snapshot transaction, with its locks, and plans against the target.
///
/// The locks come before the snapshot: a snapshot that is older than a concurrent TRUNCATE would read no
/// rows, without an error. What must be known before the locks (which tables a wildcard matches) is read
/// before the transaction begins. `is_run`: tables that the target lacks are planned to be made, and the guard judges
/// rows that are counted before the copy.
pub(super) async fn servers(
    context: &JobContext,
    source: &Session,
    target: &Session,
    snapshot_age: &SnapshotAge,
    attempt: u32,
    is_run: bool,
) -> Result<Inspection> {
    let job = &context.job;
    let replayed = match changed::may_be_asked_for(job) {
        true => present::replayed(source).await?,
        false => None,
    };
    let (Expanded { tables, warnings }, locks, snapshot) =
        begin_snapshot(context, source, snapshot_age).await?;

    target.begin_reading(Phase::Inspect).await?;
    let same_place = ends::place(source).await? == ends::place(target).await?;
    let Swapped {
        tables,
        mut refused,
        warnings: without_rows,
    } = swapped::expand(context, (source, target), tables, same_place, is_run).await?;
    // The queries of both servers run concurrently.
    let (source_names, target_names) = (names(&tables, Side::Source), names(&tables, Side::Target));
    let (from, mut to) = tokio::try_join!(
        catalog::read(source, &source_names),
        catalog::read(target, &target_names)
    )?;
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let source_desc = match &spec.input {
            TableInput::Relation(name) => from.get(name).cloned(),
            TableInput::Query(_) | TableInput::File(_) => None,
        };
        inspected.push(Inspected::new(source, spec, source_desc, &to).await?);
    }
    let trial = match is_run {
        true => creation::attempt(context, source, target, &mut inspected, &mut to).await?,
        false => Trial::none(),
    };
    if !trial.refused.is_empty() {
        refused.extend(trial.refused.iter().cloned());
        trial.end(target).await?;
        return Ok(Inspection {
            plan: Err(refused),
            target: to,
            snapshot: Some(snapshot),
        });
    }
    let (mut attachments, actions) = attached(target, job, &target_names).await?;
    let mut constraints = constraints(target, job, &target_names, &to).await?;
    let empty = match job.mode.compares() {
        true => catalog::empty(target, &to).await?,
        false => BTreeSet::new(),
    };
    for entry in &mut inspected {
        entry.target_is_empty = empty.contains(&entry.spec.target);
        entry.attachments = attachments.remove(&entry.spec.target);
        let added = trial.columns.get(&entry.spec.target);
        if let (Some(attached), Some(added)) = (&mut entry.attachments, added) {
            attached.columns.extend(added.iter().cloned());
        }
        entry.constraints = constraints.remove(&entry.spec.target);
        modes::check_scope(target, job, entry).await?;
    }
    watermark::resume(context, source, target, &mut inspected).await?;
    changes::resume(context, source, target, &mut inspected, replayed).await?;
    resume::find(context, source, target, &mut inspected, replayed).await?;
    refused.extend(ledger::refuse_stages(target, job).await?);
    trial.end(target).await?;
    let mut plan = planned(context, inspected, (same_place, attempt), &actions, refused);
    if let Ok(plan) = &mut plan {
        note(plan, &locks, [warnings, without_rows].concat());
    }
    Ok(Inspection {
        plan,
        target: to,
        snapshot: Some(snapshot),
    })
}

/// The same for a target that is a directory. Its files need no description.
pub(super) async fn into_files(
    context: &JobContext,
    source: &Session,
    files: &TargetFiles,
    snapshot_age: &SnapshotAge,
) -> Result<Inspection> {
    let (Expanded { tables, warnings }, locks, snapshot) =
        begin_snapshot(context, source, snapshot_age).await?;
    let from = catalog::read(source, &names(&tables, Side::Source)).await?;
    let (mut exported, mut refused) = (Vec::with_capacity(tables.len()), Vec::new());
    for spec in tables {
        let source_desc = match &spec.input {
            TableInput::Relation(name) => from.get(name).cloned(),
            TableInput::Query(_) | TableInput::File(_) => None,
        };
        let entry = Inspected::new(source, spec, source_desc, &BTreeMap::new()).await?;
        match files.describe(&context.job, entry) {
            Ok(table) => exported.push(table),
            Err(refusal) => refused.push(refusal),
        }
    }
    let mut plan = unless_refused(plan::export::job(&context.job, exported), refused);
    if let Ok(plan) = &mut plan {
        note(plan, &locks, warnings);
    }
    Ok(Inspection {
        plan,
        target: BTreeMap::new(),
        snapshot: Some(snapshot),
    })
}

fn note(plan: &mut JobPlan, locks: &[LockTarget], warnings: Vec<String>) {
    plan.snapshot.push(format!("BEGIN {SNAPSHOT}"));
    plan.snapshot.extend(catalog::lock_statement(locks));
    plan.warnings.extend(warnings);
    plan.warnings.extend(locks.iter().filter_map(unlocked));
}

/// Begins the source's snapshot transaction, with its locks.
async fn begin_snapshot(
    context: &JobContext,
    source: &Session,
    snapshot_age: &SnapshotAge,
) -> Result<(Expanded, Vec<LockTarget>, Snapshot)> {
    source.begin_reading(Phase::Inspect).await?;
    let mut expanded = catalog::expand(source, &context.job).await?;
    if let Some(column) = &context.job.source_column {
        let tables = expanded.tables.iter_mut();
        tables.for_each(|spec| spec.read_from(column, &context.source.name));
    }
    let locks = catalog::lock_list(source, &expanded.tables).await?;
    source.end_reading(Phase::Inspect).await?;
    source.begin(Phase::Lock, SNAPSHOT).await?;
    catalog::lock(source, &locks).await?;
    snapshot_age.begin();
    context.tell(Event::SnapshotTaken);
    let snapshot = snapshot(source).await?;
    // A pooler may have given the transaction a backend that never saw our settings.
    source.verify(Phase::Inspect).await?;
    Ok((expanded, locks, snapshot))
}

/// The attachments of the targets, and the foreign keys that may change rows, if the mode needs them.
async fn attached(
    target: &Session,
    job: &JobSpec,
    names: &[QualifiedName],
) -> Result<(BTreeMap<QualifiedName, Attachments>, KeyActions)> {
    Ok(match job.mode {
        Mode::Swap => (
            catalog::attachments(target, names).await?,
            KeyActions::default(),
        ),
        Mode::Merge | Mode::Upsert => {
            let actions = catalog::key_actions(target, names).await?;
            (BTreeMap::new(), actions)
        }
        Mode::Append | Mode::Truncate => (BTreeMap::new(), KeyActions::default()),
    })
}

/// What decides which rows the targets take, as far as rows are judged before they are written.
async fn constraints(
    target: &Session,
    job: &JobSpec,
    names: &[QualifiedName],
    to: &BTreeMap<QualifiedName, RelationDesc>,
) -> Result<BTreeMap<QualifiedName, Constraints>> {
    let judged = |name: &&QualifiedName| {
        job.on_error == OnError::Quarantine || is_in_partitions(to.get(name))
    };
    let judged: Vec<QualifiedName> = names.iter().filter(judged).cloned().collect();
    match job.mode {
        Mode::Swap => Ok(BTreeMap::new()),
        _ if judged.is_empty() => Ok(BTreeMap::new()),
        _ => catalog::constraints(target, &judged).await,
    }
}

fn planned(
    context: &JobContext,
    inspected: Vec<Inspected>,
    (same_place, number): (bool, u32),
    actions: &KeyActions,
    refused: Vec<Refusal>,
) -> Result<JobPlan, Vec<Refusal>> {
    let attempt = Attempt {
        run_id: context.run_id,
        number,
        source: context.source_at,
    };
    let plan = plan::job(&context.job, inspected, same_place, attempt, actions);
    unless_refused(plan, refused)
}

/// The plan, unless something was refused before it.
fn unless_refused(
    plan: Result<JobPlan, Vec<Refusal>>,
    mut refused: Vec<Refusal>,
) -> Result<JobPlan, Vec<Refusal>> {
    match plan {
        Ok(plan) if refused.is_empty() => Ok(plan),
        Ok(_) => Err(refused),
        Err(refusals) => {
            refused.extend(refusals);
            Err(refused)
        }
    }
}

/// The same for a source that is a directory: the columns of the headers are paired with the target's
/// columns.
async fn from_files(
    context: &JobContext,
    files: &FileSource,
    target: &Session,
    attempt: u32,
) -> Result<Inspection> {
    let job = &context.job;
    context.phase.enter(Phase::Inspect);
    let tables = files::tables(job);
    let names: Vec<QualifiedName> = tables.iter().map(|table| table.target.clone()).collect();
    target.begin_reading(Phase::Inspect).await?;
    let to = catalog::read(target, &names).await?;
    let (mut attachments, actions) = attached(target, job, &names).await?;
    let mut constraints = constraints(target, job, &names, &to).await?;
    let mut refused = Vec::from_iter(ledger::refuse_stages(target, job).await?);
    // No snapshot is held while the header is read: the program that writes to standard input may be slow.
    target.end_reading(Phase::Inspect).await?;
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let desc = to.get(&spec.target);
        let mut entry = files.describe(job, spec, desc, &mut refused).await?;
        entry.attachments = attachments.remove(&entry.spec.target);
        entry.constraints = constraints.remove(&entry.spec.target);
        inspected.push(entry);
    }
    let plan = planned(context, inspected, (false, attempt), &actions, refused);
    if let Ok(plan) = &plan {
        files.learn_types(target, &plan.tables).await?;
    }
    Ok(Inspection {
        plan,
        target: to,
        snapshot: None,
    })
}

/// A warning about a relation that LOCK refuses: it is read without a lock.
fn unlocked(lock: &LockTarget) -> Option<String> {
    let why = lock.skipped.as_ref()?;
    Some(format!(
        "{} is read without a lock ({why}): after a concurrent TRUNCATE it would be read as empty",
        lock.name
    ))
}

/// Does the target have constraints or partitions that some rows may violate?
fn is_in_partitions(target: Option<&RelationDesc>) -> bool {
    target.is_some_and(|desc| desc.kind == RelationKind::Partitioned || !desc.ancestors.is_empty())
}

fn names(tables: &[TableSpec], side: Side) -> Vec<QualifiedName> {
    tables
        .iter()
        .filter_map(|spec| match (side, &spec.input) {
            (Side::Target | Side::Local, _) => Some(spec.target.clone()),
            (Side::Source, TableInput::Relation(name)) => Some(name.clone()),
            (Side::Source, TableInput::Query(_) | TableInput::File(_)) => None,
        })
        .collect()
}

/// The first query of the transaction: it fixes the snapshot.
async fn snapshot(source: &Session) -> Result<Snapshot> {
    let sql = "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() \
                       THEN pg_catalog.pg_last_wal_replay_lsn() \
                       ELSE pg_catalog.pg_current_wal_insert_lsn() END)::pg_catalog.text, \
                      (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";
    let row = source
        .one_row(Phase::Lock, "the source's snapshot", sql, &[])
        .await?;
    let micros: i64 = row.get(1)?;
    Ok(Snapshot {
        // A server in recovery that has not replayed anything has no position.
        lsn: row.get::<Option<String>>(0)?.unwrap_or_default(),
        taken_at: Timestamp::from_microsecond(micros).unwrap_or_else(|_| Timestamp::now()),
    })
}
