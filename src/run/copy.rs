//! Copies the rows of all tables. One worker copies them in the order of the plan. Several workers run side
//! by side, and each takes the next ctid range from a shared queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::context::JobContext;
use super::ends::{End, TargetEnd};
use super::ledger::Quarantined;
use super::modes;
use super::pipe::{self, Copied, Pace, RowSource, Totals, WaitsFor};
use super::run_progress::RunProgress;
use super::transaction::TransactionContext;
use super::worker_pool::WorkerEnds;
use super::{advisory_lock, resume, watermark};
use crate::config::spec::JobSpec;
use crate::error::{Error, Phase, Result};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::ctid_ranges::{self, CtidRange};
use crate::report::{Event, TableProgress, TableReport, Waited};

/// How often the target's own session is checked while the workers load.
const TARGET_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Copies all tables of a transaction. `progress` gets the tables that were copied completely, also after an
/// error.
///
/// *Errors:* the first error of any worker. No session may be used again after it.
pub(super) async fn all(
    context: &JobContext,
    own: WorkerEnds<'_>,
    workers: &[WorkerEnds<'_>],
    reader: Option<&Session>,
    current: TransactionContext<'_>,
    progress: &mut RunProgress,
) -> Result<()> {
    let work = CopyWork::new(context, current, reader, progress.tables.len());
    let workers = workers.iter().enumerate();
    let copied = try_join_all(workers.map(|(number, ends)| work.take(number, *ends)));
    let done = tokio::select! {
        biased;
        done = copied => done.map(drop),
        // Otherwise the loss would be noticed only after all rows are loaded.
        error = target_connection_error(own.target), if current.plan.workers > 1 => Err(error),
    };
    progress.tables.extend(work.reports());
    done?;
    let End::Server(source) = own.source else {
        return Ok(());
    };
    for table in current.tables() {
        let reached = watermark::reached(source, table).await?;
        progress.reached.extend(reached);
    }
    Ok(())
}

/// Returns an error when the connection of the session that publishes is lost.
async fn target_connection_error(target: TargetEnd<'_>) -> Error {
    let target = match target.session() {
        Ok(target) => target,
        Err(error) => return error,
    };
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
struct CopyWork<'a> {
    context: &'a JobContext,
    current: TransactionContext<'a>,
    /// The session that reads the target for `compare = "stream"`.
    reader: Option<&'a Session>,
    /// Tables that earlier transactions of the run have copied.
    before: usize,
    queue: Mutex<VecDeque<(usize, CtidRange<'a>)>>,
    tables: Vec<Mutex<TableCopy>>,
}

/// The progress of one table.
#[derive(Default)]
struct TableCopy {
    /// The number of ctid ranges that are not copied yet.
    open: usize,
    began: Option<Instant>,
    took: Duration,
    /// What has been read of each range.
    read: BTreeMap<usize, Totals>,
    /// When each range that is being copied was last seen, and what all of them have waited for.
    seen: BTreeMap<usize, Instant>,
    waited: Waited,
    rows_written: u64,
    rows_rejected: u64,
    /// Rows of the target that were read for the comparison.
    rows_compared: Option<u64>,
    /// Rows of the source, where they were counted and not all sent.
    rows_counted: Option<u64>,
    workers: BTreeSet<usize>,
}

impl<'a> CopyWork<'a> {
    fn new(
        context: &'a JobContext,
        current: TransactionContext<'a>,
        reader: Option<&'a Session>,
        before: usize,
    ) -> Self {
        let queue = ctid_ranges::queue(current.tables(), current.plan.workers);
        let moving = |table: &CopyPlan| TableCopy {
            open: ctid_ranges::statements(table).count(),
            ..TableCopy::default()
        };
        CopyWork {
            context,
            current,
            reader,
            before,
            queue: Mutex::new(queue.into_iter().enumerate().collect()),
            tables: current
                .tables()
                .iter()
                .map(moving)
                .map(Mutex::new)
                .collect(),
        }
    }

    fn next(&self) -> Option<(usize, CtidRange<'a>)> {
        lock(&self.queue).pop_front()
    }

    /// Runs one worker.
    async fn take(&self, worker: usize, ends: WorkerEnds<'_>) -> Result<()> {
        let shared = self.current.plan.workers > 1;
        let mut begun = false;
        while let Some((number, range)) = self.next() {
            let Some(table) = self.current.tables().get(range.table) else {
                continue;
            };
            self.begin(worker, range.table, table);
            if shared {
                let target = ends.target.session()?;
                if !begun {
                    modes::shared::begin(target, Phase::CopyIn).await?;
                    advisory_lock::mark_transaction(target, self.context.run_id).await?;
                    begun = true;
                }
                modes::make_whole(target, table).await?;
            }
            let on_progress = |moved| self.moved(number, range.table, table, moved);
            let pace = Pace {
                stall_timeout: self.context.job.stall_timeout,
                limit: self.current.limit,
                on_progress: &on_progress,
            };
            let copied = self.copy_range(ends, &range, pace).await?;
            if let Some(resume) = &table.resume {
                let target = ends.target.session()?;
                resume::complete(target, table, resume, range.number).await?;
                modes::shared::commit(target).await?;
                begun = false;
            }
            self.end(number, range.table, table, copied);
        }
        match begun {
            true => modes::shared::commit(ends.target.session()?).await,
            false => Ok(()),
        }
    }

    /// Moves the rows of a range, from whatever end to whatever end.
    async fn copy_range(
        &self,
        ends: WorkerEnds<'_>,
        range: &CtidRange<'_>,
        pace: Pace<'_>,
    ) -> Result<Copied> {
        let table = &self.current.tables()[range.table];
        if let (Load::File(file), End::Files(files)) = (&table.load, ends.target) {
            let source = ends.source.session()?;
            let writer = files.writer(file, range.table)?;
            let (totals, written) = pipe::copy_to_file(source, writer, table, pace).await?;
            files.keep(file, written);
            return Ok(Copied::all(totals));
        }
        let target = ends.target.session()?;
        if let (Some(stream), Some(reader)) = (table.stream(), self.reader) {
            let sessions = pipe::stream::Sessions {
                source: ends.source.session()?,
                reader,
                target,
            };
            return match table.changed() {
                Some(changed) => pipe::stream::changed::copy(sessions, table, changed, pace).await,
                None => {
                    let statements = (range.copy_out, stream.target_out.as_str());
                    pipe::stream::copy(sessions, table, stream, statements, pace).await
                }
            };
        }
        let quarantined = Quarantined {
            run_id: self.context.run_id,
            job: &self.context.job.name,
        };
        let origin = match ends.source {
            End::Server(source) => RowSource::Server(source, range.copy_out),
            End::Files(files) => RowSource::File(files.reader(table).await?),
        };
        pipe::copy(origin, target, table, quarantined, pace).await
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
        moving.note_wait(number, read.waits_for);
        let progress = self.progress(at, table, moving.read_so_far());
        self.context.tell(Event::TableMoved(progress));
    }

    fn end(&self, number: usize, at: usize, table: &CopyPlan, copied: Copied) {
        let mut moving = lock(&self.tables[at]);
        let read = Totals {
            rows: copied.rows_read,
            bytes: copied.bytes,
            ..Totals::default()
        };
        moving.seen.remove(&number);
        moving.read.insert(number, read);
        moving.rows_written += copied.rows_written;
        moving.rows_rejected += copied.rows_rejected;
        moving.rows_compared = copied.rows_compared;
        moving.rows_counted = copied.rows_counted;
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
            of: self.current.plan.tables.len(),
            target: table.target_name(),
            rows: moved.rows,
            bytes: moved.bytes,
            rows_estimate: table.rows_estimate,
            permille: moved.permille,
        }
    }

    /// The reports of the tables that were copied completely.
    fn reports(&self) -> Vec<TableReport> {
        let tables = self.current.tables().iter().zip(&self.tables);
        tables
            .map(|(table, moving)| (table, lock(moving)))
            .filter(|(_, moving)| moving.open == 0)
            .map(|(table, moving)| report(&self.context.job, table, &moving))
            .collect()
    }
}

impl TableCopy {
    fn read_so_far(&self) -> Totals {
        Totals {
            rows: self.read.values().map(|read| read.rows).sum(),
            bytes: self.read.values().map(|read| read.bytes).sum(),
            permille: self.read.values().find_map(|read| read.permille),
            waits_for: WaitsFor::default(),
        }
    }

    /// The time since the range was last seen counts for what the copy waits for now.
    fn note_wait(&mut self, number: usize, waits_for: WaitsFor) {
        let now = Instant::now();
        let before = self.seen.insert(number, now).unwrap_or(now);
        let waited = match waits_for {
            WaitsFor::Source => &mut self.waited.source,
            WaitsFor::Target => &mut self.waited.target,
            WaitsFor::Limit => &mut self.waited.rate_limit,
        };
        *waited += now.duration_since(before);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(job: &JobSpec, table: &CopyPlan, moving: &TableCopy) -> TableReport {
    let read = moving.read_so_far();
    TableReport {
        source: table.source.clone(),
        target: table.target_name(),
        partition_of: table.partition_of.as_ref().map(ToString::to_string),
        mode: job.mode,
        format: table.format.as_str(),
        format_reason: table.format.reason().map(ToString::to_string),
        rows_read: read.rows,
        rows_written: moving.rows_written,
        rows_inserted: moving.rows_written,
        rows_updated: 0,
        rows_deleted: 0,
        rows_rejected: moving.rows_rejected,
        changes: Vec::new(),
        compare: table.compare(),
        rows_compared: moving.rows_compared,
        rows_counted: moving.rows_counted,
        rows_kept: None,
        drift: table.drift.clone(),
        bytes: read.bytes,
        workers: u32::try_from(moving.workers.len()).unwrap_or(u32::MAX),
        seconds: moving.took.as_secs_f64(),
        waited: moving.waited,
        committed: (!job.atomic).then_some(false),
    }
}
