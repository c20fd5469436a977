//! One attempt whose target is files: read in one snapshot, write all files beside their places, then put
//! them there. There is no ledger in a directory: runs are recorded as with `history = "local"`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::attempt::{AttemptBounds, AttemptEnd};
use super::files::refusal;
use super::inspect;
use super::pipe::{self, Pace, RateLimit, write_error};
use super::run_progress::RunProgress;
use super::sides::{Sides, opened};
use super::snapshot_age::SnapshotAge;
use super::{Cancelled, JobContext, RunContext, gate, ledger, preflight};
use crate::config::spec::{JobSpec, ServerPlace};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::directory;
use crate::files::writer::{FileWriter, Output, Unpublished, sync_directory};
use crate::pg::session::Session;
use crate::plan;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::export::Exported;
use crate::plan::{Inspected, Refusal};
use crate::report::{Event, TableProgress, TableReport};

/// Does all that one attempt does.
pub(super) async fn run_attempt(
    run: &RunContext,
    sides: &mut Sides,
    cancelled: &Cancelled,
    run_progress: &mut RunProgress,
) -> Result<AttemptEnd> {
    let context = &run.context;
    let snapshot_age = SnapshotAge::default();
    let bounds = AttemptBounds {
        context,
        cancelled,
        began: Instant::now(),
        snapshot_age: &snapshot_age,
    };
    ledger::ready(run)?;
    // There is nobody to claim the fire from.
    run_progress.fire_claimed = true;
    run_progress.started(run);
    let plan = bounds
        .of(begin(context, sides, &snapshot_age, run_progress))
        .await?;
    let source = opened(&sides.source, Side::Source)?;
    let files = bounds
        .of(copy_all(
            context,
            source,
            &plan,
            &snapshot_age,
            run_progress,
        ))
        .await?;
    publish(context, files, run_progress).await?;
    Ok(AttemptEnd::Committed)
}

async fn begin(
    context: &JobContext,
    sides: &mut Sides,
    snapshot_age: &SnapshotAge,
    run_progress: &mut RunProgress,
) -> Result<JobPlan> {
    let source = &*sides
        .source
        .insert(inspect::open(context, Side::Source).await?);
    let (plan, snapshot) = inspect::inspect_export(context, source, snapshot_age).await?;
    run_progress.snapshot = Some(snapshot);
    let plan = plan.map_err(|refusals| plan::to_error(&refusals))?;
    preflight::check_source(context, source, &plan).await?;
    context.tell(Event::Planned {
        tables: plan.tables.len(),
        warnings: plan.all_warnings(),
    });
    Ok(plan)
}

/// Where each table's rows go. What is wrong with a file is a refusal.
pub(super) fn exported(context: &JobContext, table: Inspected) -> Result<Exported, Refusal> {
    let (job, spec): (&JobSpec, _) = (&context.job, &table.spec);
    let name = spec.file_name();
    let refused = |message: String| {
        Refusal::mismatch(Side::Target, &name, message).of_kind(ErrorKind::Config)
    };
    let layout = crate::config::files::layout(job, spec).map_err(&refused)?;
    if spec.file.name.is_none() && name.contains('/') {
        let message = "a table's name with a slash makes no file name".to_owned();
        return Err(refused(message).hinted("name it in `file`"));
    }
    let output = match &context.target.place {
        ServerPlace::Directory(path) => {
            let place = directory::target(path, &name);
            Output::File(place.map_err(|why| {
                let error = refusal(Phase::Plan, Side::Target, &name, why);
                Refusal::mismatch(Side::Target, &context.target.name, error.message())
                    .of_kind(error.kind())
            })?)
        }
        ServerPlace::Standard | ServerPlace::Database => Output::Stdout,
    };
    Ok(Exported {
        table,
        layout,
        output,
    })
}

type WrittenFiles = Vec<(String, Unpublished)>;

/// Writes all files beside their places, and asks the gate.
async fn copy_all(
    context: &JobContext,
    source: &Session,
    plan: &JobPlan,
    snapshot_age: &SnapshotAge,
    run_progress: &mut RunProgress,
) -> Result<WrittenFiles> {
    let limit = context.job.rate_limit.map(RateLimit::new);
    let mut files = Vec::with_capacity(plan.tables.len());
    for (at, table) in plan.tables.iter().enumerate() {
        let (report, file) = copy(context, source, (at, plan), limit.as_ref()).await?;
        run_progress.tables.push(report);
        files.push((table.target_name(), file));
    }
    source.run(Phase::CopyOut, "COMMIT").await?;
    snapshot_age.end();
    let nothing_before = BTreeMap::new();
    gate::check(
        context,
        &context.target.name,
        &nothing_before,
        &mut run_progress.tables,
    )?;
    Ok(files)
}

