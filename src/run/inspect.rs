//! Describes both sides and plans. `run`, `plan` and `check --connect` share this.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::bounds::CLOSE_WAIT;
use super::files::{self, FileSource};
use super::snapshot_age::SnapshotAge;
use super::{JobContext, RunContext, changes, export, ledger, modes, preflight, watermark};
use crate::catalog;
use crate::catalog::attachments::Attachments;
use crate::catalog::constraints::Constraints;
use crate::catalog::desc::{KeyActions, RelationDesc, RelationKind};
use crate::catalog::{Expanded, LockTarget};
use crate::config::spec::{JobSpec, Mode, OnError, ServerSpec, TableInput, TableSpec, Triggers};
use crate::error::{Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::{Session, SessionSettings};
use crate::plan::copy::JobPlan;
use crate::plan::lock;
use crate::plan::shared::Attempt;
use crate::plan::used::SeenLocks;
use crate::plan::{self, Inspected, Refusal};
use crate::report::Snapshot;

/// The source's transaction: all statements use one snapshot.
const SNAPSHOT: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The result of inspecting both sides.
pub struct Inspection {
    /// The plan, or every reason why there is none.
    pub plan: Result<JobPlan, Vec<Refusal>>,
    /// The target's relations as they were described for the plan.
    pub target: BTreeMap<QualifiedName, RelationDesc>,
    /// The source's snapshot; files have none.
    pub snapshot: Option<Snapshot>,
}

/// Opens a session on one side of a job.
pub async fn open(context: &JobContext, side: Side) -> Result<Session> {
    let (server, other): (&ServerSpec, &ServerSpec) = match side {
        Side::Source => (&context.source, &context.target),
        Side::Target | Side::Local => (&context.target, &context.source),
    };
    let settings = SessionSettings {
        // Both sides of a copy use the same client encoding.
        encoding: server.encoding.clone().or_else(|| other.encoding.clone()),
        lock_timeout: context.job.lock_timeout,
        application_name: format!("tableferry {}", context.job.name),
        replica: side == Side::Target && context.job.triggers == Triggers::Skip,
    };
    context.phase.enter(Phase::Connect);
    let session = Session::open(server, side, &settings).await?;
    Ok(session
        .with_stall_timeout(context.job.stall_timeout)
        .with_phase(context.phase.clone()))
}

/// Begins the source's snapshot transaction, with its locks, and plans against the target.
///
/// The locks come before the snapshot: a snapshot that is older than a concurrent TRUNCATE would read no
/// rows, without an error. What must be known before the locks (which tables a wildcard matches) is read
/// before the transaction begins. `attempt` is the number of the attempt.
pub async fn inspect(
    context: &JobContext,
    source: &Session,
    target: &Session,
    snapshot_age: &SnapshotAge,
    attempt: u32,
) -> Result<Inspection> {
    let job = &context.job;
    let (Expanded { tables, warnings }, locks, snapshot) =
        begin_snapshot(context, source, snapshot_age).await?;

    target.begin_reading(Phase::Inspect).await?;
    let same_place = place(source).await? == place(target).await?;
    // The queries of both servers run concurrently.
    let (source_names, target_names) = (names(&tables, Side::Source), names(&tables, Side::Target));
    let (from, to) = tokio::try_join!(
        catalog::read(source, &source_names),
        catalog::read(target, &target_names)
    )?;
    let (mut attachments, actions) = attached(target, job, &target_names).await?;
    let mut constraints = constraints(target, job, &target_names, &to).await?;
    let empty = match job.mode {
        Mode::Merge | Mode::Upsert => catalog::empty(target, &to).await?,
        Mode::Append | Mode::Truncate | Mode::Swap => BTreeSet::new(),
    };
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let source_desc = match &spec.input {
            TableInput::Relation(name) => from.get(name).cloned(),
            TableInput::Query(_) | TableInput::File(_) => None,
        };
        let mut entry = Inspected::new(source, spec, source_desc, &to).await?;
        entry.target_is_empty = empty.contains(&entry.spec.target);
        entry.attachments = attachments.remove(&entry.spec.target);
        entry.constraints = constraints.remove(&entry.spec.target);
        modes::check_scope(target, job, &entry).await?;
        inspected.push(entry);
    }
    watermark::resume(context, source, target, &mut inspected).await?;
    changes::resume(context, source, target, &mut inspected).await?;
    let refused = ledger::refuse_stages(target, job).await?;
    target.end_reading(Phase::Inspect).await?;
    let refused = refused.into_iter().collect();
    let mut plan = planned(context, inspected, (same_place, attempt), &actions, refused);
    if let Ok(plan) = &mut plan {
        note(plan, &locks, warnings);
    }
    Ok(Inspection {
        plan,
        target: to,
        snapshot: Some(snapshot),
    })
}

