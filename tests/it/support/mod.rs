//! The harness of the integration tests: temporary servers, databases, the binary, and a proxy that injects
//! faults.
//!
//! ```text
//! let db = support::databases("append");              // a fresh database on each of the two shared servers
//! db.both("CREATE TABLE t (id int PRIMARY KEY)");
//! db.source.sql("INSERT INTO t VALUES (1), (2)");
//! let outcome = support::run(&db, &support::all_of_public("append", ""));
//! support::assert_committed(&outcome);
//! db.assert_same("public.t");
//! ```

#![allow(dead_code, reason = "a helper may serve only tests that come later")]
#![allow(
    unused_imports,
    reason = "the re-exports are the support's whole vocabulary"
)]

mod cluster;
pub mod daemon;
mod database;
pub mod dice;
pub mod hang;
mod job;
pub mod looking;
mod outcomes;
pub mod pooler;
pub mod proxy;
mod runtime;
mod schema;
pub mod service;
mod standby;
mod terminal;
pub mod web;

use std::time::{Duration, Instant};

pub use cluster::{Cluster, ClusterOptions, pair};
pub use database::{Connection, Database, Databases, databases, databases_on};
pub use job::{Job, Outcome, Running, job, job_between, job_with};
pub use outcomes::{
    all_of_public, assert_committed, assert_refused, changes, job_toml, only_t, run, run_alone,
};
pub use proxy::Proxy;
pub use schema::{assert_same_schema, schema_of};
pub use standby::Standby;
pub use terminal::{Terminal, assert_fits, on_a_terminal, seen_lines};

/// How long a test waits for an event that must occur.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All modes, in the order of the documentation.
pub const MODES: [&str; 5] = ["append", "truncate", "swap", "merge", "upsert"];

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, looking every few milliseconds.
///
/// For state that only a server knows (`pg_stat_activity`, `pg_locks`). Use channels where possible. Panics
/// when `bound` has passed.
#[track_caller]
pub fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "waited {bound:?} in vain");
        std::thread::sleep(POLL_INTERVAL);
    }
}
