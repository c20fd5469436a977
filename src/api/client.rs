//! A client: where the server is, and the thread that talks to it.

use std::fmt;

use tokio::sync::oneshot;

use super::bug;
use super::driver::Driver;
use super::job::LOCK_TIMEOUT;
use crate::config::one_off;
use crate::config::spec::ServerSpec;
use crate::error::{Result, Side};
use crate::pg::session::{Session, SessionSettings};
use crate::run::idle::IdleSession;

/// A PostgreSQL server to load rows into and to read rows from.
///
/// ```no_run
/// # async fn example() -> tableferry::Result<()> {
/// let client = tableferry::Client::connect("service=warehouse").await?;
/// # Ok(()) }
/// ```
///
/// A load or a read that runs beside others has a connection of its own. Loads that follow each other share one: after a
/// load that was committed, the client keeps its connection for the next. The connections are driven by one thread of the
/// client's: the program's runtime need not be tokio, and clones share the thread. To use more cores, connect again.
#[derive(Clone)]
pub struct Client {
    pub(super) driver: Driver,
    pub(super) idle: IdleSession,
    conninfo: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The conninfo may hold a password.
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Logs in once, to find out whether that works.
    ///
    /// `conninfo` is what libpq takes: a URI or `key=value` pairs. What it does not say comes from a service file,
    /// the environment (`PGHOST`, `PGSERVICE`, …), `.pgpass` and libpq's defaults; it may be empty.
    ///
    /// *Errors:* `Config` for a conninfo that is wrong or names files that cannot be read, `Auth`, `Tls`,
    /// `Unreachable`, each with what was tried.
    pub async fn connect(conninfo: &str) -> Result<Client> {
        let idle = IdleSession::default();
        let client = Client {
            driver: Driver::start(idle.clone())?,
            idle: idle.clone(),
            conninfo: conninfo.to_owned(),
        };
        let server = client.server("target");
        let settings = SessionSettings {
            encoding: None,
            lock_timeout: LOCK_TIMEOUT,
            application_name: "tableferry client".to_owned(),
            replica: false,
        };
        let (sender, tried) = oneshot::channel();
        let login = async move || {
            let opened = Session::open(&server, Side::Target, &settings).await;
            let done = match opened {
                Ok(session) => {
                    idle.put(session, settings).await;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            let _ = sender.send(done);
        };
        client.driver.spawn(login).await?;
        match tried.await {
            Ok(done) => done.map(|()| client),
            Err(_) => Err(bug("the login panicked")),
        }
    }

    pub(super) fn server(&self, name: &str) -> ServerSpec {
        one_off::database(name, self.conninfo.clone())
    }
}
