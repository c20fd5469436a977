//! What the integration tests stand on: throw-away servers, databases, the binary, and a bad network.
//!
//! ```text
//! let db = support::databases("append");              // a fresh database on each of the two shared servers
//! db.both("CREATE TABLE t (id int PRIMARY KEY)");
//! db.source.sql("INSERT INTO t VALUES (1), (2)");
//! let job = support::job(&db, "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['public.t']");
//! let outcome = job.run(&["run", "j", "--json"]);
//! assert_eq!(outcome.code, Some(0), "{outcome}");
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
pub mod hang;
mod job;
pub mod looking;
pub mod pooler;
pub mod proxy;
mod runtime;
mod schema;
pub mod service;
mod standby;

use std::time::{Duration, Instant};

pub use cluster::{Cluster, ClusterOptions, pair};
pub use database::{Connection, Database, Databases, databases, databases_on};
pub use job::{Job, Outcome, Running, job, job_between, job_with};
pub use proxy::Proxy;
pub use schema::schema_of;
pub use standby::Standby;

/// How long a test waits for something that is sure to come: only a broken build ever waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, looking every few milliseconds.
///
/// For what only a server can tell (`pg_stat_activity`, `pg_locks`); where something can be
/// received from a channel instead, receive it. Panics when `bound` has passed.
#[track_caller]
pub fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "waited {bound:?} in vain");
        std::thread::sleep(POLL_INTERVAL);
    }
}