async fn copy(
    context: &JobContext,
    source: &Session,
    (at, plan): (usize, &JobPlan),
    limit: Option<&RateLimit>,
) -> Result<(TableReport, Unpublished)> {
    let table: &CopyPlan = &plan.tables[at];
    let name = table.target_name();
    let progress = |rows, bytes| TableProgress {
        number: at + 1,
        of: plan.tables.len(),
        target: name.clone(),
        rows,
        bytes,
        rows_estimate: table.rows_estimate,
        permille: None,
    };
    let began = Instant::now();
    context.tell(Event::TableStarted(progress(0, 0)));
    let output = match &context.target.place {
        ServerPlace::Directory(path) => {
            let place = directory::target(path, &name);
            let place = place.map_err(|why| refusal(Phase::CopyIn, Side::Target, &name, why));
            Output::File(place.map_err(|error| error.at(&context.target.name))?)
        }
        ServerPlace::Standard | ServerPlace::Database => Output::Stdout,
    };
    let failed = |error| write_error(&name, Phase::CopyIn, error).at(&context.target.name);
    let writer = FileWriter::start(&output, &format!("{}-{at}", context.run_id)).map_err(failed)?;
    let on_progress =
        |moved: pipe::Totals| context.tell(Event::TableMoved(progress(moved.rows, moved.bytes)));
    let pace = Pace {
        stall_timeout: context.job.stall_timeout,
        limit,
        on_progress: &on_progress,
    };
    let (totals, file) = pipe::copy_to_file(source, writer, table, pace).await?;
    context.tell(Event::TableLoaded(progress(totals.rows, totals.bytes)));
    let report = TableReport {
        source: table.source.clone(),
        target: name,
        mode: context.job.mode,
        format: table.format.as_str(),
        format_reason: None,
        rows_read: totals.rows,
        rows_written: totals.rows,
        rows_inserted: totals.rows,
        rows_updated: 0,
        rows_deleted: 0,
        rows_rejected: 0,
        compare: None,
        rows_compared: None,
        rows_counted: None,
        bytes: totals.bytes,
        workers: 1,
        seconds: began.elapsed().as_secs_f64(),
        committed: None,
    };
    Ok((report, file))
}

/// Puts all files into their places, one after the other at once. If one cannot be, the run_progress says which
/// are there.
async fn publish(
    context: &JobContext,
    files: WrittenFiles,
    run_progress: &mut RunProgress,
) -> Result<()> {
    context.phase.enter(Phase::Publish);
    context.tell(Event::Publishing);
    let mut directories = BTreeSet::new();
    let count = files.len();
    for (at, (name, file)) in files.into_iter().enumerate() {
        directories.extend(file.directory());
        if let Err(error) = file.publish() {
            for (other, table) in run_progress.tables.iter_mut().enumerate() {
                table.committed = (count > 1).then_some(other < at);
            }
            return Err(write_error(&name, Phase::Publish, error).at(&context.target.name));
        }
    }
    for directory in directories {
        sync_directory(&directory).map_err(|error| {
            let message = format!(
                "{}: the files are in their places, and a crash of the machine may undo that: {error}",
                directory.display()
            );
            Error::new(ErrorKind::InDoubt, Phase::Publish, Side::Target, message)
                .at(&context.target.name)
        })?;
    }
    Ok(())
}

/// The plan of a job whose target is files, from what the source says of its relations.
pub(super) fn planned(
    context: &JobContext,
    inspected: Vec<Inspected>,
) -> Result<JobPlan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut tables = Vec::new();
    for table in inspected {
        match exported(context, table) {
            Ok(table) => tables.push(table),
            Err(refusal) => refusals.push(refusal),
        }
    }
    match plan::export::job(&context.job, tables) {
        Ok(plan) if refusals.is_empty() => Ok(plan),
        Ok(_) => Err(refusals),
        Err(more) => {
            refusals.extend(more);
            Err(refusals)
        }
    }
}
