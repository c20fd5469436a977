//! Sessions against real servers: login, TLS, pinned settings, COMMIT, cancel, and the tap.

use std::time::Duration;

use secrecy::SecretString;
use tableferry::config::spec::{PasswordSource, ServerPlace, ServerSpec};
use tableferry::error::{Error, Side};
use tableferry::pg::{Session, SessionSettings};

pub mod certificates;
mod checked;
mod copy;
mod login;
mod proxy;
mod require_auth;
mod session;
mod tls;

/// A server as a configuration would have it.
fn server(conninfo: &str) -> ServerSpec {
    ServerSpec {
        name: "shop".to_owned(),
        place: ServerPlace::Database,
        conninfo: SecretString::from(conninfo),
        password: PasswordSource::Libpq,
        proxy_command: None,
        max_connections: 4,
        encoding: None,
    }
}

fn settings() -> SessionSettings {
    SessionSettings {
        encoding: None,
        lock_timeout: Duration::from_secs(30),
        application_name: "tableferry test".to_owned(),
        replica: false,
    }
}

async fn open(conninfo: &str) -> Result<Session, Error> {
    Session::open(&server(conninfo), Side::Source, &settings()).await
}

/// Connects, and returns one value.
async fn value(conninfo: &str, query: &str) -> String {
    let session = open(conninfo)
        .await
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let rows = session
        .query(tableferry::error::Phase::Inspect, query, &[])
        .await
        .unwrap();
    rows[0].get(0)
}

async fn refused(conninfo: &str) -> Error {
    match open(conninfo).await {
        Ok(_) => panic!("let in by: {conninfo}"),
        Err(error) => error,
    }
}

/// All that a person would be told.
fn told(error: &Error) -> String {
    format!("{error}\nhint: {}", error.hint().unwrap_or_default())
}
