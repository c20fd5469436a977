//! The settings that both ends of a copy must agree on, and the proof that they hold.
//!
//! Roles and databases have settings of their own (`ALTER ROLE … SET`), and a pooler may drop or
//! share ours. Each of these changes what a value looks like in COPY, what a query sees, or how
//! long a lost session holds its locks.

use std::time::Duration;

use tokio_postgres::Client;

use super::ident::quote_literal;
use super::session::SessionSettings;
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// What the server says of itself while the settings are verified.
pub(super) struct Pinned {
    /// `server_version_num`.
    pub version: u32,
    /// The backend's process id.
    pub pid: i32,
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

/// Sets everything in one round trip and verifies it in another.
pub(super) async fn pin(
    client: &Client,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<Pinned> {
    let failed = |error| Error::pg(Phase::Connect, side, error);
    client
        .batch_execute(&set_sql(settings, major))
        .await
        .map_err(failed)?;
    verify(client, side, settings, major).await
}

/// Reads the settings back.
pub(super) async fn verify(
    client: &Client,
    side: Side,
    settings: &SessionSettings,
    major: u32,
) -> Result<Pinned> {
    let failed = |error| Error::pg(Phase::Connect, side, error);
    let pins = pins(settings, major);
    let row = client
        .query_one(&verify_sql(settings, &pins), &[])
        .await
        .map_err(failed)?;
    let encoding_holds: bool = row.get(2);
    let broken = pins
        .iter()
        .enumerate()
        .filter(|(index, pin)| row.get::<_, &str>(index + 3) != pin.shown)
        .map(|(_, pin)| pin.name)
        .chain((!encoding_holds).then_some(ENCODING));
    let broken: Vec<_> = broken.collect();
    if !broken.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            Phase::Connect,
            side,
            format!("settings don't hold in the session: {}", broken.join(", ")),
        )
        .hinted(
            "a connection pooler such as pgBouncer between here and the server? \
             connect to the server itself, or to a pool in session mode",
        ));
    }
    let version: i32 = row.get(1);
    Ok(Pinned {
        version: version.unsigned_abs(),
        pid: row.get(0),
    })
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
    pins
}

/// One batch. The server's own keepalives make it notice within a minute that we are gone, or a
/// black-holed session would keep its locks for hours; over a Unix socket they do nothing.
fn set_sql(settings: &SessionSettings, major: u32) -> String {
    let mut sql = String::new();
    for pin in pins(settings, major) {
        sql.push_str(&format!(
            "SET {} = {};",
            pin.name,
            quote_literal(&pin.value)
        ));
    }
    sql.push_str("SET tcp_keepalives_idle = 30;");
    sql.push_str("SET tcp_keepalives_interval = 10;");
    sql.push_str("SET tcp_keepalives_count = 3;");
    sql.push_str(&format!(
        "SET {ENCODING} = {};",
        quote_literal(encoding(settings))
    ));
    if settings.replica {
        sql.push_str(&format!("SET {ROLE} = replica;"));
    }
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

fn encoding(settings: &SessionSettings) -> &str {
    settings.encoding.as_deref().unwrap_or("UTF8")
}

/// As the server shows a setting in milliseconds: in the largest unit that leaves no rest.
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
