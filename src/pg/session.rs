//! A session: one login with pinned settings, which owns its connection task and can be cancelled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::error::Severity;
use tokio_postgres::{Client, Row, Statement};

use super::cancel::CancelRequest;
use super::dial::{self, Dialled};
use super::param::Param;
use super::pins::{self, PinScope};
use super::proxy::Proxy;
pub use super::settings::SessionSettings;
use super::tap::TapState;
use super::task::ConnectionTask;
use super::watchdog::{Backend, Watchdog};
use crate::config::spec::ServerSpec;
use crate::error::{CurrentPhase, Error, ErrorKind, Phase, Result, ServerError, Side};

/// A session. Dropping it aborts its connection: the server rolls back.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// Drives the connection. The session owns it, so that nothing runs after the session is gone.
    task: ConnectionTask,
    tap: Arc<TapState>,
    cancel_request: CancelRequest,
    proxy: Option<Arc<Proxy>>,
    server: String,
    side: Side,
    settings: SessionSettings,
    version: u32,
    scope: PinScope,
    watchdog: Watchdog,
    phase: CurrentPhase,
    /// The query of [`Session::prepared`], and its text.
    prepared: Mutex<Option<(String, Statement)>>,
}

impl Session {
    /// Connects, logs in, pins the settings and verifies them.
    ///
    /// *Errors:* `Config` for a wrong conninfo, an unreadable password file, an unknown database, or
    /// settings that are not in effect; `Auth`, `Tls`, `Unreachable`, each naming what was tried.
    pub async fn open(
        server: &ServerSpec,
        side: Side,
        settings: &SessionSettings,
    ) -> Result<Session> {
        let Dialled {
            client,
            task,
            tap,
            cancel_request,
            proxy,
            major,
            limit,
            place,
        } = dial::dial(server, side, &settings.application_name)
            .await
            .map_err(|error| error.at(&server.name))?;
        let backend = Backend::new(server, side, &settings.application_name, place);
        let watchdog = Watchdog::new(backend, settings.lock_timeout, tap.clone());
        let mut session = Session {
            client,
            task,
            tap,
            cancel_request,
            proxy,
            server: server.name.clone(),
            side,
            settings: settings.clone(),
            version: 0,
            scope: PinScope::Session,
            watchdog,
            phase: CurrentPhase::default(),
            prepared: Mutex::default(),
        };
        let announced = session.tap.announced_pid();
        let pinning = async {
            let scope = pins::scope(&session.client, side, announced).await?;
            let pinned = match scope {
                PinScope::Session => pins::pin(&session.client, side, settings, major).await?,
                PinScope::Transaction => {
                    pins::unpinned(&session.client, side, settings, major).await?
                }
            };
            Ok((scope, pinned))
        };
        let (scope, pinned) = dial::within(limit, pinning)
            .await
            .unwrap_or_else(|| Err(dial::no_answer(side, limit)))
            .map_err(|error| error.at(&server.name))?;
        session.scope = scope;
        session.version = pinned.version;
        session.watchdog.answered_by(pinned.pid);
        Ok(session)
    }

    /// The client, for COPY.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What passed through the connection.
    pub fn tap(&self) -> &Arc<TapState> {
        &self.tap
    }

    /// The server's name in the configuration.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Which end of the copy it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// `server_version_num`, e.g. 150018.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The backend's process id.
    pub fn pid(&self) -> i32 {
        self.watchdog.pid()
    }

    /// How long it may be silent before it is looked at: see `watchdog`.
    #[must_use]
    pub fn with_stall_timeout(mut self, stall_timeout: Duration) -> Self {
        self.watchdog.stall_timeout = stall_timeout;
        self
    }

    /// Tells who holds a lock that a statement waits for.
    #[must_use]
    pub fn telling_holders(mut self, told: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.watchdog.tells(told);
        self
    }

    /// What the session does is what its attempt does.
    #[must_use]
    pub fn with_phase(mut self, phase: CurrentPhase) -> Self {
        self.phase = phase;
        self
    }

    /// Says what the session is about to do.
    pub fn enter(&self, phase: Phase) {
        self.phase.enter(phase);
    }

    /// What tells whether the server is slow or lost.
    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// Waits for an answer for as long as the server is working on it.
    ///
    /// *Errors:* `Stalled` or `Locked` if the server is not working after `stall_timeout`. The session must
    /// not be used again. *Cancellation:* as that of `work`.
    pub async fn answer<T>(&self, phase: Phase, work: impl Future<Output = T>) -> Result<T> {
        self.enter(phase);
        tokio::select! {
            biased;
            done = work => Ok(done),
            stalled = self.watchdog.stalled(phase) => Err(stalled),
        }
    }

    /// A way to cancel what the session is doing.
    pub fn cancel_request(&self) -> CancelRequest {
        self.cancel_request.clone()
    }

    /// Verifies the pinned settings again, within a transaction: a pooler may have chosen another backend.
    pub async fn verify(&self, phase: Phase) -> Result<()> {
        let major = self.version / 10_000;
        let verified = pins::verify(&self.client, phase, self.side, &self.settings, major);
        let pinned = self.answer(phase, verified).await?;
        let pinned = pinned.map_err(|error| error.at(&self.server))?;
        self.watchdog.answered_by(pinned.pid);
        Ok(())
    }

