//! What concerns a run after its COMMIT: when the last one was, and what failed afterwards.

use jiff::Timestamp;

use super::run_record::RunState;
use super::{ask, is_there, local};
use crate::config::spec::History;
use crate::error::{Error, Phase, Result};
use crate::pg::session::Session;
use crate::report::Event;
use crate::run::RunContext;

/// How many runs of a local history are looked through for one that was committed.
const LOCAL_RUNS_MAX: usize = 10_000;

/// The time of what the last committed run of the job has read: that of the source's snapshot, by its clock, or when the
/// run began. None if no run is recorded.
pub(in crate::run) async fn last_success(
    run: &RunContext,
    target: Option<&Session>,
) -> Result<Option<Timestamp>> {
    let job = &run.context.job.name;
    match (run.ledger.recorded, target) {
        (History::Local, _) => {
            let runs = local::read(&run.ledger.state_dir, Some(job), LOCAL_RUNS_MAX)?;
            let mut committed = runs.iter().filter(|run| run.state == RunState::Committed);
            let last = committed.next();
            Ok(last.map(|run| run.snapshot_at.unwrap_or(run.started_at)))
        }
        (History::Target, Some(target)) if is_there(target).await? => {
            let sql = "SELECT (EXTRACT(epoch FROM COALESCE(snapshot_at, started_at)) * 1000000)::pg_catalog.int8 \
                       FROM tableferry.run WHERE job = $1 AND state = 'committed' \
                       ORDER BY started_at DESC LIMIT 1";
            let rows = ask(target, Phase::Inspect, sql, &[job]).await?;
            let micros = rows.first().and_then(|row| row.get::<_, Option<i64>>(0));
            Ok(micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
        }
        (History::Target | History::Off, _) => Ok(None),
    }
}

/// Records that a statement after COMMIT has failed, if that can be done. The run stays committed.
pub(in crate::run) async fn after_commit_failed(run: &RunContext, target: &Session, why: &Error) {
    if run.ledger.history != History::Target {
        return;
    }
    let sql = "UPDATE tableferry.run SET error = $2 WHERE run_id = $1::pg_catalog.text::pg_catalog.uuid \
               RETURNING run_id";
    let run_id = run.context.run_id.to_string();
    let why = why.to_string();
    if let Err(error) = ask(target, Phase::After, sql, &[&run_id, &why]).await {
        let warning = format!("the error could not be recorded: {error}");
        run.context.tell(Event::Warned(warning));
    }
}
