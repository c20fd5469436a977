//! Describes both sides and plans. `run`, `plan` and `check --connect` share this.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::bounds::CLOSE_WAIT;
use super::snapshot_age::SnapshotAge;
use super::{JobContext, RunContext, ledger, modes, preflight, watermark};
use crate::catalog;
use crate::catalog::desc::{KeyActions, RelationDesc, RelationKind};
use crate::catalog::{Expanded, LockTarget};
use crate::config::spec::{Mode, OnError, ServerSpec, TableInput, TableSpec, Triggers};
use crate::error::{Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::{Session, SessionSettings};
use crate::plan::copy::JobPlan;
use crate::plan::lock;
use crate::plan::shared::Attempt;
use crate::plan::used::SeenLocks;
use crate::plan::{self, Inspected, Refusal};
use crate::report::Snapshot;

/// The source's transaction: all of it sees one snapshot.
const SNAPSHOT: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The result of inspecting both sides.
pub struct Inspection {
    /// The plan, or every reason why there is none.
    pub plan: Result<JobPlan, Vec<Refusal>>,
    /// The target's relations as the plan saw them.
    pub target: BTreeMap<QualifiedName, RelationDesc>,
    pub snapshot: Snapshot,
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
    source.begin_reading(Phase::Inspect).await?;
    let Expanded { tables, warnings } = catalog::expand(source, job).await?;
    let locks = catalog::lock_list(source, &tables).await?;
    source.end_reading(Phase::Inspect).await?;
    source.begin(Phase::Lock, SNAPSHOT).await?;
    catalog::lock(source, &locks).await?;
    snapshot_age.begin();
    let snapshot = snapshot(source).await?;
    // A pooler may have given the transaction a backend without the pinned settings.
    source.verify(Phase::Inspect).await?;

    target.begin_reading(Phase::Inspect).await?;
    let same_place = place(source).await? == place(target).await?;
    // The queries of both servers run concurrently.
    let (source_names, target_names) = (names(&tables, Side::Source), names(&tables, Side::Target));
    let (from, to) = tokio::try_join!(
        catalog::read(source, &source_names),
        catalog::read(target, &target_names)
    )?;
    let mut attachments = match job.mode {
        Mode::Swap => catalog::attachments(target, &target_names).await?,
        _ => BTreeMap::new(),
    };
    let judged: Vec<QualifiedName> = target_names
        .iter()
        .filter(|name| job.on_error == OnError::Quarantine || is_in_partitions(to.get(name)))
        .cloned()
        .collect();
    let mut constraints = match job.mode {
        Mode::Swap => BTreeMap::new(),
        _ if judged.is_empty() => BTreeMap::new(),
        _ => catalog::constraints(target, &judged).await?,
    };
    let actions = match job.mode {
        Mode::Merge | Mode::Upsert => catalog::key_actions(target, &target_names).await?,
        Mode::Append | Mode::Truncate | Mode::Swap => KeyActions::default(),
    };
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let source_desc = match &spec.input {
            TableInput::Relation(name) => from.get(name).cloned(),
            TableInput::Query(_) => None,
        };
        let mut entry = Inspected::new(source, spec, source_desc, &to).await?;
        entry.attachments = attachments.remove(&entry.spec.target);
        entry.constraints = constraints.remove(&entry.spec.target);
        modes::check_scope(target, job, &entry).await?;
        inspected.push(entry);
    }
    watermark::resume(context, source, target, &mut inspected).await?;
    let refusal = ledger::refuse_stages(target, job).await?;
    target.end_reading(Phase::Inspect).await?;
    let attempt = Attempt {
        run_id: context.run_id,
        number: attempt,
    };
    let mut plan = plan::job(job, inspected, same_place, attempt, &actions);
    if let Some(refusal) = refusal {
        match &mut plan {
            Ok(_) => plan = Err(vec![refusal]),
            Err(refusals) => refusals.push(refusal),
        }
    }
    if let Ok(plan) = &mut plan {
        plan.snapshot.push(format!("BEGIN {SNAPSHOT}"));
        plan.snapshot.extend(catalog::lock_statement(&locks));
        plan.warnings.extend(warnings);
        plan.warnings.extend(locks.iter().filter_map(unlocked));
    }
    Ok(Inspection {
        plan,
        target: to,
        snapshot,
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

/// Is there something that only some rows fit into?
fn is_in_partitions(target: Option<&RelationDesc>) -> bool {
    target.is_some_and(|desc| desc.kind == RelationKind::Partitioned || !desc.ancestors.is_empty())
}

fn names(tables: &[TableSpec], side: Side) -> Vec<QualifiedName> {
    tables
        .iter()
        .filter_map(|spec| match (side, &spec.input) {
            (Side::Target | Side::Local, _) => Some(spec.target.clone()),
            (Side::Source, TableInput::Relation(name)) => Some(name.clone()),
            (Side::Source, TableInput::Query(_)) => None,
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
        // A server in recovery that has replayed nothing has no position yet.
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
    let source = open(&run.context, Side::Source).await?;
    let target = open(&run.context, Side::Target).await?;
    let planned = plan_with(run, &source, &target).await;
    tokio::join!(source.close(CLOSE_WAIT), target.close(CLOSE_WAIT));
    planned
}

async fn plan_with(
    run: &RunContext,
    source: &Session,
    target: &Session,
) -> Result<Result<JobPlan, Vec<Refusal>>> {
    let inspected = inspect(&run.context, source, target, &SnapshotAge::default(), 1).await?;
    let unwritable = preflight::unwritable(run, target).await?;
    Ok(match inspected.plan {
        Ok(mut plan) => {
            let mut refusals = preflight::check(&run.context, source, target, &mut plan).await?;
            refusals.extend(unwritable);
            plan.seen_locks = SeenLocks {
                source: catalog::locked(source).await?,
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
