//! The plan of a table that is loaded through staging.

use super::changed_side::ChangedSide;
use super::upsert::NewRows;
use super::{merge, upsert};
use crate::catalog::change_mark::Marking;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::effects::Effects;

/// The statements that load one table through a staging table.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// The staging table.
    pub stage: QualifiedName,
    /// The table of changes.
    pub changes: QualifiedName,
    /// How the rows that differ are found.
    pub way: Way,
    /// The plan for `compare = "stream"`, or why it is not possible. None after the decision.
    pub stream_plan: Option<Result<Box<StreamPlan>, String>>,
    /// The target is empty, and its rows may be copied into it without staging.
    pub may_load_directly: bool,
    /// Both sides are equal if no row is staged: only differences are, and the target has no rows without a key.
    pub equal_if_empty: bool,
    /// Creates the staging table.
    pub create: Vec<String>,
    /// The condition that rows `"target"` and `"staged"` have the same key.
    pub same_key: String,
    /// Each moves rows that the target would reject to `tableferry.rejected` and returns their number: $1
    /// is the run, $2 the job.
    pub judge: Vec<String>,
    /// Finds rows without a partition, with `on_error = "abort"`.
    pub partitionless: Option<Partitionless>,
    /// Drops the staging table in the publishing transaction; None for a temporary table that is dropped at
    /// the end of its transaction.
    pub drop: Option<String>,
    /// Runs ANALYZE on the staging table.
    pub analyze: String,
    /// Returns the number of staged rows with NULL in the key; None if the source's constraints exclude them.
    pub null_keys: Option<String>,
    /// Finds keys that are staged more than once; None if the source's constraints exclude them.
    pub repeated_keys: Option<RepeatedKeys>,
    /// Writes the differences to the target.
    pub apply: Apply,
    /// Returns some of the rows that would be written: what happens to them, their key, and the row before and
    /// after, as JSON. For `--dry-run`.
    pub list_changes: String,
    /// The other rows that writing the differences may change.
    pub effects: Effects,
    /// Columns of the target whose values the source does not give: they are neither copied nor generated, or set only
    /// when a row is inserted.
    pub not_copied: Vec<Ident>,
}

impl Staged {
    /// Gives zero if every staged row has a key of its own; None if that is asked otherwise, or not at all.
    pub fn surplus_rows(&self) -> Option<&String> {
        self.repeated_keys.as_ref()?.surplus.as_ref()
    }

    /// The staging table is created for the first row that is staged. Most tables of a large job need none.
    pub fn is_created_late(&self) -> bool {
        self.equal_if_empty
    }

    /// The staging table needs statistics when its keys are checked. `upsert` may write all rows without a join,
    /// and then needs none.
    pub fn is_analyzed_first(&self) -> bool {
        match &self.apply {
            Apply::Merge(_) => true,
            Apply::Upsert(upsert) => {
                upsert.new_rows == NewRows::Joined || self.partitionless.is_some()
            }
        }
    }

    /// Both sides are equal if so many rows were staged.
    pub fn is_equal(&self, rows_staged: u64) -> bool {
        self.equal_if_empty && rows_staged == 0
    }
}

/// How the rows that differ are found.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// All of the source's rows are staged and joined with the target.
    Full {
        /// Why.
        why: String,
    },
    /// Both sides are read in the order of the key, and only differences are staged.
    Stream {
        /// How.
        stream: Stream,
        /// Why not only what has changed is read, where that was asked.
        why: Option<String>,
    },
    /// The same, in the ranges of keys in which something has changed since the last run.
    Changed(Box<Changed>),
}

impl Way {
    /// The value of `compare`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Way::Full { .. } => "full",
            Way::Stream { .. } => "stream",
            Way::Changed(_) => "changed",
        }
    }

    /// Why it is not a cheaper one.
    pub fn why(&self) -> Option<&str> {
        match self {
            Way::Full { why } => Some(why),
            Way::Stream { why, .. } => why.as_deref(),
            Way::Changed(_) => None,
        }
    }
}

/// The statements that read both sides of a table for `compare = "stream"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// `COPY (SELECT …) TO STDOUT (…)` of the target, in the order of the key.
    pub target_out: String,
    /// The key's columns.
    pub key: Vec<KeyPart>,
    /// Rows that only the target has are staged, too, and marked: the staging table has one column more
    /// than COPY reads, a boolean.
    pub marks_gone: bool,
}

/// How a table's changes are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Compares what has to be compared.
    pub stream: Stream,
    /// The source's statements.
    pub source: ChangedSide,
    /// The target's.
    pub target: ChangedSide,
    /// The key is one column.
    pub has_one_row_a_value: bool,
    /// About how many rows there are.
    pub rows: u64,
    /// The number of buckets to aim at.
    pub buckets: u64,
}

/// Of a table: what this run will record for the next one, and how it finds what has changed or why it cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub marking: Option<Marking>,
    pub changed: Result<Box<Changed>, String>,
}

/// A column of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// Its position among the columns of COPY.
    pub place: usize,
    /// The order in which both servers sort it.
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

/// What changes in a table's plan if it is compared by streams.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// The statements for a staging table that holds differences only.
    pub staged: Staged,
    /// The COPY that reads the source in the order of the key.
    pub copy_out: String,
    /// The COPY that writes into the staging table.
    pub copy_in: String,
    /// Why it would cost more than staging all rows.
    pub costly: Option<String>,
    /// What is known of changes since the last run.
    pub choice: Choice,
}

/// Finds keys that are staged more than once.
#[derive(Clone, Debug, PartialEq)]
pub struct RepeatedKeys {
    /// Gives zero if there are none, and no key is NULL; None for keys of which `count` knows it as soon.
    pub surplus: Option<String>,
    /// Gives their number, and that of their rows.
    pub count: String,
    /// Gives some of them, for a person.
    pub examples: String,
}

/// Finds staged rows for which the target has no partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitionless {
    /// Returns their number.
    pub count: String,
    /// Returns some of their partition keys for the error message.
    pub examples: String,
    /// The columns of the partition keys.
    pub columns: String,
}

/// How the differences are written to the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    /// The target becomes equal to the staging table.
    Merge(merge::Merge),
    /// Rows with a staged key are updated, and missing rows are inserted.
    Upsert(upsert::Upsert),
}

impl Apply {
    /// The statements that compare the table again.
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