/// The same for a target that is a directory. Its files need no description.
pub(super) async fn inspect_export(
    context: &JobContext,
    source: &Session,
    snapshot_age: &SnapshotAge,
) -> Result<(Result<JobPlan, Vec<Refusal>>, Snapshot)> {
    let (Expanded { tables, warnings }, locks, snapshot) =
        begin_snapshot(context, source, snapshot_age).await?;
    let from = catalog::read(source, &names(&tables, Side::Source)).await?;
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let source_desc = match &spec.input {
            TableInput::Relation(name) => from.get(name).cloned(),
            TableInput::Query(_) | TableInput::File(_) => None,
        };
        inspected.push(Inspected::new(source, spec, source_desc, &BTreeMap::new()).await?);
    }
    let mut plan = export::planned(context, inspected);
    if let Ok(plan) = &mut plan {
        note(plan, &locks, warnings);
    }
    Ok((plan, snapshot))
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
    let expanded = catalog::expand(source, &context.job).await?;
    let locks = catalog::lock_list(source, &expanded.tables).await?;
    source.end_reading(Phase::Inspect).await?;
    source.begin(Phase::Lock, SNAPSHOT).await?;
    catalog::lock(source, &locks).await?;
    snapshot_age.begin();
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

/// The plan, unless something was refused before it.
fn planned(
    context: &JobContext,
    inspected: Vec<Inspected>,
    (same_place, number): (bool, u32),
    actions: &KeyActions,
    mut refused: Vec<Refusal>,
) -> Result<JobPlan, Vec<Refusal>> {
    let attempt = Attempt {
        run_id: context.run_id,
        number,
    };
    match plan::job(&context.job, inspected, same_place, attempt, actions) {
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
pub(super) async fn inspect_files(
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

/// Identifies a database of a running server.
pub(super) async fn place(session: &Session) -> Result<(String, String)> {
    let sql = "SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text, \
                      pg_catalog.current_database()::pg_catalog.text";
    let row = session
        .one_row(Phase::Inspect, "the server's start time", sql, &[])
        .await?;
    Ok((row.get(0)?, row.get(1)?))
}

/// Connects to both servers and plans. Moves no rows, and locks nothing on the target.
pub async fn plan_only(run: &RunContext) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let context = &run.context;
    if !context.target.is_database() {
        return plan_export(context).await;
    }
    let target = open(context, Side::Target).await?;
    if !context.source.is_database() {
        let planned = plan_files(run, &target).await;
        target.close(CLOSE_WAIT).await;
        return planned;
    }
    let source = open(context, Side::Source).await?;
    let planned = plan_with(run, &source, &target).await;
    tokio::join!(source.close(CLOSE_WAIT), target.close(CLOSE_WAIT));
    planned
}

async fn plan_export(context: &JobContext) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let source = open(context, Side::Source).await?;
    let planned = async {
        let (mut plan, _) = inspect_export(context, &source, &SnapshotAge::default()).await?;
        if let Ok(plan) = &mut plan {
            preflight::check_source(context, &source, plan).await?;
            plan.seen_locks.source = catalog::locked(&source).await?;
        }
        Ok(plan)
    };
    let planned = planned.await;
    source.close(CLOSE_WAIT).await;
    planned
}

async fn plan_files(run: &RunContext, target: &Session) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let context = &run.context;
    let files = FileSource::new(context);
    let inspected = inspect_files(context, &files, target, 1).await?;
    refuse(run, None, target, inspected.plan).await
}

async fn plan_with(
    run: &RunContext,
    source: &Session,
    target: &Session,
) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let inspected = inspect(&run.context, source, target, &SnapshotAge::default(), 1).await?;
    refuse(run, Some(source), target, inspected.plan).await
}

/// Adds the errors and warnings of the checks on the servers.
async fn refuse(
    run: &RunContext,
    source: Option<&Session>,
    target: &Session,
    plan: Result<JobPlan, Vec<Refusal>>,
) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let unwritable = preflight::unwritable(run, target).await?;
    Ok(match plan {
        Ok(mut plan) => {
            let mut refusals = preflight::check(&run.context, source, target, &mut plan).await?;
            refusals.extend(unwritable);
            plan.seen_locks = SeenLocks {
                source: match source {
                    Some(source) => catalog::locked(source).await?,
                    None => Vec::new(),
                },
                partitions: catalog::partitions(target, &lock::partitioned_candidates(&plan))
                    .await?,
            };
            match refusals.is_empty() {
                true => Ok(plan),
                false => Err(refusals),
            }
        }
        Err(mut refusals) => {
            refusals.extend(unwritable);
            Err(refusals)
        }
    })
}
