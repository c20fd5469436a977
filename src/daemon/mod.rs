//! The daemon's parts. Time, signals and files come in as values; what to do goes out as values.

pub mod armed;
pub mod control;
pub mod cron;
pub mod event;
pub mod instance;
pub mod job_table;
pub mod past;
pub mod permits;
pub mod queue;
pub mod runner;
pub mod schedule;
pub mod signals;
pub mod spool;
pub mod systemd;
