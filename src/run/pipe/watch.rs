//! Reports the progress of a copy, and ends a copy that has stalled.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Pace, Totals};
use crate::error::{Error, ErrorKind, Phase, Side};
use crate::files::reader::Counters;
use crate::pg::session::Session;
use crate::pg::tap::TapState;
use crate::pg::watchdog::{SILENCE_CHECK_EVERY, Silence};
use crate::plan::copy::CopyPlan;

/// What the copy waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitsFor {
    /// The source's next message.
    #[default]
    Source = 0,
    /// The target: the channel is full, or the target writes.
    Target = 1,
    /// `rate_limit` delays the next block, so silence of the servers is not a stall.
    Limit = 2,
}

/// Reads the counters of both ends, relative to the start of the copy.
pub(super) struct Meter<'a> {
    source: SourceCounter<'a>,
    target: TargetCounter<'a>,
    waiting: AtomicU8,
}

enum TargetCounter<'a> {
    Server(&'a TapState),
    File(&'a AtomicU64),
}

enum SourceCounter<'a> {
    Server {
        tap: &'a TapState,
        messages_before: u64,
        bytes_before: u64,
        frames_that_are_no_rows: u64,
    },
    File(&'a Counters),
}

impl<'a> SourceCounter<'a> {
    fn server(tap: &'a TapState, plan: &CopyPlan) -> Self {
        SourceCounter::Server {
            tap,
            messages_before: tap.copy_messages(),
            bytes_before: tap.copy_bytes(),
            // The server sends one message per row. In binary format, the header is in the first row's
            // message, and the trailer is a message of its own.
            frames_that_are_no_rows: plan.format.frames_that_are_no_rows(),
        }
    }
}

impl<'a> Meter<'a> {
    pub(super) fn new(source: &'a TapState, target: &'a TapState, plan: &CopyPlan) -> Self {
        Meter::of(
            SourceCounter::server(source, plan),
            TargetCounter::Server(target),
        )
    }

    pub(super) fn of_file(counters: &'a Counters, target: &'a TapState) -> Self {
        Meter::of(SourceCounter::File(counters), TargetCounter::Server(target))
    }

    pub(super) fn into_file(source: &'a TapState, written: &'a AtomicU64, plan: &CopyPlan) -> Self {
        Meter::of(
            SourceCounter::server(source, plan),
            TargetCounter::File(written),
        )
    }

    fn of(source: SourceCounter<'a>, target: TargetCounter<'a>) -> Self {
        Meter {
            source,
            target,
            waiting: AtomicU8::new(WaitsFor::Source as u8),
        }
    }

    /// Rows and bytes that have come from the source since the copy began.
    pub(super) fn read_so_far(&self) -> Totals {
        match &self.source {
            SourceCounter::Server {
                tap,
                messages_before,
                bytes_before,
                frames_that_are_no_rows,
            } => {
                let messages = tap.copy_messages() - messages_before;
                Totals {
                    rows: messages.saturating_sub(*frames_that_are_no_rows),
                    bytes: tap.copy_bytes() - bytes_before,
                    permille: None,
                    waits_for: self.awaited(),
                }
            }
            SourceCounter::File(counters) => Totals {
                rows: counters.rows(),
                bytes: counters.bytes(),
                permille: counters.permille(),
                waits_for: self.awaited(),
            },
        }
    }

    fn awaited(&self) -> WaitsFor {
        match self.waiting.load(Ordering::Relaxed) {
            waiting if waiting == WaitsFor::Target as u8 => WaitsFor::Target,
            waiting if waiting == WaitsFor::Limit as u8 => WaitsFor::Limit,
            _ => WaitsFor::Source,
        }
    }

    /// Does `rate_limit` delay the copy at the moment?
    pub(super) fn is_limited(&self) -> bool {
        self.awaited() == WaitsFor::Limit
    }

    pub(super) fn waits_for(&self, whom: WaitsFor) {
        self.waiting.store(whom as u8, Ordering::Relaxed);
    }

    /// Reports progress. Returns only if no bytes move and the side that is waited for is not working.
    pub(super) async fn watch(
        &self,
        source: Option<&Session>,
        target: Option<&Session>,
        plan: &CopyPlan,
        pace: &Pace<'_>,
    ) -> Error {
        let Some(watched) = target.or(source) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(SILENCE_CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Silence::new(watched.watchdog(), pace.stall_timeout, self.moved());
        loop {
            ticks.tick().await;
            (pace.on_progress)(self.read_so_far());
            let waiting = self.awaited();
            if self.is_limited() {
                silence.restart(self.moved());
            }
            if !silence.is_due(self.moved()) {
                continue;
            }
            let (silent, phase) = match waiting == WaitsFor::Source {
                true => (source, Phase::CopyOut),
                false => (target, Phase::CopyIn),
            };
            let Some(silent) = silent else {
                if silence.lasts() < pace.stall_timeout {
                    continue;
                }
                let file = match phase {
                    Phase::CopyOut => plan.source.clone(),
                    _ => plan.target_name(),
                };
                return silent_file(phase, &file, pace.stall_timeout);
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
        let received = match &self.source {
            SourceCounter::Server { tap, .. } => tap.received(),
            SourceCounter::File(counters) => counters.raw(),
        };
        let sent = match self.target {
            TargetCounter::Server(tap) => tap.sent(),
            TargetCounter::File(written) => written.load(Ordering::Relaxed),
        };
        (received, sent)
    }
}

/// The error if a file stalls. Unlike a backend, a disk or the program at the other end of a pipe cannot be
/// asked what it is doing.
pub fn silent_file(phase: Phase, file: &str, stall_timeout: Duration) -> Error {
    let seconds = stall_timeout.as_secs_f64();
    let is_read = phase == Phase::CopyOut;
    let side = if is_read { Side::Source } else { Side::Target };
    let (message, hint) = match (is_read, file) {
        (true, "-") => (
            format!("nothing came from the standard input for {seconds} s"),
            "a program that pauses for longer needs a longer `--stall-timeout`",
        ),
        (false, "-") => (
            format!("nobody read the standard output for {seconds} s"),
            "a program that pauses for longer needs a longer `--stall-timeout`",
        ),
        (true, file) => (
            format!("{file}: nothing could be read for {seconds} s"),
            "does its file system answer? `stall_timeout` bounds the wait",
        ),
        (false, file) => (
            format!("{file}: nothing could be written for {seconds} s"),
            "does its file system answer? `stall_timeout` bounds the wait",
        ),
    };
    Error::new(ErrorKind::Stalled, phase, side, message).hinted(hint)
}
