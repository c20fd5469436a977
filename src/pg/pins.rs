//! The settings that both ends of a copy must agree on, and the check that they are in effect.
//!
//! Roles and databases have their own settings (`ALTER ROLE … SET`), and a pooler may drop or share ours. Each
//! of these settings affects how values look in COPY, what a query sees, or how long a lost session holds its
//! locks.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::conninfo::{KEEPALIVES, Keepalives};
use super::ident::quote_literal;
use super::settings::SessionSettings;
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// What the server says of itself while the settings are verified.
pub(super) struct Pinned {
    /// `server_version_num`.
    pub version: u32,
    /// The backend's process id.
    pub pid: i32,
}

/// Who the session's settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinScope {
    /// The session has its own backend.
    Session,
    /// A pooler in transaction mode uses another backend for every transaction, and gives it to other
    /// clients afterwards. Settings must end with the transaction.
    Transaction,
}

/// A setting, what it is set to, and what the server then shows.
struct Pin {
    name: &'static str,
    value: String,
    shown: String,
}

/// `client_encoding` is apart: its names have aliases.
const ENCODING: &str = "client_encoding";
const ROLE: &str = "session_replication_role";

/// How long data that the target has sent may be unacknowledged before the target closes the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Detects a pooler: at login it announces another process id than that of the backend that answers.
pub(super) async fn scope(client: &Client, side: Side, announced: Option<i32>) -> Result<PinScope> {
    let messages = client
        .simple_query("SELECT pg_catalog.pg_backend_pid()")
        .await
        .map_err(|error| Error::pg(Phase::Connect, side, error))?;
    let answering: Option<i32> = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    let answering = answering.ok_or_else(|| unread(Phase::Connect, side))?;
    Ok(match announced {
        Some(announced) if answering != announced => PinScope::Transaction,
        _ => PinScope::Session,
    })
}

