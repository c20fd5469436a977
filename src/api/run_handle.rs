//! The program's end of a run that goes on in the client's thread.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::bug;
use super::client::Client;
use crate::error::{Error, Result};
use crate::report::{Outcome, RunReport};
use crate::run::{self, Canceller, RunContext};

type RunEnded = (RunReport, Option<Arc<Error>>);

/// A run. Dropping it cancels the run: it rolls back unless its COMMIT is under way.
pub(super) struct RunHandle {
    canceller: Canceller,
    ended: oneshot::Receiver<RunEnded>,
}

impl RunHandle {
    pub async fn start(client: &Client, run: RunContext) -> Result<Self> {
        let (canceller, cancelled) = run::cancellation();
        let (sender, ended) = oneshot::channel();
        let task = async move || {
            let done = run::run_to_end(&run, &cancelled).await;
            let _ = sender.send(done);
        };
        client.driver.spawn(task).await?;
        Ok(RunHandle { canceller, ended })
    }

    /// Waits for the run's end. *Errors:* the run's own, if it was not committed.
    pub async fn end(&mut self) -> Result<RunReport> {
        let Ok((report, error)) = (&mut self.ended).await else {
            return Err(bug("the load has ended before, or has panicked"));
        };
        match (report.outcome, error) {
            (Outcome::Committed, _) => Ok(report),
            (_, Some(error)) => Err(Error::unshared(error)),
            (outcome, None) => Err(bug(format!("the run ended as {}", outcome.as_str()))),
        }
    }

    /// Waits for the end of a run that takes no more rows.
    pub async fn failure(&mut self) -> Error {
        match self.end().await {
            Err(error) => error,
            Ok(_) => bug("the run was committed before the end of its rows"),
        }
    }

    pub fn cancel(&self) {
        self.canceller.cancel();
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}
