//! The error type of a run: what failed, in which phase, on which side, and what to do about it.

mod current;
mod display;
mod hints;
mod names;
mod server;

use crate::pg::ident::QualifiedName;
use crate::wording::without_openssl_places;

pub use current::CurrentPhase;
pub use server::ServerError;

/// What went wrong, as scripts see it (`error.kind` in the JSON report).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The configuration or the conninfo is wrong.
    Config,
    /// No connection could be made, or it broke.
    Unreachable,
    /// The server refused the login.
    Auth,
    /// The TLS handshake failed, or TLS is not to be had.
    Tls,
    /// A privilege is missing.
    Permission,
    /// Source and target cannot be copied one into the other.
    SchemaMismatch,
    /// The target rejected a row.
    DataRejected,
    /// A guard refused to publish the source's rows.
    Guard,
    /// A limit on time was reached.
    Timeout,
    /// No byte moved for longer than `stall_timeout`.
    Stalled,
    /// The server is shutting down or starting up, or the session was terminated.
    ServerShutdown,
    /// A deadlock, a serialization failure, or a recovery conflict on a standby.
    Conflict,
    /// A signal or a person cancelled the run.
    Cancelled,
    /// The data ended before its end was announced.
    Truncated,
    /// The connection was lost during COMMIT and the outcome is not known.
    InDoubt,
    /// A lock could not be had in `lock_timeout`.
    Locked,
    /// A mistake of tableferry itself.
    Bug,
}

/// The step of an attempt in which an error appeared.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the configuration.
    Configure,
    /// Opening a session.
    Connect,
    /// Taking locks.
    Lock,
    /// Reading the catalogs.
    Inspect,
    /// Deciding what to do.
    Plan,
    /// Making the target ready: TRUNCATE, staging tables.
    Prepare,
    /// Reading rows from the source.
    CopyOut,
    /// Writing rows to the target.
    CopyIn,
    /// The checks before COMMIT.
    Gate,
    /// Comparing source and target.
    Verify,
    /// Publishing: sequences, swapping, merging.
    Publish,
    /// COMMIT.
    Commit,
    /// After COMMIT: ANALYZE, cleaning up.
    After,
}

/// Where an error appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The server that is read.
    Source,
    /// The server that is written.
    Target,
    /// This process.
    Local,
}

