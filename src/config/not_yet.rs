//! What the configuration can say and this version cannot do. Each entry goes when it is built.

use super::error::KeyPath;
use super::raw::RawJob;
use super::spec::{Indexes, OnError};

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
