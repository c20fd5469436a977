//! The plan of a table that is loaded through staging.

use super::{merge, upsert};
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::effects::Effects;

/// How one table is loaded through a staging table.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// The staging table.
    pub stage: QualifiedName,
    /// The table of changes.
    pub changes: QualifiedName,
    /// How the rows that differ are found.
    pub way: Way,
    /// How they would be found by streams, or why that cannot be; until it is decided.
    pub stream_plan: Option<Result<Box<StreamPlan>, String>>,
    /// Makes it.
    pub create: Vec<String>,
    /// The same key in rows `"target"` and `"staged"`.
    pub same_key: String,
    /// Each moves rows that the target would reject to `tableferry.rejected` and gives their number: $1 is the
    /// run, $2 the job.
    pub judge: Vec<String>,
    /// What finds rows without a partition, where rejected rows are not set aside.
    pub partitionless: Option<Partitionless>,
    /// Drops it, in the transaction that publishes; none where it goes with its transaction.
    pub drop: Option<String>,
    /// Gives the planner its statistics.
    pub analyze: String,
    /// Gives the number of staged rows without a whole key.
    pub null_keys: String,
    /// Gives the number of keys that are staged more than once, and of their rows.
    pub repeated_keys: String,
    /// Gives some of those keys, for a person.
    pub repeated_examples: String,
    /// Makes the target's rows of the staged ones.
    pub apply: Apply,
    /// What that may change besides.
    pub effects: Effects,
    /// Columns of the target that the source does not give, and the target does not compute.
    pub not_copied: Vec<Ident>,
}

/// How the rows that differ are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// All of the source's rows are staged and joined with the target.
    Full {
        /// Why.
        why: String,
    },
    /// Both sides are read in the order of the key, and only differences are staged.
    Stream(Stream),
}

impl Way {
    /// The value of `compare` that means it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Way::Full { .. } => "full",
            Way::Stream(_) => "stream",
        }
    }
}

/// How both sides of a table are read and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// `COPY (SELECT …) TO STDOUT (…)` of the target, in the order of the key.
    pub target_out: String,
    /// Locks the target for the session that reads it.
    pub lock: String,
    /// The key's columns.
    pub key: Vec<KeyPart>,
    /// Rows that only the target has are staged, too, and marked: the staging table has one column more
    /// than COPY reads, a boolean.
    pub marks_gone: bool,
}

/// A column of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// Its place among the columns of COPY.
    pub place: usize,
    /// The order in which both servers send it.
    pub order: KeyOrder,
}

/// How the values of a key column are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// As signed numbers: big-endian in binary, decimal in text.
    Number,
    /// By their bytes.
    Bytes,
}

/// What a table has to be planned with to be compared by streams.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// The statements for a staging table that holds differences only.
    pub staged: Staged,
    /// Reads the source, in the order of the key.
    pub copy_out: String,
    /// Writes into staging.
    pub copy_in: String,
    /// Why it would cost more than staging everything.
    pub costly: Option<String>,
}

/// Finds staged rows for which the target has no partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitionless {
    /// Gives their number.
    pub count: String,
    /// Gives some of their partition keys, for a person.
    pub examples: String,
    /// The columns of the partition keys.
    pub columns: String,
}

/// What makes the target's rows of the staged ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    /// The target becomes the same as the staging table.
    Merge(merge::Merge),
    /// The target's rows get the staged values, and rows are added.
    Upsert(upsert::Upsert),
}

impl Apply {
    /// What compares the table once more.
    pub(super) fn compare_again(&self) -> Vec<&String> {
        match self {
            Apply::Merge(merge) => {
                vec![
                    &merge.drop_changes,
                    &merge.make_changes,
                    &merge.count_changes,
                ]
            }
            Apply::Upsert(upsert) => vec![&upsert.count_wrong],
        }
    }
}
