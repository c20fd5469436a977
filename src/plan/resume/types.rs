//! How the rows of a table stay loaded if the run dies, with `resume = true`.

use crate::catalog::change_mark::Marking;
use crate::catalog::load_state::LoadedPart;
use crate::pg::ident::QualifiedName;
use crate::plan::staged::types::Changed;

/// A table that is loaded in parts, each in a transaction of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumePlan {
    /// The table of parts.
    pub parts: QualifiedName,
    /// Creates it, with all parts.
    pub create: Vec<String>,
    /// What the source is at this run's snapshot. The target's fingerprint is that of the loaded table, which
    /// is not created yet.
    pub marking: Marking,
    /// The numbers of the parts that this run loads, as the table's `ctid_ranges`.
    pub numbers: Vec<i32>,
    /// Drops the table of parts in the publishing transaction.
    pub drop: String,
    /// What a run that died has loaded, if it can be kept.
    pub kept: Option<KeptLoad>,
}

/// The load of a run that died.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptLoad {
    /// The table of parts by its old name.
    pub found: QualifiedName,
    /// Its rows.
    pub list: Vec<LoadedPart>,
    /// Makes the load this run's, in a transaction that is committed before anything is loaded.
    pub adopt: Vec<String>,
    pub bring_up: BringUp,
}

/// Makes the loaded table what the source is at this run's snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct BringUp {
    /// Finds what has changed since the rows were loaded; see [`BringUp::changed`].
    pub changed: Changed,
    /// Locks the loaded table in the session that reads it.
    pub lock: String,
    /// Reads the whole source in the order of the key.
    pub copy_out: String,
    /// Creates a temporary table for rows that differ.
    pub create: String,
    /// Writes it.
    pub copy_in: String,
    /// Runs ANALYZE on it.
    pub analyze: String,
    /// Deletes all rows with a key in it from the loaded table.
    pub delete: String,
    /// Inserts the source's rows from it.
    pub insert: String,
    /// Counts the rows of the loaded table.
    pub count: String,
}

impl BringUp {
    /// The statements that find what has changed, now that these parts are loaded: a row that none of their
    /// transactions has written was written by somebody else.
    pub fn changed(&self, list: &[LoadedPart]) -> Changed {
        let own = list.iter().filter_map(|part| part.transaction);
        let own: Vec<String> = own.map(|xid| (xid % (1 << 32)).to_string()).collect();
        let own = own.join(",");
        let mut changed = self.changed.clone();
        changed.target.is_changed = format!("(xmin <> ALL ('{{{own}}}'::pg_catalog.xid[]))");
        changed
    }
}

impl ResumePlan {
    /// Marks a part as complete, in the transaction that has loaded it. Changes no row if another transaction
    /// has loaded it.
    pub fn complete(&self, number: i32) -> String {
        format!(
            "UPDATE {} SET transaction = {XID} WHERE part = {number} AND transaction IS NULL",
            self.parts.sql()
        )
    }

    /// Reads the table of parts.
    pub fn read(parts: &QualifiedName) -> String {
        format!(
            "SELECT part, what, transaction FROM {} ORDER BY part",
            parts.sql()
        )
    }

    /// Records what the whole load is: `$1` is a `LoadInfo`. Replaces what was recorded.
    pub fn record(&self) -> [String; 2] {
        let parts = self.parts.sql();
        [
            format!("DELETE FROM {parts} WHERE part = 0"),
            format!("INSERT INTO {parts} (part, what) VALUES (0, $1)"),
        ]
    }

    /// Adds the current transaction to those that have loaded rows, as a part without rows of its own.
    pub fn own(&self) -> String {
        let parts = self.parts.sql();
        format!(
            "INSERT INTO {parts} (part, what, transaction) \
             SELECT pg_catalog.max(part) + 1, 'false', {XID} FROM {parts}"
        )
    }
}

/// The id of the current transaction.
const XID: &str = "pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8";