/// Sets everything, and verifies it in another round trip.
pub(super) async fn pin(
    client: &Client,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<Pinned> {
    let set = async |sql: String| {
        client
            .batch_execute(&sql)
            .await
            .map_err(|error| hinted(Error::pg(Phase::Connect, side, error)))
    };
    set(set_sql(side, settings, major)).await?;
    let mut seen = read_back(client, Phase::Connect, side, settings, major).await?;
    // Setting the replication role needs a privilege that few roles have, so it is set only if necessary. A
    // role whose own settings contain `replica` would silently skip triggers.
    if seen.broken.contains(&ROLE) {
        set(format!("SET {ROLE} = {}", role(settings))).await?;
        seen = read_back(client, Phase::Connect, side, settings, major).await?;
    }
    judge(seen, Phase::Connect, side)
}

/// Begins a transaction and pins the settings in it, unless the session has its own backend.
pub(super) fn begin(
    modes: &str,
    scope: PinScope,
    settings: &SessionSettings,
    major: u32,
) -> String {
    let mut sql = format!("BEGIN {modes}");
    if scope == PinScope::Transaction {
        let role = settings.replica.then_some(ROLE);
        let pins = pins(settings, major);
        let set = pins.iter().filter(|pin| pin.name != ROLE || role.is_some());
        for pin in set {
            let value = quote_literal(&pin.value);
            sql.push_str(&format!("; SET LOCAL {} = {value}", pin.name));
        }
        let encoding = quote_literal(encoding(settings));
        sql.push_str(&format!("; SET LOCAL {ENCODING} = {encoding}"));
    }
    sql
}

/// What the server says of itself where nothing is set yet.
pub(super) async fn unpinned(
    client: &Client,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<Pinned> {
    let seen = read_back(client, Phase::Connect, side, settings, major).await?;
    Ok(seen.pinned)
}

/// Reads the settings back, e.g. in a transaction, which a pooler may have sent to another backend.
pub(super) async fn verify(
    client: &Client,
    phase: Phase,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<Pinned> {
    let seen = read_back(client, phase, side, settings, major).await?;
    judge(seen, phase, side)
}

fn hinted(error: Error) -> Error {
    if error.sqlstate() == Some("42501") {
        error.hinted(
            "`triggers = \"skip\"`, and undoing a role's own session_replication_role, \
             need a superuser, or GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15)",
        )
    } else {
        error
    }
}

/// What one look at the session shows.
struct ReadBack {
    pinned: Pinned,
    /// Settings with another value than they were given.
    broken: Vec<&'static str>,
}

async fn read_back(
    client: &Client,
    phase: Phase,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<ReadBack> {
    let pins = pins(settings, major);
    let messages = client
        .simple_query(&verify_sql(settings, &pins))
        .await
        .map_err(|error| Error::pg(phase, side, error))?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| unread(phase, side))?;
    let value = |column: usize| row.get(column).unwrap_or_default();
    let broken = pins
        .iter()
        .enumerate()
        .filter(|(index, pin)| value(index + 3) != pin.shown)
        .map(|(_, pin)| pin.name)
        .chain((value(2) != "t").then_some(ENCODING))
        .collect();
    Ok(ReadBack {
        pinned: Pinned {
            pid: value(0).parse().map_err(|_| unread(phase, side))?,
            version: value(1).parse().map_err(|_| unread(phase, side))?,
        },
        broken,
    })
}

fn unread(phase: Phase, side: Side) -> Error {
    let message = "the server does not say its version and its settings";
    Error::new(ErrorKind::Bug, phase, side, message)
}

fn judge(seen: ReadBack, phase: Phase, side: Side) -> Result<Pinned> {
    if seen.broken.is_empty() {
        return Ok(seen.pinned);
    }
    Err(Error::new(
        ErrorKind::Config,
        phase,
        side,
        format!(
            "settings don't hold in the session: {}",
            seen.broken.join(", ")
        ),
    )
    .hinted(
        "is a connection pooler such as pgBouncer in between? \
         Connect to the server itself, or to a pool in session mode",
    ))
}

fn pins(settings: &SessionSettings, major: u32) -> Vec<Pin> {
    let fixed = [
        ("array_nulls", "on", 0),
        ("bytea_output", "hex", 0),
        ("datestyle", "ISO, YMD", 0),
        ("extra_float_digits", "3", 0),
        ("idle_in_transaction_session_timeout", "0", 0),
        ("idle_session_timeout", "0", 14),
        ("intervalstyle", "postgres", 0),
        ("quote_all_identifiers", "off", 0),
        ("row_security", "off", 0),
        ("standard_conforming_strings", "on", 0),
        ("statement_timeout", "0", 0),
        ("timezone", "UTC", 0),
        ("transaction_timeout", "0", 17),
        ("transform_null_equals", "off", 0),
        ("xmloption", "content", 0),
    ];
    let mut pins: Vec<Pin> = fixed
        .into_iter()
        .filter(|(_, _, since)| major >= *since)
        .map(|(name, value, _)| Pin {
            name,
            value: value.to_owned(),
            shown: value.to_owned(),
        })
        .collect();
    let lock_timeout = shown_millis(settings.lock_timeout);
    pins.push(Pin {
        name: "lock_timeout",
        value: lock_timeout.clone(),
        shown: lock_timeout,
    });
    pins.push(Pin {
        name: "search_path",
        value: String::new(),
        shown: "\"\"".to_owned(),
    });
    pins.push(Pin {
        name: ROLE,
        value: role(settings).to_owned(),
        shown: role(settings).to_owned(),
    });
    pins
}

/// One batch. With these keepalives, the server notices within a minute that the client is gone. Otherwise a
/// cut-off session could keep its locks for hours. They have no effect on Unix sockets.
///
/// Keepalives are not sent while data is unacknowledged; then `tcp_user_timeout` applies. It also limits the
/// time for which a receive window may stay closed, and a source's window is closed while the target is
/// slow. So it is set only on the target, which holds locks that block others.
fn set_sql(side: Side, settings: &SessionSettings, major: u32) -> String {
    let mut sql = String::new();
    let pins = pins(settings, major);
    for pin in pins.iter().filter(|pin| pin.name != ROLE) {
        sql.push_str(&format!(
            "SET {} = {};",
            pin.name,
            quote_literal(&pin.value)
        ));
    }
    let Keepalives {
        idle,
        interval,
        retries,
    } = KEEPALIVES;
    sql.push_str(&format!(
        "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; \
         SET tcp_keepalives_count = {retries};",
        idle.as_secs(),
        interval.as_secs()
    ));
    if side == Side::Target {
        let millis = UNACKNOWLEDGED_MAX.as_millis();
        sql.push_str(&format!("SET tcp_user_timeout = {millis};"));
    }
    sql.push_str(&format!(
        "SET {ENCODING} = {};",
        quote_literal(encoding(settings))
    ));
    sql
}

fn verify_sql(settings: &SessionSettings, pins: &[Pin]) -> String {
    let mut sql = format!(
        "SELECT pg_catalog.pg_backend_pid(), \
         pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
         pg_catalog.pg_char_to_encoding(pg_catalog.current_setting('{ENCODING}')::pg_catalog.name) \
         OPERATOR(pg_catalog.=) pg_catalog.pg_char_to_encoding({}::pg_catalog.name)",
        quote_literal(encoding(settings))
    );
    for pin in pins {
        sql.push_str(&format!(", pg_catalog.current_setting('{}')", pin.name));
    }
    sql
}

fn role(settings: &SessionSettings) -> &'static str {
    if settings.replica {
        "replica"
    } else {
        "origin"
    }
}

fn encoding(settings: &SessionSettings) -> &str {
    settings.encoding.as_deref().unwrap_or("UTF8")
}

/// A time as the server shows it: in the largest unit that divides it.
fn shown_millis(duration: Duration) -> String {
    let millis = duration.as_millis().min(i32::MAX as u128);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
        (1, "ms"),
    ];
    if millis == 0 {
        return "0".to_owned();
    }
    units
        .into_iter()
        .find(|(unit, _)| millis.is_multiple_of(*unit))
        .map(|(unit, name)| format!("{}{name}", millis / unit))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0")]
    #[case(1, "1ms")]
    #[case(1500, "1500ms")]
    #[case(30_000, "30s")]
    #[case(90_000, "90s")]
    #[case(120_000, "2min")]
    #[case(7_200_000, "2h")]
    #[case(86_400_000, "1d")]
    fn durations_are_shown_as_the_server_does(#[case] millis: u64, #[case] shown: &str) {
        assert_eq!(shown_millis(Duration::from_millis(millis)), shown);
    }
}
