//! Bounds that several files share.

use std::time::Duration;

/// How long a server may take to end a session before its connection is closed.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long both servers may take to handle a cancel request before the connections are closed.
pub(super) const ABORT_WAIT: Duration = Duration::from_secs(5);

/// How long `check` and `history` wait for a lock: their sessions belong to no job.
pub const COMMAND_LOCK_TIMEOUT: Duration = Duration::from_secs(5);
