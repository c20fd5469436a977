//! `tableferry plan`: prints what a run would do and why, or every reason why it cannot run.

mod sql;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use super::args::PlanArgs;
use super::out::{PlainTable, both_names, fitted, print_json, print_layout, terminal_width};
use super::{Exit, chosen, print_job_error};
use crate::config::spec::Config;
use crate::error::Side;
use crate::harmless::{line, message};
use crate::plan::explain::{Explanation, TableExplanation};
use crate::plan::lock::Lock;
use crate::plan::{self, Refusal};
use crate::report::log::LogListener;
use crate::report::{Listener, RunTrigger};
use crate::run::{RunContext, planning};
use crate::wording::counted;

pub(super) async fn run(config: &Config, wanted: PlanArgs) -> Exit {
    let Some(jobs) = chosen(config, wanted.jobs) else {
        return Exit::Usage;
    };
    let listener: Arc<dyn Listener> = Arc::new(LogListener);
    let mut exit = Exit::Done;
    for job in &jobs {
        let planned = match RunContext::new(config, job, RunTrigger::Manual, Arc::clone(&listener))
        {
            Ok(run) => planning::plan(&run).await.map(|plan| (run, plan)),
            Err(error) => Err(error),
        };
        match planned {
            Ok((run, Ok(plan))) => {
                let explanation = plan::explain(&plan, &run.context.job);
                if wanted.json {
                    print_json(&explanation);
                } else {
                    print_layout(&text(&explanation, wanted.sql));
                }
            }
            Ok((_, Err(refusals))) => {
                exit = Exit::Failed;
                if wanted.json {
                    print_json(&RefusedJob {
                        job,
                        refusals: &refusals,
                    });
                } else {
                    print_layout(&refusals_text(job, &refusals));
                }
            }
            Err(error) => {
                exit = Exit::Failed;
                print_job_error(config, job, &error, wanted.json);
            }
        }
    }
    exit
}

#[derive(serde::Serialize)]
struct RefusedJob<'a> {
    job: &'a str,
    refusals: &'a [Refusal],
}

fn refusals_text(job: &str, refusals: &[Refusal]) -> String {
    let mut text = format!("job `{job}` cannot run:");
    for refusal in refusals {
        let why = fitted(&line(&refusal.to_string()), "  ", "    ");
        let _ = write!(text, "\n{why}");
        if let Some(hint) = &refusal.hint {
            let _ = write!(text, "\n{}", fitted(&line(hint), "    hint: ", "      "));
        }
    }
    text
}

/// A summary; with `sql`, all columns and statements.
fn text(explanation: &Explanation, sql: bool) -> String {
    let mut text = format!(
        "job `{}`: {} of {}\n\n",
        explanation.job,
        explanation.mode.as_str(),
        counted(explanation.tables.len(), "table")
    );
    let compares = explanation
        .tables
        .iter()
        .any(|t| t.compare.is_some() || t.compare_reason.is_some());
    let header = ["  table", "rows", "format"];
    let mut tables = match compares {
        true => {
            let [name, rows, format] = header;
            PlainTable::new([name, rows, format, "compare"]).fit()
        }
        false => PlainTable::new(header).fit(),
    };
    for table in &explanation.tables {
        let rows = table.rows_estimate.map(|rows| format!("about {rows}"));
        let compare = match (table.compare, &table.compare_reason) {
            (Some(way), Some(why)) => format!("{way}: {why}"),
            (None, Some(why)) => why.clone(),
            (way, None) => way.unwrap_or_default().to_owned(),
        };
        let name = format!("  {}", both_names(&table.source, &table.target));
        let rows = rows.unwrap_or_else(|| "?".to_owned());
        let format = format_and_reason(table.format, table.format_reason.as_deref());
        match compares {
            true => tables.add([name, rows, format, compare]),
            false => tables.add([name, rows, format]),
        }
    }
    tables.align_right([1]);
    let _ = writeln!(text, "{}", tables.text());
    if sql {
        for table in &explanation.tables {
            text.push_str(&columns_text(table));
        }
        text.push_str("\nstatements, in order:\n");
        for statement in &explanation.statements {
            let sql = message(&statement.sql);
            let first = format!("  {}: ", side(statement.side));
            let sql = match std::io::stdout().is_terminal() {
                true => sql::wrapped(&sql, terminal_width(), &first, "      "),
                false => format!("{first}{sql}"),
            };
            let _ = writeln!(text, "{sql}");
        }
    }
    text.push_str(&locks_text(&explanation.locks));
    let of_tables = explanation.tables.iter().flat_map(|table| {
        let target = &table.target;
        table
            .warnings
            .iter()
            .map(move |warning| format!("{target}: {warning}"))
    });
    for (at, warning) in of_tables
        .chain(explanation.warnings.iter().cloned())
        .enumerate()
    {
        let before = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{before}{}", fitted(&line(&warning), "note: ", "  "));
    }
    if !sql {
        text.push_str("\n`--sql` shows all columns and every statement.\n");
    }
    text.trim_end().to_owned()
}

fn format_and_reason(format: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{format}: {reason}"),
        None => format.to_owned(),
    }
}

fn columns_text(table: &TableExplanation) -> String {
    let mut columns = PlainTable::new(["    column", "source type", "target type", "format"]).fit();
    for column in &table.columns {
        let from = match &column.expression {
            Some(expression) => format!("{} = {expression}", column.source_type),
            None => column.source_type.clone(),
        };
        columns.add([
            format!("    {}", column.name),
            from,
            column.target_type.clone(),
            format_and_reason(column.format, column.format_reason.as_deref()),
        ]);
    }
    format!("\n  {}\n{}\n", line(&table.target), columns.text())
}

/// The locks, relations of the same lock together.
fn locks_text(locks: &[Lock]) -> String {
    let mut text = "\nlocks:\n".to_owned();
    let mut groups: Vec<(&Lock, Vec<&str>)> = Vec::new();
    for lock in locks {
        let same = |other: &Lock| {
            (other.side, other.lock, other.blocks) == (lock.side, lock.lock, lock.blocks)
        };
        match groups.iter_mut().find(|(other, _)| same(other)) {
            Some((_, relations)) => relations.push(&lock.relation),
            None => groups.push((lock, vec![&lock.relation])),
        }
    }
    for (lock, relations) in groups {
        let held = format!(
            "{}: {} on {}; blocks {}",
            side(lock.side),
            lock.lock,
            line(&relations.join(", ")),
            lock.blocks
        );
        let _ = writeln!(text, "{}", fitted(&held, "  ", "    "));
    }
    text
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
        Side::Local => "here",
    }
}
