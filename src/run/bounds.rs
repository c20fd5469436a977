//! How long a session may take to end.

use std::time::Duration;

/// How long a server may take to end a session that is over, before its connection is cut.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long both servers together may take to notice a cancel, before the connections are cut.
pub(super) const ABORT_WAIT: Duration = Duration::from_secs(5);
