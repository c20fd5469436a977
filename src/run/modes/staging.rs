//! Checks of staged rows: each needs a key and a partition, and no key may occur twice.

use super::partitions;
use super::row_counts::counts;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::staged::listing;
use crate::plan::staged::types::Staged;
use crate::report::TableReport;
use crate::run::ledger::Quarantined;
use crate::wording::counted;

/// Refuses NULL and repeated keys. The error has their numbers, and with `log_values` some of the keys.
pub(in crate::run) async fn check(
    target: &Session,
    job: &JobSpec,
    tables: &[CopyPlan],
    reports: &[TableReport],
) -> Result<()> {
    for (table, staged) in listing::of(tables) {
        let report = TableReport::of(reports, &table.target);
        if report.is_some_and(|report| staged.is_equal(report.rows_written)) {
            continue;
        }
        partitions::make(target, target, table).await?;
        let checked = check_one(target, job, staged).await;
        checked.map_err(|error| error.on(&table.target))?;
    }
    Ok(())
}

/// Moves staged rows that the target would reject to `tableferry.rejected`, until there are none.
pub(in crate::run) async fn judge(
    target: &Session,
    job: &JobSpec,
    quarantined: Quarantined<'_>,
    tables: &[CopyPlan],
    reports: &mut [TableReport],
) -> Result<()> {
    for (table, staged) in listing::of(tables).filter(|(_, staged)| !staged.judge.is_empty()) {
        let analyzed = target.run(Phase::Gate, &staged.analyze).await;
        analyzed.map_err(|error| error.on(&table.target))?;
    }
    loop {
        let mut rejected = 0;
        // Each table has a report, in the order of the tables.
        for (table, report) in tables.iter().zip(&mut *reports) {
            let Load::Staged(staged) = &table.load else {
                continue;
            };
            for sql in &staged.judge {
                let rows = quarantined.move_rejected(target, sql).await;
                let rows = rows.map_err(|error| error.on(&table.target))?;
                report.rows_rejected += rows;
                report.rows_written = report.rows_written.saturating_sub(rows);
                rejected += rows;
            }
            if job.reject_limit.is_exceeded(report.rows_rejected) {
                // The gate reports this error.
                return Ok(());
            }
        }
        if rejected == 0 {
            return Ok(());
        }
    }
}

/// Refuses targets that were empty when they were planned, and now have rows.
///
/// *Errors:* `Conflict`: the next attempt plans anew.
pub(in crate::run) async fn check_empty(target: &Session, tables: &[CopyPlan]) -> Result<()> {
    for table in tables.iter().filter(|table| table.must_be_empty) {
        let what = "whether the target has rows";
        let row = target
            .one_row(Phase::Lock, what, &table.has_rows(), &[])
            .await?;
        if row.get(0)? {
            let message = "other sessions have inserted rows since the target was found empty";
            let error = Error::new(ErrorKind::Conflict, Phase::Lock, Side::Target, message);
            return Err(error.at(target.server()).on(&table.target));
        }
    }
    Ok(())
}

async fn check_one(target: &Session, job: &JobSpec, staged: &Staged) -> Result<()> {
    if staged.is_analyzed_first() {
        target.run(Phase::Prepare, &staged.analyze).await?;
    }
    if let Some(found) = &staged.partitionless {
        partitions::check_partitions((target, target), job, found).await?;
    }
    if let Some(sql) = staged.surplus_rows() {
        let [surplus] = counts(target, "the numbers of rows and keys", sql).await?;
        if surplus == 0 {
            return Ok(());
        }
    }
    let [nulls] = match &staged.null_keys {
        Some(sql) => counts(target, "the number of NULL keys", sql).await?,
        None => [0],
    };
    if nulls > 0 {
        let rows = counted(nulls, "row");
        let message = format!("the source has a NULL in the key of {rows}");
        return Err(
            refused(message).hinted("leave them out with a `where`, or choose another `key`")
        );
    }
    let Some(repeated) = &staged.repeated_keys else {
        return Ok(());
    };
    let [keys, rows] = counts(target, "the number of repeated keys", &repeated.count).await?;
    if keys == 0 {
        return Ok(());
    }
    let message = format!(
        "the source has {} more than once, in {}",
        counted(keys, "key"),
        counted(rows, "row")
    );
    let error = refused(message)
        .hinted("choose a `key` that is unique in the source, or read each row once by a `query`");
    if !job.log_values {
        return Err(error);
    }
    let examples = target.query(Phase::Gate, &repeated.examples, &[]).await?;
    let examples: Vec<String> = examples.iter().map(|row| row.get(0)).collect();
    Err(error.with_detail(format!("such as {}", examples.join(", "))))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::DataRejected, Phase::Gate, Side::Source, message)
}
