//! The command-line arguments, for clap.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Keeps tables on one PostgreSQL server as exact copies of tables, or queries, on another.
#[derive(Debug, Parser)]
#[command(name = "tableferry", version, about, max_term_width = 100)]
pub(super) struct Args {
    /// Configuration file [default: $TABLEFERRY_CONFIG, /etc/tableferry/tableferry.toml,
    /// config/tableferry.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Log level: error, warn, info, debug, trace, or a filter such as `tableferry=debug`
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run jobs on schedule, on signals and on demand, until SIGTERM
    Daemon,
    /// Run jobs now, in the foreground
    Run(RunArgs),
    /// Connect, compare both schemas, and show what a run would do; copies nothing
    Plan(PlanArgs),
    /// Compare the rows of source and target, and show what differs; copies nothing
    Verify(VerifyArgs),
    /// Validate the configuration
    Check(CheckArgs),
    /// Ask the running daemon to run jobs now
    Trigger(TriggerArgs),
    /// Ask the running daemon to read its configuration again
    Reload,
    /// List the configured jobs with their next five fire times
    Jobs {
        /// Print one JSON object per job
        #[arg(long)]
        json: bool,
    },
    /// Show running jobs, and the last outcome and next run of every job
    Status(JobsArgs),
    /// Show past runs, newest first
    History(HistoryArgs),
    /// Print the ledger's DDL and GRANTs, for a DBA to run
    Schema,
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The jobs, by name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Read all rows again, regardless of watermarks
    #[arg(long)]
    pub full: bool,

    /// Print one JSON object per job
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct JobsArgs {
    /// The jobs, by name [default: all]
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Print one JSON object per job
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PlanArgs {
    /// The jobs, by name [default: all]
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Show all columns, and every statement that would run
    #[arg(long)]
    pub sql: bool,

    /// Print one JSON object per job
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct VerifyArgs {
    /// The jobs, by name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Print one JSON object per table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// Log in to every server, and check privileges and schemas of every job
    #[arg(long)]
    pub connect: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct TriggerArgs {
    /// The jobs, by name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Wait until the runs have ended, and exit with their exit code
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct HistoryArgs {
    /// The job [default: all]
    #[arg(value_name = "JOB")]
    pub job: Option<String>,

    /// Show at most this many runs
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,

    /// Print one JSON object per run
    #[arg(long)]
    pub json: bool,
}
