//! Parses backend messages, merges adjacent CopyData messages, and cuts large ones.
//!
//! A backend message is one byte of type, four bytes of length (which counts itself), and the body. Messages
//! are merged while their bytes are copied into the caller's buffer, which is necessary anyway.

use tokio::io::ReadBuf;

use super::state::{FrameCounts, TapState};
use crate::pg::conninfo::AuthRefused;

const MESSAGE_HEADER_BYTES: usize = 5;
const COPY_DATA: u8 = b'd';
const ERROR_RESPONSE: u8 = b'E';
const COMMAND_COMPLETE: u8 = b'C';
const BACKEND_KEY_DATA: u8 = b'K';
const AUTHENTICATION: u8 = b'R';

/// What is kept of a message's body: a command tag has at most 64 bytes, an error its fields.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The largest merged message. tokio-postgres collects a message in a buffer that starts at 8 KiB and
/// doubles.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// The largest part of a row in one message. A row may have a gigabyte, and tokio-postgres collects a whole
/// message before it returns it.
const PIECE_BYTES_MAX: usize = 128 * 1024;

/// Where in the stream of messages we stand.
#[derive(Debug, Default)]
pub(super) struct Framer {
    place: Place,
    /// The body of a message that is understood, as far as it has come.
    kept: Vec<u8>,
    copying: bool,
    batch: MessageBatch,
    /// What is left of the announced piece of the current CopyData message.
    piece: usize,
    announced: Announced,
    refused: Option<AuthRefused>,
}

/// CopyData messages in a row whose common header has been handed on.
#[derive(Clone, Copy, Debug, Default)]
struct MessageBatch {
    /// What of the input belongs to it.
    bytes: usize,
    /// What is left of the current message's payload.
    body: usize,
}

/// A header that takes the place of the server's, as far as it has not been handed on.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    bytes: [u8; MESSAGE_HEADER_BYTES],
    left: usize,
}

impl Announced {
    fn new(bytes: [u8; MESSAGE_HEADER_BYTES]) -> Self {
        Announced {
            bytes,
            left: MESSAGE_HEADER_BYTES,
        }
    }

    /// Of a CopyData message with so much payload, far below the 2 GiB that a length can say.
    fn copy_data(payload: usize) -> Self {
        let [a, b, c, d] = ((payload + 4) as u32).to_be_bytes();
        Announced::new([COPY_DATA, a, b, c, d])
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a header of which `have` bytes have passed.
    Header {
        bytes: [u8; MESSAGE_HEADER_BYTES],
        have: usize,
    },
    /// In a body of which `left` bytes, at least one, are to come.
    Body { kind: u8, left: usize },
    /// An invalid length. tokio-postgres reports it, and nothing after it can be parsed.
    Lost,
}

impl Default for Place {
    fn default() -> Self {
        Place::BETWEEN
    }
}

impl Place {
    const BETWEEN: Place = Place::Header {
        bytes: [0; MESSAGE_HEADER_BYTES],
        have: 0,
    };
}

impl Framer {
    /// Bytes of the current message's body that can go on as they come.
    pub fn body_left(&self) -> usize {
        match self.place {
            Place::Body { kind, left } => self.of_piece(kind, left),
            Place::Header { .. } | Place::Lost => 0,
        }
    }

    /// Takes the server's request for a kind of authentication that is not allowed.
    pub fn take_refused(&mut self) -> Option<AuthRefused> {
        self.refused.take()
    }

    /// Has a CopyData message been seen?
    pub fn copying(&self) -> bool {
        self.copying
    }

    /// Hands on what is left of a header that was announced; is there anything?
    pub fn announce(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let Announced { bytes, left } = self.announced;
        let length = left.min(out.remaining());
        let begin = MESSAGE_HEADER_BYTES - left;
        out.put_slice(&bytes[begin..begin + length]);
        self.announced.left -= length;
        length > 0
    }

