//! A wrapper around the decrypted stream, below tokio-postgres, that parses the protocol's messages.
//!
//! PostgreSQL sends one CopyData message for each row, and tokio-postgres spends most of its time on them.
//! [`Tap`] counts the messages and merges adjacent ones, so that tokio-postgres sees one message for each read.
//! It cuts large messages, so that no buffer holds a whole large row.
//!
//! It also sees what tokio-postgres does not report: the tag of the last command (COMMIT may answer
//! `ROLLBACK`), and an error or the end of the connection while COPY data is still being sent. It rejects
//! authentication requests that `require_auth` does not allow.

mod frame;
mod state;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use frame::Framer;
pub use state::TapState;

/// The read buffer of a session that only answers queries.
const BUFFER_BYTES_SMALL: usize = 8 * 1024;

/// The read buffer once CopyData has been seen: what one read may return.
const BUFFER_BYTES_COPY: usize = 128 * 1024;

/// See the module. Writes pass through.
pub struct Tap<S> {
    inner: S,
    state: Arc<TapState>,
    framer: Framer,
    buffer: Vec<u8>,
    /// What of `buffer` was read and not handed on yet.
    unread: std::ops::Range<usize>,
}

impl<S> Tap<S> {
    /// Wraps a stream, after TLS and before the first message of the protocol.
    pub fn new(inner: S, state: Arc<TapState>) -> Self {
        Tap {
            inner,
            state,
            framer: Framer::default(),
            buffer: Vec::new(),
            unread: 0..0,
        }
    }

    /// Returns buffered bytes, as far as `out` has room. *Errors:* see [`Tap::check`].
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> io::Result<()> {
        let taken = self
            .framer
            .hand_on(&self.buffer[self.unread.clone()], out, &self.state);
        self.unread.start += taken;
        self.check()
    }

    /// Fails the read that would complete an authentication request that is not allowed. So tokio-postgres
    /// cannot answer it.
    fn check(&mut self) -> io::Result<()> {
        match self.framer.take_refused() {
            Some(refused) => Err(io::Error::other(refused)),
            None => Ok(()),
        }
    }
}

/// The task that drove the connection has ended, for whatever reason.
impl<S> Drop for Tap<S> {
    fn drop(&mut self) {
        self.state.note_closed();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        let before = out.filled().len();
        // A header may have been held back without anything to return in its place. A read of no bytes would
        // mean the end of the stream.
        loop {
            if out.remaining() == 0 || tap.framer.announce(out) {
                return Poll::Ready(Ok(()));
            }
            if tap.unread.is_empty() && ready!(tap.fill(context, out))? {
                return Poll::Ready(tap.check());
            }
            tap.hand_on(out)?;
            if out.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Tap<S> {
    /// Reads into the buffer; or right into `out`, and then all is done. At the end it is, too.
    fn fill(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let tap = self;
        // Inside a message that is larger than the caller's buffer there is nothing to merge, so the copy is
        // avoided.
        if tap.framer.body_left() >= out.remaining() {
            let before = out.filled().len();
            ready!(Pin::new(&mut tap.inner).poll_read(context, out))?;
            tap.framer.pass(&out.filled()[before..], &tap.state);
            return Poll::Ready(Ok(true));
        }
        let size = if tap.framer.copying() {
            BUFFER_BYTES_COPY
        } else {
            BUFFER_BYTES_SMALL
        };
        if tap.buffer.len() < size {
            tap.buffer.resize(size, 0);
        }
        let mut read = ReadBuf::new(&mut tap.buffer);
        ready!(Pin::new(&mut tap.inner).poll_read(context, &mut read))?;
        tap.unread = 0..read.filled().len();
        Poll::Ready(Ok(tap.unread.is_empty()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.state.add_sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        self.state.add_sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}
