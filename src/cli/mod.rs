//! The command line: parse arguments, call one command, turn its result into an exit code.
//!
//! Results go to stdout, logs and progress to stderr.

mod args;
mod check;
mod colours;
mod copy;
mod daemon;
mod history;
mod init;
mod jobs;
mod logging;
mod notify;
mod out;
mod pause;
mod plan;
mod run;
mod running;
mod signals;
mod status;
mod trigger;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config::spec::{Config, Warning};
use crate::config::{self, ConfigErrors, Request};
use crate::error::Error;
use crate::report::{ErrorReport, Outcome};
use out::{complain, print_json, print_layout};
use pause::PauseOrder;
use running::RunningDaemon;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// A run failed and the target is as it was, or an incompatibility was found.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Interrupted by a signal and rolled back.
    Interrupted = 3,
    /// The connection was lost during COMMIT.
    InDoubt = 4,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.command {
        args::Command::Completions { shell } => {
            let mut command = args::Args::command();
            clap_complete::generate(shell, &mut command, "tableferry", &mut std::io::stdout());
            Exit::Done.into()
        }
        args::Command::Man { directory } => print_man(directory.as_deref()).into(),
        args::Command::Schema => {
            print_layout(&crate::run::ledger::script());
            Exit::Done.into()
        }
        command => with_config(args.config, args.log_level, command).into(),
    }
}

fn with_config(file: Option<PathBuf>, log_level: Option<String>, command: args::Command) -> Exit {
    let request = Request::from_process(file);
    // One thread: the two sides of a copy then hand blocks to each other without waking another
    // core, which costs half the client's CPU time (see ARCHITECTURE.md).
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("tableferry: no runtime could be started: {error}");
            return Exit::Failed;
        }
    };
    // Those that only ask the daemon need no valid configuration.
    let daemon = || RunningDaemon::find(&request);
    let command = match command {
        args::Command::Trigger(wanted) => return runtime.block_on(trigger::run(&daemon(), wanted)),
        args::Command::Reload => return runtime.block_on(trigger::reload(&daemon())),
        args::Command::Status(wanted) => return runtime.block_on(status::run(&daemon(), wanted)),
        args::Command::Init(wanted) => {
            logging::start(log_level, "warn");
            return runtime.block_on(init::run(&request, wanted));
        }
        args::Command::Copy(wanted) => {
            logging::start(log_level, "warn");
            return runtime.block_on(copy::run(&request, *wanted));
        }
        command => command,
    };
    let config = match config::load(&request) {
        Ok(config) => config,
        Err(errors) => {
            complain_of(&errors);
            return Exit::Config;
        }
    };
    // A person in front of a command sees its results: the log would only repeat them.
    let level = match command {
        args::Command::Daemon => config.daemon.log_level.as_str(),
        _ => "warn",
    };
    let log = logging::start(log_level, level);
    for warning in warnings(&config, &command) {
        match command {
            args::Command::Daemon => tracing::warn!("{warning}"),
            _ => complain!("warning: {warning}"),
        }
    }
    runtime.block_on(async {
        match command {
            args::Command::Run(wanted) => run::run(&config, wanted).await,
            args::Command::Plan(wanted) => plan::run(&config, wanted).await,
            args::Command::Verify(wanted) => verify::run(&config, wanted).await,
            args::Command::Check(wanted) => check::run(&config, wanted).await,
            args::Command::Daemon => daemon::run(config, request, log).await,
            args::Command::Jobs { json } => jobs::run(config, json),
            args::Command::Notify(wanted) => notify::run(&config, &wanted),
            args::Command::Pause(wanted) => {
                pause::run(&config, wanted.jobs, PauseOrder::Pause).await
            }
            args::Command::Resume(wanted) => {
                pause::run(&config, wanted.jobs, PauseOrder::Resume).await
            }
            args::Command::History(wanted) => history::run(&config, wanted).await,
            args::Command::Trigger(_)
            | args::Command::Reload
            | args::Command::Init(_)
            | args::Command::Copy(_)
            | args::Command::Status(_)
            | args::Command::Schema
            | args::Command::Completions { .. }
            | args::Command::Man { .. } => Exit::Usage,
        }
    })
}

