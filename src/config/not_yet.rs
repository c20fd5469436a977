//! What the configuration can say and this version cannot do. Each entry goes when it is built.

use super::error::KeyPath;
use super::raw::{RawDaemon, RawJob};
use super::spec::{Indexes, OnError};

/// What `[daemon]` asks for in vain: the key, and how it was written.
pub(super) fn of_daemon(daemon: &RawDaemon) -> Vec<(KeyPath, String)> {
    let listen = daemon.listen.as_ref();
    listen
        .map(|address| (KeyPath::from("listen"), format!("listen = \"{address}\"")))
        .into_iter()
        .collect()
}

/// What a job asks for in vain: the key, below the job, and how it was written.
pub(super) fn not_yet(job: &RawJob) -> Vec<(KeyPath, String)> {
    let mut found = Vec::new();
    let mut unless = |available: bool, key: &str, written: &str| {
        if !available {
            found.push((KeyPath::from(key), written.to_owned()));
        }
    };
    unless(
        job.on_error == OnError::Abort,
        "on_error",
        "on_error = \"quarantine\"",
    );
    unless(
        job.indexes == Indexes::Keep,
        "indexes",
        "indexes = \"rebuild\"",
    );
    found
}
