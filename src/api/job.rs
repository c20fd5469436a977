//! The job that a load or a read is: one table, and the program instead of the other server.

use std::time::Duration;

use super::format::Format;
use super::{bug, wrong};
use crate::config::spec::{FileSpec, JobSpec, Mode, ServerPlace, ServerSpec, TableSpec};
use crate::config::{self, one_off};
use crate::error::Result;

/// How long a load or a read waits for a lock, unless it says otherwise.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a load or a read waits; None: the default.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// For a lock.
    pub lock: Option<Duration>,
    /// While nothing moves.
    pub stall: Option<Duration>,
}

/// A job for `table`, whose rows the program writes or reads in this format. *Errors:* `Config`.
pub(super) fn job(
    name: &str,
    mode: Mode,
    table: TableSpec,
    format: &Format,
    waits: Waits,
) -> Result<JobSpec> {
    let target = table.target.clone();
    let table = TableSpec {
        file: FileSpec {
            name: Some("(program)".to_owned()),
            format: Some(format.format),
            options: format.options()?,
        },
        ..table
    };
    let job = one_off::job(name.to_owned(), mode, table);
    let mut job = job.map_err(|error| bug(error.to_string()))?;
    job.lock_timeout = waits.lock.unwrap_or(LOCK_TIMEOUT);
    job.stall_timeout = waits.stall.unwrap_or(job.stall_timeout);
    config::files::layout(&job, &job.table[&target]).map_err(wrong)?;
    Ok(job)
}

/// The job's other end.
pub(super) fn program() -> ServerSpec {
    one_off::files("program", ServerPlace::Standard)
}
