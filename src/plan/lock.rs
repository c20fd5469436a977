//! The locks of a plan.

use serde::Serialize;

use crate::error::Side;

/// A lock that a statement takes until the end of its transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    /// Where.
    pub side: Side,
    /// On what.
    pub relation: String,
    /// Which one, as in SQL.
    pub lock: &'static str,
    /// What it keeps others from doing.
    pub blocks: &'static str,
}
