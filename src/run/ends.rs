//! The two ends of a job: sessions on its servers, or files.

use super::bounds::CLOSE_WAIT;
use super::context::JobContext;
use super::files::FileSource;
use super::target_files::TargetFiles;
use crate::config::spec::{ServerSpec, Triggers};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::{Session, SessionSettings};

/// One end of a job.
#[derive(Clone, Copy)]
pub(super) enum End<S, F> {
    Server(S),
    Files(F),
}

/// What rows are read from.
pub(super) type SourceEnd<'a> = End<&'a Session, &'a FileSource>;

/// What rows are written to.
pub(super) type TargetEnd<'a> = End<&'a Session, &'a TargetFiles>;

/// Both ends of a job, as far as they are open.
#[derive(Default)]
pub(super) struct Ends {
    sources: Vec<End<Session, FileSource>>,
    /// The one that is read.
    current: usize,
    target: Option<End<Session, TargetFiles>>,
}

impl Ends {
    /// Opens the job's source, or the next one, which is read from now on.
    pub async fn open_source(&mut self, context: &JobContext) -> Result<SourceEnd<'_>> {
        let end = match context.source.is_database() {
            true => End::Server(open(context, Side::Source).await?),
            false => End::Files(FileSource::new(context)),
        };
        self.current = self.sources.len();
        self.sources.push(end);
        self.source()
    }

    /// Reads the source at this position from now on.
    pub fn read_from(&mut self, source: usize) {
        self.current = source;
    }

    pub async fn open_target(&mut self, context: &JobContext) -> Result<TargetEnd<'_>> {
        let end = match context.target.is_database() {
            true => End::Server(open(context, Side::Target).await?),
            false => End::Files(TargetFiles::new(context)),
        };
        Ok(self.target.insert(end).as_ref())
    }

    /// *Errors:* `Bug` if the source is not open.
    pub fn source(&self) -> Result<SourceEnd<'_>> {
        let end = self.sources.get(self.current).map(End::as_ref);
        end.ok_or_else(|| gone(Side::Source))
    }

    /// *Errors:* `Bug` if the target is not open.
    pub fn target(&self) -> Result<TargetEnd<'_>> {
        let end = self.target.as_ref().map(End::as_ref);
        end.ok_or_else(|| gone(Side::Target))
    }

    pub fn has_target(&self) -> bool {
        self.target.is_some()
    }

    /// Takes the target's session, if there is one.
    pub fn take_target(&mut self) -> Option<Session> {
        self.target.take().and_then(End::into_session)
    }

    /// Takes all sessions. Files that were written and are not in their places are removed.
    pub fn take_all(&mut self) -> impl Iterator<Item = Session> + use<> {
        let sources = std::mem::take(&mut self.sources).into_iter();
        let sessions: Vec<Session> = sources.filter_map(End::into_session).collect();
        sessions.into_iter().chain(self.take_target())
    }

    /// Ends sessions that are in no transaction.
    pub async fn close(mut self) {
        let sessions = self.take_all().map(|session| session.close(CLOSE_WAIT));
        futures_util::future::join_all(sessions).await;
    }
}

impl<S, F> End<S, F> {
    fn as_ref(&self) -> End<&S, &F> {
        match self {
            End::Server(session) => End::Server(session),
            End::Files(files) => End::Files(files),
        }
    }
}

impl<F> End<Session, F> {
    fn into_session(self) -> Option<Session> {
        match self {
            End::Server(session) => Some(session),
            End::Files(_) => None,
        }
    }
}

impl<'a, F> End<&'a Session, F> {
    /// The session. *Errors:* `Bug`, because plans of files have no step that needs one.
    pub fn session(self) -> Result<&'a Session> {
        match self {
            End::Server(session) => Ok(session),
            End::Files(_) => {
                let what = "a step needs a session on a server that is files";
                Err(Error::new(
                    ErrorKind::Bug,
                    Phase::Prepare,
                    Side::Local,
                    what,
                ))
            }
        }
    }
}

impl<'a, S, F> End<S, &'a F> {
    /// The files. *Errors:* `Bug` if it is a server.
    pub fn files(self) -> Result<&'a F> {
        match self {
            End::Files(files) => Ok(files),
            End::Server(_) => {
                let what = "a step needs files on a server that is a database";
                Err(Error::new(
                    ErrorKind::Bug,
                    Phase::Prepare,
                    Side::Local,
                    what,
                ))
            }
        }
    }
}

fn gone(side: Side) -> Error {
    let what = "the session is gone";
    Error::new(ErrorKind::Bug, Phase::Commit, side, what)
}

/// Opens a session on one side of a job.
pub(super) async fn open(context: &JobContext, side: Side) -> Result<Session> {
    let (server, other): (&ServerSpec, &ServerSpec) = match side {
        Side::Source => (&context.source, &context.target),
        Side::Target | Side::Local => (&context.target, &context.source),
    };
    let settings = settings(context, server, other, side);
    context.phase.enter(Phase::Connect);
    let kept = match (&context.idle, side) {
        (Some(idle), Side::Target) => idle.take(&settings).await,
        _ => None,
    };
    let session = match kept {
        Some(kept) => kept,
        None => Session::open(server, side, &settings).await?,
    };
    let (teller, name) = (context.clone(), server.name.clone());
    let told = move |holders: &str| teller.tell_locked(&name, holders);
    Ok(session
        .with_stall_timeout(context.job.stall_timeout)
        .telling_holders(told)
        .with_phase(context.phase.clone()))
}

/// Ends a session of the target whose last transaction was committed, or keeps it for the next run.
pub(super) async fn keep(context: &JobContext, session: Session) {
    match &context.idle {
        Some(idle) => {
            let settings = settings(context, &context.target, &context.source, Side::Target);
            idle.put(session, settings).await;
        }
        None => session.close(CLOSE_WAIT).await,
    }
}

fn settings(
    context: &JobContext,
    server: &ServerSpec,
    other: &ServerSpec,
    side: Side,
) -> SessionSettings {
    SessionSettings {
        // Both sides of a copy use the same client encoding.
        encoding: server.encoding.clone().or_else(|| other.encoding.clone()),
        lock_timeout: context.job.lock_timeout,
        application_name: format!("tableferry {}", context.job.name),
        replica: side == Side::Target && context.job.triggers == Triggers::Skip,
    }
}

/// Identifies a database of a running server.
pub(super) async fn place(session: &Session) -> Result<(String, String)> {
    let sql = "SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text, \
                      pg_catalog.current_database()::pg_catalog.text";
    let row = session
        .one_row(Phase::Inspect, "the server's start time", sql, &[])
        .await?;
    Ok((row.get(0)?, row.get(1)?))
}
