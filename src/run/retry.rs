//! Which errors are retried, and how long to wait before.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::config::spec::RetrySpec;
use crate::error::{Error, ErrorKind};

/// Can the same attempt succeed a little later without any change? Deliberately narrow: a schema error, a
/// missing privilege or a rejected row does not disappear, and retries would hide it.
pub fn can_pass(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unreachable
        | ErrorKind::ServerShutdown
        | ErrorKind::Conflict
        | ErrorKind::Locked
        | ErrorKind::Stalled => true,
        ErrorKind::Config
        | ErrorKind::Auth
        | ErrorKind::Tls
        | ErrorKind::Permission
        | ErrorKind::SchemaMismatch
        | ErrorKind::DataRejected
        | ErrorKind::Guard
        // `timeout` or `max_snapshot_age`: a retry would take as long again, and hold back VACUUM on the
        // source as long again.
        | ErrorKind::Timeout
        | ErrorKind::Cancelled
        | ErrorKind::Truncated
        // The transaction may have been committed: a retry of an append would duplicate its rows.
        | ErrorKind::InDoubt
        | ErrorKind::Bug => false,
    }
}

/// The pauses before further attempts: they double, with jitter, so that jobs that lost the same server do
/// not return at the same time.
pub fn pauses(spec: &RetrySpec) -> impl Iterator<Item = Duration> + use<> {
    let max_backoff = spec.max_backoff;
    ExponentialBuilder::default()
        .with_min_delay(spec.backoff)
        .with_max_delay(max_backoff)
        .with_factor(2.0)
        .with_jitter()
        .with_max_times(spec.max as usize)
        .build()
        .map(move |pause| pause.min(max_backoff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Phase, Side};
    use rstest::rstest;

    #[rstest]
    #[case(ErrorKind::Unreachable, true)]
    #[case(ErrorKind::Locked, true)]
    #[case(ErrorKind::Conflict, true)]
    #[case(ErrorKind::Timeout, false)]
    #[case(ErrorKind::Auth, false)]
    #[case(ErrorKind::Permission, false)]
    #[case(ErrorKind::DataRejected, false)]
    #[case(ErrorKind::InDoubt, false)]
    fn only_what_mends_itself_is_tried_again(#[case] kind: ErrorKind, #[case] again: bool) {
        let error = Error::new(kind, Phase::CopyIn, Side::Target, "x");
        assert_eq!(can_pass(&error), again);
    }

    #[test]
    fn pauses_grow_up_to_their_bound_and_end() {
        let spec = RetrySpec {
            max: 5,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(4),
        };
        let all: Vec<_> = pauses(&spec).collect();
        assert_eq!(all.len(), 5);
        assert!(all[0] >= spec.backoff);
        assert!(all.iter().all(|pause| *pause <= spec.max_backoff));
    }
}
