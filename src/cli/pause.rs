//! `tableferry pause` and `tableferry resume`: kept in the ledger, so that all daemons obey.

use super::out::{complain, print_text};
use super::{Exit, chosen, print_error, worse};
use crate::config::spec::{Config, History};
use crate::run::ledger::{self, PauseChange};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PauseOrder {
    Pause,
    Resume,
}

pub(super) async fn run(config: &Config, jobs: Vec<String>, order: PauseOrder) -> Exit {
    let Some(jobs) = chosen(config, jobs) else {
        return Exit::Usage;
    };
    let mut exit = Exit::Done;
    for job in &jobs {
        exit = worse(exit, one(config, job, order).await);
    }
    exit
}

async fn one(config: &Config, job: &str, order: PauseOrder) -> Exit {
    let server = config
        .jobs
        .get(job)
        .and_then(|spec| config.servers.get(&spec.target));
    let Some(server) = server else {
        return Exit::Config;
    };
    let refused = match config.daemon.history {
        History::Target if server.is_database() => None,
        History::Target => Some("its target is a directory, which has no ledger"),
        History::Local => Some("`history = \"local\"` keeps no ledger"),
        History::Off => Some("`history = \"off\"` keeps no ledger"),
    };
    if let Some(why) = refused {
        complain!("tableferry: job `{job}` cannot be paused: {why}");
        complain!("  hint: remove its `cron`, `every` and `after`, and reload the daemon");
        return Exit::Failed;
    }
    let changed = match order {
        PauseOrder::Pause => ledger::pause(server, job).await,
        PauseOrder::Resume => ledger::resume(server, job).await,
    };
    match (order, changed) {
        (_, Err(error)) => {
            print_error(job, &error, false);
            return Exit::Failed;
        }
        (PauseOrder::Pause, Ok(PauseChange::Done)) => print_text(&format!("{job}: paused")),
        (PauseOrder::Pause, Ok(PauseChange::WasPaused(pause))) => {
            print_text(&format!("{job}: already {pause}"));
        }
        // Another session has resumed it at the same moment.
        (PauseOrder::Pause, Ok(PauseChange::WasNotPaused)) => {
            complain!("tableferry: job `{job}` was resumed at the same time: try again");
            return Exit::Failed;
        }
        (PauseOrder::Resume, Ok(PauseChange::Done)) => print_text(&format!("{job}: resumed")),
        (PauseOrder::Resume, Ok(PauseChange::WasNotPaused | PauseChange::WasPaused(_))) => {
            print_text(&format!("{job}: was not paused"));
        }
    }
    Exit::Done
}
