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
    /// Look at two servers, and write a configuration for the source's tables
    Init(InitArgs),
    /// Copy one table, query or file, without a configuration
    Copy(Box<CopyArgs>),
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
    Status(StatusArgs),
    /// Have all daemons leave jobs alone, until `resume`; kept in the ledger
    Pause(NamedJobsArgs),
    /// End the pause of jobs (not related to the key `resume`)
    Resume(NamedJobsArgs),
    /// Send a notice to see that it arrives
    Notify(NotifyArgs),
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
    Man {
        /// Write it and a page for each command into this directory instead
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The jobs, by name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Read all rows again, regardless of watermarks and of what has changed
    #[arg(long)]
    pub full: bool,

    /// Do everything but publish: show how many rows would be written, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Another value for a parameter of the jobs (`[jobs.NAME.params]`)
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,

    /// Print one JSON object per job
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct InitArgs {
    /// The server that is read, as a URI or key=value [default: asked for on a terminal]
    #[arg(long, value_name = "CONNINFO")]
    pub source: Option<String>,

    /// The server that is written [default: asked for on a terminal]
    #[arg(long, value_name = "CONNINFO")]
    pub target: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CopyArgs {
    /// The source: `-`, a path, SERVER#schema.table, or postgresql://…#schema.table
    #[arg(value_name = "FROM")]
    pub from: String,

    /// The target: the same
    #[arg(value_name = "TO")]
    pub to: String,

    /// Read this query instead of a table; FROM then names only the server
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,

    /// append, truncate, swap, merge or upsert [default: append; a file is always replaced]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,

    /// The file's format: csv, text or binary [default: by its ending; csv for `-`]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// The first line has the column names [default: true for csv]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub header: Option<bool>,

    /// The character that separates values (COPY's DELIMITER)
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub delimiter: Option<String>,

    /// The text that represents NULL (COPY's NULL)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub null: Option<String>,

    /// The quoting character of csv (COPY's QUOTE)
    #[arg(long, value_name = "CHARACTER")]
    pub quote: Option<String>,

    /// The character before a quote within quotes (COPY's ESCAPE)
    #[arg(long, value_name = "CHARACTER")]
    pub escape: Option<String>,

    /// Columns in which the NULL text is null even if it is quoted (COPY's FORCE_NULL)
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub force_null: Vec<String>,

    /// The file's encoding [default: UTF8]
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<String>,

    /// The columns to copy
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// The columns that identify a row, for merge and upsert [default: the primary key]
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub key: Vec<String>,

    /// Read only rows that satisfy this condition
    #[arg(long = "where", value_name = "CONDITION")]
    pub filter: Option<String>,

    /// Fail if no data moves for this long, such as 30s or 2h [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub stall_timeout: Option<String>,

    /// Publish only if exactly this many rows were read
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,

    /// What happens to rows that the target rejects: abort, or quarantine to put them into tableferry.rejected
    #[arg(long, value_name = "abort|quarantine")]
    pub on_error: Option<String>,

    /// With `--on-error quarantine`: more rejected rows fail the copy; a number, or a share like 0.1% [default: 100]
    #[arg(long, value_name = "N")]
    pub reject_limit: Option<String>,

    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// The jobs, by name [default: all]
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,

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
pub(super) struct NamedJobsArgs {
    /// The jobs, by name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct NotifyArgs {
    /// The NAME of a `[notify.NAME]`
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Send a test notice
    #[arg(long, required = true)]
    pub test: bool,
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
