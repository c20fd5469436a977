//! Numbers of rows: how many of a table differ from the staged ones, and how many were written.

use crate::error::{Phase, Result};
use crate::pg::session::Session;

/// How many rows of a table differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Differing {
    /// Only the target has them, and should not.
    pub gone: u64,
    /// They hold other values.
    pub changed: u64,
    /// Only the source has them.
    pub new: u64,
    /// Others may hold other values: only writing them tells.
    pub is_vague: bool,
}

/// What was written to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowsWritten {
    pub deleted: u64,
    pub updated: u64,
    pub inserted: u64,
    /// Fewer rows than were found.
    pub shortage: Option<Shortage>,
}

/// Fewer rows were written than had been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// "deleted", "updated" or "inserted".
    pub what: &'static str,
    pub found: u64,
    pub done: u64,
}

impl RowsWritten {
    /// Notes what one statement did.
    pub fn note(&mut self, what: &'static str, found: u64, done: u64) {
        if done < found && self.shortage.is_none() {
            self.shortage = Some(Shortage { what, found, done });
        }
    }
}

/// The counts of `what` in the only row of a query.
pub(super) async fn counts<const N: usize>(
    target: &Session,
    what: &'static str,
    sql: &str,
) -> Result<[u64; N]> {
    let row = target.one_row(Phase::Publish, what, sql, &[]).await?;
    let mut counts = [0; N];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = row.count(at)?;
    }
    Ok(counts)
}
