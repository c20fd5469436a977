//! The running daemon, as the other commands find it: also when the configuration on disk has become
//! wrong in the meantime, for the daemon goes on with the one it has.

use std::io;
use std::path::PathBuf;

use super::Exit;
use crate::config::spec::Config;
use crate::config::{self, ConfigErrors};
use crate::daemon::control::{Request, client};

/// Where a daemon would be, and what is on disk.
pub(super) struct RunningDaemon {
    pub runtime_dir: PathBuf,
    config: Result<Config, ConfigErrors>,
}

impl RunningDaemon {
    pub(super) fn find(request: &config::Request) -> Self {
        let config = config::load(request);
        let runtime_dir = match &config {
            Ok(config) => config.daemon.runtime_dir.clone(),
            Err(_) => config::runtime_dir(request),
        };
        RunningDaemon {
            runtime_dir,
            config,
        }
    }

    /// Whether the file on disk says that there is no such job.
    pub(super) fn is_unknown(&self, job: &str) -> bool {
        self.config
            .as_ref()
            .is_ok_and(|config| !config.jobs.contains_key(job))
    }

    pub(super) async fn ask(&self, request: &Request) -> io::Result<client::Answers> {
        client::ask(&self.runtime_dir, request).await
    }

    /// Nobody answered. Perhaps because a wrong configuration led to the wrong place.
    pub(super) fn absent(&self, error: &io::Error) -> Exit {
        eprintln!(
            "tableferry: no daemon answers in {}: {error}",
            self.runtime_dir.display()
        );
        match &self.config {
            Ok(_) => Exit::Failed,
            Err(errors) => {
                eprintln!("{errors}");
                Exit::Config
            }
        }
    }
}
