//! Carries out the steps of a plan in their order. `plan/modes/` decides the steps.

use super::commit_resolution::{self, CommitLookup};
use super::gate::RowsBefore;
use super::modes::{self, snapshot_wait::OlderSnapshots};
use super::run_progress::RunProgress;
use super::sides::{Sides, SourceEnd, opened};
use super::transaction::TransactionContext;
use super::{
    RunContext, advisory_lock, changes, checksum, copy, gate, inspect, ledger, leftovers, watermark,
};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::JobPlan;
use crate::plan::step::{Statement, Step};
use crate::report::Event;

/// Results of steps that later steps use.
struct StepResults {
    before: RowsBefore,
    older_snapshots: OlderSnapshots,
    lookup: Option<CommitLookup>,
    noted: changes::Noted,
    /// The positions in `progress` at which the tables and watermarks of this transaction begin.
    first_table: usize,
    first_reached: usize,
}

/// Carries out all steps of a transaction up to, but not including, COMMIT. Returns how to look up whether
/// the transaction was committed, in case the answer to COMMIT is lost.
pub(super) async fn carry_out(
    run: &RunContext,
    sides: &mut Sides,
    current: TransactionContext<'_>,
    progress: &mut RunProgress,
) -> Result<CommitLookup> {
    let mut results = StepResults {
        before: RowsBefore::new(),
        older_snapshots: OlderSnapshots::default(),
        lookup: None,
        noted: changes::Noted::new(),
        first_table: progress.tables.len(),
        first_reached: progress.reached.len(),
    };
    for step in &current.transaction.steps {
        carry_out_step(run, sides, current, progress, &mut results, step).await?;
    }
    results.lookup.ok_or_else(|| {
        let what = "the plan has no step that records the run";
        Error::new(ErrorKind::Bug, Phase::Gate, Side::Local, what)
    })
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
    let (tables, workers) = (current.tables(), current.plan.workers);
    let target = opened(&sides.target, Side::Target)?;
    // A method of `Sides` would also borrow the pool.
    let source = match (&sides.files, &sides.source) {
        (Some(files), _) => SourceEnd::Files(files),
        (None, source) => SourceEnd::Server(opened(source, Side::Source)?),
    };
    let pool = &mut sides.pool;
    let first = results.first_table;
    match step {
        Step::Begin => {
            let modes = "ISOLATION LEVEL READ COMMITTED READ WRITE";
            target.begin(Phase::Prepare, modes).await?;
            target.verify(Phase::Prepare).await?;
            advisory_lock::mark_transaction(target, run.context.run_id).await
        }
        Step::LockJob => {
            advisory_lock::lock_job(target, job).await?;
            leftovers::sweep(&run.context, target).await
        }
        Step::LockTargets => advisory_lock::lock_tables(target, job, tables).await,
        Step::CountReplaced => {
            results.before = gate::count_before(target, tables, current.planned).await?;
            Ok(())
        }
        Step::Statement(statement) => execute(target, current.plan, statement).await,
        Step::FreeNames => modes::swap::free_names(target, tables).await,
        Step::CompareDefinitions => advisory_lock::unchanged(target, tables, current.planned).await,
        Step::CheckEmpty => modes::staging::check_empty(target, tables).await,
        Step::NoteTargets => {
            results.noted = changes::note(target, tables, current.planned).await?;
            Ok(())
        }
        Step::OpenWorkers => {
            pool.open(&run.context, source.session()?, current.workers)
                .await?;
            pool.created_tables = tables.iter().map(|t| t.written().clone()).collect();
            Ok(())
        }
        Step::OpenReader => {
            let opened = match sides.reader.take() {
                Some(reader) => reader,
                None => inspect::open(&run.context, Side::Target).await?,
            };
            let reader = &*sides.reader.insert(opened);
            reader
                .begin(Phase::Lock, "ISOLATION LEVEL READ COMMITTED READ ONLY")
                .await?;
            for (table, stream) in tables.iter().filter_map(|t| Some((t, t.stream()?))) {
                let locked = reader.run(Phase::Lock, &stream.lock).await;
                locked.map_err(|error| error.on(&table.target))?;
            }
            reader.verify(Phase::Lock).await
        }
        Step::Make => {
            let maker = pool.targets().first().unwrap_or(target);
            modes::make(maker, tables, workers).await
        }
        Step::Copy => {
            let pairs = pool.pairs(source, target);
            let reader = sides.reader.as_ref();
            let sessions = (source, target, reader);
            copy::all(&run.context, &pairs, sessions, current, progress).await?;
            match reader {
                Some(reader) => reader.run(Phase::CopyOut, "COMMIT").await,
                None => Ok(()),
            }
        }
        Step::Judge => {
            let quarantined = ledger::Quarantined {
                run_id: run.context.run_id,
                job: &job.name,
            };
            let reports = &mut progress.tables[first..];
            modes::staging::judge(target, job, quarantined, tables, reports).await
        }
        Step::NoteSnapshots => {
            let mut own = pool.readers(&run.context, source.session()?);
            own.extend(sides.job_lock.as_ref().map(Session::pid));
            results.older_snapshots = modes::snapshot_wait::find_older(target, &own).await?;
            Ok(())
        }
        Step::EndSnapshot => {
            pool.release().await;
            source.session()?.run(Phase::CopyOut, "COMMIT").await?;
            current.snapshot_age.end();
            Ok(())
        }
        Step::Gate => {
            let tables = &mut progress.tables[first..];
            gate::check(&run.context, target.server(), &results.before, tables)
        }
        Step::CheckKeys => {
            modes::staging::check(target, job, tables, &progress.tables[first..]).await
        }
        Step::Apply => {
            modes::rounds::apply(target, job, tables, &mut progress.tables[first..]).await
        }
        Step::BuildIndexes => modes::swap::index(target, pool.targets(), tables).await,
        Step::CompareChecksums => {
            checksum::check(&run.context, source.session()?, target, tables).await
        }
        Step::Record => {
            run.context.tell(Event::Publishing);
            let reached = &progress.reached[results.first_reached..];
            watermark::record(&run.context, target, reached).await?;
            changes::record(run, target, tables, &results.noted).await?;
            ledger::record_transaction(run, target, progress, first, current.last).await?;
            results.lookup =
                Some(commit_resolution::lookup(run, target, &progress.tables[first..]).await?);
            Ok(())
        }
        Step::WaitForSnapshots => {
            modes::snapshot_wait::wait(target, job, &results.older_snapshots).await
        }
        Step::PublishFiles => {
            let what = "files are published by an attempt of their own";
            let (kind, phase) = (ErrorKind::Bug, Phase::Publish);
            Err(Error::new(kind, phase, Side::Local, what))
        }
        Step::ReplaceTargets => modes::swap::replace_targets(target, job, tables).await,
    }
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
