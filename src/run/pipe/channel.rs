//! A channel bounded in bytes, because a row may have one byte or a gigabyte.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Totals;

/// Bytes on their way between the two servers. Enough for several merged reads, and little enough
/// that a run's memory stays small.
pub const CHANNEL_BYTES_MAX: usize = 1 << 20;

/// Blocks on their way, however small they are: a bound on bookkeeping, not on data.
const CHANNEL_BLOCKS_MAX: usize = 64;

/// One thing that travels. The end is a value: a closed channel never means that the data is whole.
pub enum Item {
    /// Whole rows.
    Block(Block),
    /// The source announced its end, after these totals.
    End(Totals),
}

/// Whole rows, and the room that they take.
pub struct Block {
    /// COPY data.
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The source's end.
pub struct Sender {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// The target's end.
pub struct Receiver {
    items: mpsc::Receiver<Item>,
}

/// The receiving half is gone: its own error says why.
#[derive(Debug)]
pub struct Closed;

/// Makes a channel that holds at most `bytes_max`, or one block where that one is larger.
pub fn bounded(bytes_max: usize) -> (Sender, Receiver) {
    let (items, received) = mpsc::channel(CHANNEL_BLOCKS_MAX);
    (
        Sender {
            items,
            room: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        },
        Receiver { items: received },
    )
}

impl Sender {
    /// Waits for room, then sends one block.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Closed> {
        // A block larger than the channel takes all of it, and so travels alone.
        let wanted = u32::try_from(bytes.len().min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(wanted)
            .await
            .map_err(|_| Closed)?;
        let block = Block { bytes, _room: room };
        self.items
            .send(Item::Block(block))
            .await
            .map_err(|_| Closed)
    }

    /// Says that all has been sent.
    pub async fn end(self, totals: Totals) -> Result<(), Closed> {
        self.items.send(Item::End(totals)).await.map_err(|_| Closed)
    }
}

impl Receiver {
    /// The next item; `None` when the sender is gone without an end.
    pub async fn recv(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{future::poll_immediate, poll};

    use super::*;

    #[tokio::test]
    async fn a_full_channel_makes_the_sender_wait_until_a_block_is_dropped() {
        let (sender, mut receiver) = bounded(10);
        sender.send(Bytes::from_static(b"12345678")).await.unwrap();
        let mut second = Box::pin(sender.send(Bytes::from_static(b"abc")));
        assert!(poll!(&mut second).is_pending());

        let Some(Item::Block(first)) = receiver.recv().await else {
            panic!("no block")
        };
        assert!(
            poll!(&mut second).is_pending(),
            "the room is the block's until it is dropped"
        );
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(Ok(()))));
    }

    #[tokio::test]
    async fn a_block_larger_than_the_channel_travels_alone() {
        let (sender, mut receiver) = bounded(4);
        sender
            .send(Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        assert!(
            poll_immediate(sender.send(Bytes::from_static(b"x")))
                .await
                .is_none()
        );
        let Some(Item::Block(block)) = receiver.recv().await else {
            panic!("no block")
        };
        assert_eq!(&block.bytes[..], b"0123456789");
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_is_not_an_end() {
        let (sender, mut receiver) = bounded(4);
        drop(sender);
        assert!(receiver.recv().await.is_none());
    }
}
