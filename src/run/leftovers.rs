//! Drops tables that workers created and that will not be published. A run that fails drops its own; the job's
//! next run drops tables that a killed run left behind.

use std::time::Duration;

use super::bounds::CLOSE_WAIT;
use super::context::JobContext;
use super::ends;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::JobPlan;
use crate::plan::shared;
use crate::report::Event;

/// How long a failed run may take to clean up.
const CLEAN_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for the lock on a table that a backend without a client may hold.
const LOCK_WAIT: &str = "1s";

/// Drops tables that killed runs of the job left behind. `target` holds the job's advisory lock, so no
/// such run is alive. Those that the plan keeps stay.
pub(super) async fn sweep(context: &JobContext, target: &Session, plan: &JobPlan) -> Result<()> {
    if context.dry_run && context.job.resume {
        // The next run may keep them.
        return Ok(());
    }
    let kept = plan.kept_tables();
    let mut names = find(context, target).await?;
    names.retain(|name| !kept.contains(name));
    if names.is_empty() {
        return Ok(());
    }
    // In separate transactions: the run may take long, or fail.
    let swept = tokio::time::timeout(CLEAN_WAIT, drop_all(context, &names)).await;
    let text: Vec<String> = names.iter().map(ToString::to_string).collect();
    match swept.unwrap_or_else(|_| Err(no_answer(context))) {
        Ok(()) => context.tell(Event::Warned(format!(
            "dropped tables that a killed run left behind: {}",
            text.join(", ")
        ))),
        Err(error) => context.tell(Event::Warned(format!(
            "tables that a killed run left behind could not be dropped yet: {error}"
        ))),
    }
    Ok(())
}

/// The tables that runs of the job have created and not published.
pub(super) async fn find(context: &JobContext, target: &Session) -> Result<Vec<QualifiedName>> {
    let sql = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, d.description \
               FROM pg_catalog.pg_description AS d \
               JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid AND c.relkind = 'r' \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 \
                 AND pg_catalog.starts_with(c.relname::pg_catalog.text, $1)";
    let rows = target
        .query(Phase::Prepare, sql, &[&shared::TABLE_PREFIX])
        .await?;
    let job = &context.job.name;
    Ok(rows
        .iter()
        .filter(|row| shared::is_leftover(row.get(1), row.get(2), job))
        .map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect())
}

/// Drops the tables that this attempt has created, after its sessions have ended. The job's next run drops
/// those that remain.
pub(super) async fn clean_up(context: &JobContext, made: &[QualifiedName]) {
    if made.is_empty() {
        return;
    }
    let cleaned = tokio::time::timeout(CLEAN_WAIT, drop_all(context, made)).await;
    if let Err(error) = cleaned.unwrap_or_else(|_| Err(no_answer(context))) {
        context.tell(Event::Warned(format!(
            "the tables that the workers loaded could not be dropped; the job's next run drops them: \
             {error}"
        )));
    }
}

/// Each table in a transaction of its own, so that a locked table does not affect the others. Returns the
/// first error.
async fn drop_all(context: &JobContext, names: &[QualifiedName]) -> Result<()> {
    let session = ends::open(context, Side::Target).await?;
    let mut result = Ok(());
    for name in names {
        session
            .begin(Phase::After, "ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await?;
        let sql = format!(
            "SET LOCAL lock_timeout = '{LOCK_WAIT}'; DROP TABLE IF EXISTS {}",
            name.sql()
        );
        let dropped = session.run(Phase::After, &sql).await;
        // After the error of a plain statement, the session can still be used.
        let end = if dropped.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        session.run(Phase::After, end).await?;
        result = result.and(dropped.map_err(|error| error.on(name)));
    }
    session.close(CLOSE_WAIT).await;
    result
}

fn no_answer(context: &JobContext) -> Error {
    let message = format!("no answer within {} s", CLEAN_WAIT.as_secs());
    Error::new(ErrorKind::Unreachable, Phase::After, Side::Target, message).at(&context.target.name)
}
