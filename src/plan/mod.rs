//! Deciding how tables are copied, without any I/O: two descriptions and a specification become a
//! plan, or every reason why not.

pub mod cast;
mod checks;
pub mod checksum;
pub mod column;
mod columns;
pub mod compare;
pub mod copy;
pub mod ctid_ranges;
pub mod effects;
pub mod explain;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod form;
pub mod format;
mod inheritance;
mod job;
pub mod lock;
mod modes;
pub mod obstacles;
pub mod order;
pub mod pairs;
pub mod ranges;
pub mod refusal;
mod setting;
pub mod shared;
pub mod sql;
pub mod staged;
pub mod step;
pub mod swap;
mod table;
pub mod typmod;
pub mod watermark;

pub use crate::catalog::desc::Inspected;
pub use explain::explain;
pub use job::job;
pub use refusal::{Refusal, to_error};