/// The warnings that concern what the command is about.
fn warnings<'c>(config: &'c Config, command: &args::Command) -> impl Iterator<Item = &'c Warning> {
    let jobs = match command {
        args::Command::Run(wanted) => Some(wanted.jobs.as_slice()),
        args::Command::Plan(wanted) => Some(wanted.jobs.as_slice()),
        args::Command::Verify(wanted) => Some(wanted.jobs.as_slice()),
        args::Command::Check(_) | args::Command::Daemon => Some(&[][..]),
        _ => None,
    };
    let chosen: Vec<_> = match jobs {
        None => Vec::new(),
        Some([]) => config.warnings.iter().collect(),
        Some(jobs) => config.warnings_of(jobs).collect(),
    };
    chosen.into_iter()
}

/// All that is wrong with a configuration, a line for each.
fn complain_of(errors: &ConfigErrors) {
    for error in &errors.0 {
        complain!("{error}");
    }
}

fn print_man(directory: Option<&Path>) -> Exit {
    let command = args::Args::command().disable_help_subcommand(true);
    let printed = match directory {
        Some(directory) => clap_mangen::generate_to(command, directory),
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout()),
    };
    match printed {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain!("tableferry: {error}");
            Exit::Failed
        }
    }
}

/// The exit code that a run's outcome stands for.
fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Committed | Outcome::Skipped => Exit::Done,
        Outcome::RolledBack => Exit::Failed,
        Outcome::Cancelled => Exit::Interrupted,
        Outcome::InDoubt => Exit::InDoubt,
    }
}

/// What needs a person's attention most, of two jobs.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::Done => 0,
        Exit::Failed => 1,
        Exit::Interrupted => 2,
        Exit::InDoubt => 3,
        Exit::Usage | Exit::Config => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// An error for people: what, where, why, and what to do.
fn print_error(job: &str, error: &Error, log_values: bool) {
    complain!("job `{job}`: {error}");
    if let Some(detail) = error.detail().filter(|_| log_values) {
        complain!("  the server says: {detail}");
    }
    if let Some(hint) = error.hint() {
        complain!("  hint: {hint}");
    }
}

/// The same for a command on several jobs, and on stdout where JSON is asked for.
fn print_job_error(config: &Config, job: &str, error: &Error, json: bool) {
    #[derive(serde::Serialize)]
    struct Failed<'a> {
        job: &'a str,
        error: ErrorReport,
    }
    let log_values = config.jobs.get(job).is_some_and(|spec| spec.log_values);
    if json {
        let error = ErrorReport::new(error, log_values);
        print_json(&Failed { job, error });
    }
    print_error(job, error, log_values);
}

/// The jobs that the arguments name, all of them when there are none; or the name of one that
/// is not configured, said on stderr.
fn chosen(config: &Config, names: Vec<String>) -> Option<Vec<String>> {
    if names.is_empty() {
        return Some(config.jobs.keys().cloned().collect());
    }
    let configured: Vec<_> = config.jobs.keys().map(String::as_str).collect();
    known(&configured, &names).then_some(names)
}

/// Whether all names are those of configured jobs; those that are not are said on stderr.
fn known(configured: &[&str], names: &[String]) -> bool {
    let mut all_known = true;
    for name in names
        .iter()
        .filter(|name| !configured.contains(&name.as_str()))
    {
        all_known = false;
        complain!(
            "tableferry: there is no job `{name}`; configured: {}",
            configured.join(", ")
        );
    }
    all_known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_job_decides_the_exit_code() {
        assert_eq!(worse(Exit::Done, Exit::Failed), Exit::Failed);
        assert_eq!(worse(Exit::InDoubt, Exit::Failed), Exit::InDoubt);
        assert_eq!(worse(Exit::Interrupted, Exit::Done), Exit::Interrupted);
    }
}
