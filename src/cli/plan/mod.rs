//! `tableferry plan`: prints what a run would do and why, or every reason why it cannot run.

mod sql;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use super::args::PlanArgs;
use super::colours::Tone;
use super::out::{
    Cell, ColumnRow, PlainTable, both_names, fitted, in_columns, in_short, print_json,
    print_layout, terminal_width, width_to_fit,
};
use super::{Exit, chosen, print_job_error};
use crate::config::spec::Config;
use crate::error::Side;
use crate::harmless::{line, message};
use crate::plan::explain::{ExplainedHook, Explanation, TableExplanation};
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
    let tables = &explanation.tables;
    let lines = match compares {
        true => {
            let rows: Vec<_> = tables
                .iter()
                .map(|t| table_row(t, cells_compared))
                .collect();
            in_columns(
                ["table", "rows", "format", "compare"],
                &rows,
                width_to_fit(),
            )
        }
        false => {
            let rows: Vec<_> = tables.iter().map(|t| table_row(t, cells)).collect();
            in_columns(["table", "rows", "format"], &rows, width_to_fit())
        }
    };
    for line in lines {
        let _ = writeln!(text, "{}", line.text());
    }
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
    text.push_str(&hooks_text(&explanation.hooks));
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

fn cells(table: &TableExplanation) -> [Cell; 3] {
    let rows = table.rows_estimate.map(|rows| format!("about {rows}"));
    [
        Cell::text(both_names(&table.source, &table.target)),
        Cell::number(rows.unwrap_or_else(|| "?".to_owned())),
        Cell::text(table.format),
    ]
}

fn cells_compared(table: &TableExplanation) -> [Cell; 4] {
    let [name, rows, format] = cells(table);
    [name, rows, format, Cell::text(table.compare.unwrap_or("-"))]
}

/// A table, with the reasons of its format and of its `compare` below it.
fn table_row<const N: usize>(
    table: &TableExplanation,
    cells: fn(&TableExplanation) -> [Cell; N],
) -> ColumnRow<N> {
    let mut below = Vec::new();
    if let Some(why) = &table.format_reason {
        below.push(format!("{}: {why}", table.format));
    }
    if let Some(why) = &table.compare_reason {
        below.push(match table.compare {
            Some(way) => format!("{way}: {why}"),
            None => why.clone(),
        });
    }
    ColumnRow {
        cells: cells(table),
        tone: (0, Tone::Plain),
        below: below.into_iter().map(|text| (text, Tone::Plain)).collect(),
    }
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

/// The user's own statements, each in short.
fn hooks_text(hooks: &[ExplainedHook]) -> String {
    let mut text = String::new();
    for (at, hook) in hooks.iter().enumerate() {
        if at == 0 {
            text.push_str("\nsql of the job, on the target (its locks are not listed below):\n");
        }
        if at == 0 || hooks[at - 1].list != hook.list {
            let when = match hook.list {
                "before_load" => "when the tables still have their old rows",
                "before_commit" => "when the tables have their new rows",
                _ => "after COMMIT, each statement in a transaction of its own",
            };
            let heading = format!("{}, {when}:", hook.list);
            let _ = writeln!(text, "{}", fitted(&heading, "  ", "    "));
        }
        let sql = in_short(&hook.sql);
        let first = format!("    {}: ", hook.number);
        let _ = writeln!(text, "{}", fitted(&line(&sql), &first, "      "));
    }
    text
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