/// An error of a run. `Display` is one line; `hint()` says what to do; `source()` is the cause.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    phase: Phase,
    side: Side,
    server: Option<String>,
    relation: Option<String>,
    sqlstate: Option<String>,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a run's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that tableferry found itself; `message` says what and where.
    pub fn new(kind: ErrorKind, phase: Phase, side: Side, message: impl Into<String>) -> Self {
        Error {
            inner: Box::new(Inner {
                kind,
                phase,
                side,
                server: None,
                relation: None,
                sqlstate: None,
                message: message.into(),
                detail: None,
                hint: None,
                source: None,
            }),
        }
    }

    /// An error that a server reported, or that broke the connection to it.
    ///
    /// MESSAGE, DETAIL and CONTEXT of a server error may contain cell values. They are kept in `detail()`,
    /// which is shown only with `log_values`. The message consists of the condition name of the SQLSTATE and
    /// the names of table, column and constraint.
    pub fn pg(phase: Phase, side: Side, error: tokio_postgres::Error) -> Self {
        let mut made = match error.as_db_error() {
            Some(db) => Error::reported(phase, side, &ServerError::from(db)),
            None => Error::new(transport_kind(&error), phase, side, chain(&error)),
        };
        made.inner.source = Some(Box::new(error));
        made
    }

    /// The same for an error that was read off the wire.
    pub fn reported(phase: Phase, side: Side, error: &ServerError) -> Self {
        let kind = match (error.code.as_str(), side) {
            // Not a server that takes no writes: the source's transaction is READ ONLY.
            ("25006", Side::Source) => ErrorKind::Config,
            _ => error.kind(),
        };
        let mut made = Error::new(kind, phase, side, error.public_message());
        made.inner.sqlstate = Some(error.code.clone());
        made.inner.detail = Some(error.full_text());
        made.inner.hint = error.hint.clone();
        made
    }

    /// The error that several had a share in, without its cause if another one still has.
    pub(crate) fn unshared(error: std::sync::Arc<Error>) -> Self {
        std::sync::Arc::try_unwrap(error).unwrap_or_else(|shared| {
            let of = &shared.inner;
            Error {
                inner: Box::new(Inner {
                    kind: of.kind,
                    phase: of.phase,
                    side: of.side,
                    server: of.server.clone(),
                    relation: of.relation.clone(),
                    sqlstate: of.sqlstate.clone(),
                    message: of.message.clone(),
                    detail: of.detail.clone(),
                    hint: of.hint.clone(),
                    source: None,
                }),
            }
        })
    }

    /// Names the relation that was being worked on.
    #[must_use]
    pub fn on(mut self, relation: &QualifiedName) -> Self {
        self.inner
            .relation
            .get_or_insert_with(|| relation.to_string());
        self
    }

    /// Names the server, as the configuration calls it.
    #[must_use]
    pub fn at(mut self, server: &str) -> Self {
        self.inner.server.get_or_insert_with(|| server.to_owned());
        self
    }

    /// Says what to do about it. The first hint stays.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The error of a BEGIN. A standby calls a transaction that is to write a feature that is not supported
    /// (0A000); to us that is what any other statement is told there (25006), and can pass like it.
    #[must_use]
    pub fn of_begin(self) -> Self {
        match self.sqlstate() {
            Some("0A000") => self
                .of_kind(ErrorKind::ServerShutdown)
                .hinted(hints::READ_ONLY),
            _ => self,
        }
    }

    /// Puts what was being worked on before the message, such as an address.
    #[must_use]
    pub fn at_place(mut self, place: &str) -> Self {
        self.inner.message = format!("{place}: {}", self.inner.message);
        self
    }

    /// Puts the reason after the message.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.inner.message = format!("{}: {reason}", self.inner.message);
        self
    }

    /// Puts the message of something that failed earlier before this one's.
    #[must_use]
    pub fn after(mut self, earlier: &str) -> Self {
        self.inner.message = format!("{earlier}; {}", self.inner.message);
        self
    }

    /// Replaces the kind, where the caller knows better than the SQLSTATE.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.inner.kind = kind;
        self
    }

    /// Replaces the phase, where the caller knows better.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = phase;
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Box::new(cause));
        self
    }

    /// Keeps a text that may hold cell values: shown only with `log_values`.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.inner.detail = Some(detail.into());
        self
    }

    /// The kind, for exit codes, retries and JSON.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.inner.phase
    }

    /// The side.
    pub fn side(&self) -> Side {
        self.inner.side
    }

    /// The server's name in the configuration.
    pub fn server(&self) -> Option<&str> {
        self.inner.server.as_deref()
    }

    /// The relation, as a person would write it.
    pub fn relation(&self) -> Option<&str> {
        self.inner.relation.as_deref()
    }

    /// The SQLSTATE, where a server reported the error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.inner.sqlstate.as_deref()
    }

    /// The message without place and SQLSTATE.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The server's message, which may contain cell values.
    pub fn detail(&self) -> Option<&str> {
        self.inner.detail.as_deref()
    }

    /// What to do: what the place that failed knows, else what the SQLSTATE suggests.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref().or_else(|| {
            let sqlstate = self.sqlstate()?;
            hints::of_sqlstate(sqlstate, self.inner.phase, self.inner.side)
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|cause| cause as _)
    }
}

/// An error's own text followed by its causes: tokio-postgres's `Display` hides them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    without_openssl_places(&text)
}

/// Is there a `T` among the causes?
pub fn has_cause<T: std::error::Error + 'static>(error: &dyn std::error::Error) -> bool {
    std::iter::successors(error.source(), |cause| cause.source()).any(|cause| cause.is::<T>())
}

fn transport_kind(error: &tokio_postgres::Error) -> ErrorKind {
    // tokio-postgres keeps its kinds to itself; each has one fixed text.
    let text = error.to_string();
    if text.contains("TLS") {
        ErrorKind::Tls
    } else if text.contains("password") || text.contains("authentication") {
        ErrorKind::Auth
    } else {
        ErrorKind::Unreachable
    }
}
