//! What a [`super::Tap`] has seen of its connection.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::pg::conninfo::{AuthRefused, RequireAuth};

/// Counters and notices of one connection.
///
/// The counters only grow. They are exact when nothing is in flight, i.e. after the end of a
/// statement was received; in between they serve for showing progress.
#[derive(Debug, Default)]
pub struct TapState {
    copy_messages: AtomicU64,
    copy_bytes: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    error_seen: AtomicBool,
    error_notice: Notify,
    closed: AtomicBool,
    error: Mutex<Option<Vec<u8>>>,
    tag: Mutex<Option<String>>,
    backend: AtomicI32,
    require_auth: Option<RequireAuth>,
    asked_for_auth: AtomicBool,
}

/// What one call of the framer saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameCounts {
    pub copy_messages: u64,
    pub copy_bytes: u64,
    pub received: u64,
}

impl TapState {
    /// Of a connection on which only these ways to authenticate are allowed.
    pub fn requiring(require_auth: Option<RequireAuth>) -> Self {
        TapState {
            require_auth,
            ..TapState::default()
        }
    }

    /// CopyData messages received whole, as the server sent them: in text format one a row, in
    /// binary one a row and one more for the trailer.
    pub fn copy_messages(&self) -> u64 {
        self.copy_messages.load(Ordering::Relaxed)
    }

    /// Payload bytes of the CopyData messages received.
    pub fn copy_bytes(&self) -> u64 {
        self.copy_bytes.load(Ordering::Relaxed)
    }

    /// All bytes received, as they were before messages were merged and after decryption.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// All bytes sent, before encryption.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Has an ErrorResponse passed since the last [`TapState::forget_error`]?
    pub fn error_seen(&self) -> bool {
        self.error_seen.load(Ordering::Acquire)
    }

    /// Waits until an ErrorResponse arrives or the connection is closed. Returns at once if that has
    /// happened.
    ///
    /// *Cancellation:* nothing is lost by dropping the future.
    pub async fn error_arrived(&self) {
        loop {
            let mut notice = pin!(self.error_notice.notified());
            // Enlist before looking, or an error between the two would go unnoticed.
            notice.as_mut().enable();
            if self.error_seen() || self.closed.load(Ordering::Acquire) {
                return;
            }
            notice.await;
        }
    }

    /// Forgets an error that was dealt with.
    pub fn forget_error(&self) {
        self.error_seen.store(false, Ordering::Release);
    }

    /// The process id that was announced at login. A pooler announces one of its own.
    pub fn announced_pid(&self) -> Option<i32> {
        match self.backend.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Takes the tag of the last command that completed, such as `COMMIT`, `ROLLBACK`, `COPY 12`.
    pub fn take_tag(&self) -> Option<String> {
        self.tag_slot().take()
    }

    pub(super) fn add(&self, seen: FrameCounts) {
        self.received.fetch_add(seen.received, Ordering::Relaxed);
        if seen.copy_bytes > 0 || seen.copy_messages > 0 {
            self.copy_bytes
                .fetch_add(seen.copy_bytes, Ordering::Relaxed);
            self.copy_messages
                .fetch_add(seen.copy_messages, Ordering::Relaxed);
        }
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The body of the ErrorResponse with which the server ended the session. tokio-postgres
    /// loses it when the connection closes behind it. Other errors reach who asked, and are over then.
    pub fn last_error(&self) -> Option<Vec<u8>> {
        self.error_slot().clone()
    }

    pub(super) fn note_error(&self, body: Vec<u8>) {
        if ends_session(&body) {
            *self.error_slot() = Some(body);
        }
        self.error_seen.store(true, Ordering::Release);
        self.error_notice.notify_waiters();
    }

    pub(super) fn note_backend(&self, body: &[u8]) {
        if let Some(pid) = body.first_chunk() {
            self.backend
                .store(i32::from_be_bytes(*pid), Ordering::Relaxed);
        }
    }

    /// An AuthenticationRequest. *Errors:* it must not be answered. tokio-postgres sees to it that an
    /// exchange that has begun comes to its end.
    pub(super) fn note_authentication(&self, body: &[u8]) -> Result<(), AuthRefused> {
        let (Some(required), Some(code)) = (&self.require_auth, body.first_chunk()) else {
            return Ok(());
        };
        let code = u32::from_be_bytes(*code);
        let asked_before = self.asked_for_auth.swap(true, Ordering::Relaxed);
        required.check(code, asked_before)
    }

    pub(super) fn note_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.error_notice.notify_waiters();
    }

    pub(super) fn note_tag(&self, body: &[u8]) {
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        *self.tag_slot() = Some(String::from_utf8_lossy(text).into_owned());
    }

    fn error_slot(&self) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag_slot(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.tag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is its severity (field V, which is never translated) FATAL or PANIC?
fn ends_session(error: &[u8]) -> bool {
    error
        .split(|byte| *byte == 0)
        .any(|field| matches!(field, b"VFATAL" | b"VPANIC"))
}
