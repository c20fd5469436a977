//! `tableferry daemon`.

use std::sync::Arc;

use super::Exit;
use super::logging::Logging;
use crate::config::Request;
use crate::config::spec::Config;
use crate::daemon;
use crate::report::log::LogListener;

pub(super) async fn run(config: Config, request: Request, log: Logging) -> Exit {
    let in_force = Box::new(move |config: &Config| log.set_level(config.daemon.log_level.as_str()));
    match daemon::serve(config, request, Arc::new(LogListener), in_force).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            tracing::error!("the daemon can't start: {error}");
            match error {
                daemon::StartError::Schedules(_) => Exit::Config,
                _ => Exit::Failed,
            }
        }
    }
}