    /// Begins a transaction; `modes` is as in SQL. The pinned settings hold in it.
    pub async fn begin(&self, phase: Phase, modes: &str) -> Result<()> {
        let major = self.version / 10_000;
        let sql = pins::begin(modes, self.scope, &self.settings, major);
        self.run(phase, &sql).await.map_err(Error::of_begin)
    }

    /// Makes the pinned settings hold for queries outside of the run's own transaction. Behind a pooler, this
    /// begins a transaction. [`Session::end_reading`] ends it.
    pub async fn begin_reading(&self, phase: Phase) -> Result<()> {
        match self.scope {
            PinScope::Session => Ok(()),
            PinScope::Transaction => {
                self.begin(phase, "ISOLATION LEVEL READ COMMITTED READ ONLY")
                    .await
            }
        }
    }

    /// Ends what [`Session::begin_reading`] has begun.
    pub async fn end_reading(&self, phase: Phase) -> Result<()> {
        match self.scope {
            PinScope::Session => Ok(()),
            PinScope::Transaction => self.run(phase, "COMMIT").await,
        }
    }

    /// Prepares a query that is asked several times. The last one is kept with its plan, but not behind a
    /// pooler, where the next transaction may have another backend.
    pub async fn prepared(&self, phase: Phase, sql: &str) -> Result<Statement> {
        let kept = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((text, statement)) = &*kept()
            && text == sql
        {
            return Ok(statement.clone());
        }
        let prepared = self.answer(phase, self.client.prepare(sql)).await?;
        let statement = prepared.map_err(|error| self.error(phase, error))?;
        if self.scope == PinScope::Session {
            *kept() = Some((sql.to_owned(), statement.clone()));
        }
        Ok(statement)
    }

    /// Runs statements that return nothing of interest.
    pub async fn run(&self, phase: Phase, sql: &str) -> Result<()> {
        self.answer(phase, self.client.batch_execute(sql))
            .await?
            .map_err(|error| self.error(phase, error))
    }

    /// Runs one statement and returns how many rows it changed.
    pub async fn execute(&self, phase: Phase, sql: &str) -> Result<u64> {
        self.answer(phase, self.client.execute(sql, &[]))
            .await?
            .map_err(|error| self.error(phase, error))
    }

    /// Runs a query.
    pub async fn query(
        &self,
        phase: Phase,
        sql: &str,
        parameters: &[&dyn Param],
    ) -> Result<Vec<Row>> {
        let parameters: Vec<_> = parameters.iter().map(|p| (p.value(), p.ty())).collect();
        self.answer(phase, self.client.query_typed(sql, &parameters))
            .await?
            .map_err(|error| self.error(phase, error))
    }

    /// An error of the client, with side and server. If the client only knows that the connection is closed,
    /// the error is what the server sent before it closed the connection.
    pub fn error(&self, phase: Phase, error: tokio_postgres::Error) -> Error {
        let final_error = match error.as_db_error() {
            Some(_) => None,
            None => self.tap.last_error(),
        };
        let error = match final_error {
            Some(body) => {
                Error::reported(phase, self.side, &ServerError::parse(&body)).caused_by(error)
            }
            None => {
                let is_lost = error.as_db_error().is_none();
                let made = Error::pg(phase, self.side, error);
                match &self.proxy {
                    Some(proxy) if is_lost => proxy.explain(made),
                    _ => made,
                }
            }
        }
        .at(&self.server);
        self.watchdog.name_holder(error)
    }

    /// Commits, and checks the command tag: `COMMIT` in a failed transaction returns the tag `ROLLBACK`
    /// without an error, and tokio-postgres does not expose tags.
    ///
    /// *Errors:* the server's own, if it refused (nothing was committed); `InDoubt` if the connection was
    /// lost before the answer. *Cancellation:* the outcome is in doubt.
    pub async fn commit(&self) -> Result<()> {
        // Answers 25P02 in a failed transaction.
        self.run(Phase::Commit, "SELECT 1").await?;
        self.tap.take_tag();
        let committed = self.answer(Phase::Commit, self.client.batch_execute("COMMIT"));
        match committed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.commit_error(error)),
            Err(stalled) => return Err(stalled.of_kind(ErrorKind::InDoubt)),
        }
        match self.tap.take_tag().as_deref() {
            Some("COMMIT") => Ok(()),
            tag => Err(Error::new(
                ErrorKind::Conflict,
                Phase::Commit,
                self.side,
                format!(
                    "the server answered {} to COMMIT: the transaction had failed and was rolled back",
                    tag.unwrap_or("nothing")
                ),
            )
            .at(&self.server)),
        }
    }

    /// The server refuses a COMMIT with an ERROR. A lost connection or a FATAL error says nothing about the
    /// outcome: a backend that is terminated while it waits for a synchronous standby has committed.
    fn commit_error(&self, error: tokio_postgres::Error) -> Error {
        let refused = error
            .as_db_error()
            .is_some_and(|db| db.parsed_severity() == Some(Severity::Error));
        let error = self.error(Phase::Commit, error);
        if refused {
            error
        } else {
            error.of_kind(ErrorKind::InDoubt)
        }
    }

    /// Closes the connection and waits for its end, at most `within`; then aborts it.
    pub async fn close(self, within: Duration) {
        let Session { client, task, .. } = self;
        drop(client);
        task.end(within).await;
    }

    /// Cancels what is running, then closes; all of it within `within`.
    pub async fn abort(self, within: Duration) {
        let half = within / 2;
        self.cancel_request.send(half).await;
        self.close(within - half).await;
    }
}
