//! The sessions of a run's workers.

use futures_util::future::{join_all, try_join_all};

use super::bounds::CLOSE_WAIT;
use super::context::JobContext;
use super::ends::{self, SourceEnd, TargetEnd};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::{QualifiedName, quote_literal};
use crate::pg::session::Session;

/// The workers' sessions. The session with the source's snapshot and the session with the target's
/// transaction are not among them.
#[derive(Default)]
pub(super) struct WorkerPool {
    /// They read the source in the run's snapshot.
    sources: Vec<Session>,
    /// They load the target, each in transactions of its own.
    targets: Vec<Session>,
    /// Tables that the workers create. Empty once their rows are known to be published.
    pub created_tables: Vec<QualifiedName>,
}

/// What one worker reads from and what it writes to.
#[derive(Clone, Copy)]
pub(super) struct WorkerEnds<'a> {
    pub source: SourceEnd<'a>,
    pub target: TargetEnd<'a>,
}

impl WorkerPool {
    /// Opens the sessions of `workers` workers, unless they are open. The first worker reads through
    /// `source`, the others through sessions that import its snapshot.
    ///
    /// The workers take no locks on the source. Those of `source`, whose transaction ends last, protect
    /// them, too.
    pub async fn open(
        &mut self,
        context: &JobContext,
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
        let loaders = (0..workers).map(|_| ends::open(context, Side::Target));
        let (readers, loaders) =
            futures_util::future::try_join(try_join_all(readers), try_join_all(loaders)).await?;
        self.sources = readers.into_iter().flatten().collect();
        self.targets = loaders;
        Ok(())
    }

    /// The sessions that load; empty if the run's own target session loads.
    pub fn targets(&self) -> &[Session] {
        &self.targets
    }

    /// Those of each worker. With an empty pool, the run's own are the only ones.
    pub fn ends<'a>(&'a self, own: WorkerEnds<'a>) -> Vec<WorkerEnds<'a>> {
        if self.targets.is_empty() {
            return vec![own];
        }
        let others = self.sources.iter().map(SourceEnd::Server);
        let sources = std::iter::once(own.source).chain(others);
        let targets = self.targets.iter().map(TargetEnd::Server);
        let pair = |(source, target)| WorkerEnds { source, target };
        sources.zip(targets).map(pair).collect()
    }

    /// The process ids of the sessions that read, if source and target are the same server.
    pub fn readers(&self, context: &JobContext, source: &Session) -> Vec<i32> {
        if context.job.source != context.job.target {
            return Vec::new();
        }
        let sources = std::iter::once(source).chain(&self.sources);
        sources.map(Session::pid).collect()
    }

    /// Closes the sessions that read, which ends their use of the snapshot.
    pub async fn release(&mut self) {
        let sources = std::mem::take(&mut self.sources);
        join_all(sources.into_iter().map(|s| s.close(CLOSE_WAIT))).await;
    }

    /// Takes all sessions out of the pool.
    pub fn take_all(&mut self) -> Vec<Session> {
        let mut all = std::mem::take(&mut self.sources);
        all.append(&mut self.targets);
        all
    }
}

/// Exports the snapshot of the open transaction. Others can import it until the transaction ends.
async fn export(source: &Session) -> Result<String> {
    let (what, sql) = (
        "the exported snapshot",
        "SELECT pg_catalog.pg_export_snapshot()",
    );
    source.one_row(Phase::Lock, what, sql, &[]).await?.get(0)
}

/// Opens a session that imports the snapshot.
async fn import(context: &JobContext, source: &Session, snapshot: &str) -> Result<Session> {
    let reader = ends::open(context, Side::Source).await?;
    reader
        .begin(Phase::Lock, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let snapshot = quote_literal(snapshot);
    let set = format!("SET TRANSACTION SNAPSHOT {}", snapshot.trim_start());
    let begun = reader.run(Phase::Lock, &set).await;
    begun.map_err(|error| error.hinted(ONE_SERVER))?;
    reader.verify(Phase::Lock).await?;
    // Another server may have a snapshot of the same name.
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

/// Identifies a snapshot: its server, its database, and the transactions that it sees.
async fn seen(session: &Session) -> Result<((String, String), String)> {
    let place = ends::place(session).await?;
    let sql = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text";
    let row = session
        .one_row(Phase::Lock, "the snapshot of a connection", sql, &[])
        .await?;
    Ok((place, row.get(0)?))
}
