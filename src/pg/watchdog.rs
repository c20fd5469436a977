//! Tells slow from dead: what a backend is doing that has not been heard of for a while.
//!
//! A server that works (a slow query, a trigger, a disk) sends nothing, and neither does one that
//! was cut off. So the server is asked, through a short session of its own: a backend that works is
//! waited for, with a warning; one that waits for somebody else's lock is given up by name; one that
//! is gone, that waits for *us*, or that nobody can be asked about, is dead.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Row;
use tracing::{debug, warn};

use super::dial::{self, Dialled, Place};
use super::session::Session;
use crate::config::spec::ServerSpec;
use crate::error::{Error, ErrorKind, Phase, Result};

/// How long a look may take: a server that does not answer it is taken for lost.
const LOOK_WAIT: Duration = Duration::from_secs(5);

/// How long the look's own session may take to end.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// How often it is noticed that something has moved.
const TICK: Duration = Duration::from_millis(200);

/// For sessions that belong to no job.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// How many lock holders an error names.
const HOLDERS_MAX: usize = 3;

const LOOK_SQL: &str = "\
    SELECT a.state, a.wait_event_type, a.wait_event, \
        ARRAY(SELECT pg_catalog.format('%s (%s)', b.pid, pg_catalog.concat_ws(', ', b.usename, \
                  NULLIF(b.application_name, ''), b.backend_type, b.state)) \
              FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS holder(pid) \
              JOIN pg_catalog.pg_stat_activity b ON b.pid OPERATOR(pg_catalog.=) holder.pid) \
    FROM pg_catalog.pg_stat_activity a \
    WHERE a.pid OPERATOR(pg_catalog.=) $1 \
    AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// Only what is surely ours, and what waits for us: behind a pooler, a backend may have gone to
/// somebody else.
const END_SQL: &str = "\
    SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
    WHERE a.pid OPERATOR(pg_catalog.=) $1 \
    AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
    AND a.usename OPERATOR(pg_catalog.=) CURRENT_USER \
    AND a.application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name') \
    AND a.wait_event OPERATOR(pg_catalog.=) ANY (ARRAY['ClientRead', 'ClientWrite'])";

/// What a session needs to be looked at.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub stall_timeout: Duration,
    server: ServerSpec,
    place: Place,
    /// Who held the lock that the last look saw the backend wait for.
    holder: Mutex<Option<String>>,
}

/// What a backend that was not heard of is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doing {
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

/// When the next look is due, as a time of silence.
#[derive(Clone, Copy, Debug)]
struct Looks {
    stall_timeout: Duration,
    /// Zero: none.
    lock_timeout: Duration,
}

/// How long nothing has moved, and when to look.
pub struct Silence {
    since: Instant,
    moved: (u64, u64),
    next_look: Duration,
    looks: Looks,
}

impl Watchdog {
    pub fn new(server: &ServerSpec, place: Place) -> Self {
        Watchdog {
            stall_timeout: STALL_TIMEOUT,
            server: server.clone(),
            place,
            holder: Mutex::new(None),
        }
    }

    /// Adds to a lock's timeout who held the lock, if that was seen.
    pub fn name_holder(&self, error: Error) -> Error {
        let holder = self.holder_slot().take();
        match holder {
            Some(holder) if error.kind() == ErrorKind::Locked => {
                error.hinted(format!("the lock was held by pid {holder}"))
            }
            _ => error,
        }
    }

    fn holder_slot(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    /// A lock's holder can only be seen while the wait lasts.
    fn first(self) -> Duration {
        match self.before_lock_timeout() {
            Some(early) => early.min(self.stall_timeout),
            None => self.stall_timeout,
        }
    }

    fn after(self, quiet: Duration) -> Duration {
        if quiet < self.stall_timeout {
            self.stall_timeout
        } else {
            quiet + self.stall_timeout
        }
    }

    fn before_lock_timeout(self) -> Option<Duration> {
        (!self.lock_timeout.is_zero()).then(|| self.lock_timeout / 2)
    }
}

impl Silence {
    /// Silence that begins now.
    pub fn new(session: &Session, stall_timeout: Duration, moved: (u64, u64)) -> Self {
        let looks = Looks {
            stall_timeout,
            lock_timeout: session.settings().lock_timeout,
        };
        Silence {
            since: Instant::now(),
            moved,
            next_look: looks.first(),
            looks,
        }
    }

    /// Takes note of what has moved; is it time to look?
    pub fn is_due(&mut self, moved: (u64, u64)) -> bool {
        if moved != self.moved {
            self.restart(moved);
        }
        self.since.elapsed() >= self.next_look
    }

    /// Counts from now on: something has moved, or nothing was to be expected.
    pub fn restart(&mut self, moved: (u64, u64)) {
        self.moved = moved;
        self.since = Instant::now();
        self.next_look = self.looks.first();
    }

    fn left(&self) -> Duration {
        self.next_look.saturating_sub(self.since.elapsed())
    }

    /// Looks at a session that nothing was heard of. `Some` when it is to be given up; a backend
    /// that waited for us in vain is ended then, so that its locks are free at once.
    pub async fn look(
        &mut self,
        session: &Session,
        phase: Phase,
        moved: impl Fn() -> (u64, u64),
    ) -> Option<Error> {
        let quiet = self.since.elapsed();
        self.next_look = self.looks.after(quiet);
        let doing = session.look().await;
        debug!(
            server = session.server(),
            pid = session.pid(),
            ?quiet,
            ?doing,
            "looked"
        );
        *session.watchdog().holder_slot() = match &doing {
            Doing::Locked { holders } => Some(holders.clone()),
            _ => None,
        };
        if quiet < self.looks.stall_timeout || moved() != self.moved {
            return None;
        }
        let waits_for_us = doing == Doing::WaitingForUs;
        let error = self.judge(session, phase, doing, quiet)?;
        if waits_for_us {
            session.end_backend().await;
        }
        Some(error)
    }

