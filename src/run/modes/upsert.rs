//! Mode `upsert`, and `append` with a watermark.

use super::row_counts::{Differing, RowsWritten, counts};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::staged::upsert::Upsert;

/// Finds the new rows. `again`: the table of changes exists from an earlier comparison, and rows that still
/// differ are counted, too.
pub(super) async fn compare(target: &Session, upsert: &Upsert, again: bool) -> Result<Differing> {
    let wrong = if again {
        let what = "the number of rows that differ";
        let [wrong] = counts(target, what, &upsert.count_wrong).await?;
        if wrong == 0 {
            return Ok(Differing::default());
        }
        if let Some(sql) = &upsert.drop_changes {
            target.run(Phase::Publish, sql).await?;
        }
        Some(wrong)
    } else {
        None
    };
    for sql in &upsert.make_changes {
        target.run(Phase::Publish, sql).await?;
    }
    let [new] = counts(target, "the number of new rows", &upsert.count_new).await?;
    Ok(Differing {
        gone: 0,
        changed: wrong.map_or(0, |wrong| wrong.saturating_sub(new)),
        new,
        is_vague: wrong.is_none(),
    })
}

/// Inserts new rows and updates rows that differ.
pub(super) async fn write(
    target: &Session,
    upsert: &Upsert,
    found: Differing,
) -> Result<RowsWritten> {
    let written = target.execute(Phase::Publish, &upsert.insert).await?;
    let mut done = RowsWritten {
        inserted: found.new.min(written),
        updated: written.saturating_sub(found.new),
        ..RowsWritten::default()
    };
    done.note("inserted", found.new, written);
    Ok(done)
}
