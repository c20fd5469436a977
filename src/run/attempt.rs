//! One attempt, top to bottom: connect, lock, inspect, plan, load, gate, publish, commit.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::crew::Crew;
use super::hold::{self, Hold};
use super::inspect::{self, Inspection};
use super::ledger::Claim;
use super::pipe::RateLimit;
use super::settle::{self, Fate};
use super::watermark::{self, Reached};
use super::{
    Cancelled, Context, Why, checksum, claim, copy, foresee, gate, ledger, leftovers, modes,
    publish,
};
use crate::catalog::desc::RelationDesc;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan;
use crate::plan::copy::JobPlan;
use crate::plan::swap::{self, Moment};
use crate::plan::{pieces, split};
use crate::report::{Elsewhere, Event, Snapshot, TableReport};

/// How long a server may take to end a session that is over.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// How long both servers together may take to notice a cancel, before the connections are cut.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// How long a COMMIT may take. A commit waits for the disk and for synchronous standbys; a peer
/// that does not answer for this long is taken for lost, and the outcome is asked for elsewhere.
const COMMIT_WAIT: Duration = Duration::from_secs(300);

/// What an attempt found and did, as far as it came.
#[derive(Debug, Default)]
pub struct Record {
    /// Why each attempt before this one failed.
    pub failures: Vec<String>,
    /// It is known whose work the run's is.
    pub claimed: bool,
    /// What an earlier run of the same fire published, with `atomic = false`.
    published_before: BTreeSet<String>,
    /// The run's beginning was told.
    is_told: bool,
    /// The source's snapshot.
    pub snapshot: Option<Snapshot>,
    /// Up to where tables with a watermark were read.
    pub reached: Vec<Reached>,
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

    fn is_published(&self, target: &str) -> bool {
        let published = |table: &TableReport| table.committed == Some(true);
        let in_this_run = |table: &TableReport| table.target == target && published(table);
        self.published_before.contains(target) || self.tables.iter().any(in_this_run)
    }
}

/// The sessions, owned outside of the work that may be cancelled: whatever happens to that work,
/// the servers are told to stop.
#[derive(Default)]
struct Sides {
    source: Option<Session>,
    target: Option<Session>,
    /// Keeps the claim on the job where the target's transactions are several.
    claim: Option<Session>,
    /// Where several workers load.
    crew: Crew,
}

/// How an attempt ended that did not fail.
pub(super) enum Done {
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
) -> Result<Done> {
    let mut sides = Sides::default();
    let done = publish_all(context, &mut sides, cancelled, record).await;
    match &done {
        Ok(_) => sides.close().await,
        Err(error) => {
            sides.abort().await;
            // What is in doubt may yet be published.
            if error.kind() != ErrorKind::InDoubt {
                leftovers::clean_up(context, &sides.crew.made).await;
            }
        }
    }
    done
}

async fn publish_all(
    context: &Context,
    sides: &mut Sides,
    cancelled: &Cancelled,
    record: &mut Record,
) -> Result<Done> {
    let hold = Hold::default();
    let bound = Bound {
        context,
        cancelled,
        began: Instant::now(),
        hold: &hold,
    };
    match bound.of(claim_run(context, sides, record)).await? {
        Claim::Ours(published) => {
            record.started(context);
            record.published_before = published;
        }
        Claim::Theirs(elsewhere, who) => return Ok(Done::Elsewhere(elsewhere, who)),
    }
    let (plan, seen) = bound.of(begin(context, sides, &hold, record)).await?;
    let of = plan.tables.len();
    let limit = context.job.rate_limit.map(RateLimit::new);
    let mut parts: Vec<JobPlan> = split::transactions(&context.job, plan);
    parts.retain(|part| {
        !part
            .tables
            .iter()
            .all(|t| record.is_published(&t.target.to_string()))
    });
    let count = parts.len();
    let workers = parts.iter().map(hands).max().unwrap_or(1);
    for (index, plan) in parts.iter().enumerate() {
        let first = record.tables.len();
        if sides.target.is_none() {
            // The last part's COMMIT lost its connection, and was settled.
            sides.target = Some(bound.of(inspect::open(context, Side::Target)).await?);
        }
        let part = Part {
            plan,
            seen: &seen,
            last: index + 1 == count,
            of,
            workers,
            limit: limit.as_ref(),
            hold: &hold,
        };
        let fate = bound.of(load(context, sides, part, record)).await?;
        let committed = commit(context, sides, &fate, cancelled).await;
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
        sides.crew.made.clear();
        after(context, sides, cancelled, &record.tables[first..]).await;
    }
    Ok(Done::Committed)
}

type Seen = BTreeMap<QualifiedName, RelationDesc>;

/// Logs in to the target, and says in its ledger that the run is at work.
async fn claim_run(context: &Context, sides: &mut Sides, record: &mut Record) -> Result<Claim> {
    let target = &*sides
        .target
        .insert(inspect::open(context, Side::Target).await?);
    let claim = ledger::begin(context, target, &record.failures).await?;
    record.claimed = true;
    Ok(claim)
}

/// Logs in to the source, locks and inspects, and plans.
async fn begin(
    context: &Context,
    sides: &mut Sides,
    hold: &Hold,
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
    } = inspect::inspect(context, source, target, hold, number).await?;
    record.snapshot = Some(snapshot);
    let mut plan = plan.map_err(|refusals| plan::to_error(&refusals))?;
    let refusals = foresee::foresee(context, source, target, &mut plan).await?;
    if !refusals.is_empty() {
        return Err(plan::to_error(&refusals));
    }
    context.tell(Event::Planned {
        tables: plan.tables.len(),
        warnings: plan.all_warnings(),
    });
    if !context.job.atomic {
        let claim = &*sides
            .claim
            .insert(inspect::open(context, Side::Target).await?);
        claim.begin(Phase::Lock, "").await?;
        claim::mark(claim, context.run_id).await?;
        claim::claim_job(claim, &context.job).await?;
        leftovers::sweep(context, claim).await?;
    }
    Ok((plan, seen))
}

