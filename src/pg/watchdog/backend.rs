//! Asks the server what a backend is doing, through a short session of its own.

use std::fmt::Write;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use tracing::debug;

use crate::config::spec::ServerSpec;
use crate::error::{Error, Phase, Result, Side};
use crate::pg::dial::{self, Dialled, ServerAddress};
use crate::wording::HOLDERS_NAMED_MAX;

/// How long a check may take. A server that does not answer in this time is taken for dead.
const CHECK_WAIT: Duration = Duration::from_secs(5);

/// How long the look's own session may take to end.
const CHECK_CLOSE_WAIT: Duration = Duration::from_millis(500);

const CHECK_SQL: &str = "\
    SELECT a.state, a.wait_event_type, a.wait_event, \
        ARRAY(SELECT pg_catalog.format('%s (%s)', b.pid, pg_catalog.concat_ws(', ', b.usename, \
                  NULLIF(b.application_name, ''), b.backend_type, b.state)) \
              FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS holder(pid) \
              JOIN pg_catalog.pg_stat_activity b ON b.pid OPERATOR(pg_catalog.=) holder.pid) \
    FROM pg_catalog.pg_stat_activity a \
    WHERE a.pid OPERATOR(pg_catalog.=) $1 \
    AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// Only a backend that is certainly this session's, and that waits for the client: behind a pooler, a
/// backend may serve another client by now.
const END_SQL: &str = "\
    SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
    WHERE a.pid OPERATOR(pg_catalog.=) $1 \
    AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
    AND a.usename OPERATOR(pg_catalog.=) CURRENT_USER \
    AND a.application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name') \
    AND a.wait_event OPERATOR(pg_catalog.=) ANY (ARRAY['ClientRead', 'ClientWrite'])";

/// What a silent backend is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Waiting for a lock that these hold.
    Locked { holders: String },
    /// Working, or waiting for something in its own server.
    Working { at: String },
    /// Waiting for us, who wait for it: what either sent was lost.
    WaitingForUs,
    /// There is no such backend any more.
    Gone,
    /// The server could not be asked.
    Unknown { why: String },
}

/// A session's backend, and the way to its server.
#[derive(Debug)]
pub struct Backend {
    server: ServerSpec,
    side: Side,
    application_name: String,
    place: ServerAddress,
    /// A pooler may give each transaction another backend.
    pid: AtomicI32,
}

impl Backend {
    pub(in crate::pg) fn new(
        server: &ServerSpec,
        side: Side,
        application_name: &str,
        place: ServerAddress,
    ) -> Self {
        Backend {
            server: server.clone(),
            side,
            application_name: application_name.to_owned(),
            place,
            pid: AtomicI32::new(0),
        }
    }

    pub(super) fn answered_by(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(super) fn server(&self) -> &str {
        &self.server.name
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Asks what it is doing.
    pub(super) async fn check(&self) -> Doing {
        match timeout(CHECK_WAIT, self.ask()).await {
            Ok(Ok(doing)) => doing,
            Ok(Err(error)) => Doing::Unknown {
                why: error.message().to_owned(),
            },
            Err(_) => Doing::Unknown {
                why: format!("no answer within {} s", CHECK_WAIT.as_secs()),
            },
        }
    }

    async fn ask(&self) -> Result<Doing> {
        let rows = self.beside(CHECK_SQL).await?;
        Ok(rows.first().map_or(Doing::Gone, doing_of))
    }

    /// Ends it, so that its locks are free.
    pub(super) async fn end(&self) {
        let (server, pid) = (self.server(), self.pid());
        match timeout(CHECK_WAIT, self.beside(END_SQL)).await {
            Ok(Ok(rows)) if !rows.is_empty() => debug!(server, pid, "ended a lost backend"),
            other => debug!(server, pid, ?other, "could not end a lost backend"),
        }
    }

    /// Asks about it in another session on the same server.
    async fn beside(&self, sql: &str) -> Result<Vec<Row>> {
        let Dialled { client, task, .. } =
            dial::dial_again(&self.server, self.side, &self.application_name, &self.place).await?;
        let rows = client.query_typed(sql, &[(&self.pid(), Type::INT4)]).await;
        drop(client);
        task.end(CHECK_CLOSE_WAIT).await;
        rows.map_err(|error| Error::pg(Phase::Connect, self.side, error))
    }
}

fn doing_of(row: &Row) -> Doing {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let holders: Vec<String> = row.get(3);
    doing(
        text(0).as_deref(),
        text(1).as_deref(),
        text(2).as_deref(),
        &holders,
    )
}

fn doing(
    state: Option<&str>,
    wait_type: Option<&str>,
    wait: Option<&str>,
    holders: &[String],
) -> Doing {
    if let Some((first, more)) = holders.split_first() {
        let mut named = first.clone();
        for holder in more.iter().take(HOLDERS_NAMED_MAX - 1) {
            let _ = write!(named, ", {holder}");
        }
        if holders.len() > HOLDERS_NAMED_MAX {
            let _ = write!(named, " and {} more", holders.len() - HOLDERS_NAMED_MAX);
        }
        return Doing::Locked { holders: named };
    }
    let idle = state.is_some_and(|state| state.starts_with("idle"));
    match (wait_type, wait) {
        // Of the events of this type, the others wait for other servers.
        (Some("Client"), Some("ClientRead" | "ClientWrite")) => Doing::WaitingForUs,
        _ if idle => Doing::WaitingForUs,
        (Some(kind), Some(event)) => Doing::Working {
            at: format!("{kind}: {event}"),
        },
        _ => Doing::Working {
            at: "its own work".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Some("active"), None, None, "working")]
    #[case(Some("active"), Some("IO"), Some("DataFileRead"), "working")]
    #[case(Some("active"), Some("Timeout"), Some("PgSleep"), "working")]
    #[case(Some("active"), Some("IPC"), Some("SyncRep"), "working")]
    // track_activities = off
    #[case(Some("disabled"), None, None, "working")]
    #[case(None, None, None, "working")]
    #[case(Some("active"), Some("Client"), Some("ClientRead"), "waits for us")]
    #[case(Some("active"), Some("Client"), Some("ClientWrite"), "waits for us")]
    #[case(Some("idle in transaction"), None, None, "waits for us")]
    #[case(
        Some("active"),
        Some("Client"),
        Some("LibPQWalReceiverReceive"),
        "working"
    )]
    fn slow_is_told_from_dead(
        #[case] state: Option<&str>,
        #[case] wait_type: Option<&str>,
        #[case] wait: Option<&str>,
        #[case] expected: &str,
    ) {
        let seen = match doing(state, wait_type, wait, &[]) {
            Doing::Working { .. } => "working",
            Doing::WaitingForUs => "waits for us",
            other => panic!("{other:?}"),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn who_holds_a_lock_is_named_but_not_all_of_a_crowd() {
        let holders: Vec<String> = (1..=5).map(|pid| format!("{pid} (bob)")).collect();
        let seen = doing(Some("active"), Some("Lock"), Some("relation"), &holders);
        let named = "1 (bob), 2 (bob), 3 (bob) and 2 more".to_owned();
        assert_eq!(seen, Doing::Locked { holders: named });
    }
}
