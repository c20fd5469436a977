//! Every staged row needs a key, and each key has one row.

use super::row_counts::counts;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::staged::listing;
use crate::plan::staged::types::Staged;
use crate::wording::counted;

/// Refuses NULL and repeated keys, with their numbers; the keys themselves only with `log_values`.
pub(in crate::run) async fn check(
    target: &Session,
    job: &JobSpec,
    tables: &[CopyPlan],
) -> Result<()> {
    for (table, staged) in listing::of(tables) {
        let checked = check_one(target, job, staged).await;
        checked.map_err(|error| error.on(&table.target))?;
    }
    Ok(())
}

async fn check_one(target: &Session, job: &JobSpec, staged: &Staged) -> Result<()> {
    target.run(Phase::Prepare, &staged.analyze).await?;
    let [nulls] = counts(target, "the number of NULL keys", &staged.null_keys).await?;
    if nulls > 0 {
        let rows = counted(nulls, "row");
        let message = format!("the source has a NULL in the key of {rows}");
        return Err(
            refused(message).hinted("leave them out with a `where`, or choose another `key`")
        );
    }
    let [keys, rows] = counts(target, "the number of repeated keys", &staged.repeated_keys).await?;
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
    let examples = target
        .query(Phase::Gate, &staged.repeated_examples, &[])
        .await?;
    let examples: Vec<String> = examples.iter().map(|row| row.get(0)).collect();
    Err(error.with_detail(format!("such as {}", examples.join(", "))))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::DataRejected, Phase::Gate, Side::Source, message)
}
