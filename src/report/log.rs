//! Writes one log line for each event, never with a cell value.

use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::{Elsewhere, Event, Listener, Outcome, RunReport, TableReport};

/// Writes events to the log.
pub struct LogListener;

impl Listener for LogListener {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        match event {
            Event::Started { trigger } => {
                info!(job, %run_id, trigger = trigger.as_str(), "started")
            }
            Event::Planned { tables, warnings } => {
                info!(job, %run_id, tables, "planned");
                for warning in warnings {
                    warn!(job, %run_id, "{warning}");
                }
            }
            Event::Locked { server, holders } => {
                info!(job, %run_id, server, holders, "waiting for a lock");
            }
            Event::TableStarted(table) => {
                debug!(job, %run_id, target_relation = table.target, "copying");
            }
            Event::TableMoved(_) | Event::SnapshotTaken | Event::SnapshotReleased => {}
            Event::TableLoaded(table) => info!(
                job, %run_id, target_relation = table.target,
                rows = table.rows, bytes = table.bytes, "loaded"
            ),
            Event::Publishing => debug!(job, %run_id, "publishing"),
            Event::Retrying {
                error,
                pause,
                attempt,
            } => warn!(
                job, %run_id, kind = error.kind().as_str(), sqlstate = error.sqlstate(),
                attempt, pause_seconds = pause.as_secs_f64(), "trying again: {error}"
            ),
            Event::Warned(warning) => warn!(job, %run_id, "{warning}"),
            Event::Finished(report) => finished(job, run_id, report),
        }
    }
}

/// Rows that a mode changed which writes only what differs.
fn changed(report: &RunReport, rows: fn(&TableReport) -> u64) -> Option<u64> {
    let compares = |table: &TableReport| table.mode.compares();
    let any = report.tables.iter().any(compares);
    any.then(|| report.tables.iter().map(rows).sum())
}

fn finished(job: &str, run_id: Uuid, report: &RunReport) {
    let seconds = report.duration().as_secs_f64();
    match (&report.outcome, &report.error) {
        (Outcome::Committed, _) if report.rows_rejected() > 0 => warn!(
            job, %run_id, tables = report.tables.len(), rows = report.rows_written(),
            rejected = report.rows_rejected(), bytes = report.bytes(), attempts = report.attempts, seconds,
            "committed without the rejected rows: see tableferry.rejected"
        ),
        (Outcome::Committed, _) => info!(
            job, %run_id, tables = report.tables.len(), rows = report.rows_written(),
            inserted = changed(report, |table| table.rows_inserted),
            updated = changed(report, |table| table.rows_updated),
            deleted = changed(report, |table| table.rows_deleted), bytes = report.bytes(), attempts = report.attempts, seconds, "committed"
        ),
        // Asked again and again, as long as that run lasts.
        (Outcome::Skipped, Some(why)) if report.elsewhere == Some(Elsewhere::AtWork) => {
            debug!(job, %run_id, "not run yet: {}", why.message);
        }
        (Outcome::Skipped, Some(why)) => info!(job, %run_id, "not run: {}", why.message),
        (outcome, Some(failure)) => error!(
            job, %run_id, outcome = outcome.as_str(), kind = failure.kind.as_str(),
            side = failure.side.as_str(),
            sqlstate = failure.sqlstate, relation = failure.relation, hint = failure.hint,
            attempts = report.attempts, seconds, "{}", failure.message
        ),
        (outcome, None) => {
            info!(job, %run_id, outcome = outcome.as_str(), seconds, "not committed")
        }
    }
}
