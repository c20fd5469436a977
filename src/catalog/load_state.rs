//! What a run with `resume = true` must know of a load that died: which parts of a table are complete, and what
//! the source was when they were read.
//!
//! The table of parts is created beside the table that is loaded. Each part is marked in the transaction that
//! loads it, so a part that is marked is there as a whole.

use serde::{Deserialize, Serialize};

use super::change_mark::ChangeMark;
use super::mark::{Present, SourcePosition};
use crate::pg::ident::QualifiedName;

/// Where both sides of a table are, and what an earlier run has loaded of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadState {
    pub source: Present,
    pub target: SourcePosition,
    /// Of a source that is a standby: up to where it had replayed WAL before the snapshot.
    pub replayed: Option<u64>,
    /// The columns that the fingerprints are of.
    pub columns: Vec<String>,
    /// What an earlier run has loaded.
    pub found: Option<FoundLoad>,
}

/// A load that was not published.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundLoad {
    /// The table of parts.
    pub parts: QualifiedName,
    /// The table with the rows.
    pub loaded: QualifiedName,
    /// The indexes that the earlier run has built on it.
    pub indexes: Vec<QualifiedName>,
    /// The source when the rows were read, and the loaded table.
    pub mark: ChangeMark,
    pub list: Vec<LoadedPart>,
    /// The loaded table as it is.
    pub now: Present,
}

/// One row of the table of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedPart {
    /// From 1.
    pub number: i32,
    /// The condition on the source's rows; empty for the whole table.
    pub condition: String,
    /// The transaction that has loaded it; None if it is not loaded.
    pub transaction: Option<i64>,
}

/// What the table of parts says of the whole load, in its row 0; JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadInfo {
    /// The target, as messages name it.
    pub target: String,
    /// The schema and the name of the table with the rows.
    pub schema: String,
    pub name: String,
    pub mark: ChangeMark,
}

impl LoadInfo {
    /// For the table of parts.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the table of parts; None for what another release wrote.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
