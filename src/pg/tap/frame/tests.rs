//! Merging is transparent: whatever the messages, and wherever reads and the caller's buffers end.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::{Tap, TapState};
use super::*;

type Message = (u8, Vec<u8>);

fn encode(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, body) in messages {
        bytes.push(*kind);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(header) = bytes.first_chunk::<MESSAGE_HEADER_BYTES>() {
        let end = MESSAGE_HEADER_BYTES + body_length(*header).unwrap();
        messages.push((header[0], bytes[MESSAGE_HEADER_BYTES..end].to_vec()));
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "the stream ends within a message");
    messages
}

/// Neighbouring CopyData messages as one: what merging may not change.
fn essence(messages: &[Message]) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::new();
    for (kind, body) in messages {
        match joined.last_mut() {
            Some((COPY_DATA, payload)) if *kind == COPY_DATA => payload.extend_from_slice(body),
            _ => joined.push((*kind, body.clone())),
        }
    }
    joined
}

/// A stream whose reads return as much as it was told, in turn.
struct Chunks {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Chunks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        let end = self.bytes.len().min(self.at + size.min(out.remaining()));
        out.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

/// What a caller with buffers of these sizes reads, and what the tap saw.
fn through_tap(bytes: &[u8], reads: &[usize], rooms: &[usize]) -> (Vec<u8>, Arc<TapState>) {
    let state = Arc::new(TapState::default());
    let stream = Chunks {
        bytes: bytes.to_vec(),
        at: 0,
        sizes: reads.to_vec(),
        turn: 0,
    };
    let mut tap = Tap::new(stream, Arc::clone(&state));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut received = Vec::new();
    runtime.block_on(async {
        for turn in 0.. {
            let mut room = vec![0; rooms[turn % rooms.len()]];
            match tap.read(&mut room).await.unwrap() {
                0 => break,
                length => received.extend_from_slice(&room[..length]),
            }
        }
    });
    (received, state)
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let kind = prop_oneof![6 => Just(COPY_DATA), 1 => prop::sample::select(b"CEZNSTDcHK".to_vec())];
    let length = prop_oneof![8 => 0..40_usize, 1 => 0..3000_usize, 1 => 20_000..40_000_usize,
        1 => PIECE_BYTES_MAX - 2..3 * PIECE_BYTES_MAX];
    let message = (kind, length, any::<u8>()).prop_map(|(kind, length, seed)| {
        let body = (0..length).map(|at| seed.wrapping_add(at as u8)).collect();
        (kind, body)
    });
    vec(message, 0..40)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(
        prop_oneof![1..12_usize, 1..300_usize, 4000..70_000_usize],
        1..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_keeps_every_byte_and_count(messages in messages(), reads in sizes(), rooms in sizes()) {
        let sent = encode(&messages);
        let (received, state) = through_tap(&sent, &reads, &rooms);
        let arrived = decode(&received);
        prop_assert_eq!(essence(&arrived), essence(&messages));
        let cuts: usize = messages.iter().map(|(_, body)| body.len() / PIECE_BYTES_MAX).sum();
        prop_assert!(arrived.len() <= messages.len() + cuts);

        let copies: Vec<_> = messages.iter().filter(|(kind, _)| *kind == COPY_DATA).collect();
        prop_assert_eq!(state.copy_messages(), copies.len() as u64);
        prop_assert_eq!(state.copy_bytes(), copies.iter().map(|(_, body)| body.len() as u64).sum::<u64>());
        prop_assert_eq!(state.received(), sent.len() as u64);
        prop_assert_eq!(state.error_seen(), messages.iter().any(|(kind, _)| *kind == ERROR_RESPONSE));
        let last_tag = messages.iter().rev().find(|(kind, _)| *kind == COMMAND_COMPLETE);
        prop_assert_eq!(state.take_tag().is_some(), last_tag.is_some());

        let mut rows = arrived.iter().filter(|(kind, _)| *kind == COPY_DATA);
        prop_assert!(rows.all(|(_, body)| body.len() <= PIECE_BYTES_MAX));
    }

    #[test]
    fn garbage_goes_through_untouched(bytes in vec(any::<u8>(), 0..2000), reads in sizes(), rooms in sizes()) {
        // Not a `d` first, and a length that cannot be.
        let mut sent = vec![b'X', 0, 0, 0, 3];
        sent.extend(bytes);
        let (received, _) = through_tap(&sent, &reads, &rooms);
        prop_assert_eq!(received, sent);
    }
}

#[test]
fn rows_of_one_read_arrive_as_one_message() {
    let rows: Vec<Message> = (0..100).map(|row| (COPY_DATA, vec![row; 10])).collect();
    let (received, state) = through_tap(&encode(&rows), &[8192], &[8192]);
    assert_eq!(decode(&received).len(), 1);
    assert_eq!(state.copy_messages(), 100);
}

#[test]
fn tags_are_gathered_across_reads() {
    let sent = encode(&[(COMMAND_COMPLETE, b"COPY 12\0".to_vec())]);
    for size in 1..sent.len() {
        let (_, state) = through_tap(&sent, &[size], &[100]);
        assert_eq!(state.take_tag().as_deref(), Some("COPY 12"));
        assert_eq!(state.take_tag(), None);
    }
}

#[tokio::test]
async fn an_error_wakes_who_waits_for_it() {
    let state = Arc::new(TapState::default());
    let waiter = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.error_arrived().await }
    });
    tokio::task::yield_now().await;
    Framer::default().pass(&encode(&[(ERROR_RESPONSE, vec![0])]), &state);
    waiter.await.unwrap();
    state.error_arrived().await;
    state.forget_error();
    assert!(!state.error_seen());
}
