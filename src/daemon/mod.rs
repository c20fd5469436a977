//! The daemon: one event loop that owns all state ([`serve`]), a pure job table that decides, and a thread for
//! each run. Time, signals and files enter as events; actions leave as values.

pub mod clients;
pub mod clock;
pub mod control;
pub mod counters;
pub mod cron;
pub mod event;
pub mod freshness;
pub mod health;
pub mod instance;
mod job_registry;
pub mod job_table;
mod ledger_watch;
pub mod listen;
pub mod live_run;
pub mod notices;
pub mod observed;
pub mod past_runs;
pub mod permits;
pub mod queue;
pub mod reload;
pub mod runner;
pub mod schedule;
pub mod scheduled_config;
pub mod serve;
pub mod signals;
pub mod skips;
pub mod spool;
pub mod state_file;
pub mod status;
pub mod systemd;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use serve::serve;

use crate::private::{self, Writers};

/// Why the daemon can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one lives in the runtime directory.
    #[error(transparent)]
    Instance(#[from] instance::InstanceError),
    /// The trigger spool can't be made.
    #[error(transparent)]
    Spool(#[from] spool::SpoolError),
    /// A directory, or what is in it.
    #[error("{} can't be used: {error}", .path.display())]
    Directory { path: PathBuf, error: io::Error },
    /// An invalid schedule, such as one that never fires.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Schedules(Vec<schedule::ScheduleError>),
    /// `listen` names an address that cannot be had.
    #[error("`daemon.listen`: {address} cannot be listened on: {}", .error)]
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    /// The kernel refused.
    #[error("signals can't be handled: {0}")]
    Signals(io::Error),
    /// `NOTIFY_SOCKET` makes no sense.
    #[error("systemd cannot be notified: {0}")]
    Supervisor(io::Error),
}

/// Creates a directory for this user only, or uses an existing one if this user owns it and other users may
/// not write to it. Otherwise another user could answer in the name of the daemon.
fn private_dir(path: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::Directory {
        path: path.to_owned(),
        error,
    };
    if private::make_directory(path).map_err(failed)? == Writers::Group {
        tracing::warn!(
            "the group of {} may write to it, and so may make the daemon run jobs or forget runs; \
             `chmod g-w` prevents that",
            path.display()
        );
    }
    let owner = std::fs::metadata(path).map_err(failed)?.uid();
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(failed(io::Error::other(format!(
            "it belongs to user {owner}"
        ))));
    }
    Ok(())
}