/// What one of the target's transactions publishes.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub plan: &'a JobPlan,
    /// The target's relations as the plan saw them.
    seen: &'a Seen,
    /// No other part comes after it.
    last: bool,
    /// Tables in the whole job.
    pub of: usize,
    /// How many have something to do.
    workers: usize,
    /// How fast the source may be read, by all workers together.
    pub limit: Option<&'a RateLimit>,
    hold: &'a Hold,
}

/// Everything of one of the target's transactions up to, and not including, COMMIT. After the last
/// one's load, the source's snapshot is let go.
async fn load(
    context: &Context,
    sides: &mut Sides,
    part: Part<'_>,
    record: &mut Record,
) -> Result<Fate> {
    let Part { plan, seen, .. } = part;
    let Sides {
        source,
        target,
        claim,
        crew,
    } = sides;
    let (source, target) = (ours(source, Side::Source)?, ours(target, Side::Target)?);
    target
        .begin(Phase::Prepare, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    target.verify(Phase::Prepare).await?;
    claim::mark(target, context.run_id).await?;
    if context.job.atomic {
        claim::claim_job(target, &context.job).await?;
        leftovers::sweep(context, target).await?;
    }
    claim::claim_tables(target, &context.job, plan).await?;
    let before = gate::count_before(target, &context.job, plan, seen).await?;
    publish::prepare(target, plan).await?;
    claim::unchanged(target, plan, seen).await?;
    if plan.workers > 1 {
        crew.hire(context, source, part.workers).await?;
        crew.made = plan.tables.iter().map(|t| t.written().clone()).collect();
    }
    modes::make(crew.targets().first().unwrap_or(target), plan).await?;

    let (first, first_reached) = (record.tables.len(), record.reached.len());
    let pairs = crew.pairs(source, target);
    copy::all(context, &pairs, (source, target), part, record).await?;
    let mut own = crew.readers(context, source);
    own.extend(claim.as_ref().map(Session::pid));
    let older = modes::older::note(target, plan, &own).await?;
    if part.last {
        crew.release().await;
    }
    let checksum = checksum::wanted(&context.job);
    if part.last && !checksum {
        // The snapshot holds back the source's vacuum: let it go before the target does its part.
        source.run(Phase::CopyOut, "COMMIT").await?;
        part.hold.end();
    }

    gate::check(&context.job, target, &before, &mut record.tables[first..])?;
    modes::apply(target, &context.job, plan, &mut record.tables[first..]).await?;
    publish::finish(target, crew.targets(), &context.job, plan).await?;
    if checksum {
        checksum::check(context, source, target, plan).await?;
    }
    if part.last && checksum {
        source.run(Phase::Gate, "COMMIT").await?;
        part.hold.end();
    }
    context.tell(Event::Publishing);
    modes::drop_stages(target, plan).await?;
    watermark::record(context, target, &record.reached[first_reached..]).await?;
    ledger::publish(context, target, record, first, part.last).await?;
    let fate = settle::fate(context, target, &record.tables[first..]).await?;
    publish::now(target, &context.job, plan, &older).await?;
    Ok(fate)
}

/// COMMIT, and the proof of it.
async fn commit(
    context: &Context,
    sides: &mut Sides,
    fate: &Fate,
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
    settle::settle(context, fate, error, cancelled).await
}

/// What takes nothing back when it fails.
async fn after(context: &Context, sides: &Sides, cancelled: &Cancelled, tables: &[TableReport]) {
    let Some(target) = sides.target.as_ref() else {
        return;
    };
    let work = async {
        publish::analyze(target, &context.job, tables).await?;
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
struct Bound<'a> {
    context: &'a Context,
    cancelled: &'a Cancelled,
    began: Instant,
    hold: &'a Hold,
}

impl Bound<'_> {
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
                Why::Signal => stopped(ErrorKind::Cancelled, "cancelled by a signal".to_owned()),
                Why::Lost => stopped(ErrorKind::Conflict, "the ledger calls this run lost: it was \
                    not heard of for too long".to_owned()),
            }),
            () = time_is_up => {
                let seconds = job.timeout.unwrap_or_default().as_secs_f64();
                Err(stopped(ErrorKind::Timeout, format!("not done within {seconds} s"))
                    .hinted("`timeout` of the job bounds a whole attempt"))
            }
            () = self.hold.outlasts(job.max_snapshot_age) => Err(hold::too_old(self.context)),
            done = work => done,
        }
    }
}

/// Of the configured workers, those that a plan has something for: pieces to load, or indexes to make.
fn hands(plan: &JobPlan) -> usize {
    let indexes = swap::statements(plan, Moment::Index).count();
    let wanted = pieces::queue(plan).len().max(indexes).max(1);
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
        let own = [self.source.take(), self.target.take(), self.claim.take()];
        let all = own.into_iter().flatten().chain(self.crew.dismiss());
        join_all(all.map(|session| how(session))).await;
    }
}

fn ours(session: &Option<Session>, side: Side) -> Result<&Session> {
    let what = "the session is gone";
    let gone = || Error::new(ErrorKind::Bug, Phase::Commit, side, what);
    session.as_ref().ok_or_else(gone)
}
