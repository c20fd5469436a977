//! Carries out the steps of a plan in their order. `plan/modes/` decides the steps.

use super::commit_resolution::{self, CommitLookup};
use super::context::{JobContext, RunContext};
use super::ends::End;
use super::gate::RowsBefore;
use super::modes::{self, snapshot_wait::OlderSnapshots};
use super::pipe::Pace;
use super::pipe::stream::Sessions;
use super::run_progress::RunProgress;
use super::sides::Sides;
use super::transaction::TransactionContext;
use super::worker_pool::WorkerEnds;
use super::{
    advisory_lock, changes, checksum, copy, ends, gate, hooks, ledger, leftovers, resume, watermark,
};
use crate::catalog::present;
use crate::error::{Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::staged::listing;
use crate::plan::step::{Statement, Step};
use crate::report::{Event, TableReport};

/// Results of steps that later steps use.
struct StepResults {
    before: RowsBefore,
    older_snapshots: OlderSnapshots,
    lookup: Option<CommitLookup>,
    noted: changes::Noted,
    /// Up to where the source had flushed WAL after the copy.
    flushed: Option<u64>,
    /// The positions in `progress` at which the tables and watermarks of this transaction begin.
    first_table: usize,
    first_reached: usize,
}

/// Carries out all steps of a transaction; what publishes its rows comes after them. Returns how to look up
/// whether the target's transaction was committed, in case the answer to COMMIT is lost.
pub(super) async fn carry_out(
    run: &RunContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
    progress: &mut RunProgress,
) -> Result<Option<CommitLookup>> {
    let mut results = StepResults {
        before: RowsBefore::new(),
        older_snapshots: OlderSnapshots::default(),
        lookup: None,
        noted: changes::Noted::new(),
        flushed: None,
        first_table: current.first,
        first_reached: progress.reached.len(),
    };
    for step in &current.transaction.steps {
        carry_out_step(run, sides, current, progress, &mut results, step).await?;
    }
    Ok(results.lookup)
}

async fn carry_out_step(
    run: &RunContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
    progress: &mut RunProgress,
    results: &mut StepResults,
    step: &Step,
) -> Result<()> {
    let job = &run.context.job;
    let (tables, planned) = (current.tables(), current.planned);
    let target = || sides.ends.target()?.session();
    let reports = &mut progress.tables[results.first_table..];
    match step {
        Step::Begin => begin(run, target()?).await,
        Step::LockJob => {
            advisory_lock::lock_job(target()?, job).await?;
            leftovers::sweep(&run.context, target()?, current.plan).await
        }
        Step::LockTargets => advisory_lock::lock_tables(target()?, job, tables).await,
        Step::CountReplaced => {
            results.before = gate::count_before(target()?, tables, planned).await?;
            Ok(())
        }
        Step::Create(statement) | Step::Statement(statement) | Step::MoveSequence(statement) => {
            execute(target()?, current.plan, statement).await
        }
        Step::Hooks(hooks) => hooks::run(target()?, job, hooks).await,
        Step::FreeNames => modes::swap::free_names(target()?, tables).await,
        Step::CompareDefinitions => advisory_lock::unchanged(target()?, tables, planned).await,
        Step::CheckEmpty => modes::staging::check_empty(target()?, tables).await,
        Step::NoteTargets => {
            results.noted = changes::note(target()?, tables, planned).await?;
            Ok(())
        }
        Step::OpenWorkers => open_workers(&run.context, sides, current).await,
        Step::OpenReader => open_reader(&run.context, &mut sides.reader, tables).await,
        Step::Make => {
            let maker = sides.pool.targets().first();
            let maker = maker.unwrap_or(target()?);
            modes::make(&run.context, maker, tables, planned, current.plan.workers).await
        }
        Step::FindPartitions => {
            let source = sides.ends.source()?.session()?;
            modes::partitions::find(source, target()?, job, tables).await
        }
        Step::ReplacePartitions => {
            let source = sides.ends.source()?.session()?;
            let before = &mut results.before;
            modes::replaced::replace(&run.context, source, target()?, tables, planned, before).await
        }
        Step::Copy => {
            copy_tables(&run.context, sides, current, progress).await?;
            results.flushed = flushed(sides, tables).await?;
            Ok(())
        }
        Step::BringUp => bring_up(&run.context, sides, current, reports).await,
        Step::Judge => judge(&run.context, target()?, tables, reports).await,
        Step::NoteSnapshots => {
            results.older_snapshots = note_snapshots(&run.context, sides).await?;
            Ok(())
        }
        Step::EndSnapshot => end_snapshot(run, sides, current).await,
        Step::Gate => gate::check(&run.context, &results.before, tables, reports),
        Step::CheckKeys => modes::staging::check(target()?, job, tables, reports).await,
        Step::Apply => {
            let published = current.published();
            modes::rounds::apply(target()?, &run.context, tables, published, reports).await
        }
        Step::BuildIndexes => modes::swap::index(target()?, sides.pool.targets(), tables).await,
        Step::CompareChecksums => {
            let source = sides.ends.source()?.session()?;
            checksum::check(&run.context, source, target()?, tables).await
        }
        Step::Record => record(run, target()?, current, progress, results).await,
        Step::WaitForSnapshots => {
            modes::snapshot_wait::wait(target()?, job, &results.older_snapshots).await
        }
        Step::ReplaceTargets => modes::swap::replace_targets(target()?, &run.context, tables).await,
    }
}

async fn begin(run: &RunContext, target: &Session) -> Result<()> {
    let modes = "ISOLATION LEVEL READ COMMITTED READ WRITE";
    target.begin(Phase::Prepare, modes).await?;
    target.verify(Phase::Prepare).await?;
    advisory_lock::mark_transaction(target, run.context.run_id).await?;
    ledger::rehearse(run, target).await
}

async fn open_workers(
    context: &JobContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
) -> Result<()> {
    let source = sides.ends.source()?.session()?;
    sides.pool.open(context, source, current.workers).await?;
    let tables = current.tables().iter();
    let created = tables.flat_map(|table| {
        let parts = table.resume.iter().map(|resume| resume.parts.clone());
        std::iter::once(table.written().clone()).chain(parts)
    });
    sides.pool.created_tables = created.collect();
    Ok(())
}

/// Begins to read the target on a session of its own, which later transactions of the attempt use again.
async fn open_reader(
    context: &JobContext,
    reader: &mut Option<Session>,
    tables: &[CopyPlan],
) -> Result<()> {
    let opened = match reader.take() {
        Some(reader) => reader,
        None => ends::open(context, Side::Target).await?,
    };
    let reader = &*reader.insert(opened);
    reader
        .begin(Phase::Lock, "ISOLATION LEVEL READ COMMITTED READ ONLY")
        .await?;
    if let Some(lock) = listing::reader_lock(tables) {
        reader.run(Phase::Lock, &lock).await?;
    }
    reader.verify(Phase::Lock).await
}

async fn copy_tables(
    context: &JobContext,
    sides: &Sides,
    current: TransactionContext<'_>,
    progress: &mut RunProgress,
) -> Result<()> {
    let own = WorkerEnds {
        source: sides.ends.source()?,
        target: sides.ends.target()?,
    };
    let reader = sides.reader.as_ref();
    let workers = sides.pool.ends(own);
    copy::all(context, own, &workers, reader, current, progress).await?;
    match reader {
        Some(reader) => reader.run(Phase::CopyOut, "COMMIT").await,
        None => Ok(()),
    }
}

/// Up to where the source has flushed WAL, if marks need to know.
async fn flushed(sides: &Sides, tables: &[CopyPlan]) -> Result<Option<u64>> {
    let has_mark = |table: &CopyPlan| table.marking.is_some() || table.watermark.is_some();
    match sides.ends.source()? {
        End::Server(source) if tables.iter().any(has_mark) => present::flushed(source).await,
        End::Server(_) | End::Files(_) => Ok(None),
    }
}

/// Brings kept loads to the run's snapshot, one after the other.
async fn bring_up(
    context: &JobContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
    reports: &mut [TableReport],
) -> Result<()> {
    for table in current.tables() {
        let name = table.target.to_string();
        let report = reports.iter_mut().find(|report| report.target == name);
        let (Some(kept), Some(report), Some(desc)) =
            (table.kept(), report, current.planned.get(&table.target))
        else {
            continue;
        };
        let opened = match sides.reader.take() {
            Some(reader) => reader,
            None => ends::open(context, Side::Target).await?,
        };
        let reader = &*sides.reader.insert(opened);
        reader
            .begin(Phase::Lock, "ISOLATION LEVEL READ COMMITTED READ ONLY")
            .await?;
        reader.run(Phase::Lock, &kept.bring_up.lock).await?;
        reader.verify(Phase::Lock).await?;
        let Some(loader) = sides.pool.targets().first() else {
            continue;
        };
        let sessions = Sessions {
            source: sides.ends.source()?.session()?,
            reader,
            target: loader,
        };
        let pace = Pace {
            stall_timeout: context.job.stall_timeout,
            limit: current.limit,
            on_progress: &|_| {},
        };
        resume::bring_up(context, sessions, table, desc, pace, report).await?;
    }
    Ok(())
}

async fn judge(
    context: &JobContext,
    target: &Session,
    tables: &[CopyPlan],
    reports: &mut [TableReport],
) -> Result<()> {
    let job = &context.job;
    let quarantined = ledger::Quarantined {
        run_id: context.run_id,
        job: &job.name,
    };
    modes::staging::judge(target, job, quarantined, tables, reports).await
}

/// The snapshots that are older than the rows, but for those of the run itself.
async fn note_snapshots(context: &JobContext, sides: &Sides) -> Result<OlderSnapshots> {
    let source = sides.ends.source()?.session()?;
    let mut own = sides.pool.readers(context, source);
    own.extend(sides.job_lock.as_ref().map(Session::pid));
    modes::snapshot_wait::find_older(sides.ends.target()?.session()?, &own).await
}

async fn end_snapshot(
    run: &RunContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
) -> Result<()> {
    sides.pool.release().await;
    let source = sides.ends.source()?.session()?;
    source.run(Phase::CopyOut, "COMMIT").await?;
    current.snapshot_age.end();
    run.context.tell(Event::SnapshotReleased);
    Ok(())
}

async fn record(
    run: &RunContext,
    target: &Session,
    current: TransactionContext<'_>,
    progress: &RunProgress,
    results: &mut StepResults,
) -> Result<()> {
    run.context.tell(Event::Publishing);
    let reached = &progress.reached[results.first_reached..];
    let flushed = results.flushed;
    watermark::record(&run.context, target, reached, flushed).await?;
    changes::record(run, target, current.tables(), &results.noted, flushed).await?;
    let first = results.first_table;
    ledger::record_transaction(run, target, progress, first, current.last).await?;
    let lookup = commit_resolution::lookup(run, target, &progress.tables[first..]).await?;
    results.lookup = Some(lookup);
    Ok(())
}

/// Runs one statement of a plan.
pub(super) async fn execute(target: &Session, plan: &JobPlan, statement: &Statement) -> Result<()> {
    let table = statement.table.and_then(|at| plan.tables.get(at));
    let done = target.run(statement.phase, &statement.sql).await;
    done.map_err(|error| match table {
        Some(table) => error.on(&table.target),
        None => error,
    })
}
