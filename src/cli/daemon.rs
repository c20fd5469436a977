//! `tableferry daemon`.

use std::sync::Arc;

use super::Exit;
use crate::config::Request;
use crate::config::spec::Config;
use crate::daemon;
use crate::report::log::LogListener;

pub(super) async fn run(config: Config, request: Request) -> Exit {
    match daemon::serve(config, request, Arc::new(LogListener)).await {
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
