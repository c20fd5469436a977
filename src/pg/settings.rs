//! The settings that a session is opened with.

use std::time::Duration;

/// How the sessions of a job differ from those of another.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// `client_encoding`; default UTF8. With another one the server's messages come in it, too:
    /// characters outside ASCII in them are replaced.
    pub encoding: Option<String>,
    /// How long a statement may wait for a lock; zero: no limit.
    pub lock_timeout: Duration,
    /// What the server shows in `pg_stat_activity`, unless the conninfo says otherwise.
    pub application_name: String,
    /// `session_replication_role = replica`: the target's triggers and rules don't fire.
    pub replica: bool,
}
