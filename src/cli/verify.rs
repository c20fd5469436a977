//! `tableferry verify`: compares the rows of source and target, and shows where they differ.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::VerifyArgs;
use super::out::{PlainTable, both_names, fitted, print_json, print_layout};
use super::signals::InterruptWatch;
use super::{Exit, chosen, print_job_error};
use crate::config::spec::Config;
use crate::error::ErrorKind;
use crate::harmless::line;
use crate::report::difference::{TableDifference, What};
use crate::report::log::LogListener;
use crate::report::{Listener, RunTrigger};
use crate::run::verify::{Watcher, verify};
use crate::run::{self, RunContext};
use crate::wording::counted;

pub(super) async fn run(config: &Config, wanted: VerifyArgs) -> Exit {
    let Some(jobs) = chosen(config, wanted.jobs) else {
        return Exit::Usage;
    };
    let (canceller, cancelled) = run::cancellation();
    let Some(_watch) = InterruptWatch::start(canceller) else {
        return Exit::Failed;
    };
    let listener: Arc<dyn Listener> = Arc::new(LogListener);
    let mut exit = Exit::Done;
    for job in &jobs {
        let show = Show::new(job, wanted.json);
        let result = match RunContext::new(config, job, RunTrigger::Manual, Arc::clone(&listener)) {
            Ok(run) => verify(&run, &cancelled, &show).await,
            Err(error) => Err(error),
        };
        show.end();
        match result {
            Ok(true) => {}
            Ok(false) => exit = Exit::Failed,
            Err(error) => {
                exit = Exit::Failed;
                print_job_error(config, job, &error, wanted.json);
                if error.kind() == ErrorKind::Cancelled {
                    return Exit::Interrupted;
                }
            }
        }
    }
    exit
}

/// Prints what is found, and on a terminal what is being done.
struct Show<'a> {
    job: &'a str,
    json: bool,
    spinner: Option<ProgressBar>,
}

impl<'a> Show<'a> {
    fn new(job: &'a str, json: bool) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            // One line, whatever the names are.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(200));
            spinner
        });
        Show { job, json, spinner }
    }

    fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }

    /// Prints without the spinner in between.
    fn print(&self, text: impl FnOnce()) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(text),
            None => text(),
        }
    }
}

impl Watcher for Show<'_> {
    fn step(&self, target: &str, step: &str) {
        match &self.spinner {
            Some(spinner) => {
                let text = format!("{}  {target}: {step}", self.job);
                spinner.set_message(line(&text).into_owned());
            }
            None => tracing::info!(job = self.job, target, step, "verifying"),
        }
    }

    fn table(&self, found: &TableDifference) {
        self.print(|| {
            if self.json {
                print_json(found);
            } else {
                print_layout(&text(found));
            }
        });
    }
}

fn text(found: &TableDifference) -> String {
    let names = both_names(&found.source, &found.target);
    let mut text = format!("{}: ", line(&names));
    let same = found.missing + found.extra + found.different == 0;
    let _ = if same {
        write!(text, "equal, {}", counted(found.rows_source, "row"))
    } else {
        write!(
            text,
            "{}, {} on the source, {} on the target: {} missing, {} extra, {} different",
            if found.equal {
                "holds all of the source's rows"
            } else {
                "DIFFERENT"
            },
            counted(found.rows_source, "row"),
            found.rows_target,
            found.missing,
            found.extra,
            found.different
        )
    };
    let _ = write!(text, " ({:.2} s)", found.seconds);
    text = fitted(&text, "", "  ");
    if !found.ranges.is_empty() {
        let _ = write!(text, "\n{}", ranges(found));
    }
    for row in found.rows.iter().flatten() {
        let what = match row.what {
            What::Missing => "missing",
            What::Extra => "extra",
            What::Different => "different",
        };
        let _ = write!(text, "\n  {what}: {}", line(&row.key));
    }
    for left_out in &found.not_compared {
        let why = fitted(&line(&left_out.why), "  note: not compared: ", "    ");
        let _ = write!(text, "\n{why}");
    }
    if found.key.is_empty() && !same {
        let note = "there is no key, so a changed row counts as a missing and an extra one; the ranges are of the \
                    rows' hashes";
        let _ = write!(text, "\n{}", fitted(note, "  note: ", "    "));
    }
    text
}

fn ranges(found: &TableDifference) -> String {
    let mut table = PlainTable::new([
        "  range",
        "from",
        "to",
        "source",
        "target",
        "missing",
        "extra",
        "different",
    ])
    .fit();
    let end = |bound: &Option<Vec<String>>| bound.as_ref().map_or(String::new(), |b| b.join(", "));
    for range in &found.ranges {
        table.add([
            format!("  {}/{}", range.range, range.of),
            end(&range.from),
            end(&range.to),
            range.rows_source.to_string(),
            range.rows_target.to_string(),
            range.missing.to_string(),
            range.extra.to_string(),
            range.different.to_string(),
        ]);
    }
    table.align_right(3..8);
    table.text()
}
