//! `tableferry check`: validates the configuration; with `--connect`, also whether each job can run.

use std::path::Path;
use std::sync::Arc;

use super::args::CheckArgs;
use super::out::{complain, print_text};
use super::{Exit, print_error};
use crate::config::spec::{Config, History, ServerPlace, ServerSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::{Session, SessionSettings};
use crate::plan;
use crate::report::log::LogListener;
use crate::report::{Listener, RunTrigger};
use crate::run::bounds::{CLOSE_WAIT, COMMAND_LOCK_TIMEOUT};
use crate::run::ledger::{self, Readiness};
use crate::run::{RunContext, planning};
use crate::wording::counted;

pub(super) async fn run(config: &Config, wanted: CheckArgs) -> Exit {
    print_text(&format!(
        "{}: {}, {}: the configuration is valid",
        config.file.display(),
        counted(config.servers.len(), "server"),
        counted(config.jobs.len(), "job")
    ));
    if !wanted.connect {
        return Exit::Done;
    }
    let mut exit = Exit::Done;
    for server in config.servers.values() {
        match login(server).await {
            Ok(found) => print_text(&format!("server `{}`: {found}", server.name)),
            Err(error) => {
                exit = Exit::Failed;
                complain(server, &error);
            }
        }
    }
    if exit != Exit::Done {
        // A job's errors would only repeat the server's.
        return exit;
    }
    for server in ledger_servers(config) {
        match check_ledger(server).await {
            Ok(Readiness::Ready) => print_text(&format!("server `{}`: has a ledger", server.name)),
            Ok(Readiness::ToBeMade) => print_text(&format!(
                "server `{}`: the first run creates the ledger, schema tableferry",
                server.name
            )),
            Err(error) => {
                exit = Exit::Failed;
                complain(server, &error);
            }
        }
    }
    let listener: Arc<dyn Listener> = Arc::new(LogListener);
    for (name, spec) in &config.jobs {
        match check_job(config, name, &listener).await {
            Ok(tables) => print_text(&format!(
                "job `{name}`: {} can be copied",
                counted(tables, "table")
            )),
            Err(error) => {
                exit = Exit::Failed;
                print_error(name, &error, spec.log_values);
            }
        }
    }
    exit
}

fn complain(server: &ServerSpec, error: &Error) {
    complain!("server `{}`: {error}", server.name);
    if let Some(hint) = error.hint() {
        complain!("  hint: {hint}");
    }
}

async fn login(server: &ServerSpec) -> Result<String> {
    if let ServerPlace::Directory(path) = &server.place {
        return reachable(server, path);
    }
    let session = open(server, Side::Local).await?;
    let version = session.version();
    session.close(CLOSE_WAIT).await;
    Ok(format!(
        "logged in, PostgreSQL {}.{}",
        version / 10_000,
        version % 10_000
    ))
}

/// Can the directory be listed?
fn reachable(server: &ServerSpec, path: &Path) -> Result<String> {
    match std::fs::read_dir(path) {
        Ok(_) => Ok(format!("directory {}", path.display())),
        Err(error) => {
            let message = format!("{}: {error}", path.display());
            let kind = ErrorKind::Unreachable;
            let error = Error::new(kind, Phase::Connect, Side::Local, message).caused_by(error);
            Err(error.at(&server.name))
        }
    }
}

async fn open(server: &ServerSpec, side: Side) -> Result<Session> {
    let settings = SessionSettings {
        encoding: server.encoding.clone(),
        lock_timeout: COMMAND_LOCK_TIMEOUT,
        application_name: "tableferry check".to_owned(),
        replica: false,
    };
    Session::open(server, side, &settings).await
}

fn ledger_servers(config: &Config) -> impl Iterator<Item = &ServerSpec> {
    let is_target = |name: &str| config.jobs.values().any(|job| job.target == name);
    let recorded = config.daemon.history == History::Target;
    let servers = config.servers.values();
    servers.filter(move |server| recorded && server.is_database() && is_target(&server.name))
}

async fn check_ledger(server: &ServerSpec) -> Result<Readiness> {
    let session = open(server, Side::Target).await?;
    let readiness = ledger::check(&session).await;
    session.close(CLOSE_WAIT).await;
    readiness
}

async fn check_job(config: &Config, job: &str, listener: &Arc<dyn Listener>) -> Result<usize> {
    let run = RunContext::new(config, job, RunTrigger::Manual, Arc::clone(listener))?;
    let planned = planning::plan(&run).await?;
    planned
        .map(|plan| plan.tables.len())
        .map_err(|refusals| plan::to_error(&refusals))
}
