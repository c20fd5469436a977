//! Mode `upsert`, and `append` with a watermark.

use super::row_counts::{Differing, RowsWritten, counts};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::staged::upsert::{Changes, NewRows, ServerCounts, Upsert};

/// The staging table.
#[derive(Clone, Copy)]
pub(super) struct Stage<'a> {
    /// Runs ANALYZE, which a join needs; None if that was done.
    pub analyze: Option<&'a String>,
    /// The number of its rows.
    pub rows: u64,
}

/// Finds the new rows. `again`: the table was compared before, and rows that still differ are counted, too.
pub(super) async fn compare(
    target: &Session,
    upsert: &Upsert,
    stage: Stage<'_>,
    again: bool,
) -> Result<Differing> {
    if again {
        return compare_again(target, upsert).await;
    }
    let changes = chosen(target, upsert, stage.rows).await?;
    if changes.is_none() && are_counted_later(target, upsert).await? {
        return Ok(Differing {
            is_vague: true,
            new_is_vague: true,
            ..Differing::default()
        });
    }
    if let Some(sql) = stage.analyze {
        target.run(Phase::Publish, sql).await?;
    }
    let new = match changes {
        Some(changes) => make(target, changes).await?,
        None => count_new(target, &upsert.count_new).await?,
    };
    Ok(Differing {
        new,
        is_vague: true,
        are_in_table: changes.is_some(),
        ..Differing::default()
    })
}

async fn compare_again(target: &Session, upsert: &Upsert) -> Result<Differing> {
    let what = "the number of rows that differ";
    let [wrong] = counts(target, what, &upsert.count_wrong).await?;
    if wrong == 0 {
        return Ok(Differing::default());
    }
    // Triggers must see no other rows than those that differ.
    let changes = upsert
        .changes
        .as_ref()
        .filter(|changes| changes.sample.is_none());
    let new = match changes {
        Some(changes) => {
            target.run(Phase::Publish, &changes.drop).await?;
            make(target, changes).await?
        }
        None => count_new(target, &upsert.count_new).await?,
    };
    Ok(Differing {
        changed: wrong.saturating_sub(new),
        new,
        are_in_table: changes.is_some(),
        ..Differing::default()
    })
}

/// The table of changes, unless most staged rows differ. With triggers there is always one.
async fn chosen<'u>(
    target: &Session,
    upsert: &'u Upsert,
    rows_staged: u64,
) -> Result<Option<&'u Changes>> {
    let Some(changes) = &upsert.changes else {
        return Ok(None);
    };
    let Some(sample) = &changes.sample else {
        return Ok(Some(changes));
    };
    let rows_staged = i64::try_from(rows_staged).unwrap_or(i64::MAX);
    let what = "a sample of the rows";
    let row = target
        .one_row(Phase::Publish, what, sample, &[&rows_staged])
        .await?;
    let (rows, differing) = (row.count(0)?, row.count(1)?);
    Ok((!Changes::are_most(rows, differing)).then_some(changes))
}

/// Is the number of new rows known when all rows have been written?
async fn are_counted_later(target: &Session, upsert: &Upsert) -> Result<bool> {
    match &upsert.new_rows {
        NewRows::Joined => Ok(false),
        NewRows::Written => Ok(true),
        NewRows::Counted(ServerCounts { exist, .. }) => {
            let what = "whether the server counts inserted rows";
            let row = target.one_row(Phase::Publish, what, exist, &[]).await?;
            row.get(0)
        }
    }
}

/// Makes the table of changes. Returns the number of new rows in it.
async fn make(target: &Session, changes: &Changes) -> Result<u64> {
    for sql in &changes.make {
        target.run(Phase::Publish, sql).await?;
    }
    count_new(target, &changes.count_new).await
}

async fn count_new(target: &Session, sql: &str) -> Result<u64> {
    let [new] = counts(target, "the number of new rows", sql).await?;
    Ok(new)
}

/// Inserts new rows and updates rows that differ.
pub(super) async fn write(
    target: &Session,
    upsert: &Upsert,
    found: Differing,
) -> Result<RowsWritten> {
    let insert = match &upsert.changes {
        Some(changes) if found.are_in_table => &changes.insert,
        Some(_) | None => &upsert.insert,
    };
    let (written, new) = match &upsert.new_rows {
        NewRows::Counted(server) if found.new_is_vague => {
            let before = inserted(target, server).await?;
            let written = target.execute(Phase::Publish, insert).await?;
            let after = inserted(target, server).await?;
            let [inserted, deleted] = [0, 1].map(|at| after[at].saturating_sub(before[at]));
            (written, inserted.saturating_sub(deleted))
        }
        NewRows::Written if found.new_is_vague => {
            let written = target.execute(Phase::Publish, insert).await?;
            (written, written)
        }
        NewRows::Joined | NewRows::Counted(_) | NewRows::Written => {
            (target.execute(Phase::Publish, insert).await?, found.new)
        }
    };
    let mut done = RowsWritten {
        inserted: new.min(written),
        updated: written.saturating_sub(new),
        ..RowsWritten::default()
    };
    done.note("inserted", found.new, written);
    Ok(done)
}

/// The numbers of rows that this transaction has inserted into the target, and deleted.
async fn inserted(target: &Session, server: &ServerCounts) -> Result<[u64; 2]> {
    let what = "the server's counts of the target's rows";
    counts(target, what, &server.read).await
}
