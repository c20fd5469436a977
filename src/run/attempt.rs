//! One attempt from beginning to end: connect, lock, inspect, plan, carry out the plan, publish.

use std::future::Future;
use std::time::{Duration, Instant};

use super::bounds::ABORT_WAIT;
use super::cancel::{Cancelled, StopReason};
use super::commit_resolution::{self, CommitLookup};
use super::context::{JobContext, RunContext};
use super::ends::{self, End};
use super::inspect;
use super::ledger::FireClaim;
use super::pipe::RateLimit;
use super::run_progress::RunProgress;
use super::sides::Sides;
use super::snapshot_age::{self, SnapshotAge};
use super::transaction::{PlannedRelations, TransactionContext};
use super::{advisory_lock, hooks, ledger, leftovers, params, preflight, retry};
use super::{statistics, steps};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::plan::copy::JobPlan;
use crate::plan::step::{Publish, Transaction};
use crate::plan::{self, ctid_ranges, swap};
use crate::report::{Elsewhere, Event, TableReport};

/// How long a COMMIT may take. It waits for the disk and for synchronous standbys. Without an answer in this
/// time, the connection is given up and the outcome is looked up.
const COMMIT_WAIT: Duration = Duration::from_secs(300);

/// How an attempt without an error ended.
pub(super) enum AttemptEnd {
    /// The server has confirmed the COMMIT.
    Committed,
    /// `--dry-run`: everything could have been published, and was rolled back.
    Rehearsed,
    /// There was nothing to do: another run has the work. The text names it.
    Elsewhere(Elsewhere, String),
}

/// Makes one attempt.
///
/// *Errors:* the target is unchanged, unless the kind is `InDoubt`. With `atomic = false`, the tables that
/// `progress` calls committed have their new rows.
/// *Cancellation:* through `cancelled`: at once before COMMIT, not at all after it.
pub(super) async fn attempt(
    run: &RunContext,
    cancelled: &Cancelled,
    progress: &mut RunProgress,
) -> Result<AttemptEnd> {
    let mut sides = Sides::default();
    let done = run_attempt(run, &mut sides, cancelled, progress).await;
    match &done {
        Ok(_) => {
            if let Some(target) = sides.ends.take_target() {
                ends::keep(&run.context, target).await;
            }
            sides.close().await;
        }
        Err(error) => {
            sides.abort().await;
            // A transaction in doubt may still commit and publish these tables.
            let may_drop = error.kind() != ErrorKind::InDoubt;
            if may_drop && !keeps_loads(run, error) {
                leftovers::clean_up(&run.context, &sides.pool.created_tables).await;
            }
        }
    }
    done
}

/// With `resume = true`, the next attempt or run goes on with what is loaded, unless that may be why this
/// one failed.
fn keeps_loads(run: &RunContext, error: &Error) -> bool {
    let stopped = matches!(
        error.kind(),
        ErrorKind::Cancelled | ErrorKind::Timeout | ErrorKind::Truncated
    );
    run.context.job.resume && (stopped || retry::can_pass(error))
}

async fn run_attempt(
    run: &RunContext,
    sides: &mut Sides,
    cancelled: &Cancelled,
    progress: &mut RunProgress,
) -> Result<AttemptEnd> {
    let snapshot_age = SnapshotAge::default();
    let bounds = AttemptBounds {
        context: &run.context,
        cancelled,
        began: Instant::now(),
        snapshot_age: &snapshot_age,
    };
    match bounds.of(claim_fire(run, sides, progress)).await? {
        FireClaim::Ours(committed) => {
            progress.started(run);
            progress.committed_before = committed;
        }
        FireClaim::Theirs(elsewhere, who) => return Ok(AttemptEnd::Elsewhere(elsewhere, who)),
    }
    let resolved = bounds
        .of(params::resolved(run, sides.ends.target()?))
        .await?;
    let run = resolved.as_ref().unwrap_or(run);
    let (plan, planned) = bounds
        .of(begin(run, sides, &snapshot_age, progress))
        .await?;
    carry_out(run, sides, &bounds, (&plan, &planned), progress).await?;
    Ok(match run.context.dry_run {
        true => AttemptEnd::Rehearsed,
        false => AttemptEnd::Committed,
    })
}

/// Opens the target. On a server, claims the fire in its ledger and records the run as `running`.
async fn claim_fire(
    run: &RunContext,
    sides: &mut Sides,
    progress: &mut RunProgress,
) -> Result<FireClaim> {
    let claim = match sides.ends.open_target(&run.context).await? {
        End::Server(target) => ledger::begin(run, target, &progress.failures).await?,
        // There is no ledger in a directory, and so nobody to share the fire with.
        End::Files(_) => ledger::begin_locally(run)?,
    };
    progress.fire_claimed = true;
    Ok(claim)
}

