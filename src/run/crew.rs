//! The connections of several workers.

use futures_util::future::{join_all, try_join_all};

use super::{Context, inspect};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::{QualifiedName, quote_literal};
use crate::pg::session::Session;

/// The sessions of a run besides those of the source's snapshot and of the target's transaction.
#[derive(Default)]
pub(super) struct Crew {
    /// Read the source in the same snapshot.
    sources: Vec<Session>,
    /// Load the target, each in transactions of its own.
    targets: Vec<Session>,
    /// What they make, as long as it is not known to be published.
    pub made: Vec<QualifiedName>,
}

/// The two ends of one worker.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub source: &'a Session,
    pub target: &'a Session,
}

impl Crew {
    /// Opens the sessions of so many workers, unless it has been done: all but the first read beside
    /// `source`, which has the snapshot.
    ///
    /// The locks of the source's own session, which ends last, keep for all of them what the snapshot
    /// sees in its place.
    pub async fn hire(
        &mut self,
        context: &Context,
        source: &Session,
        workers: usize,
    ) -> Result<()> {
        if !self.targets.is_empty() {
            return Ok(());
        }
        let snapshot = match workers {
            0 | 1 => None,
            _ => Some(export(source).await?),
        };
        let readers = (1..workers).map(async |_| match &snapshot {
            Some(snapshot) => import(context, source, snapshot).await.map(Some),
            None => Ok(None),
        });
        let loaders = (0..workers).map(|_| inspect::open(context, Side::Target));
        let (readers, loaders) =
            futures_util::future::try_join(try_join_all(readers), try_join_all(loaders)).await?;
        self.sources = readers.into_iter().flatten().collect();
        self.targets = loaders;
        Ok(())
    }

    /// Who loads beside the target's own session; nobody, where one worker does all.
    pub fn targets(&self) -> &[Session] {
        &self.targets
    }

    /// The workers: without a crew, the run's own two sessions.
    pub fn pairs<'a>(&'a self, source: &'a Session, target: &'a Session) -> Vec<Pair<'a>> {
        if self.targets.is_empty() {
            return vec![Pair { source, target }];
        }
        let sources = std::iter::once(source).chain(&self.sources);
        let pair = |(source, target)| Pair { source, target };
        sources.zip(&self.targets).map(pair).collect()
    }

    /// The server processes that read for the run, where it reads from the server that it writes.
    pub fn readers(&self, context: &Context, source: &Session) -> Vec<i32> {
        if context.job.source != context.job.target {
            return Vec::new();
        }
        let sources = std::iter::once(source).chain(&self.sources);
        sources.map(Session::pid).collect()
    }

    /// Lets go of the snapshot.
    pub async fn release(&mut self) {
        let sources = std::mem::take(&mut self.sources);
        join_all(
            sources
                .into_iter()
                .map(|s| s.close(super::attempt::CLOSE_WAIT)),
        )
        .await;
    }

    /// All of its sessions.
    pub fn dismiss(&mut self) -> Vec<Session> {
        let mut all = std::mem::take(&mut self.sources);
        all.append(&mut self.targets);
        all
    }
}

/// Makes the snapshot of the open transaction known to others, until its end.
async fn export(source: &Session) -> Result<String> {
    let (what, sql) = (
        "the exported snapshot",
        "SELECT pg_catalog.pg_export_snapshot()",
    );
    source.one_row(Phase::Lock, what, sql, &[]).await?.get(0)
}

/// Opens a session that sees what `source` sees.
async fn import(context: &Context, source: &Session, snapshot: &str) -> Result<Session> {
    let reader = inspect::open(context, Side::Source).await?;
    reader
        .begin(Phase::Lock, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let snapshot = quote_literal(snapshot);
    let set = format!("SET TRANSACTION SNAPSHOT {}", snapshot.trim_start());
    let begun = reader.run(Phase::Lock, &set).await;
    begun.map_err(|error| error.hinted(ONE_SERVER))?;
    reader.verify(Phase::Lock).await?;
    // Another server may know a snapshot of this name, too.
    let (ours, theirs) = futures_util::future::try_join(seen(source), seen(&reader)).await?;
    match ours == theirs {
        true => Ok(reader),
        false => {
            let message = "a second connection came to another server than the first, or sees another \
                           snapshot";
            Err(
                Error::new(ErrorKind::Conflict, Phase::Lock, Side::Source, message)
                    .at(source.server())
                    .hinted(ONE_SERVER),
            )
        }
    }
}

const ONE_SERVER: &str = "several workers read one snapshot, so all connections of a run must come to \
     the same server: name one host in `conninfo`, or set `workers = 1`";

/// What tells a snapshot from all others.
async fn seen(session: &Session) -> Result<((String, String), String)> {
    let place = inspect::place(session).await?;
    let sql = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text";
    let row = session
        .one_row(Phase::Lock, "the snapshot of a connection", sql, &[])
        .await?;
    Ok((place, row.get(0)?))
}
