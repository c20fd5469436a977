//! Mode `upsert`, and `append` with a watermark.

use super::row_counts::{Differing, RowsWritten, counts};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::staged::upsert::{Changes, Upsert};

/// Finds the new rows. `again`: the table was compared before, and rows that still differ are counted, too.
pub(super) async fn compare(target: &Session, upsert: &Upsert, again: bool) -> Result<Differing> {
    let wrong = if again {
        let what = "the number of rows that differ";
        let [wrong] = counts(target, what, &upsert.count_wrong).await?;
        if wrong == 0 {
            return Ok(Differing::default());
        }
        Some(wrong)
    } else {
        None
    };
    let changes = chosen(target, upsert, again).await?;
    let count_new = match changes {
        Some(changes) => {
            if again {
                target.run(Phase::Publish, &changes.drop).await?;
            }
            for sql in &changes.make {
                target.run(Phase::Publish, sql).await?;
            }
            &changes.count_new
        }
        None => &upsert.count_new,
    };
    let [new] = counts(target, "the number of new rows", count_new).await?;
    Ok(Differing {
        gone: 0,
        changed: wrong.map_or(0, |wrong| wrong.saturating_sub(new)),
        new,
        is_vague: wrong.is_none(),
        are_in_table: changes.is_some(),
    })
}

/// The table of changes, unless most staged rows differ. With triggers there is always one.
async fn chosen<'u>(
    target: &Session,
    upsert: &'u Upsert,
    again: bool,
) -> Result<Option<&'u Changes>> {
    let Some(changes) = &upsert.changes else {
        return Ok(None);
    };
    let Some(sample) = &changes.sample else {
        return Ok(Some(changes));
    };
    if again {
        return Ok(None);
    }
    let [rows, differing] = counts(target, "a sample of the rows", sample).await?;
    Ok((!Changes::are_most(rows, differing)).then_some(changes))
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
    let written = target.execute(Phase::Publish, insert).await?;
    let mut done = RowsWritten {
        inserted: found.new.min(written),
        updated: written.saturating_sub(found.new),
        ..RowsWritten::default()
    };
    done.note("inserted", found.new, written);
    Ok(done)
}