    fn judge(
        &self,
        session: &Session,
        phase: Phase,
        doing: Doing,
        quiet: Duration,
    ) -> Option<Error> {
        let (pid, seconds) = (session.pid(), quiet.as_secs());
        let ends_by_itself = self.looks.lock_timeout > quiet;
        let (kind, what, hint) = match doing {
            Doing::Locked { holders } if ends_by_itself => {
                warn!(
                    server = session.server(),
                    pid, seconds, holders, "waiting for a lock"
                );
                return None;
            }
            Doing::Working { at } => {
                warn!(
                    server = session.server(),
                    pid, seconds, at, "the server is slow, and still at work"
                );
                return None;
            }
            Doing::Locked { holders } => (
                ErrorKind::Locked,
                format!("waits for a lock that is held by pid {holders}"),
                "end that session, or wait for it; `lock_timeout` and `stall_timeout` say how long to wait",
            ),
            Doing::WaitingForUs => (
                ErrorKind::Stalled,
                "waits for us, who wait for it: the network has lost something".to_owned(),
                "see what is between here and the server; `stall_timeout` says how long to wait",
            ),
            Doing::Gone => (
                ErrorKind::Stalled,
                "is gone, and the network has not told".to_owned(),
                "see the server's log for how it ended",
            ),
            Doing::Unknown { why } => (
                ErrorKind::Stalled,
                format!("was not heard of, and the server could not be asked: {why}"),
                "is the server up, and does the network reach it? `stall_timeout` says how long to wait",
            ),
        };
        let message = format!("nothing moved for {seconds} s: backend {pid} {what}");
        Some(
            Error::new(kind, phase, session.side(), message)
                .at(session.server())
                .hinted(hint),
        )
    }
}

impl Session {
    /// Waits for an answer, as long as the server works on it.
    ///
    /// *Errors:* `Stalled` or `Locked` when `stall_timeout` has passed and the server is not at
    /// work: the session must not be used again. *Cancellation:* as that of `work`.
    pub async fn answer<T>(&self, phase: Phase, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            stalled = self.stalled(phase) => Err(stalled),
        }
    }

    async fn stalled(&self, phase: Phase) -> Error {
        let moved = || (self.tap().received(), self.tap().sent());
        let mut silence = Silence::new(self, self.watchdog().stall_timeout, moved());
        *self.watchdog().holder_slot() = None;
        loop {
            sleep(silence.left().min(TICK)).await;
            if silence.is_due(moved())
                && let Some(error) = silence.look(self, phase, moved).await
            {
                return error;
            }
        }
    }

    async fn look(&self) -> Doing {
        match timeout(LOOK_WAIT, self.ask()).await {
            Ok(Ok(doing)) => doing,
            Ok(Err(error)) => Doing::Unknown {
                why: error.message().to_owned(),
            },
            Err(_) => Doing::Unknown {
                why: format!("no answer within {} s", LOOK_WAIT.as_secs()),
            },
        }
    }

    async fn ask(&self) -> Result<Doing> {
        let rows = self.beside(LOOK_SQL).await?;
        Ok(rows.first().map_or(Doing::Gone, doing_of))
    }

    async fn end_backend(&self) {
        let (server, pid) = (self.server(), self.pid());
        match timeout(LOOK_WAIT, self.beside(END_SQL)).await {
            Ok(Ok(rows)) if !rows.is_empty() => debug!(server, pid, "ended a lost backend"),
            other => debug!(server, pid, ?other, "could not end a lost backend"),
        }
    }

    /// Asks about this session's backend in another session on the same server.
    async fn beside(&self, sql: &str) -> Result<Vec<Row>> {
        let watchdog = self.watchdog();
        let name = &self.settings().application_name;
        let Dialled { client, task, .. } =
            dial::dial_again(&watchdog.server, self.side(), name, &watchdog.place).await?;
        let rows = client.query(sql, &[&self.pid()]).await;
        drop(client);
        task.end(CLOSE_WAIT).await;
        rows.map_err(|error| Error::pg(Phase::Connect, self.side(), error))
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
        for holder in more.iter().take(HOLDERS_MAX - 1) {
            let _ = write!(named, ", {holder}");
        }
        if holders.len() > HOLDERS_MAX {
            let _ = write!(named, " and {} more", holders.len() - HOLDERS_MAX);
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

    #[rstest]
    #[case(300, 30, &[15_000, 300_000, 600_000])]
    #[case(300, 0, &[300_000, 600_000, 900_000])]
    #[case(5, 30, &[5_000, 10_000, 15_000])]
    fn the_server_is_asked_before_a_lock_times_out_and_at_every_stall(
        #[case] stall_seconds: u64,
        #[case] lock_seconds: u64,
        #[case] expected_millis: &[u64],
    ) {
        let looks = Looks {
            stall_timeout: Duration::from_secs(stall_seconds),
            lock_timeout: Duration::from_secs(lock_seconds),
        };
        let first = looks.first();
        let second = looks.after(first);
        let seen = [first, second, looks.after(second)];
        let expected: Vec<_> = expected_millis
            .iter()
            .map(|ms| Duration::from_millis(*ms))
            .collect();
        assert_eq!(seen, expected[..]);
    }
}
