//! `tableferry run`: jobs in the foreground, one after the other.

use std::sync::Arc;

use bytesize::ByteSize;
use comfy_table::CellAlignment;
use uuid::Uuid;

use super::args::RunArgs;
use super::signals::InterruptWatch;
use super::{Exit, chosen, exit_of, plain_table, print_json, print_text, worse};
use crate::config::spec::Config;
use crate::report::log::LogListener;
use crate::report::{ErrorReport, Event, Listener, Outcome, RunReport, Trigger, progress};
use crate::run::{self, Cancelled, Context};
use crate::words::counted;

pub(super) async fn run(config: &Config, wanted: RunArgs) -> Exit {
    let Some(jobs) = chosen(config, wanted.jobs.clone()) else {
        return Exit::Usage;
    };
    let (canceller, cancelled) = run::cancellation();
    let Some(_watch) = InterruptWatch::start(canceller) else {
        return Exit::Failed;
    };
    let listener: Arc<dyn Listener> = Arc::new(Foreground {
        log: LogListener,
        progress: progress::for_stderr(),
    });
    let mut worst = Exit::Done;
    for job in &jobs {
        let exit = match one(config, job, &listener, &cancelled, &wanted).await {
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
    wanted: &RunArgs,
) -> crate::error::Result<Exit> {
    let mut context = Context::new(config, job, Trigger::Manual, Arc::clone(listener))?;
    context.full = wanted.full;
    let report = run::run(&context, cancelled).await;
    if wanted.json {
        print_json(&report);
    } else {
        print_summary(&report);
    }
    if let Some(error) = &report.error {
        print_failure(&report, error);
    }
    Ok(exit_of(report.outcome))
}

fn print_summary(report: &RunReport) {
    if report.outcome != Outcome::Committed {
        return;
    }
    let mut table = plain_table(["source", "target", "rows", "bytes", "format", "seconds"]);
    for row in &report.tables {
        table.add_row([
            row.source.clone(),
            row.target.clone(),
            row.rows_written.to_string(),
            ByteSize(row.bytes).to_string(),
            row.format.to_owned(),
            format!("{:.2}", row.seconds),
        ]);
    }
    for index in [2, 3, 5] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print_text(&table.trim_fmt());
    print_text(&format!(
        "{}: committed {} in {}, {}, {:.2} s",
        report.job,
        counted(report.rows_written(), "row"),
        counted(report.tables.len(), "table"),
        ByteSize(report.bytes()),
        report.duration().as_secs_f64()
    ));
}

fn print_failure(report: &RunReport, error: &ErrorReport) {
    let published = report.published_alone();
    let mut state = match report.outcome {
        Outcome::InDoubt => "it is not known whether the target was changed",
        Outcome::Committed => "the target was changed",
        Outcome::RolledBack | Outcome::Cancelled | Outcome::Skipped if published.is_empty() => {
            "the target is as it was"
        }
        Outcome::RolledBack | Outcome::Cancelled | Outcome::Skipped => "the rest is as it was",
    }
    .to_owned();
    if !published.is_empty() {
        state = format!("published before that: {}; {state}", published.join(", "));
    }
    eprintln!("job `{}`: {}; {state}", report.job, error.message);
    if let Some(hint) = &error.hint {
        eprintln!("  hint: {hint}");
    }
}

/// The log and the progress display. The log's own last line would repeat the summary.
struct Foreground {
    log: LogListener,
    progress: Box<dyn Listener>,
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
