//! The queries that describe a server's relations.
//!
//! Every query qualifies names with `pg_catalog`, because `search_path` is empty, and reads only catalogs that
//! every role may read. A handful of queries reads all relations of a job.

pub(crate) mod attachments;
pub(crate) mod change_mark;
pub(crate) mod constraints;
pub(crate) mod creation;
pub mod desc;
mod empty;
mod expand;
mod foreign_keys;
mod inspect;
pub mod inspected;
mod keys;
pub(crate) mod load_state;
mod lock;
pub(crate) mod mark;
pub(crate) mod obstacles;
mod output;
pub(crate) mod partitioning;
mod pattern;
pub(crate) mod present;
mod relations;
pub(crate) mod sequence;
mod types;

pub use attachments::attachments;
pub use constraints::constraints;
pub use empty::empty;
pub(crate) use expand::candidates;
pub use expand::{Expanded, expand};
pub use foreign_keys::key_actions;
pub use lock::{LockTarget, lock, lock_list, lock_statement, locked, partitions};
pub use output::output_columns;
pub(crate) use pattern::{Candidate, is_system_schema};
pub use relations::read;
