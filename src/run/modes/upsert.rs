//! Mode `upsert`, and `append` with a watermark.

use super::{Loaded, counts, expect};
use crate::config::spec::{JobSpec, Mode};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::upsert::Upsert;

pub(super) async fn apply(
    target: &Session,
    job: &JobSpec,
    upsert: &Upsert,
    loaded: Loaded<'_>,
) -> Result<()> {
    let Loaded { table, report, .. } = loaded;
    let done = async {
        for sql in &upsert.make_changes {
            target.run(Phase::Publish, sql).await?;
        }
        let [new] = counts(target, "the number of new rows", &upsert.count_new).await?;
        let written = target.execute(Phase::Publish, &upsert.insert).await?;
        Ok((new, written))
    };
    let (new, written) = done
        .await
        .map_err(|error: crate::error::Error| error.on(&table.target))?;
    report.rows_inserted = new.min(written);
    report.rows_updated = written.saturating_sub(new);
    if job.mode == Mode::Append || written < new {
        expect(target, job, table, "inserted", new, written)?;
    }
    Ok(())
}
