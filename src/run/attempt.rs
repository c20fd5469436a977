//! One attempt, top to bottom: connect, lock, inspect, plan, load, gate, publish, commit.

use std::future::Future;
use std::time::{Duration, Instant};

use super::inspect::{self, Inspection};
use super::pipe::{self, Pace, Totals};
use super::settle::{self, Fate};
use super::{Cancelled, Context, claim, gate, publish};
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::report::{Event, Snapshot, TableProgress, TableReport};

/// How long a server may take to end a session that is over.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// How long both servers together may take to notice a cancel, before the connections are cut.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// How long a COMMIT may take. A commit waits for the disk and for synchronous standbys; a peer
/// that does not answer for this long is taken for lost, and the outcome is asked for elsewhere.
const COMMIT_WAIT: Duration = Duration::from_secs(300);

/// What an attempt found and did, as far as it came.
#[derive(Debug, Default)]
pub struct Record {
    /// The source's snapshot.
    pub snapshot: Option<Snapshot>,
    /// The tables that were loaded.
    pub tables: Vec<TableReport>,
}

/// The two sessions, owned outside of the work that may be cancelled: whatever happens to that
/// work, both servers are told to stop.
#[derive(Default)]
struct Sides {
    source: Option<Session>,
    target: Option<Session>,
}

/// Does all that one attempt does. `Ok` means that COMMIT was proven.
///
/// *Errors:* the target is as it was, unless the kind is `InDoubt`.
/// *Cancellation:* through `cancelled`; up to COMMIT it takes effect at once, then no more.
pub(super) async fn attempt(
    context: &Context,
    cancelled: &Cancelled,
    record: &mut Record,
) -> Result<()> {
    let mut sides = Sides::default();
    let loaded = bounded(&context.job, cancelled, load(context, &mut sides, record)).await;
    let fate = match loaded {
        Ok(fate) => fate,
        Err(error) => {
            sides.abort().await;
            return Err(error);
        }
    };
    let committed = commit(context, &mut sides, &fate, cancelled).await;
    if committed.is_ok() {
        after(context, &mut sides, cancelled, record).await;
    }
    sides.close().await;
    committed
}

/// Everything up to, and not including, COMMIT.
async fn load(context: &Context, sides: &mut Sides, record: &mut Record) -> Result<Fate> {
    let source = &*sides
        .source
        .insert(inspect::open(context, Side::Source).await?);
    let target = &*sides
        .target
        .insert(inspect::open(context, Side::Target).await?);
    let Inspection {
        plan,
        target: seen,
        snapshot,
    } = inspect::inspect(context, source, target).await?;
    record.snapshot = Some(snapshot);
    let plan = plan.map_err(|refusals| plan::to_error(&refusals))?;
    context.tell(Event::Planned {
        tables: plan.tables.len(),
        warnings: all_warnings(&plan),
    });

    target
        .run(
            Phase::Prepare,
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        )
        .await?;
    claim::claim(target, &context.job, &plan).await?;
    let before = gate::count_before(target, &context.job, &plan, &seen).await?;
    publish::prepare(target, &plan).await?;
    claim::unchanged(target, &plan, &seen).await?;

    copy_all(context, source, target, &plan, record).await?;
    // The snapshot holds back the source's vacuum: let it go before the target does its part.
    source.run(Phase::CopyOut, "COMMIT").await?;

    gate::check(&context.job, target, &before, &mut record.tables)?;
    publish::finish(target, &context.job, &plan).await?;
    context.tell(Event::Publishing);
    settle::fate(target).await
}

