//! `tableferry history` lists runs, newest first. `tableferry schema` prints the DDL of the ledger.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::args::HistoryArgs;
use super::out::{PlainTable, complain, in_short, print_json};
use super::{Exit, chosen};
use crate::config::spec::{Config, History, ServerSpec};
use crate::error::{Error, Result, Side};
use crate::pg::session::{Session, SessionSettings};
use crate::run::bounds::{CLOSE_WAIT, COMMAND_LOCK_TIMEOUT};
use crate::run::ledger::{self, RunRecord, local};

pub(super) async fn run(config: &Config, wanted: HistoryArgs) -> Exit {
    let job = wanted.job.as_deref();
    let mut exit = Exit::Done;
    let mut entries = Vec::new();
    match config.daemon.history {
        History::Off => {
            complain!("tableferry: `history = \"off\"`: runs are not recorded");
            return Exit::Failed;
        }
        History::Local => match local::read(&config.daemon.state_dir, job, wanted.limit) {
            Ok(found) => entries = found,
            Err(error) => {
                exit = Exit::Failed;
                complain(&error);
            }
        },
        History::Target => {
            let (databases, directories): (Vec<_>, Vec<_>) =
                targets(config, job).into_iter().partition(|name| {
                    config
                        .servers
                        .get(name)
                        .is_some_and(ServerSpec::is_database)
                });
            // A directory has no place for a ledger.
            if !directories.is_empty() {
                match local::read(&config.daemon.state_dir, job, wanted.limit) {
                    Ok(found) => entries.extend(found),
                    Err(error) => {
                        exit = Exit::Failed;
                        complain(&error);
                    }
                }
            }
            for server in databases {
                match of_target(config, &server, job, wanted.limit).await {
                    Ok(Some(found)) => entries.extend(found),
                    Ok(None) => complain!("tableferry: there is no ledger on `{server}` yet"),
                    Err(error) => {
                        exit = Exit::Failed;
                        complain(&error);
                    }
                }
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
    entries.truncate(wanted.limit);
    // A job may have a history and be configured no longer.
    if let (Some(job), true, Exit::Done) = (&wanted.job, entries.is_empty(), exit)
        && chosen(config, vec![job.clone()]).is_none()
    {
        return Exit::Usage;
    }
    if wanted.json {
        entries.iter().for_each(print_json);
    } else {
        print_table(&entries);
    }
    exit
}

fn complain(error: &Error) {
    complain!("tableferry: {error}");
    if let Some(hint) = error.hint() {
        complain!("  hint: {hint}");
    }
}

/// The servers that may hold a job's runs: its target, or all targets. Two of them may be the same one by two names: each run is then
/// shown under both.
fn targets(config: &Config, job: Option<&str>) -> BTreeSet<String> {
    match job.and_then(|job| config.jobs.get(job)) {
        Some(spec) => BTreeSet::from([spec.target.clone()]),
        None => config
            .jobs
            .values()
            .map(|spec| spec.target.clone())
            .collect(),
    }
}

async fn of_target(
    config: &Config,
    server: &str,
    job: Option<&str>,
    limit: usize,
) -> Result<Option<Vec<RunRecord>>> {
    let Some(spec) = config.servers.get(server) else {
        return Ok(None);
    };
    let settings = SessionSettings {
        encoding: None,
        lock_timeout: COMMAND_LOCK_TIMEOUT,
        application_name: "tableferry history".to_owned(),
        replica: false,
    };
    let session = Session::open(spec, Side::Target, &settings).await?;
    let entries = ledger::history(&session, job, limit).await;
    session.close(CLOSE_WAIT).await;
    entries
}

fn print_table(entries: &[RunRecord]) {
    let mut table = PlainTable::new([
        "job",
        "state",
        "trigger",
        "started (UTC)",
        "took",
        "tables",
        "rows",
        "rejected",
        "attempts",
        "error",
    ])
    .fit();
    for entry in entries {
        table.add([
            entry.job.clone(),
            entry.state.as_str().to_owned(),
            entry.trigger.as_str().to_owned(),
            format!("{:.0}", entry.started_at),
            entry
                .finished_at
                .map_or("-".to_owned(), |end| took(entry.started_at, end)),
            entry.tables.len().to_string(),
            entry.rows_written().to_string(),
            entry.rows_rejected().to_string(),
            entry.attempts.to_string(),
            in_short(entry.error.as_deref().unwrap_or_default()),
        ]);
    }
    table.print();
}

fn took(start: Timestamp, end: Timestamp) -> String {
    format!("{:.1} s", end.duration_since(start).as_secs_f64())
}
