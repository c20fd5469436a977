//! A stream of blocks of COPY data.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;

use super::read_end::{ReadEnd, panicked};
use crate::error::Result;

/// A stream of blocks of COPY data. Its memory does not depend on the number of rows. Dropping it ends the
/// read on the server.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Blocks {
    blocks: mpsc::Receiver<Bytes>,
    ended: Option<ReadEnd>,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl Blocks {
    pub(super) fn new(blocks: mpsc::Receiver<Bytes>, ended: ReadEnd) -> Self {
        Blocks {
            blocks,
            ended: Some(ended),
        }
    }

    /// The next block; None at the end of all rows. *Cancellation:* no block is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        StreamExt::next(self).await
    }
}

impl Stream for Blocks {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if let Some(block) = ready!(stream.blocks.poll_recv(context)) {
            return Poll::Ready(Some(Ok(block)));
        }
        let Some(ended) = &mut stream.ended else {
            return Poll::Ready(None);
        };
        let done = ready!(ended.poll_unpin(context));
        stream.ended = None;
        let error = done.unwrap_or_else(|_| Err(panicked())).err();
        Poll::Ready(error.map(Err))
    }
}