async fn copy_all(
    context: &Context,
    source: &Session,
    target: &Session,
    plan: &JobPlan,
    record: &mut Record,
) -> Result<()> {
    for (index, table) in plan.tables.iter().enumerate() {
        let progress = |moved: Totals| TableProgress {
            number: index + 1,
            of: plan.tables.len(),
            target: table.target.to_string(),
            rows: moved.rows,
            bytes: moved.bytes,
            rows_estimate: table.rows_estimate,
        };
        context.tell(Event::TableStarted(progress(Totals::default())));
        let began = Instant::now();
        let on_progress = |moved| context.tell(Event::TableMoved(progress(moved)));
        let pace = Pace {
            stall_timeout: context.job.stall_timeout,
            on_progress: &on_progress,
        };
        let copied = pipe::copy(source, target, table, pace).await?;
        let totals = Totals {
            rows: copied.rows_read,
            bytes: copied.bytes,
        };
        context.tell(Event::TableLoaded(progress(totals)));
        record
            .tables
            .push(table_report(&context.job, table, copied, began.elapsed()));
    }
    Ok(())
}

fn all_warnings(plan: &JobPlan) -> Vec<String> {
    let of_tables = plan.tables.iter().flat_map(|table| &table.warnings);
    plan.warnings.iter().chain(of_tables).cloned().collect()
}

fn table_report(
    job: &JobSpec,
    table: &CopyPlan,
    copied: pipe::Copied,
    took: Duration,
) -> TableReport {
    TableReport {
        source: table.source.clone(),
        target: table.target.to_string(),
        mode: job.mode,
        format: table.format.as_str(),
        format_reason: table.format.reason().map(ToString::to_string),
        rows_read: copied.rows_read,
        rows_written: copied.rows_written,
        rows_inserted: copied.rows_written,
        rows_updated: 0,
        rows_deleted: 0,
        rows_rejected: 0,
        bytes: copied.bytes,
        workers: 1,
        seconds: took.as_secs_f64(),
    }
}

/// COMMIT, and the proof of it.
async fn commit(
    context: &Context,
    sides: &mut Sides,
    fate: &Fate,
    cancelled: &Cancelled,
) -> Result<()> {
    let Some(target) = sides.target.as_ref() else {
        return Err(Error::new(
            ErrorKind::Bug,
            Phase::Commit,
            Side::Local,
            "no target session",
        ));
    };
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
async fn after(context: &Context, sides: &mut Sides, cancelled: &Cancelled, record: &Record) {
    let Some(target) = sides.target.as_ref() else {
        return;
    };
    let analyzed = tokio::select! {
        () = cancelled.cancelled() => Ok(()),
        analyzed = publish::analyze(target, &context.job, &record.tables) => analyzed,
    };
    if let Err(error) = analyzed {
        context.tell(Event::Warned(error.to_string()));
    }
}

/// Ends the work when the run is cancelled or the attempt's time is up.
async fn bounded<T>(
    job: &JobSpec,
    cancelled: &Cancelled,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let time_is_up = async {
        match job.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let stopped = |kind, message: String| Error::new(kind, Phase::CopyIn, Side::Local, message);
    tokio::select! {
        biased;
        () = cancelled.cancelled() => {
            Err(stopped(ErrorKind::Cancelled, "cancelled by a signal".to_owned()))
        }
        () = time_is_up => {
            let seconds = job.timeout.unwrap_or_default().as_secs_f64();
            Err(stopped(ErrorKind::Timeout, format!("not done within {seconds} s"))
                .hinted("`timeout` of the job bounds a whole attempt"))
        }
        done = work => done,
    }
}

impl Sides {
    /// Cancels what runs on both servers and ends both sessions.
    async fn abort(&mut self) {
        let source = async {
            if let Some(session) = self.source.take() {
                session.abort(ABORT_WAIT).await;
            }
        };
        let target = async {
            if let Some(session) = self.target.take() {
                session.abort(ABORT_WAIT).await;
            }
        };
        tokio::join!(source, target);
    }

    /// Says goodbye to both servers.
    async fn close(&mut self) {
        let source = async {
            if let Some(session) = self.source.take() {
                session.close(CLOSE_WAIT).await;
            }
        };
        let target = async {
            if let Some(session) = self.target.take() {
                session.close(CLOSE_WAIT).await;
            }
        };
        tokio::join!(source, target);
    }
}
