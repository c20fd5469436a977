//! tableferry keeps tables on one PostgreSQL server as exact copies of tables, or queries, on another.
//!
//! The modules depend on each other in one direction only; `ARCHITECTURE.md` draws them.

// What is printed is made harmless first: see `cli::out`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod catalog;
mod cli;
pub mod config;
mod daemon;
pub mod error;
pub mod files;
mod harmless;
pub mod pg;
pub mod plan;
mod private;
mod report;
mod run;
mod wording;

pub use cli::main;
pub use harmless::is_harmful;
