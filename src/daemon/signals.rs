//! Unix signals as events.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use nix::libc::{self, c_int};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_tokio::SignalsInfo;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalEvent {
    /// SIGTERM or SIGINT.
    Stop,
    Reload,
    /// SIGUSR1: read the trigger spool.
    ScanSpool,
    /// SIGUSR2: log the status.
    Status,
    /// SIGRTMIN + n: the job whose `signal` says so.
    Job(u8),
}

/// The signals of this process. Several signals of one kind may arrive as one.
pub struct SignalEvents {
    signals: SignalsInfo,
}

impl SignalEvents {
    /// Handles every signal that has a meaning, and all real-time signals: the default action of a real-time
    /// signal would end the daemon, and a reload may change which ones are used.
    ///
    /// *Errors:* from the kernel. Needs a Tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let fixed = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];
        let all = fixed.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        Ok(SignalEvents {
            signals: SignalsInfo::new(all)?,
        })
    }
}

impl Stream for SignalEvents {
    type Item = SignalEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SignalEvent>> {
        loop {
            match self.signals.poll_next_unpin(context) {
                Poll::Ready(Some(signal)) => {
                    if let Some(event) = event_of(signal, libc::SIGRTMIN()) {
                        return Poll::Ready(Some(event));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The C library reserves the first real-time signals, so it defines where they begin.
fn event_of(signal: c_int, rtmin: c_int) -> Option<SignalEvent> {
    match signal {
        SIGTERM | SIGINT => Some(SignalEvent::Stop),
        SIGHUP => Some(SignalEvent::Reload),
        SIGUSR1 => Some(SignalEvent::ScanSpool),
        SIGUSR2 => Some(SignalEvent::Status),
        _ => u8::try_from(signal.checked_sub(rtmin)?)
            .ok()
            .map(SignalEvent::Job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use signal_hook::low_level::raise;

    #[rstest]
    #[case(SIGTERM, Some(SignalEvent::Stop))]
    #[case(SIGINT, Some(SignalEvent::Stop))]
    #[case(SIGHUP, Some(SignalEvent::Reload))]
    #[case(SIGUSR1, Some(SignalEvent::ScanSpool))]
    #[case(SIGUSR2, Some(SignalEvent::Status))]
    #[case(34, Some(SignalEvent::Job(0)))]
    #[case(64, Some(SignalEvent::Job(30)))]
    #[case(33, None)]
    fn every_signal_has_its_meaning(#[case] signal: c_int, #[case] expected: Option<SignalEvent>) {
        assert_eq!(event_of(signal, 34), expected);
    }

    async fn next(events: &mut SignalEvents) -> SignalEvent {
        let patience = std::time::Duration::from_secs(30);
        let event = tokio::time::timeout(patience, events.next()).await;
        event
            .expect("a signal that was raised does not arrive")
            .unwrap()
    }

    /// One test for all that raises signals, because signals are the whole process's.
    #[tokio::test]
    async fn signals_arrive_as_events_and_a_storm_is_not_lost() {
        let mut events = SignalEvents::listen().unwrap();
        let rtmin = libc::SIGRTMIN();
        let sent = [
            SIGHUP,
            SIGUSR1,
            SIGUSR2,
            SIGTERM,
            SIGINT,
            rtmin,
            rtmin + 3,
            libc::SIGRTMAX(),
        ];
        for signal in sent {
            raise(signal).unwrap();
        }
        let last = u8::try_from(libc::SIGRTMAX() - rtmin).unwrap();
        let mut expected = vec![
            SignalEvent::Reload,
            SignalEvent::ScanSpool,
            SignalEvent::Status,
            SignalEvent::Stop,
        ];
        expected.extend([0, 3, last].map(SignalEvent::Job));
        while !expected.is_empty() {
            let event = next(&mut events).await;
            expected.retain(|other| *other != event);
        }
        // A hundred at once are at least one, and the last of them is seen.
        for _ in 0..100 {
            raise(SIGUSR1).unwrap();
        }
        while next(&mut events).await != SignalEvent::ScanSpool {}
    }
}
