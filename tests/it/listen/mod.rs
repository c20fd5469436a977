//! `listen`: metrics, health checks and the page of a real daemon, over real connections.

mod api;
mod bad_requests;
mod client;
mod exposition;
pub mod metrics;
mod page;
mod paused;
mod rules;
mod start;

use crate::support::daemon::{Daemon, configuration, home};
use crate::support::{Databases, Job, databases};

use client::Client;

/// 1000 rows on the source, 10 others on the target.
fn tables(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 1000) i");
    db.target
        .sql("INSERT INTO t SELECT -i, 'old' FROM generate_series(1, 10) i");
    db
}

/// A configuration with `listen` on a free port.
fn listening(db: &Databases<'_>, jobs: &str) -> String {
    configuration(db, &format!("[daemon]\nlisten = '127.0.0.1:0'\n{jobs}"))
}

fn listening_home(db: &Databases<'_>, jobs: &str) -> Job {
    home(&listening(db, jobs))
}

/// A client of the address that the daemon says it listens on.
pub fn client(daemon: &Daemon<'_>) -> Client {
    let events = daemon.events();
    let event = events.iter().find(|event| event["message"] == "listening");
    let address = event.unwrap_or_else(|| panic!("it does not listen: {events:?}"))["address"]
        .as_str()
        .unwrap()
        .to_owned();
    Client { address }
}