/// Opens the source, locks and describes the relations, and plans.
async fn begin(
    run: &RunContext,
    sides: &mut Sides,
    snapshot_age: &SnapshotAge,
    progress: &mut RunProgress,
) -> Result<(JobPlan, PlannedRelations)> {
    let context = &run.context;
    let number = progress.attempt_number();
    let contexts = context.of_each_source();
    // A source that is out of reach fails the run before the others are read.
    for context in &contexts {
        sides.ends.open_source(context).await?;
    }
    let (mut plans, mut planned) = (Vec::new(), PlannedRelations::new());
    for (at, context) in contexts.iter().enumerate() {
        sides.ends.read_from(at);
        let (source, target) = (sides.ends.source()?, sides.ends.target()?);
        let inspected = inspect::inspect(context, source, target, snapshot_age, number).await?;
        let first = progress.snapshot.take();
        progress.snapshot = first.or(inspected.snapshot);
        let mut plan = inspected
            .plan
            .map_err(|refusals| plan::to_error(&refusals))?;
        let refusals = preflight::check(context, source, target, &mut plan).await?;
        if !refusals.is_empty() {
            return Err(plan::to_error(&refusals));
        }
        planned.extend(inspected.target);
        plans.push(plan);
    }
    let joined = plan::join(plans);
    let mut plan = joined.ok_or_else(|| {
        let what = "the job has no source";
        Error::new(ErrorKind::Bug, Phase::Plan, Side::Local, what)
    })?;
    if context.dry_run {
        plan::rehearse(&mut plan);
    }
    context.tell(Event::Planned {
        tables: plan.tables.len(),
        warnings: plan.all_warnings(),
    });
    if !context.job.atomic {
        let job_lock = &*sides
            .job_lock
            .insert(ends::open(context, Side::Target).await?);
        job_lock.begin(Phase::Lock, "").await?;
        advisory_lock::mark_transaction(job_lock, context.run_id).await?;
        advisory_lock::lock_job(job_lock, &context.job).await?;
        leftovers::sweep(context, job_lock, &plan).await?;
    }
    Ok((plan, planned))
}

/// Carries out the plan: the steps of each transaction, then what publishes its rows.
async fn carry_out(
    run: &RunContext,
    sides: &mut Sides,
    bounds: &AttemptBounds<'_>,
    (plan, planned): (&JobPlan, &PlannedRelations),
    progress: &mut RunProgress,
) -> Result<()> {
    let limit = run.context.job.rate_limit.map(RateLimit::new);
    let mut transactions: Vec<&Transaction> = plan.transactions.iter().collect();
    transactions.retain(|transaction| !progress.are_committed(plan.tables_of(transaction)));
    let count = transactions.len();
    let useful = transactions
        .iter()
        .map(|transaction| useful_workers(plan, transaction));
    let workers = useful.max().unwrap_or(1);
    let runs = run.of_each_source();
    for (index, transaction) in transactions.into_iter().enumerate() {
        let run = runs.get(transaction.source).unwrap_or(run);
        sides.ends.read_from(transaction.source);
        if transaction.joins {
            progress.join_sources();
        }
        let first = match transaction.joins {
            true => 0,
            false => progress.tables.len(),
        };
        if !sides.ends.has_target() {
            // The connection was lost during the previous COMMIT, which was then resolved.
            bounds.of(reopen_target(run, sides)).await?;
        }
        let current = TransactionContext {
            plan,
            transaction,
            planned,
            last: index + 1 == count,
            first,
            workers,
            limit: limit.as_ref(),
            snapshot_age: bounds.snapshot_age,
        };
        let lookup = bounds
            .of(steps::carry_out(run, sides, current, progress))
            .await?;
        let tables = &mut progress.tables[first..];
        match transaction.publish {
            Publish::Commit => commit(run, sides, lookup, bounds.cancelled, tables).await?,
            Publish::RenameFiles => rename_files(run, sides, tables)?,
            Publish::RollBack => roll_back(sides).await?,
            Publish::GoOn => {}
        }
        sides.pool.created_tables.clear();
        let reports = &progress.tables[first..];
        after(run, sides, bounds.cancelled, (plan, transaction), reports).await;
        let hooks = &transaction.after_commit;
        progress.after_commit =
            hooks::after_commit(run, &mut sides.ends, bounds.cancelled, hooks).await;
    }
    Ok(())
}

async fn reopen_target(run: &RunContext, sides: &mut Sides) -> Result<()> {
    sides.ends.open_target(&run.context).await.map(drop)
}

