//! What `tableferry verify` found in one table.

use serde::Serialize;

use crate::plan::compare::LeftOut;

/// Differing rows that are listed at most, of one table, with `log_values`.
pub const ROWS_LISTED_MAX: usize = 100;

/// How source and target of one table differ.
#[derive(Clone, Debug, Serialize)]
pub struct TableDifference {
    pub job: String,
    /// What was read on the source.
    pub source: String,
    pub target: String,
    /// The target holds what the job's mode promises: the source's rows, and in the modes that keep
    /// others (append, upsert) maybe more.
    pub equal: bool,
    pub rows_source: u64,
    pub rows_target: u64,
    /// Rows that only the source has.
    pub missing: u64,
    /// Rows that only the target has.
    pub extra: u64,
    /// Rows that both have, by their key, with other values.
    pub different: u64,
    /// The columns of the key that rows were told apart by; empty: whole rows were compared.
    pub key: Vec<String>,
    /// Columns that could not be compared.
    pub not_compared: Vec<LeftOut>,
    /// Where the differences are.
    pub ranges: Vec<RangeDifference>,
    /// The first differing rows; only with `log_values`, and only where there is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<RowDifference>>,
    /// Time that the comparison took.
    pub seconds: f64,
}

/// The differences in one range of keys, or without a key in one bucket of rows by their hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeDifference {
    /// Its number in the order of keys, from 1.
    pub range: usize,
    /// Ranges that the table was divided into.
    pub of: usize,
    /// The least key in it; only with `log_values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<String>>,
    /// The least key behind it; only with `log_values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// The source's rows in it.
    pub rows_source: u64,
    /// The target's rows in it.
    pub rows_target: u64,
    /// Rows that only the source has.
    pub missing: u64,
    /// Rows that only the target has.
    pub extra: u64,
    /// Rows that both have, with other values.
    pub different: u64,
}

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// Its key, as PostgreSQL writes a row: `(17,"a b")`.
    pub key: String,
    pub what: What,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    /// Both have it, with other values.
    Different,
}

/// Does the target hold what the job promises? It may keep other rows.
pub fn keeps_promise(keeps_others: bool, missing: u64, extra: u64, different: u64) -> bool {
    missing == 0 && different == 0 && (extra == 0 || keeps_others)
}
