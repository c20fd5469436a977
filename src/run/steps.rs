//! Carries out the steps of a plan. What they are, and in which order, the plan has decided
//! (`plan/modes/`).

use std::collections::BTreeMap;

use super::attempt::{Record, Sides, ours};
use super::commit_resolution::{self, CommitLookup};
use super::gate::RowsBefore;
use super::modes::{self, snapshot_wait::OlderSnapshots};
use super::pipe::RateLimit;
use super::snapshot_age::SnapshotAge;
use super::{Context, advisory_lock, checksum, copy, gate, ledger, leftovers, watermark};
use crate::catalog::desc::RelationDesc;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::step::{Run, Step, Transaction};
use crate::report::Event;

pub(super) type Seen = BTreeMap<QualifiedName, RelationDesc>;

/// One of the target's transactions, with what its steps need to know of the attempt.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub plan: &'a JobPlan,
    pub transaction: &'a Transaction,
    /// The target's relations as the plan saw them.
    pub seen: &'a Seen,
    /// No other part comes after it.
    pub last: bool,
    /// How many workers have something to do.
    pub workers: usize,
    /// How fast the source may be read, by all workers together.
    pub limit: Option<&'a RateLimit>,
    pub snapshot_age: &'a SnapshotAge,
}

impl<'a> Part<'a> {
    /// The tables that it publishes.
    pub fn tables(&self) -> &'a [CopyPlan] {
        self.plan.tables_of(self.transaction)
    }
}

/// What steps leave for those that come later.
struct Findings {
    before: RowsBefore,
    older_snapshots: OlderSnapshots,
    lookup: Option<CommitLookup>,
    /// Where the part's tables and watermarks begin in the record.
    first_table: usize,
    first_reached: usize,
}

/// Carries out all steps of a transaction up to, and not including, COMMIT. Gives by what the
/// transaction can be found should the answer to COMMIT be lost.
pub(super) async fn carry_out(
    context: &Context,
    sides: &mut Sides,
    part: Part<'_>,
    record: &mut Record,
) -> Result<CommitLookup> {
    let mut findings = Findings {
        before: RowsBefore::new(),
        older_snapshots: OlderSnapshots::default(),
        lookup: None,
        first_table: record.tables.len(),
        first_reached: record.reached.len(),
    };
    for step in &part.transaction.steps {
        carry_out_step(context, sides, part, record, &mut findings, step).await?;
    }
    findings.lookup.ok_or_else(|| {
        let what = "the plan has no step that records the run";
        Error::new(ErrorKind::Bug, Phase::Gate, Side::Local, what)
    })
}

async fn carry_out_step(
    context: &Context,
    sides: &mut Sides,
    part: Part<'_>,
    record: &mut Record,
    findings: &mut Findings,
    step: &Step,
) -> Result<()> {
    let job = &context.job;
    let (tables, workers) = (part.tables(), part.plan.workers);
    let (source, target) = (
        ours(&sides.source, Side::Source)?,
        ours(&sides.target, Side::Target)?,
    );
    let pool = &mut sides.pool;
    let first = findings.first_table;
    match step {
        Step::Begin => {
            let modes = "ISOLATION LEVEL READ COMMITTED READ WRITE";
            target.begin(Phase::Prepare, modes).await?;
            target.verify(Phase::Prepare).await?;
            advisory_lock::mark_transaction(target, context.run_id).await
        }
        Step::LockJob => {
            advisory_lock::lock_job(target, job).await?;
            leftovers::sweep(context, target).await
        }
        Step::LockTargets => advisory_lock::lock_tables(target, job, tables).await,
        Step::CountReplaced => {
            findings.before = gate::count_before(target, tables, part.seen).await?;
            Ok(())
        }
        Step::Run(run) => one(target, part.plan, run).await,
        Step::FreeNames => modes::swap::free_names(target, tables).await,
        Step::CompareDefinitions => advisory_lock::unchanged(target, tables, part.seen).await,
        Step::OpenWorkers => {
            pool.open(context, source, part.workers).await?;
            pool.created_tables = tables.iter().map(|t| t.written().clone()).collect();
            Ok(())
        }
        Step::Make => {
            let maker = pool.targets().first().unwrap_or(target);
            modes::make(maker, tables, workers).await
        }
        Step::Copy => {
            let pairs = pool.pairs(source, target);
            copy::all(context, &pairs, (source, target), part, record).await
        }
        Step::NoteSnapshots => {
            let mut own = pool.readers(context, source);
            own.extend(sides.job_lock.as_ref().map(Session::pid));
            findings.older_snapshots = modes::snapshot_wait::find_older(target, &own).await?;
            Ok(())
        }
        Step::EndSnapshot => {
            pool.release().await;
            source.run(Phase::CopyOut, "COMMIT").await?;
            part.snapshot_age.end();
            Ok(())
        }
        Step::Gate => gate::check(job, target, &findings.before, &mut record.tables[first..]),
        Step::CheckKeys => modes::staging::check(target, job, tables).await,
        Step::Apply => modes::apply(target, job, tables, &mut record.tables[first..]).await,
        Step::BuildIndexes => modes::swap::index(target, pool.targets(), tables).await,
        Step::CompareChecksums => checksum::check(context, source, target, tables).await,
        Step::Record => {
            context.tell(Event::Publishing);
            let reached = &record.reached[findings.first_reached..];
            watermark::record(context, target, reached).await?;
            ledger::record_transaction(context, target, record, first, part.last).await?;
            findings.lookup =
                Some(commit_resolution::lookup(context, target, &record.tables[first..]).await?);
            Ok(())
        }
        Step::WaitForSnapshots => {
            modes::snapshot_wait::wait(target, job, &findings.older_snapshots).await
        }
        Step::ReplaceTargets => modes::swap::publish(target, job, tables).await,
    }
}

/// Runs one statement of a plan.
pub(super) async fn one(target: &Session, plan: &JobPlan, run: &Run) -> Result<()> {
    let table = run.table.and_then(|at| plan.tables.get(at));
    let done = target.run(run.phase, &run.sql).await;
    done.map_err(|error| match table {
        Some(table) => error.on(&table.target),
        None => error,
    })
}
