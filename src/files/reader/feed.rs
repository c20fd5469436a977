//! What a program gives instead of a file: blocks of rows that it made itself, or bytes of a file.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::{BLOCKS_AHEAD, Counters, FileItem, FileReader, ReadError};
use crate::files::layout::Layout;

/// Nobody reads any more. The error of whoever did is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeederClosed;

/// Gives blocks of whole rows. Dropping it is not the end of the rows: the reader fails.
#[derive(Debug)]
pub struct Feeder {
    items: mpsc::Sender<Result<FileItem, ReadError>>,
    counters: Arc<Counters>,
}

/// Gives bytes of a file. Dropping it is not the end of the file: the reader fails.
#[derive(Debug)]
pub struct ByteFeeder {
    pieces: mpsc::Sender<Piece>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

impl FileReader {
    /// A reader of blocks that are made elsewhere, without a header.
    pub fn fed() -> (Feeder, Self) {
        let (sender, items) = mpsc::channel(BLOCKS_AHEAD);
        let counters = Arc::new(Counters::default());
        let feeder = Feeder {
            items: sender,
            counters: Arc::clone(&counters),
        };
        (feeder, FileReader { items, counters })
    }

    /// A reader of bytes that come from elsewhere. They are read by the rules of the standard input.
    pub fn fed_bytes(layout: Layout) -> io::Result<(ByteFeeder, Self)> {
        let (sender, pieces) = mpsc::channel(BLOCKS_AHEAD);
        let given = Pieces {
            pieces,
            current: Bytes::new(),
            is_over: false,
        };
        let reader = FileReader::start_stream(given, layout)?;
        Ok((ByteFeeder { pieces: sender }, reader))
    }
}

impl Feeder {
    /// Waits for room, then gives one block of so many rows.
    pub async fn block(&self, block: Bytes, rows: u64) -> Result<(), FeederClosed> {
        let bytes = block.len() as u64;
        self.counters.rows.fetch_add(rows, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters.raw.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.items.send(Ok(FileItem::Block(block))).await;
        sent.map_err(|_| FeederClosed)
    }

    /// There are no more rows.
    pub async fn end(self) -> Result<(), FeederClosed> {
        self.items
            .send(Ok(FileItem::End))
            .await
            .map_err(|_| FeederClosed)
    }
}

impl ByteFeeder {
    /// Waits for room, then gives some bytes.
    pub async fn bytes(&self, bytes: Bytes) -> Result<(), FeederClosed> {
        let sent = self.pieces.send(Piece::Bytes(bytes)).await;
        sent.map_err(|_| FeederClosed)
    }

    /// There are no more bytes.
    pub async fn end(self) -> Result<(), FeederClosed> {
        self.pieces.send(Piece::End).await.map_err(|_| FeederClosed)
    }
}

/// The reading end of a [`ByteFeeder`], for the reader's thread.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    is_over: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.is_over = true,
                None => {
                    let what = "the program dropped the load before the end of its data";
                    return Err(io::Error::other(what));
                }
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
