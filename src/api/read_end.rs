//! How a read ends.

use tokio::sync::{mpsc, oneshot};

use super::bug;
use crate::error::{Error, Result};
use crate::run::read::Batch;

/// How a read ended. A channel of rows that is closed is not the end of the rows.
pub(super) type ReadEnd = oneshot::Receiver<Result<()>>;

/// The error of a read that gives no more.
pub(super) async fn end(ended: &mut Option<ReadEnd>) -> Result<()> {
    match ended.take() {
        Some(ended) => ended.await.unwrap_or_else(|_| Err(panicked())),
        // The end was told before.
        None => Ok(()),
    }
}

pub(super) fn panicked() -> Error {
    bug("the read panicked")
}

/// Rows and their size.
pub(super) type Batches = mpsc::Receiver<Batch>;