/// COMMIT, and the proof of it. With `atomic = false`, the reports say which tables are committed.
async fn commit(
    run: &RunContext,
    sides: &mut Sides,
    lookup: Option<CommitLookup>,
    cancelled: &Cancelled,
    tables: &mut [TableReport],
) -> Result<()> {
    let lookup = lookup.ok_or_else(|| {
        let what = "the plan has no step that records the run";
        Error::new(ErrorKind::Bug, Phase::Gate, Side::Local, what)
    })?;
    let committed = prove_commit(run, sides, &lookup, cancelled).await;
    if !run.context.job.atomic {
        let known = match &committed {
            Err(error) if error.kind() == ErrorKind::InDoubt => None,
            other => Some(other.is_ok()),
        };
        for table in tables {
            table.committed = known;
        }
    }
    committed
}

async fn prove_commit(
    run: &RunContext,
    sides: &mut Sides,
    lookup: &CommitLookup,
    cancelled: &Cancelled,
) -> Result<()> {
    let target = sides.ends.target()?.session()?;
    let error = match tokio::time::timeout(COMMIT_WAIT, target.commit()).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if error.kind() != ErrorKind::InDoubt => return Err(error),
        Ok(Err(error)) => error,
        Err(_) => {
            let message = format!("no answer within {} s", COMMIT_WAIT.as_secs());
            Error::new(ErrorKind::InDoubt, Phase::Commit, Side::Target, message).at(target.server())
        }
    };
    if let Some(lost) = sides.ends.take_target() {
        lost.abort(ABORT_WAIT).await;
    }
    commit_resolution::resolve(run, lookup, error, cancelled).await
}

/// Ends a dry run. Files that were written are removed with their writers.
async fn roll_back(sides: &Sides) -> Result<()> {
    match sides.ends.target()? {
        End::Server(target) => target.run(Phase::Gate, "ROLLBACK").await,
        End::Files(_) => Ok(()),
    }
}

/// Puts the files that were written into their places.
fn rename_files(run: &RunContext, sides: &Sides, tables: &mut [TableReport]) -> Result<()> {
    run.context.phase.enter(Phase::Publish);
    run.context.tell(Event::Publishing);
    sides.ends.target()?.files()?.publish(tables)
}

/// Does what follows the publication. Its errors are warnings.
async fn after(
    run: &RunContext,
    sides: &Sides,
    cancelled: &Cancelled,
    (plan, transaction): (&JobPlan, &Transaction),
    reports: &[TableReport],
) {
    let Ok(End::Server(target)) = sides.ends.target() else {
        return;
    };
    let work = async {
        for statement in &transaction.after {
            let table = statement.table.and_then(|at| plan.tables.get(at));
            let stale = match table
                .and_then(|table| Some((table, TableReport::of(reports, &table.target)?)))
            {
                Some((table, report)) => statistics::are_stale(target, table, report).await?,
                None => true,
            };
            if stale {
                steps::execute(target, plan, statement).await?;
            }
        }
        ledger::prune(run, target).await
    };
    let done = tokio::select! {
        _ = cancelled.cancelled() => Ok(()),
        done = work => done,
    };
    if let Err(error) = done {
        run.context.tell(Event::Warned(error.to_string()));
    }
}

/// Ends the work when the run is cancelled, its `timeout` is over, or the snapshot is too old.
struct AttemptBounds<'a> {
    context: &'a JobContext,
    cancelled: &'a Cancelled,
    began: Instant,
    snapshot_age: &'a SnapshotAge,
}

impl AttemptBounds<'_> {
    async fn of<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let job = &self.context.job;
        let time_is_up = async {
            match job.timeout {
                Some(timeout) => {
                    tokio::time::sleep(timeout.saturating_sub(self.began.elapsed())).await;
                }
                None => std::future::pending().await,
            }
        };
        let stopped = |kind, message: String| {
            Error::new(kind, self.context.phase.get(), Side::Local, message)
        };
        tokio::select! {
            biased;
            why = self.cancelled.cancelled() => Err(match why {
                StopReason::Signal => stopped(ErrorKind::Cancelled, "cancelled by a signal".to_owned()),
                StopReason::Lost => stopped(ErrorKind::Conflict, "the ledger says that this run was lost: its heartbeat stopped for too long".to_owned()),
            }),
            () = time_is_up => {
                let seconds = job.timeout.unwrap_or_default().as_secs_f64();
                Err(stopped(ErrorKind::Timeout, format!("not done within {seconds} s"))
                    .hinted("`timeout` of the job bounds a whole attempt"))
            }
            () = self.snapshot_age.exceeds(job.max_snapshot_age) => Err(snapshot_age::too_old(self.context)),
            done = work => done,
        }
    }
}

/// The number of workers that have something to do: ranges to load, or indexes to create.
fn useful_workers(plan: &JobPlan, transaction: &Transaction) -> usize {
    let tables = plan.tables_of(transaction);
    let indexes = swap::shadows(tables).map(|(_, shadow)| shadow.indexes.len());
    let ranges = ctid_ranges::queue(tables, plan.workers).len();
    let wanted = ranges.max(indexes.sum()).max(1);
    usize::try_from(plan.workers).map_or(wanted, |workers| workers.min(wanted))
}
