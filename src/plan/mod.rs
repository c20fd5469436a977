//! Decides how tables are copied, without I/O: two descriptions and a specification become a plan, or every
//! reason why there is none.

pub(crate) mod cast;
mod checks;
pub mod checksum;
pub mod column;
mod columns;
pub(crate) mod compare;
mod copied;
pub mod copy;
pub mod create;
pub(crate) mod ctid_ranges;
pub(crate) mod effects;
pub(crate) mod explain;
pub(crate) mod export;
mod fan_in;
pub(crate) mod file;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod form;
pub mod format;
mod inheritance;
mod job;
pub(crate) mod lock;
mod modes;
pub(crate) mod obstacles;
pub(crate) mod order;
mod own_columns;
pub(crate) mod pairs;
pub mod partitions;
pub(crate) mod quarantine;
pub(crate) mod ranges;
mod reading;
pub(crate) mod refusal;
mod rehearsal;
mod renamed;
pub(crate) mod resume;
mod sequences;
mod setting;
pub mod shared;
pub(crate) mod sql;
pub(crate) mod staged;
pub(crate) mod step;
pub(crate) mod swap;
mod table;
pub(crate) mod typmod;
pub(crate) mod used;
pub(crate) mod watermark;

pub use crate::catalog::inspected::Inspected;
pub use explain::explain;
pub(crate) use fan_in::join;
pub use job::job;
pub use refusal::{Refusal, to_error};
pub(crate) use rehearsal::rehearse;
