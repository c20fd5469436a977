//! Finds the running daemon for the other commands. This works even if the configuration on disk has become
//! invalid, because the daemon keeps the one that it has read.

use std::io;
use std::path::PathBuf;

use super::out::complain;
use super::{Exit, complain_of};
use crate::config;
use crate::daemon::control::{ControlRequest, client};

/// Where a daemon would be. The rest of the configuration is read only where it matters.
pub(super) struct RunningDaemon<'r> {
    pub runtime_dir: PathBuf,
    request: &'r config::Request,
}

impl<'r> RunningDaemon<'r> {
    pub(super) fn find(request: &'r config::Request) -> Self {
        RunningDaemon {
            runtime_dir: config::runtime_dir(request),
            request,
        }
    }

    pub(super) async fn ask(&self, request: &ControlRequest) -> io::Result<client::Answers> {
        client::ask(&self.runtime_dir, request).await
    }

    /// No daemon answered. A wrong configuration may have named the wrong socket.
    pub(super) fn absent(&self, error: &io::Error) -> Exit {
        complain!(
            "tableferry: no daemon answers in {}: {error}",
            self.runtime_dir.display()
        );
        match config::load(self.request) {
            Ok(_) => Exit::Failed,
            Err(errors) => {
                complain_of(&errors);
                Exit::Config
            }
        }
    }
}
