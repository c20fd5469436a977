//! Runs that SQL asks for with `tableferry.request('job')`, and what a daemon looks for in a ledger.
//!
//! A request is claimed by the run that fulfils it, in the transaction that records the run as `running`. So it is
//! claimed once, and a request whose run was lost or cancelled is open again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ddl::{self, LedgerState};
use super::takeover::LOST_AFTER;
use super::{ENDED_LOCK_TIMEOUT, ask, open_on};
use crate::config::spec::ServerSpec;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::run::RunContext;

/// An older request is not fulfilled any more. Also in `schema.sql`.
pub const REQUEST_AGE_MAX: &str = "1 day";

/// Jobs whose requests one look finds. The others are found by the next one.
const REQUESTS_MAX: i64 = 100;

/// What a look at a ledger has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerLook {
    /// The paused jobs, and since when.
    pub paused: BTreeMap<String, Timestamp>,
    /// The jobs that SQL asks for, the oldest request first. They are not paused.
    pub requested: Vec<String>,
    /// When the snapshot was taken that the target holds, for the jobs that were asked about.
    pub snapshots: BTreeMap<String, Timestamp>,
}

/// The condition under which request `r` waits for a run.
pub(super) fn open() -> String {
    format!(
        "r.requested_at > pg_catalog.clock_timestamp() - INTERVAL '{REQUEST_AGE_MAX}' \
         AND (r.run_id IS NULL OR EXISTS (SELECT FROM tableferry.run AS its WHERE its.run_id = r.run_id \
              AND (its.state IN ('lost', 'cancelled') OR its.state = 'running' \
                   AND its.heartbeat_at < pg_catalog.clock_timestamp() - INTERVAL '{} seconds')))",
        LOST_AFTER.as_secs()
    )
}

/// Claims all open requests of the job for this run. Returns whether there was one, or whether an earlier attempt
/// of the run has claimed one. Must be called in the transaction that records the run.
pub(super) async fn claim(run: &RunContext, target: &Session) -> Result<bool> {
    let sql = format!(
        "UPDATE tableferry.request AS r SET run_id = $2::pg_catalog.text::pg_catalog.uuid, \
             claimed_at = pg_catalog.clock_timestamp() \
         WHERE r.job = $1 AND (r.run_id = $2::pg_catalog.text::pg_catalog.uuid OR {}) \
         RETURNING r.request_id",
        open()
    );
    let run_id = run.context.run_id.to_string();
    let parameters: [&dyn crate::pg::param::Param; 2] = [&run.context.job.name, &run_id];
    let claimed = ask(target, Phase::Prepare, &sql, &parameters).await;
    Ok(!claimed?.is_empty())
}

/// Opens a session for [`look`].
pub async fn open_session(target: &ServerSpec) -> Result<Session> {
    open_on(target, "tableferry".to_owned(), ENDED_LOCK_TIMEOUT).await
}

/// Looks for paused and requested jobs, and for the snapshots of these jobs. `None`: there is no ledger of this
/// version. Changes nothing.
pub async fn look(target: &Session, jobs: &[String]) -> Result<Option<LedgerLook>> {
    if ddl::state(target).await? != LedgerState::Ready {
        return Ok(None);
    }
    let sql = format!(
        "SELECT found.what, found.job, (EXTRACT(epoch FROM found.at) * 1000000)::pg_catalog.int8 FROM (\
           SELECT 'paused' AS what, p.job, p.paused_at AS at FROM tableferry.pause AS p \
           UNION ALL \
           (SELECT 'requested', r.job, pg_catalog.min(r.requested_at) FROM tableferry.request AS r \
            WHERE {} AND NOT EXISTS (SELECT FROM tableferry.pause AS p WHERE p.job = r.job) \
            GROUP BY r.job ORDER BY 3 LIMIT $2) \
           UNION ALL \
           SELECT 'snapshot', known.job, good.at FROM pg_catalog.unnest($1) AS known (job) \
           CROSS JOIN LATERAL (SELECT COALESCE(run.snapshot_at, run.started_at) AS at FROM tableferry.run \
               WHERE run.job = known.job AND run.state = 'committed' \
               ORDER BY run.started_at DESC LIMIT 1) AS good) AS found ORDER BY 3",
        open()
    );
    let names: Vec<&str> = jobs.iter().map(String::as_str).collect();
    let rows = ask(target, Phase::Inspect, &sql, &[&names, &REQUESTS_MAX]).await?;
    let mut found = LedgerLook::default();
    for row in rows {
        let (what, job, micros): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        let Ok(at) = Timestamp::from_microsecond(micros) else {
            continue;
        };
        match what.as_str() {
            "paused" => drop(found.paused.insert(job, at)),
            "requested" => found.requested.push(job),
            _ => drop(found.snapshots.insert(job, at)),
        }
    }
    Ok(Some(found))
}
