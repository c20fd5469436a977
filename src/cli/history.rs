//! `tableferry history` lists runs, newest first. `tableferry schema` prints the DDL of the ledger.

use jiff::Timestamp;

use super::args::HistoryArgs;
use super::colours::Tone;
use super::out::{
    Cell, ColumnRow, complain, in_columns, in_short, print_json, print_lines, terminal_width,
};
use super::{Exit, chosen};
use crate::config::spec::Config;
use crate::run::ledger::{self, HistoryReader, RunRecord, RunState, Unread};
use crate::wording::counted;

pub(super) async fn run(config: &Config, wanted: HistoryArgs) -> Exit {
    let reader = HistoryReader {
        application_name: "tableferry history",
        statement_timeout: None,
    };
    let job = wanted.job.as_deref();
    let found = ledger::recorded(config, job, wanted.limit, reader).await;
    let exit = match found.is_incomplete() {
        true => Exit::Failed,
        false => Exit::Done,
    };
    for unread in &found.unread {
        complain!("tableferry: {unread}");
        if let Unread::Failed(error) = unread
            && let Some(hint) = error.hint()
        {
            complain!("  hint: {hint}");
        }
        if let Unread::Off = unread {
            return exit;
        }
    }
    let entries = found.runs;
    // A job may have a history and be configured no longer.
    if let (Some(job), true, Exit::Done) = (&wanted.job, entries.is_empty(), exit)
        && chosen(config, vec![job.clone()]).is_none()
    {
        return Exit::Usage;
    }
    if wanted.json {
        entries.iter().for_each(print_json);
    } else {
        print_table(&entries);
    }
    exit
}

fn print_table(entries: &[RunRecord]) {
    let rows: Vec<ColumnRow<7>> = entries.iter().map(row).collect();
    let headings = [
        "job",
        "state",
        "trigger",
        "started (UTC)",
        "took",
        "tables",
        "rows",
    ];
    print_lines(&in_columns(headings, &rows, terminal_width()));
}

fn row(entry: &RunRecord) -> ColumnRow<7> {
    let took = match entry.finished_at {
        Some(end) => took(entry.started_at, end),
        None => "-".to_owned(),
    };
    let mut below = Vec::new();
    if entry.rows_rejected() > 0 {
        below.push((
            format!("{} rejected", counted(entry.rows_rejected(), "row")),
            Tone::Notice,
        ));
    }
    below.extend(entry.drift().map(|drift| (in_short(&drift), Tone::Notice)));
    if entry.attempts > 1 {
        below.push((counted(u64::from(entry.attempts), "attempt"), Tone::Notice));
    }
    if let Some(error) = &entry.error {
        below.push((format!("error: {}", in_short(error)), Tone::Bad));
    }
    let tone = match entry.state {
        RunState::Committed => Tone::Good,
        RunState::RolledBack | RunState::Lost => Tone::Bad,
        RunState::Running | RunState::Cancelled => Tone::Notice,
    };
    ColumnRow {
        cells: [
            Cell::text(&entry.job),
            Cell::text(entry.state.as_str()),
            Cell::text(entry.trigger.as_str()),
            Cell::text(format!("{:.0}", entry.started_at)),
            Cell::number(took),
            Cell::number(entry.tables.len()),
            Cell::number(entry.rows_written()),
        ],
        tone: (1, tone),
        below,
    }
}

fn took(start: Timestamp, end: Timestamp) -> String {
    format!("{:.1} s", end.duration_since(start).as_secs_f64())
}
