//! `tableferry run`: jobs in the foreground, one after the other.

use std::sync::Arc;

use bytesize::ByteSize;
use serde::Serialize;
use uuid::Uuid;

use super::args::RunArgs;
use super::colours::Tone;
use super::out::{
    Cell, ColumnRow, both_names, complain, in_columns, print_fitted, print_json, print_lines,
    print_text, width_to_fit,
};
use super::signals::InterruptWatch;
use super::{Exit, chosen, exit_of, worse};
use crate::config::spec::Config;
use crate::report::log::LogListener;
use crate::report::{
    ChangedRow, ErrorReport, Event, Listener, Outcome, RunReport, RunTrigger, TableReport, progress,
};
use crate::run::{self, Cancelled, RunContext};
use crate::wording::counted;

pub(super) async fn run(config: &Config, wanted: RunArgs) -> Exit {
    let Some(jobs) = chosen(config, wanted.jobs.clone()) else {
        return Exit::Usage;
    };
    let params = match params(config, &jobs, &wanted.param) {
        Ok(params) => params,
        Err(message) => {
            complain!("{message}");
            return Exit::Usage;
        }
    };
    let (canceller, cancelled) = run::cancellation();
    let Some(_watch) = InterruptWatch::start(canceller) else {
        return Exit::Failed;
    };
    let listener: Arc<dyn Listener> = Arc::new(Foreground::new());
    let mut worst = Exit::Done;
    for job in &jobs {
        let exit = match one(config, job, &listener, &cancelled, (&wanted, &params)).await {
            Ok(exit) => exit,
            Err(error) => {
                super::print_error(job, &error, false);
                Exit::Config
            }
        };
        worst = worse(worst, exit);
        if cancelled.is_cancelled() {
            break;
        }
    }
    worst
}

async fn one(
    config: &Config,
    job: &str,
    listener: &Arc<dyn Listener>,
    cancelled: &Cancelled,
    (wanted, params): (&RunArgs, &[(&str, &str)]),
) -> crate::error::Result<Exit> {
    let mut run = RunContext::new(config, job, RunTrigger::Manual, Arc::clone(listener))?;
    run.context.full = wanted.full;
    for (name, value) in params {
        let params = &mut run.context.job.params;
        params.insert((*name).to_owned(), (*value).to_owned());
    }
    if wanted.dry_run {
        run.rehearse();
    }
    let report = run::run(&run, cancelled).await;
    Ok(finish(&report, wanted.json, false))
}

/// The names and values of `--param`. *Errors:* one that is no parameter of all these jobs.
fn params<'a>(
    config: &Config,
    jobs: &[String],
    given: &'a [String],
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let split = |text: &'a String| {
        let pair = text.split_once('=');
        pair.ok_or_else(|| format!("`--param {text}` is not NAME=VALUE"))
    };
    let params: Vec<_> = given.iter().map(split).collect::<Result<_, _>>()?;
    for (name, _) in &params {
        for spec in jobs.iter().filter_map(|job| config.jobs.get(job)) {
            if !spec.params.contains_key(*name) {
                let known: Vec<&str> = spec.params.keys().map(String::as_str).collect();
                let known = match known.is_empty() {
                    true => "it has none".to_owned(),
                    false => format!("it has {}", known.join(", ")),
                };
                let job = &spec.name;
                return Err(format!("job `{job}` has no parameter `{name}`: {known}"));
            }
        }
    }
    Ok(params)
}

/// Prints what became of a run. `is_quiet`: its rows went to stdout.
pub(super) fn finish(report: &RunReport, json: bool, is_quiet: bool) -> Exit {
    print_changes(report, json);
    if json {
        print_json(report);
    } else if !is_quiet {
        print_summary(report);
    }
    if let Some(error) = &report.error {
        print_failure(report, error);
    }
    match report.dry_run && report.error.is_none() {
        true => Exit::Done,
        false => exit_of(report.outcome),
    }
}

/// The rows that a dry run would write.
fn print_changes(report: &RunReport, json: bool) {
    for table in &report.tables {
        for row in &table.changes {
            if json {
                print_json(&ChangeLine {
                    job: &report.job,
                    target: &table.target,
                    row,
                });
            } else {
                let ChangedRow {
                    change,
                    key,
                    before,
                    after,
                    ..
                } = row;
                print_text(&match change.as_str() {
                    "insert" => format!("{}: insert {key}: {after}", table.target),
                    "delete" => format!("{}: delete {key}: {before}", table.target),
                    _ => format!("{}: update {key}: {before} to {after}", table.target),
                });
            }
        }
    }
}

