//! Paused jobs: their rows in the ledger, which every daemon obeys.

use jiff::Timestamp;

use super::{ENDED_LOCK_TIMEOUT, ask, ask_if_any, ddl, open_on, run_record};
use crate::config::spec::ServerSpec;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::run::RunContext;
use crate::run::bounds::CLOSE_WAIT;

/// Since when a job is paused, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub since: Timestamp,
    pub by: String,
}

/// What `pause` or `resume` has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseChange {
    /// The job's state has changed.
    Done,
    /// It was paused already.
    WasPaused(Pause),
    /// It was not paused.
    WasNotPaused,
}

/// Pauses a job. Creates the ledger if there is none.
pub async fn pause(target: &ServerSpec, job: &str) -> Result<PauseChange> {
    let target = open_on(target, "tableferry".to_owned(), ENDED_LOCK_TIMEOUT).await?;
    ddl::make(&target).await?;
    let sql = "INSERT INTO tableferry.pause (job, paused_by) VALUES ($1, $2) \
               ON CONFLICT (job) DO NOTHING RETURNING job";
    let rows = ask(&target, Phase::Prepare, sql, &[&job, &by()]).await?;
    let change = match rows.is_empty() {
        false => PauseChange::Done,
        true => found(&target, job)
            .await?
            .map_or(PauseChange::WasNotPaused, PauseChange::WasPaused),
    };
    target.close(CLOSE_WAIT).await;
    Ok(change)
}

/// Ends the pause of a job. Creates the ledger if there is none.
pub async fn resume(target: &ServerSpec, job: &str) -> Result<PauseChange> {
    let target = open_on(target, "tableferry".to_owned(), ENDED_LOCK_TIMEOUT).await?;
    ddl::make(&target).await?;
    let sql = "DELETE FROM tableferry.pause WHERE job = $1 RETURNING job";
    let rows = ask(&target, Phase::Prepare, sql, &[&job]).await?;
    target.close(CLOSE_WAIT).await;
    Ok(match rows.is_empty() {
        false => PauseChange::Done,
        true => PauseChange::WasNotPaused,
    })
}

/// The job's pause, and whether SQL has asked for a run of it.
pub(super) async fn before_run(
    run: &RunContext,
    target: &Session,
) -> Result<(Option<Pause>, bool)> {
    let sql = format!(
        "SELECT (EXTRACT(epoch FROM p.paused_at) * 1000000)::pg_catalog.int8, p.paused_by, \
                EXISTS (SELECT FROM tableferry.request AS r WHERE r.job = $1 AND {}) \
         FROM (SELECT) AS one LEFT JOIN tableferry.pause AS p ON p.job = $1",
        super::requests::open()
    );
    let row = target
        .one_row(
            Phase::Prepare,
            "the job's pause",
            &sql,
            &[&run.context.job.name],
        )
        .await
        .map_err(ddl::unusable)?;
    Ok((pause_of(row.get(0)?, row.get(1)?), row.get(2)?))
}

async fn found(target: &Session, job: &str) -> Result<Option<Pause>> {
    let sql = "SELECT (EXTRACT(epoch FROM paused_at) * 1000000)::pg_catalog.int8, paused_by \
               FROM tableferry.pause WHERE job = $1";
    let row = ask_if_any(target, Phase::Prepare, "the job's pause", sql, &[&job]).await?;
    Ok(match row {
        Some(row) => pause_of(row.get(0)?, row.get(1)?),
        None => None,
    })
}

fn pause_of(micros: Option<i64>, by: Option<String>) -> Option<Pause> {
    Some(Pause {
        since: Timestamp::from_microsecond(micros?).ok()?,
        by: by?,
    })
}

/// Who pauses: user and process, as runs name theirs.
fn by() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let user = user
        .ok()
        .flatten()
        .map_or_else(|| "?".to_owned(), |user| user.name);
    format!("{user}@{}", run_record::instance())
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "paused since {:.0} by {}", self.since, self.by)
    }
}
