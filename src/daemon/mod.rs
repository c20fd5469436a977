//! The daemon's parts. Time, signals and files come in as values; what to do goes out as values.

pub mod cron;
pub mod schedule;
