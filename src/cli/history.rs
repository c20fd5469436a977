//! `tableferry history` lists runs, newest first. `tableferry schema` prints the DDL of the ledger.

use jiff::Timestamp;

use super::args::HistoryArgs;
use super::out::{PlainTable, complain, in_short, print_json};
use super::{Exit, chosen};
use crate::config::spec::Config;
use crate::run::ledger::{self, HistoryReader, RunRecord, Unread};

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
    let mut table = PlainTable::new([
        "job",
        "state",
        "trigger",
        "started (UTC)",
        "took",
        "tables",
        "rows",
        "rejected",
        "attempts",
        "error",
    ])
    .fit();
    for entry in entries {
        table.add([
            entry.job.clone(),
            entry.state.as_str().to_owned(),
            entry.trigger.as_str().to_owned(),
            format!("{:.0}", entry.started_at),
            entry
                .finished_at
                .map_or("-".to_owned(), |end| took(entry.started_at, end)),
            entry.tables.len().to_string(),
            entry.rows_written().to_string(),
            entry.rows_rejected().to_string(),
            entry.attempts.to_string(),
            in_short(entry.error.as_deref().unwrap_or_default()),
        ]);
    }
    table.print();
}

fn took(start: Timestamp, end: Timestamp) -> String {
    format!("{:.1} s", end.duration_since(start).as_secs_f64())
}
