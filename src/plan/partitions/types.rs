//! What a plan holds about rows without a partition.

use super::replaced::Replaced;
use crate::pg::ident::Ident;
use crate::plan::staged::types::Partitionless;

/// Keys that are looked at together: of what is left, the next ones are read.
pub const KEYS_MAX: usize = 10_000;

/// Finds the keys for which a table has no partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The column of the partition key.
    pub column: Ident,
    /// What the keys are read from, after FROM.
    pub from: String,
    /// That is on the source.
    pub on_source: bool,
}

impl Missing {
    /// Gives some of the keys that satisfy a condition, as text.
    pub fn keys(&self, condition: &str) -> String {
        format!(
            "SELECT DISTINCT {}::pg_catalog.text FROM {} WHERE {condition} LIMIT {KEYS_MAX}",
            self.column.sql(),
            self.from
        )
    }
}

/// How rows without a partition are found before they are written; where they are staged, `Staged` has the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partitions {
    /// Those for which partitions are made.
    pub missing: Option<Missing>,
    /// Counts them on the source, where they are an error.
    pub on_source: Option<Partitionless>,
    /// The partitions that get rows are emptied, and not the whole table.
    pub replaced: Option<Replaced>,
}