/// One row, with `--json`.
#[derive(Serialize)]
struct ChangeLine<'a> {
    job: &'a str,
    target: &'a str,
    #[serde(flatten)]
    row: &'a ChangedRow,
}

fn print_summary(report: &RunReport) {
    let rehearsed = report.dry_run && report.error.is_none();
    if report.outcome != Outcome::Committed && !rehearsed {
        return;
    }
    // Those that compare write only what differs.
    let staged = report.tables.iter().any(|table| table.mode.compares());
    print_lines(&if staged {
        let headings = [
            "table", "read", "inserted", "updated", "deleted", "bytes", "format", "seconds",
        ];
        in_columns(headings, &rows_of(report, staged_cells), width_to_fit())
    } else {
        let headings = ["table", "rows", "bytes", "format", "seconds"];
        in_columns(headings, &rows_of(report, loaded_cells), width_to_fit())
    });
    print_fitted(&format!(
        "{}: {} {} in {}, {}, {:.2} s",
        report.job,
        if rehearsed {
            "nothing was changed; a run would commit"
        } else {
            "committed"
        },
        what_was_written(report, staged),
        counted(report.tables.len(), "table"),
        ByteSize(report.bytes()),
        report.duration().as_secs_f64()
    ));
}

fn rows_of<const N: usize>(
    report: &RunReport,
    cells: fn(&TableReport) -> [Cell; N],
) -> Vec<ColumnRow<N>> {
    let row = |table| ColumnRow {
        cells: cells(table),
        tone: (0, Tone::Plain),
        below: Vec::new(),
    };
    report.tables.iter().map(row).collect()
}

fn staged_cells(table: &TableReport) -> [Cell; 8] {
    [
        Cell::text(both_names(&table.source, &table.target)),
        Cell::number(table.rows_read),
        Cell::number(table.rows_inserted),
        Cell::number(table.rows_updated),
        Cell::number(table.rows_deleted),
        Cell::number(ByteSize(table.bytes)),
        Cell::text(table.format),
        Cell::number(format!("{:.2}", table.seconds)),
    ]
}

fn loaded_cells(table: &TableReport) -> [Cell; 5] {
    [
        Cell::text(both_names(&table.source, &table.target)),
        Cell::number(table.rows_written),
        Cell::number(ByteSize(table.bytes)),
        Cell::text(table.format),
        Cell::number(format!("{:.2}", table.seconds)),
    ]
}

/// `3 rows`, or `1 row inserted, 2 updated, 0 deleted of 1000 rows read`.
fn what_was_written(report: &RunReport, staged: bool) -> String {
    if !staged {
        return counted(report.rows_written(), "row");
    }
    let sum = |rows: fn(&TableReport) -> u64| report.tables.iter().map(rows).sum::<u64>();
    format!(
        "{} inserted, {} updated, {} deleted of {} read",
        counted(sum(|table| table.rows_inserted), "row"),
        sum(|table| table.rows_updated),
        sum(|table| table.rows_deleted),
        counted(sum(|table| table.rows_read), "row")
    )
}

fn print_failure(report: &RunReport, error: &ErrorReport) {
    let committed = report.committed_tables();
    let mut state = match report.outcome {
        Outcome::InDoubt => "it is not known whether the target was changed",
        Outcome::Committed => "the target was changed",
        Outcome::RolledBack | Outcome::Cancelled | Outcome::Skipped if committed.is_empty() => {
            "the target is as it was"
        }
        Outcome::RolledBack | Outcome::Cancelled | Outcome::Skipped => "the rest is as it was",
    }
    .to_owned();
    if !committed.is_empty() {
        state = format!("published before that: {}; {state}", committed.join(", "));
    }
    complain!("job `{}`: {}; {state}", report.job, error.message);
    if let Some(hint) = &error.hint {
        complain!("  hint: {hint}");
    }
}

/// The log and the progress display. The log's own last line would repeat the summary.
pub(super) struct Foreground {
    log: LogListener,
    progress: Box<dyn Listener>,
}

impl Foreground {
    pub(super) fn new() -> Self {
        Foreground {
            log: LogListener,
            progress: progress::for_stderr(),
        }
    }
}

impl Listener for Foreground {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        match event {
            Event::Retrying { .. } | Event::Finished(_) => {}
            _ => self.log.on(job, run_id, event),
        }
        self.progress.on(job, run_id, event);
    }
}