    /// Moves bytes from `input` to `out`, merging runs of CopyData messages that lie whole in
    /// `input` and cutting large ones; returns how many were taken, all of them unless `out` is full.
    /// The rest of `input` has to come first in the next call.
    pub fn hand_on(&mut self, input: &[u8], out: &mut ReadBuf<'_>, state: &TapState) -> usize {
        let mut at = 0;
        while out.remaining() > 0 {
            if self.announce(out) {
                continue;
            }
            let rest = &input[at..];
            if rest.is_empty() {
                break;
            }
            at += if self.batch.bytes > 0 {
                self.continue_batch(rest, out)
            } else if out.remaining() >= MESSAGE_HEADER_BYTES
                && let Some(first) = self.whole_copy_data(rest)
            {
                self.begin_batch(rest, first, out, state)
            } else if self.in_copy_header(rest) {
                // Held back until it is whole: another one is announced in its place.
                let length = self.one_piece(rest);
                self.pass(&rest[..length], state);
                length
            } else {
                let length = self.one_piece(rest).min(out.remaining());
                out.put_slice(&rest[..length]);
                self.pass(&rest[..length], state);
                length
            };
        }
        at
    }

    /// Takes note of bytes that go on as they are.
    pub fn pass(&mut self, mut bytes: &[u8], state: &TapState) {
        let mut seen = FrameCounts {
            received: bytes.len() as u64,
            ..FrameCounts::default()
        };
        while !bytes.is_empty() {
            let length = self.one_piece(bytes);
            let (piece, rest) = bytes.split_at(length);
            bytes = rest;
            match &mut self.place {
                Place::Lost => {}
                Place::Header { bytes, have } => {
                    bytes[*have..*have + piece.len()].copy_from_slice(piece);
                    *have += piece.len();
                    if *have == MESSAGE_HEADER_BYTES {
                        let header = *bytes;
                        self.begin(header, state, &mut seen);
                    }
                }
                Place::Body { kind, left } => {
                    *left -= piece.len();
                    let (kind, left) = (*kind, *left);
                    if kind == COPY_DATA {
                        seen.copy_bytes += piece.len() as u64;
                        self.piece -= piece.len();
                        if self.piece == 0 && left > 0 {
                            self.announce_piece(left);
                        }
                    } else if is_kept(kind) {
                        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len());
                        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
                    }
                    if left == 0 {
                        self.finish(kind, state, &mut seen);
                    }
                }
            }
        }
        state.add(seen);
    }

    /// How many of these bytes belong to the current header or body.
    fn one_piece(&self, bytes: &[u8]) -> usize {
        let left = match self.place {
            Place::Header { have, .. } => MESSAGE_HEADER_BYTES - have,
            Place::Body { kind, left } => self.of_piece(kind, left),
            Place::Lost => bytes.len(),
        };
        left.min(bytes.len())
    }

    fn of_piece(&self, kind: u8, left: usize) -> usize {
        match kind {
            COPY_DATA => left.min(self.piece),
            _ => left,
        }
    }

    /// Do these bytes begin or continue a CopyData message's header?
    fn in_copy_header(&self, rest: &[u8]) -> bool {
        match self.place {
            Place::Header { have: 0, .. } => rest.first() == Some(&COPY_DATA),
            Place::Header { bytes, .. } => bytes[0] == COPY_DATA,
            Place::Body { .. } | Place::Lost => false,
        }
    }

    /// The size of the message that `bytes` starts with, if it is CopyData and all there.
    fn whole_copy_data(&self, bytes: &[u8]) -> Option<usize> {
        match self.place {
            Place::Header { have: 0, .. } => whole_copy_data(bytes),
            Place::Header { .. } | Place::Body { .. } | Place::Lost => None,
        }
    }

