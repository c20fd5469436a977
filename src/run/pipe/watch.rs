//! Reports the progress of a copy, and ends a copy that has stalled.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Pace, Totals};
use crate::error::{Error, Phase};
use crate::pg::session::Session;
use crate::pg::tap::TapState;
use crate::pg::watchdog::Silence;
use crate::plan::column::CopyFormat;
use crate::plan::copy::CopyPlan;

/// The interval of progress events and of stall checks.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Whom the copy waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Waiting {
    /// The source's next message.
    Source = 0,
    /// Room towards the target.
    Target = 1,
    /// `rate_limit` delays the next block. The silence of the servers means nothing.
    Limit = 2,
}

/// Reads the counters of both taps, relative to the start of the copy.
pub(super) struct Meter<'a> {
    source: &'a TapState,
    target: &'a TapState,
    waiting: AtomicU8,
    messages_before: u64,
    bytes_before: u64,
    frames_that_are_no_rows: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(source: &'a TapState, target: &'a TapState, plan: &CopyPlan) -> Self {
        Meter {
            source,
            target,
            waiting: AtomicU8::new(Waiting::Source as u8),
            messages_before: source.copy_messages(),
            bytes_before: source.copy_bytes(),
            // The server sends one message for each row. In binary format, the header comes with the first
            // row, and the trailer is a message of its own.
            frames_that_are_no_rows: u64::from(plan.format == CopyFormat::Binary),
        }
    }

    /// Rows and bytes that have come from the source since the copy began.
    pub(super) fn read_so_far(&self) -> Totals {
        let messages = self.source.copy_messages() - self.messages_before;
        Totals {
            rows: messages.saturating_sub(self.frames_that_are_no_rows),
            bytes: self.source.copy_bytes() - self.bytes_before,
        }
    }

    /// `rate_limit` holds back what has been read.
    pub(super) fn is_limited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == Waiting::Limit as u8
    }

    pub(super) fn waits_for(&self, whom: Waiting) {
        self.waiting.store(whom as u8, Ordering::Relaxed);
    }

    /// Reports progress. Returns only if no bytes move and the server that is waited for is not working.
    pub(super) async fn watch(&self, source: &Session, target: &Session, pace: &Pace<'_>) -> Error {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Silence::new(target.watchdog(), pace.stall_timeout, self.moved());
        loop {
            ticks.tick().await;
            (pace.on_progress)(self.read_so_far());
            let waiting = self.waiting.load(Ordering::Relaxed);
            if self.is_limited() {
                silence.restart(self.moved());
            }
            if !silence.is_due(self.moved()) {
                continue;
            }
            let (silent, phase) = match waiting == Waiting::Source as u8 {
                true => (source, Phase::CopyOut),
                false => (target, Phase::CopyIn),
            };
            let checked = silence
                .check(silent.watchdog(), phase, || self.moved())
                .await;
            if let Some(error) = checked {
                return error;
            }
        }
    }

    fn moved(&self) -> (u64, u64) {
        (self.source.received(), self.target.sent())
    }
}
