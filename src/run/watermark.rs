//! Where the last run stopped reading a table with a watermark, and how far this run has read it.

use super::run_progress::WatermarkReached;
use super::{JobContext, ledger};
use crate::catalog::desc::ColumnDesc;
use crate::catalog::mark::{Mark, WatermarkState, parse};
use crate::catalog::present;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::Inspected;
use crate::plan::copy::CopyPlan;
use crate::plan::watermark::starts_over;
use crate::report::Event;

/// For every table with a watermark, reads where its last published run stopped, and where the source is
/// now. The source has its snapshot.
pub(super) async fn resume(
    context: &JobContext,
    source: &Session,
    target: &Session,
    entries: &mut [Inspected],
) -> Result<()> {
    let wanted = |entry: &&mut Inspected| entry.spec.watermark.is_some();
    let mut entries = entries.iter_mut().filter(wanted).peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    let goes_on = !context.full && ledger::is_there(target).await?;
    let place = present::position(source).await?;
    for entry in entries {
        let Some(desc) = &entry.source else {
            continue;
        };
        let (relation, columns) = (&entry.spec.target, columns(entry));
        let now = present::present(source, &place, desc, entry.spec.children, &columns).await?;
        // A table that the run makes has none of the rows that an earlier run has copied.
        let text = match goes_on && entry.creation.as_ref().is_none_or(|made| !made.is_new) {
            true => ledger::watermark(target, &context.job.name, relation).await?,
            false => None,
        };
        let since = text.as_deref().and_then(parse);
        if text.is_some() && since.is_none() {
            let why = "the last run was by an older release, whose watermark cannot be used";
            context.tell(Event::Warned(starts_over(relation, why)));
        }
        entry.progress = Some(WatermarkState { since, now });
    }
    Ok(())
}

/// The source's columns that may be read: those that the target has, too, and those whose name occurs
/// in an expression.
pub(super) fn columns(entry: &Inspected) -> Vec<&str> {
    let Inspected { spec, target, .. } = entry;
    let texts: Vec<&String> = spec.set.values().chain(&spec.filter).collect();
    let columns = entry.source.iter().flat_map(|source| &source.columns);
    let may_be_read = |column: &&ColumnDesc| {
        let name = column.name.as_str();
        target
            .as_ref()
            .is_some_and(|target| target.column(&column.name).is_some())
            || spec.watermark.as_ref() == Some(&column.name)
            || texts
                .iter()
                .any(|text| text.to_lowercase().contains(&name.to_lowercase()))
    };
    columns
        .filter(may_be_read)
        .map(|column| column.name.as_str())
        .collect()
}

/// The new mark of a table that was just read in the source's snapshot.
pub(super) async fn reached(
    source: &Session,
    table: &CopyPlan,
) -> Result<Option<WatermarkReached>> {
    let Some(watermark) = &table.watermark else {
        return Ok(None);
    };
    let what = "the highest value of the watermark";
    let row = source.one_row(Phase::CopyOut, what, &watermark.read_value, &[]);
    let value = row.await.and_then(|row| row.get(0));
    Ok(Some(WatermarkReached {
        relation: table.target.clone(),
        mark: Mark {
            value: value.map_err(|error| error.on(table.read_relation()))?,
            ..watermark.mark.clone()
        },
    }))
}

/// Records the marks in the transaction that publishes the rows.
pub(super) async fn record(
    context: &JobContext,
    target: &Session,
    reached: &[WatermarkReached],
    flushed: Option<u64>,
) -> Result<()> {
    for WatermarkReached { relation, mark } in reached {
        let mark = mark.clone().flushed(flushed);
        let (run_id, job) = (context.run_id, &context.job.name);
        let known = ledger::NextRun::Watermark(&mark);
        ledger::record_for_next_run(target, run_id, job, relation, known).await?;
    }
    Ok(())
}