    /// Announces the batch of messages that `bytes` starts with under one header, in place of the
    /// first one's. The first message has `first` bytes.
    fn begin_batch(
        &mut self,
        bytes: &[u8],
        first: usize,
        out: &mut ReadBuf<'_>,
        state: &TapState,
    ) -> usize {
        self.copying = true;
        let mut end = first;
        let mut messages = 1;
        while let Some(size) = whole_copy_data(&bytes[end..])
            && end + size <= BATCH_BYTES_MAX
        {
            end += size;
            messages += 1;
        }
        let payload = end - messages * MESSAGE_HEADER_BYTES;
        out.put_slice(&Announced::copy_data(payload).bytes);
        state.add(FrameCounts {
            copy_messages: messages as u64,
            copy_bytes: payload as u64,
            received: end as u64,
        });
        self.batch = MessageBatch {
            bytes: end - MESSAGE_HEADER_BYTES,
            body: first - MESSAGE_HEADER_BYTES,
        };
        MESSAGE_HEADER_BYTES
    }

    /// Copies payloads of the batch, leaving their headers out.
    fn continue_batch(&mut self, bytes: &[u8], out: &mut ReadBuf<'_>) -> usize {
        let mut at = 0;
        while self.batch.bytes > 0 {
            if self.batch.body == 0 {
                // A batch is made of messages that are all there.
                let size = whole_copy_data(&bytes[at..]).unwrap_or(MESSAGE_HEADER_BYTES);
                self.batch.body = size - MESSAGE_HEADER_BYTES;
                self.batch.bytes -= MESSAGE_HEADER_BYTES;
                at += MESSAGE_HEADER_BYTES;
            }
            let length = self.batch.body.min(out.remaining());
            out.put_slice(&bytes[at..at + length]);
            at += length;
            self.batch.body -= length;
            self.batch.bytes -= length;
            if self.batch.body > 0 {
                break;
            }
        }
        at
    }

    fn begin(
        &mut self,
        header: [u8; MESSAGE_HEADER_BYTES],
        state: &TapState,
        seen: &mut FrameCounts,
    ) {
        let kind = header[0];
        let Some(left) = body_length(header) else {
            self.place = Place::Lost;
            if kind == COPY_DATA {
                self.announced = Announced::new(header);
            }
            return;
        };
        match kind {
            COPY_DATA => {
                self.copying = true;
                self.announce_piece(left);
            }
            kind if is_kept(kind) => self.kept.clear(),
            _ => {}
        }
        self.place = Place::Body { kind, left };
        if left == 0 {
            self.finish(kind, state, seen);
        }
    }

    /// Announces as much of a CopyData message's payload as is handed on at once.
    fn announce_piece(&mut self, left: usize) {
        self.piece = left.min(PIECE_BYTES_MAX);
        self.announced = Announced::copy_data(self.piece);
    }

    fn finish(&mut self, kind: u8, state: &TapState, seen: &mut FrameCounts) {
        match kind {
            COPY_DATA => seen.copy_messages += 1,
            COMMAND_COMPLETE => state.note_tag(&self.kept),
            ERROR_RESPONSE => state.note_error(std::mem::take(&mut self.kept)),
            BACKEND_KEY_DATA => state.note_backend(&self.kept),
            AUTHENTICATION => self.refused = state.note_authentication(&self.kept).err(),
            _ => {}
        }
        self.place = Place::BETWEEN;
    }
}

/// Messages whose body is understood.
fn is_kept(kind: u8) -> bool {
    matches!(
        kind,
        COMMAND_COMPLETE | ERROR_RESPONSE | BACKEND_KEY_DATA | AUTHENTICATION
    )
}

fn whole_copy_data(bytes: &[u8]) -> Option<usize> {
    let header = *bytes.first_chunk::<MESSAGE_HEADER_BYTES>()?;
    if header[0] != COPY_DATA {
        return None;
    }
    let size = MESSAGE_HEADER_BYTES + body_length(header)?;
    (size <= bytes.len()).then_some(size)
}

fn body_length(header: [u8; MESSAGE_HEADER_BYTES]) -> Option<usize> {
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    if length > i32::MAX as u32 {
        return None;
    }
    (length as usize).checked_sub(4)
}

#[cfg(test)]
mod tests;
