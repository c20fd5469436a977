//! `tableferry plan`: what a run would do, and why; or every reason why it can't.

use std::fmt::Write as _;
use std::sync::Arc;

use super::args::JobsArgs;
use super::{Exit, chosen, plain_table, print_job_error, print_json, print_text};
use crate::config::spec::Config;
use crate::error::Side;
use crate::plan::explain::{Explanation, TableExplanation};
use crate::plan::{self, Refusal};
use crate::report::log::LogListener;
use crate::report::{Listener, Trigger};
use crate::run::{Context, inspect};
use crate::words::counted;

pub(super) async fn run(config: &Config, wanted: JobsArgs) -> Exit {
    let Some(jobs) = chosen(config, wanted.jobs) else {
        return Exit::Usage;
    };
    let listener: Arc<dyn Listener> = Arc::new(LogListener);
    let mut exit = Exit::Done;
    for job in &jobs {
        let planned = match Context::new(config, job, Trigger::Manual, Arc::clone(&listener)) {
            Ok(context) => inspect::plan_only(&context)
                .await
                .map(|plan| (context, plan)),
            Err(error) => Err(error),
        };
        match planned {
            Ok((context, Ok(plan))) => {
                let explanation = plan::explain(&plan, &context.job);
                if wanted.json {
                    print_json(&explanation);
                } else {
                    print_text(&text(&explanation));
                }
            }
            Ok((_, Err(refusals))) => {
                exit = Exit::Failed;
                if wanted.json {
                    print_json(&Refused {
                        job,
                        refusals: &refusals,
                    });
                } else {
                    print_text(&refusals_text(job, &refusals));
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
struct Refused<'a> {
    job: &'a str,
    refusals: &'a [Refusal],
}

fn refusals_text(job: &str, refusals: &[Refusal]) -> String {
    let mut text = format!("job `{job}` cannot run:");
    for refusal in refusals {
        let _ = write!(text, "\n  {refusal}");
        if let Some(hint) = &refusal.hint {
            let _ = write!(text, "\n    hint: {hint}");
        }
    }
    text
}

fn text(explanation: &Explanation) -> String {
    let mode = serde_json::to_value(explanation.mode).unwrap_or_default();
    let mut text = format!(
        "job `{}`: {} of {}\n",
        explanation.job,
        mode.as_str().unwrap_or_default(),
        counted(explanation.tables.len(), "table")
    );
    for table in &explanation.tables {
        text.push_str(&table_text(table));
    }
    text.push_str("\nstatements, in order:\n");
    for statement in &explanation.statements {
        let _ = writeln!(text, "  {}: {}", side(statement.side), statement.sql);
    }
    text.push_str("\nlocks:\n");
    for lock in &explanation.locks {
        let side = side(lock.side);
        let _ = writeln!(
            text,
            "  {side}: {} on {}; blocks {}",
            lock.lock, lock.relation, lock.blocks
        );
    }
    for warning in &explanation.warnings {
        let _ = writeln!(text, "\nnote: {warning}");
    }
    text.trim_end().to_owned()
}

fn table_text(table: &TableExplanation) -> String {
    let mut text = format!("\n{} → {}: {}", table.source, table.target, table.format);
    if let Some(reason) = &table.format_reason {
        let _ = write!(text, ", because {reason}");
    }
    if let Some(rows) = table.rows_estimate {
        let _ = write!(text, "; about {}", counted(rows, "row"));
    }
    let mut columns = plain_table(["  column", "source type", "target type", "format"]);
    for column in &table.columns {
        let from = match &column.expression {
            Some(expression) => format!("{} = {expression}", column.source_type),
            None => column.source_type.clone(),
        };
        let format = match &column.format_reason {
            Some(reason) => format!("{}: {reason}", column.format),
            None => column.format.to_owned(),
        };
        columns.add_row([
            format!("  {}", column.name),
            from,
            column.target_type.clone(),
            format,
        ]);
    }
    let _ = writeln!(text, "\n{}", columns.trim_fmt());
    for warning in &table.warnings {
        let _ = writeln!(text, "  note: {warning}");
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
