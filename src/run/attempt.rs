//! One attempt, top to bottom: connect, lock, inspect, plan, carry out the plan, commit.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::bounds::{ABORT_WAIT, CLOSE_WAIT};
use super::commit_resolution::{self, CommitLookup};
use super::inspect::{self, Inspection};
use super::ledger::FireClaim;
use super::pipe::RateLimit;
use super::snapshot_age::{self, SnapshotAge};
use super::steps::{self, Part, Seen};
use super::watermark::WatermarkReached;
use super::worker_pool::WorkerPool;
use super::{Cancelled, Context, StopReason, advisory_lock, ledger, leftovers, preflight};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::step::Transaction;
use crate::plan::{self, ctid_ranges, swap};
use crate::report::{Elsewhere, Event, Snapshot, TableReport};

/// How long a COMMIT may take. A commit waits for the disk and for synchronous standbys; a peer
/// that does not answer for this long is taken for lost, and the outcome is asked for elsewhere.
const COMMIT_WAIT: Duration = Duration::from_secs(300);

/// What an attempt found and did, as far as it came.
#[derive(Debug, Default)]
pub struct Record {
    /// Why each attempt before this one failed.
    pub failures: Vec<String>,
    /// It is known which run the fire belongs to.
    pub fire_claimed: bool,
    /// What an earlier run of the same fire published, with `atomic = false`.
    published_before: BTreeSet<String>,
    /// The run's beginning was told.
    is_told: bool,
    /// The source's snapshot.
    pub snapshot: Option<Snapshot>,
    /// Up to where tables with a watermark were read.
    pub reached: Vec<WatermarkReached>,
    /// The tables that were loaded.
    pub tables: Vec<TableReport>,
}

impl Record {
    /// Makes room for another attempt. What an earlier one published, with `atomic = false`, stays
    /// published.
    pub(super) fn restart(&mut self, failed: &Error) {
        self.failures.push(failed.to_string());
        self.snapshot = None;
        self.tables.retain(|table| table.committed == Some(true));
    }

    /// Tells the run's beginning, once.
    pub(super) fn started(&mut self, context: &Context) {
        if !std::mem::replace(&mut self.is_told, true) {
            let trigger = context.trigger;
            context.tell(Event::Started { trigger });
        }
    }

    fn are_published(&self, tables: &[CopyPlan]) -> bool {
        tables
            .iter()
            .all(|t| self.is_published(&t.target.to_string()))
    }

    fn is_published(&self, target: &str) -> bool {
        let published = |table: &TableReport| table.committed == Some(true);
        let in_this_run = |table: &TableReport| table.target == target && published(table);
        self.published_before.contains(target) || self.tables.iter().any(in_this_run)
    }
}

/// The sessions, owned outside of the work that may be cancelled: whatever happens to that work,
/// the servers are told to stop.
#[derive(Default)]
pub(super) struct Sides {
    pub source: Option<Session>,
    pub target: Option<Session>,
    /// Holds the job's advisory lock if there are several transactions on the target.
    pub job_lock: Option<Session>,
    /// The workers' sessions, if several workers load.
    pub pool: WorkerPool,
}

/// How an attempt ended that did not fail.
pub(super) enum AttemptEnd {
    /// COMMIT was proven.
    Committed,
    /// There was nothing to do: another run has taken the work, and who that is.
    Elsewhere(Elsewhere, String),
}

/// Does all that one attempt does.
///
/// *Errors:* the target is as it was, unless the kind is `InDoubt`; with `atomic = false`, but for the
/// tables that the record says are committed.
/// *Cancellation:* through `cancelled`; up to COMMIT it takes effect at once, then no more.
pub(super) async fn attempt(
    context: &Context,
    cancelled: &Cancelled,
    record: &mut Record,
) -> Result<AttemptEnd> {
    let mut sides = Sides::default();
    let done = run_attempt(context, &mut sides, cancelled, record).await;
    match &done {
        Ok(_) => sides.close().await,
        Err(error) => {
            sides.abort().await;
            // What is in doubt may yet be published.
            if error.kind() != ErrorKind::InDoubt {
                leftovers::clean_up(context, &sides.pool.created_tables).await;
            }
        }
    }
    done
}

async fn run_attempt(
    context: &Context,
    sides: &mut Sides,
    cancelled: &Cancelled,
    record: &mut Record,
) -> Result<AttemptEnd> {
    let snapshot_age = SnapshotAge::default();
    let bounds = AttemptBounds {
        context,
        cancelled,
        began: Instant::now(),
        snapshot_age: &snapshot_age,
    };
    match bounds.of(claim_fire(context, sides, record)).await? {
        FireClaim::Ours(published) => {
            record.started(context);
            record.published_before = published;
        }
        FireClaim::Theirs(elsewhere, who) => return Ok(AttemptEnd::Elsewhere(elsewhere, who)),
    }
    let (plan, seen) = bounds
        .of(begin(context, sides, &snapshot_age, record))
        .await?;
    let limit = context.job.rate_limit.map(RateLimit::new);
    let mut transactions: Vec<&Transaction> = plan.transactions.iter().collect();
    transactions.retain(|transaction| !record.are_published(plan.tables_of(transaction)));
    let count = transactions.len();
    let useful = transactions
        .iter()
        .map(|transaction| useful_workers(&plan, transaction));
    let workers = useful.max().unwrap_or(1);
    for (index, transaction) in transactions.into_iter().enumerate() {
        let first = record.tables.len();
        if sides.target.is_none() {
            // The connection was lost at the last transaction's COMMIT, which was resolved.
            sides.target = Some(bounds.of(inspect::open(context, Side::Target)).await?);
        }
        let part = Part {
            plan: &plan,
            transaction,
            seen: &seen,
            last: index + 1 == count,
            workers,
            limit: limit.as_ref(),
            snapshot_age: &snapshot_age,
        };
        let lookup = bounds
            .of(steps::carry_out(context, sides, part, record))
            .await?;
        let committed = commit(context, sides, &lookup, cancelled).await;
        if !context.job.atomic {
            let known = match &committed {
                Err(error) if error.kind() == ErrorKind::InDoubt => None,
                other => Some(other.is_ok()),
            };
            for table in &mut record.tables[first..] {
                table.committed = known;
            }
        }
        committed?;
        sides.pool.created_tables.clear();
        after(context, sides, cancelled, &plan, transaction).await;
    }
    Ok(AttemptEnd::Committed)
}

