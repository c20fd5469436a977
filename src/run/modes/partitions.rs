//! Rows for which the target has no partition: found before they are written. Partitions are made where the
//! job asks for it.

use super::row_counts::counts;
use crate::catalog;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::partitions::{self, PARTITIONS_MAX};
use crate::plan::staged::types::Partitionless;
use crate::wording::counted;

/// Asks the source for rows without a partition. Makes partitions for them, or refuses the rows.
pub(in crate::run) async fn find(
    source: &Session,
    target: &Session,
    job: &JobSpec,
    tables: &[CopyPlan],
) -> Result<()> {
    for table in tables {
        if let Some(found) = &table.partitions.on_source {
            let checked = check_partitions((source, target), job, found).await;
            checked.map_err(|error| error.on(&table.target))?;
        }
        make(source, target, table).await?;
    }
    Ok(())
}

/// Refuses rows for which the target has no partition.
pub(in crate::run) async fn check_partitions(
    (reader, target): (&Session, &Session),
    job: &JobSpec,
    found: &Partitionless,
) -> Result<()> {
    let [rows] = counts(
        reader,
        "the number of rows without a partition",
        &found.count,
    )
    .await?;
    if rows == 0 {
        return Ok(());
    }
    let message = format!(
        "{} without a partition on the target; the bounds are over {}",
        counted(rows, "row"),
        found.columns
    );
    let error = Error::new(ErrorKind::DataRejected, Phase::Gate, Side::Target, message)
        .at(target.server())
        .hinted(
            "create the partitions, or a DEFAULT partition, or set `create_partitions = true`; or leave the rows out \
             with `where`",
        );
    if !job.log_values {
        return Err(error);
    }
    let examples = reader.query(Phase::Gate, &found.examples, &[]).await?;
    let examples: Vec<String> = examples.iter().map(|row| row.get(0)).collect();
    Err(error.with_detail(format!("such as {}", examples.join(", "))))
}

/// Makes the partitions of one table that its rows need and that do not exist, in the open transaction.
/// `reader` is the session that has the rows.
pub(super) async fn make(reader: &Session, target: &Session, table: &CopyPlan) -> Result<()> {
    let Some(missing) = &table.partitions.missing else {
        return Ok(());
    };
    let failed = |error: Error| error.on(&table.target);
    let mut locked = false;
    let mut made = 0;
    loop {
        let names = std::slice::from_ref(&table.target);
        let constraints = catalog::constraints(target, names).await?;
        let constraints = constraints.get(&table.target);
        let condition = constraints.and_then(partitions::fits_none);
        let (Some(constraints), Some(condition)) = (constraints, condition) else {
            return Ok(());
        };
        let keys = reader
            .query(Phase::Prepare, &missing.keys(&condition), &[])
            .await;
        let keys: Vec<Option<String>> =
            keys.map_err(failed)?.iter().map(|row| row.get(0)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        if !locked {
            // Another run may be making the same ones.
            let sql = format!(
                "LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE",
                table.target.sql()
            );
            target.run(Phase::Lock, &sql).await.map_err(failed)?;
            locked = true;
            continue;
        }
        let new = partitions::new(&table.target, constraints, &keys);
        let new = new.map_err(|why| failed(refused(target, &why)))?;
        made += new.len();
        if new.is_empty() || made > PARTITIONS_MAX {
            let why = match new.is_empty() {
                true => "its new partitions do not hold the rows".to_owned(),
                false => format!("more than {PARTITIONS_MAX} partitions are missing"),
            };
            return Err(failed(refused(target, &why)));
        }
        for partition in &new {
            for sql in &partition.statements {
                target.run(Phase::Prepare, sql).await.map_err(failed)?;
            }
            tracing::info!(parent = %table.target, partition = %partition.name, "partition created");
        }
    }
}

fn refused(target: &Session, why: &str) -> Error {
    let message = format!(
        "the source has rows without a partition on the target, and none can be made: {why}"
    );
    let error = Error::new(
        ErrorKind::DataRejected,
        Phase::Prepare,
        Side::Target,
        message,
    );
    error
        .at(target.server())
        .hinted("create the partitions by hand, or a DEFAULT partition")
}
