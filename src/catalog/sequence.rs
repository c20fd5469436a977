//! The settings of a sequence.

use serde::Deserialize;

/// As in CREATE SEQUENCE.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SequenceSettings {
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycle: bool,
}

impl SequenceSettings {
    /// The options of CREATE SEQUENCE.
    pub fn sql(&self) -> String {
        let cycle = if self.cycle { "CYCLE" } else { "NO CYCLE" };
        format!(
            "START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {} {cycle}",
            self.start, self.increment, self.min, self.max, self.cache,
        )
    }
}
