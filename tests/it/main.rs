//! The integration tests: everything that needs a real PostgreSQL server or the real binary.
//!
//! One test binary, so that all of them share two servers (`support::pair`) and link once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's way to fail is to panic, and clippy.toml only knows functions marked #[test]"
)]

mod atomic;
mod bounds;
mod catalog;
mod changed;
mod checksum;
mod compare;
mod conversions;
mod create;
mod daemon;
mod docs;
mod drift;
mod dry_run;
mod empty_target;
mod errors;
mod failover;
mod fan_in;
mod faults;
mod files;
mod foreign_keys;
mod fuzz;
mod generated;
mod harness;
mod inheritance;
mod init;
mod key_actions;
mod large;
mod ledger;
mod library;
mod limits;
mod listen;
mod marks;
mod merge;
mod merge_in_order;
mod model;
mod new_rows;
mod output;
mod own_columns;
mod packages;
mod partitions;
mod pg;
mod plan_locks;
mod plan_log;
mod refused;
mod rejected;
mod replaced_by_swap;
mod replaced_partitions;
mod resume;
mod run;
mod schemas;
mod sequences;
mod source_history;
mod statistics;
mod support;
mod swap;
mod swap_catalogue;
mod swap_locks;
mod swap_partitions;
mod swap_places;
mod sweep;
mod systemd_units;
mod target_names;
mod type_matrix;
mod upsert;
mod user_sql;
mod verify;
mod watermark;
mod workers;
