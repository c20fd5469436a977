//! The configuration: read in two stages, raw and validated.
//!
//! ```text
//! locate   which files                                  (I/O)
//! layer    each file, the environment, flags: checked against the table in `keys`, one layer each
//! merge    the layers merged by the `config` crate, a table at a time
//! raw      … and given types
//! validate what concerns several keys at once: names, schedules, modes  → `spec::Config`
//! ```
//! No stage stops at its first error: all of them are reported together.

mod columns;
mod connections;
mod cron;
mod csv;
mod diagnostics;
mod error;
#[cfg(test)]
mod example;
mod fan_in;
pub(crate) mod files;
mod job;
mod keys;
mod kind;
mod layer;
mod load;
mod locate;
mod merge;
mod mode;
mod notify;
pub(crate) mod one_off;
mod password;
mod pattern;
mod raw;
mod request;
mod schedule;
mod server;
pub mod spec;
mod sql;
mod syntax;
mod table;
mod target_names;
#[cfg(test)]
mod tests;
mod typed;
mod unquoted;
mod validate;
mod writers;

pub use connections::Connections;
pub use cron::{CronSyntaxError, parse_cron};
pub use error::{ConfigError, ConfigErrors, KeyPath, Origin};
pub use load::{load, load_text, runtime_dir};
pub use locate::{NewFile, new_file};
pub use pattern::PatternError;
pub use request::Request;
pub use syntax::{duration, is_name, reject_limit};
