//! Numbers of rows: how many rows of a table differ from the staged rows, and how many were written.

use crate::error::{Phase, Result};
use crate::pg::session::Session;

/// How many rows of a table differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Differing {
    /// Rows to delete: only the target has them.
    pub gone: u64,
    /// Rows to update: their values differ.
    pub changed: u64,
    /// Rows to insert: only the source has them.
    pub new: u64,
    /// Rows that exist may differ: the number is only known after they are written.
    pub is_vague: bool,
    /// Rows may be new: the number is only known after they are written.
    pub new_is_vague: bool,
    /// The rows are in the table of changes.
    pub are_in_table: bool,
}

/// The rows that were written to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowsWritten {
    pub deleted: u64,
    pub updated: u64,
    pub inserted: u64,
    /// Set if fewer rows were written than had been found.
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
    /// Records the number of rows of one statement.
    pub fn note(&mut self, what: &'static str, found: u64, done: u64) {
        if done < found && self.shortage.is_none() {
            self.shortage = Some(Shortage { what, found, done });
        }
    }
}

/// The counts in the only row of the query for `what`.
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