/// Logs in to the target, claims the fire in its ledger, and says there that the run is `running`.
async fn claim_fire(
    context: &Context,
    sides: &mut Sides,
    record: &mut Record,
) -> Result<FireClaim> {
    let target = &*sides
        .target
        .insert(inspect::open(context, Side::Target).await?);
    let claim = ledger::begin(context, target, &record.failures).await?;
    record.fire_claimed = true;
    Ok(claim)
}

/// Logs in to the source, locks and inspects, and plans.
async fn begin(
    context: &Context,
    sides: &mut Sides,
    snapshot_age: &SnapshotAge,
    record: &mut Record,
) -> Result<(JobPlan, Seen)> {
    let source = &*sides
        .source
        .insert(inspect::open(context, Side::Source).await?);
    let target = ours(&sides.target, Side::Target)?;
    let number = u32::try_from(record.failures.len() + 1).unwrap_or(u32::MAX);
    let Inspection {
        plan,
        target: seen,
        snapshot,
    } = inspect::inspect(context, source, target, snapshot_age, number).await?;
    record.snapshot = Some(snapshot);
    let mut plan = plan.map_err(|refusals| plan::to_error(&refusals))?;
    let refusals = preflight::check(context, source, target, &mut plan).await?;
    if !refusals.is_empty() {
        return Err(plan::to_error(&refusals));
    }
    context.tell(Event::Planned {
        tables: plan.tables.len(),
        warnings: plan.all_warnings(),
    });
    if !context.job.atomic {
        let job_lock = &*sides
            .job_lock
            .insert(inspect::open(context, Side::Target).await?);
        job_lock.begin(Phase::Lock, "").await?;
        advisory_lock::mark_transaction(job_lock, context.run_id).await?;
        advisory_lock::lock_job(job_lock, &context.job).await?;
        leftovers::sweep(context, job_lock).await?;
    }
    Ok((plan, seen))
}

/// COMMIT, and the proof of it.
async fn commit(
    context: &Context,
    sides: &mut Sides,
    lookup: &CommitLookup,
    cancelled: &Cancelled,
) -> Result<()> {
    let target = ours(&sides.target, Side::Target)?;
    let error = match tokio::time::timeout(COMMIT_WAIT, target.commit()).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if error.kind() != ErrorKind::InDoubt => return Err(error),
        Ok(Err(error)) => error,
        Err(_) => {
            let message = format!("no answer within {} s", COMMIT_WAIT.as_secs());
            Error::new(ErrorKind::InDoubt, Phase::Commit, Side::Target, message).at(target.server())
        }
    };
    if let Some(lost) = sides.target.take() {
        lost.abort(ABORT_WAIT).await;
    }
    commit_resolution::resolve(context, lookup, error, cancelled).await
}

/// What takes nothing back when it fails.
async fn after(
    context: &Context,
    sides: &Sides,
    cancelled: &Cancelled,
    plan: &JobPlan,
    transaction: &Transaction,
) {
    let Some(target) = sides.target.as_ref() else {
        return;
    };
    let work = async {
        for run in &transaction.after {
            steps::one(target, plan, run).await?;
        }
        ledger::prune(context, target).await
    };
    let done = tokio::select! {
        _ = cancelled.cancelled() => Ok(()),
        done = work => done,
    };
    if let Err(error) = done {
        context.tell(Event::Warned(error.to_string()));
    }
}

/// Ends the work when the run is cancelled, the attempt's time is up, or the source's snapshot too old.
struct AttemptBounds<'a> {
    context: &'a Context,
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

/// How many of the configured workers have something to do: pieces to load, or indexes to create.
fn useful_workers(plan: &JobPlan, transaction: &Transaction) -> usize {
    let tables = plan.tables_of(transaction);
    let indexes = swap::shadows(tables).map(|(_, shadow)| shadow.indexes.len());
    let pieces = ctid_ranges::queue(tables, plan.workers).len();
    let wanted = pieces.max(indexes.sum()).max(1);
    usize::try_from(plan.workers).map_or(wanted, |workers| workers.min(wanted))
}

impl Sides {
    /// Cancels what runs on both servers and ends all sessions.
    async fn abort(&mut self) {
        self.end(async |session| session.abort(ABORT_WAIT).await)
            .await;
    }

    /// Says goodbye to both servers.
    async fn close(&mut self) {
        self.end(async |session| session.close(CLOSE_WAIT).await)
            .await;
    }

    async fn end(&mut self, how: impl AsyncFn(Session)) {
        let own = [self.source.take(), self.target.take(), self.job_lock.take()];
        let all = own.into_iter().flatten().chain(self.pool.take_all());
        join_all(all.map(|session| how(session))).await;
    }
}

pub(super) fn ours(session: &Option<Session>, side: Side) -> Result<&Session> {
    let what = "the session is gone";
    let gone = || Error::new(ErrorKind::Bug, Phase::Commit, side, what);
    session.as_ref().ok_or_else(gone)
}
