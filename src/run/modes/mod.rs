//! Steps before and after the load in modes that load into another table than the target. The plan has
//! decided their statements (`plan::staged`, `plan::swap`).

mod locks;
mod merge;
pub(super) mod partitions;
mod published;
pub(super) mod rounds;
mod row_counts;
pub(super) mod snapshot_wait;
pub(super) mod staging;
pub(super) mod swap;
mod upsert;

use crate::config::spec::{JobSpec, Mode, Scope, TableInput};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::{Inspected, sql};
use crate::run::context::JobContext;
use crate::run::resume;
use crate::run::transaction::PlannedRelations;

/// Checks that the target can evaluate the `where` that limits the rows which `merge` deletes. It is
/// written for the source's columns.
pub(super) async fn check_scope(target: &Session, job: &JobSpec, entry: &Inspected) -> Result<()> {
    let spec = &entry.spec;
    let (Mode::Merge, Scope::Where, Some(filter), Some(desc)) =
        (job.mode, spec.scope, &spec.filter, &entry.target)
    else {
        return Ok(());
    };
    let from = sql::from_item(&TableInput::Relation(desc.name.clone()), desc.kind);
    let sql = format!("SELECT FROM {from} WHERE ({})", sql::closed(filter));
    let prepared = target.answer(Phase::Inspect, target.client().prepare(&sql));
    let prepared = prepared.await?.map_err(|error| {
        let error = Error::pg(Phase::Inspect, Side::Target, error);
        error.at(target.server()).on(&desc.name).hinted(
            "`scope = \"where\"` evaluates `where` on the target, too: it may only use columns \
             and functions that both sides have",
        )
    });
    prepared.map(drop)
}

/// Creates the tables to load, after the target's relations have been locked and compared with the plan.
/// With several workers, `maker` is not the publishing session, and commits the tables; a shadow that one
/// worker loads whole is created by that worker.
pub(super) async fn make(
    context: &JobContext,
    maker: &Session,
    tables: &[CopyPlan],
    planned: &PlannedRelations,
    workers: u32,
) -> Result<()> {
    let shared = workers > 1;
    if shared {
        begin_shared(maker, Phase::Prepare).await?;
    }
    for table in tables {
        if let (Some(resume), Some(kept)) = (&table.resume, table.kept()) {
            resume::adopt(context, maker, table, resume, kept).await?;
            continue;
        }
        let statements = match &table.load {
            Load::Direct | Load::File(_) => continue,
            Load::Staged(staged) if staged.is_created_late() => continue,
            Load::Staged(staged) => &staged.create,
            Load::Shadow(_) if shared && !table.is_cut() => continue,
            Load::Shadow(shadow) => &shadow.make,
        };
        make_one(maker, table, statements, shared).await?;
        if let (Some(resume), Some(target)) = (&table.resume, planned.get(&table.target)) {
            let created = resume::create(maker, table, resume, target).await;
            created.map_err(|error| error.on(&table.target))?;
        }
    }
    match shared {
        true => commit_shared(maker).await,
        false => Ok(()),
    }
}

/// Creates a shadow in the transaction of the worker that loads it whole.
pub(super) async fn make_whole(loader: &Session, table: &CopyPlan) -> Result<()> {
    match &table.load {
        Load::Shadow(shadow) if !table.is_cut() => {
            make_one(loader, table, &shadow.make, true).await
        }
        Load::Direct | Load::Staged(_) | Load::Shadow(_) | Load::File(_) => Ok(()),
    }
}

async fn make_one(
    maker: &Session,
    table: &CopyPlan,
    statements: &[String],
    shared: bool,
) -> Result<()> {
    let made = async {
        for sql in statements {
            maker.run(Phase::Prepare, sql).await?;
        }
        match shared {
            true => hide(maker, table.written()).await,
            false => Ok(()),
        }
    };
    made.await.map_err(|error: Error| error.on(&table.target))
}

/// Begins a transaction whose rows another transaction publishes. Its COMMIT need not wait for the WAL to
/// be flushed: the publishing COMMIT comes later in the WAL and is flushed.
pub(super) async fn begin_shared(session: &Session, phase: Phase) -> Result<()> {
    session
        .begin(phase, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    session
        .run(phase, "SET LOCAL synchronous_commit = off")
        .await?;
    session.verify(phase).await
}

/// Commits rows that are not yet published. If the answer to COMMIT is lost, no published row is in doubt.
pub(super) async fn commit_shared(session: &Session) -> Result<()> {
    session.commit().await.map_err(|error| match error.kind() {
        ErrorKind::InDoubt => error.of_kind(ErrorKind::Unreachable),
        _ => error,
    })
}

/// Revokes privileges that ALTER DEFAULT PRIVILEGES granted: no other role may read a table before it is
/// published.
pub(super) async fn hide(maker: &Session, name: &QualifiedName) -> Result<()> {
    let sql = "SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' \
                      ELSE pg_catalog.quote_ident(r.rolname) END \
               FROM pg_catalog.pg_class AS c \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               CROSS JOIN pg_catalog.aclexplode(c.relacl) AS acl \
               LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = acl.grantee \
               WHERE n.nspname = $1 AND c.relname = $2 AND acl.grantee <> c.relowner \
                 AND (acl.grantee = 0 OR r.oid IS NOT NULL)";
    let (schema, table) = (name.schema.as_str(), name.name.as_str());
    let rows = maker.query(Phase::Prepare, sql, &[&schema, &table]).await?;
    let others: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "REVOKE ALL ON TABLE {} FROM {}",
        name.sql(),
        others.join(", ")
    );
    maker.run(Phase::Prepare, &sql).await
}
