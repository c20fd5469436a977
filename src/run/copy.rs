//! Moves the rows of all tables: one worker after the order of the plan, or several side by side, each
//! taking the next piece from one queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::attempt::Record;
use super::modes;
use super::pipe::{self, Copied, Pace, Totals};
use super::steps::Part;
use super::worker_pool::SessionPair;
use super::{Context, advisory_lock, watermark};
use crate::config::spec::JobSpec;
use crate::error::{Error, Phase, Result};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::ctid_ranges::{self, Piece};
use crate::report::{Event, TableProgress, TableReport};

/// How often the target's own session is checked while the workers load.
const TARGET_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Copies all tables of a part. What was copied whole is in the record, also after an error.
///
/// *Errors:* the first of all workers'; then no session may be used again.
pub(super) async fn all(
    context: &Context,
    pairs: &[SessionPair<'_>],
    (source, target): (&Session, &Session),
    part: Part<'_>,
    record: &mut Record,
) -> Result<()> {
    let work = Work::new(context, part, record.tables.len());
    let workers = pairs.iter().enumerate();
    let copied = try_join_all(workers.map(|(number, pair)| work.take(number, *pair)));
    let done = tokio::select! {
        biased;
        done = copied => done.map(drop),
        // Without this, the loss would show only after everything is loaded.
        error = target_lost(target), if part.plan.workers > 1 => Err(error),
    };
    record.tables.extend(work.reports());
    done?;
    for table in part.tables() {
        let reached = watermark::reached(source, table).await?;
        record.reached.extend(reached);
    }
    Ok(())
}

/// Returns when the connection of the session that publishes is lost.
async fn target_lost(target: &Session) -> Error {
    let mut checks = tokio::time::interval(TARGET_CHECK_EVERY);
    loop {
        checks.tick().await;
        if target.client().is_closed()
            && let Err(error) = target.run(Phase::CopyIn, "SELECT 1").await
        {
            return error;
        }
    }
}

/// What the workers share.
struct Work<'a> {
    context: &'a Context,
    part: Part<'a>,
    /// Tables of the job that came before.
    before: usize,
    queue: Mutex<VecDeque<(usize, Piece<'a>)>>,
    tables: Vec<Mutex<Moving>>,
}

/// How far a table has come.
#[derive(Default)]
struct Moving {
    /// Pieces that are not yet copied.
    open: usize,
    began: Option<Instant>,
    took: Duration,
    /// What has been read of each piece.
    read: BTreeMap<usize, Totals>,
    rows_written: u64,
    workers: BTreeSet<usize>,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context, part: Part<'a>, before: usize) -> Self {
        let queue = ctid_ranges::queue(part.tables(), part.plan.workers);
        let moving = |table: &CopyPlan| Moving {
            open: ctid_ranges::statements(table).count(),
            ..Moving::default()
        };
        Work {
            context,
            part,
            before,
            queue: Mutex::new(queue.into_iter().enumerate().collect()),
            tables: part.tables().iter().map(moving).map(Mutex::new).collect(),
        }
    }

    fn next(&self) -> Option<(usize, Piece<'a>)> {
        lock(&self.queue).pop_front()
    }

    /// One worker's whole work.
    async fn take(&self, worker: usize, pair: SessionPair<'_>) -> Result<()> {
        let shared = self.part.plan.workers > 1;
        let mut begun = false;
        while let Some((number, piece)) = self.next() {
            let Some(table) = self.part.tables().get(piece.table) else {
                continue;
            };
            self.begin(worker, piece.table, table);
            if shared {
                if !begun {
                    modes::begin_shared(pair.target, Phase::CopyIn).await?;
                    advisory_lock::mark_transaction(pair.target, self.context.run_id).await?;
                    begun = true;
                }
                modes::make_whole(pair.target, table).await?;
            }
            let on_progress = |moved| self.moved(number, piece.table, table, moved);
            let pace = Pace {
                stall_timeout: self.context.job.stall_timeout,
                limit: self.part.limit,
                on_progress: &on_progress,
            };
            let copied = pipe::copy(pair.source, pair.target, table, piece.copy_out, pace).await?;
            self.end(number, piece.table, table, copied);
        }
        match begun {
            true => modes::commit_shared(pair.target).await,
            false => Ok(()),
        }
    }

    fn begin(&self, worker: usize, at: usize, table: &CopyPlan) {
        let mut moving = lock(&self.tables[at]);
        moving.workers.insert(worker);
        if moving.began.is_none() {
            moving.began = Some(Instant::now());
            let progress = self.progress(at, table, Totals::default());
            self.context.tell(Event::TableStarted(progress));
        }
    }

    fn moved(&self, number: usize, at: usize, table: &CopyPlan, read: Totals) {
        let mut moving = lock(&self.tables[at]);
        moving.read.insert(number, read);
        let progress = self.progress(at, table, moving.read_so_far());
        self.context.tell(Event::TableMoved(progress));
    }

    fn end(&self, number: usize, at: usize, table: &CopyPlan, copied: Copied) {
        let mut moving = lock(&self.tables[at]);
        let read = Totals {
            rows: copied.rows_read,
            bytes: copied.bytes,
        };
        moving.read.insert(number, read);
        moving.rows_written += copied.rows_written;
        moving.open = moving.open.saturating_sub(1);
        if moving.open == 0 {
            moving.took = moving.began.map_or(Duration::ZERO, |began| began.elapsed());
            let progress = self.progress(at, table, moving.read_so_far());
            self.context.tell(Event::TableLoaded(progress));
        }
    }

    fn progress(&self, at: usize, table: &CopyPlan, moved: Totals) -> TableProgress {
        TableProgress {
            number: self.before + at + 1,
            of: self.part.plan.tables.len(),
            target: table.target.to_string(),
            rows: moved.rows,
            bytes: moved.bytes,
            rows_estimate: table.rows_estimate,
        }
    }

    /// Of the tables that were copied whole.
    fn reports(&self) -> Vec<TableReport> {
        let tables = self.part.tables().iter().zip(&self.tables);
        tables
            .map(|(table, moving)| (table, lock(moving)))
            .filter(|(_, moving)| moving.open == 0)
            .map(|(table, moving)| report(&self.context.job, table, &moving))
            .collect()
    }
}

impl Moving {
    fn read_so_far(&self) -> Totals {
        Totals {
            rows: self.read.values().map(|read| read.rows).sum(),
            bytes: self.read.values().map(|read| read.bytes).sum(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(job: &JobSpec, table: &CopyPlan, moving: &Moving) -> TableReport {
    let read = moving.read_so_far();
    TableReport {
        source: table.source.clone(),
        target: table.target.to_string(),
        mode: job.mode,
        format: table.format.as_str(),
        format_reason: table.format.reason().map(ToString::to_string),
        rows_read: read.rows,
        rows_written: moving.rows_written,
        rows_inserted: moving.rows_written,
        rows_updated: 0,
        rows_deleted: 0,
        rows_rejected: 0,
        bytes: read.bytes,
        workers: u32::try_from(moving.workers.len()).unwrap_or(u32::MAX),
        seconds: moving.took.as_secs_f64(),
        committed: (!job.atomic).then_some(false),
    }
}
