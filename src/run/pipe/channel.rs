//! A channel bounded in bytes: a row may have one byte or a gigabyte.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes in transit between the two servers: enough for several merged reads, and few enough that a run needs
/// little memory.
pub const CHANNEL_BYTES_MAX: usize = 1 << 20;

/// Blocks in transit, however small. This bounds the bookkeeping, not the data.
const CHANNEL_BLOCKS_MAX: usize = 64;

/// What is sent. The end is a value: a closed channel never means that all rows have arrived.
pub enum Item {
    Block(Block),
    /// The source has announced the end of its rows.
    End,
}

/// Whole rows, and their share of the channel's bytes.
pub struct Block {
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The source's side of the channel.
pub struct Sender {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// The target's side of the channel.
pub struct Receiver {
    items: mpsc::Receiver<Item>,
}

/// The receiver has been dropped. Its own error is the cause.
#[derive(Debug)]
pub struct Closed;

/// Makes a channel that holds at most `bytes_max` bytes, or one larger block.
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
        // A block that is larger than the channel takes all of it.
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

    pub async fn end(self) -> Result<(), Closed> {
        self.items.send(Item::End).await.map_err(|_| Closed)
    }
}

impl Receiver {
    /// The next item. `None`: the sender was dropped before it announced the end.
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
