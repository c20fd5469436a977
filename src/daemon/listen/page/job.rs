//! The page of one job: what it does now, its tables, its history.

use std::borrow::Cow;

use maud::{Markup, html};

use super::charts::{class_of_state, plot};
use super::overview::{freshness, hint};
use super::parts::{Condition, badges, bytes, cell, duration, number, time, time_or_dash, words};
use super::{Refresh, document, shown};
use crate::config::spec::JobSpec;
use crate::daemon::listen::history::Found;
use crate::daemon::live_run::{LiveProgress, OpenTable};
use crate::daemon::observed::{Observed, ObservedJob};
use crate::report::{RunReport, TableReport};
use crate::run::ledger::{RunRecord, TableRecord, Unread};

/// The whole page, if there is such a job.
pub(in crate::daemon::listen) fn job(
    observed: &Observed,
    name: &str,
    found: &Found,
    refresh: &Refresh,
) -> Option<String> {
    let job = observed.job(name)?;
    let refreshes = refresh.refresh != "off";
    let switch = match refreshes {
        true => "?refresh=off",
        false => "?",
    };
    let spec = observed.config.jobs.get(name);
    let body = html! {
        header {
            nav { a href="/" { "All jobs" } }
            h1 { (shown(name)) }
        }
        main {
            (summary(observed, job, spec))
            (live(observed, job))
            (tables(job, found))
            (history(observed, found))
        }
    };
    let title = format!("{name} – tableferry");
    Some(document(&title, refreshes, switch, &body))
}

fn summary(observed: &Observed, job: &ObservedJob, spec: Option<&JobSpec>) -> Markup {
    let (status, now, name) = (&job.status, observed.at, &job.status.job);
    let past = job.past.as_deref();
    html! {
        dl {
            dt { "State" }
            dd {
                (badges(&Condition::of(job), job, now))
            }
            @if let Some(since) = status.paused_since {
                dt { "Paused" }
                dd { (time(since, now)) "; " code { "tableferry resume " (shown(name)) } " ends the pause" }
            }
            @if let Some(spec) = spec {
                dt { "Copies" }
                dd {
                    (shown(&spec.source)) " → " (shown(&spec.target))
                    ", mode " (spec.mode.as_str())
                    @if let Some(cron) = &spec.schedule.cron { ", cron " code { (shown(cron)) } }
                    @if let Some(every) = spec.schedule.every { ", every " (duration(every.as_secs_f64())) }
                    @if !spec.schedule.after.is_empty() { ", after " (shown(&spec.schedule.after.join(", "))) }
                }
            }
            dt { "Data from" }
            dd { (freshness(observed, job).unwrap_or_else(|| html! { "–" })) }
            @if let Some(not_copied) = status.not_copied.in_words() {
                dt { "Not copied" }
                dd { (shown(&not_copied)) }
            }
            dt { "Last success" }
            dd { (time_or_dash(job.last_success_at, now)) }
            @if let Some(outcome) = status.last_outcome {
                dt { "Last run" }
                dd {
                    (words(outcome.as_str()))
                    @if let Some(at) = status.last_finished_at { ", " (time(at, now)) }
                }
            }
            dt { "Next run" }
            dd { (time_or_dash(status.next_run_at, now)) }
        }
        @if let Some(error) = &status.last_error {
            div.alert {
                p { (shown(error)) }
                @if let Some(hint) = hint(past) { p.hint { "Hint: " (shown(hint)) } }
            }
        }
    }
}

/// The active run.
fn live(observed: &Observed, job: &ObservedJob) -> Markup {
    let Some(live) = job.live.as_ref().map(|live| live.read()) else {
        return html! {};
    };
    html! {
        section aria-labelledby="live" {
            h2 #live { "The run that is active" }
            p { (progress_line(&live)) }
            @if let Some(error) = &job.status.attempt_error {
                p.alert {
                    "Attempt " (job.status.attempt.unwrap_or(1)) ". The one before failed: " (shown(error))
                }
            }
            @if let Some((server, holders)) = &live.locked {
                p.alert { "It waits for a lock on " (shown(server)) ", held by pid " (shown(holders)) }
            }
            @for open in live.open.values() { (open_table(observed, open)) }
        }
    }
}

fn progress_line(live: &LiveProgress) -> Markup {
    html! {
        (live.doing.as_str())
        @if live.tables > 0 { ", " (live.loaded) " of " (live.tables) " tables copied" }
        @if live.rows() > 0 { ", " (number(live.rows())) " rows, " (bytes(live.bytes())) }
    }
}

fn open_table(observed: &Observed, open: &OpenTable) -> Markup {
    let table = &open.progress;
    let left = open.seconds_left(observed.at);
    html! {
        p.progress {
            label {
                (shown(&table.target)) ": " (number(table.rows)) " rows, " (bytes(table.bytes)) " "
                @if let Some(share) = open.share() {
                    progress max="100" value=(format!("{:.0}", share * 100.0)) {
                        (format!("{:.0} %", share * 100.0))
                    }
                    " " (format!("{:.0} %", share * 100.0))
                }
            }
            @if let Some(left) = left { ", about " (duration(left)) " left" }
        }
    }
}

/// A table of the last run, and why its format was chosen, which the ledger does not know.
struct TableRow<'r> {
    table: Cow<'r, TableRecord>,
    why: Option<&'r str>,
}

impl<'r> From<&'r TableReport> for TableRow<'r> {
    fn from(table: &'r TableReport) -> Self {
        TableRow {
            table: Cow::Owned(TableRecord::new(table)),
            why: table.format_reason.as_deref(),
        }
    }
}

impl<'r> From<&'r TableRecord> for TableRow<'r> {
    fn from(table: &'r TableRecord) -> Self {
        TableRow {
            table: Cow::Borrowed(table),
            why: None,
        }
    }
}

/// The tables of the last run. After a restart only the ledger knows them.
fn tables(job: &ObservedJob, found: &Found) -> Markup {
    let report = job.past.as_ref().and_then(|past| past.report.as_deref());
    let has_tables = |report: &&RunReport| !report.tables.is_empty();
    let newest = found.as_ref().ok().and_then(|found| {
        let mut runs = found.runs.iter();
        runs.find(|run| !run.tables.is_empty())
    });
    let rows: Vec<TableRow<'_>> = match (report.filter(has_tables), newest) {
        (Some(report), _) => report.tables.iter().map(TableRow::from).collect(),
        (None, Some(run)) => run.tables.iter().map(TableRow::from).collect(),
        (None, None) => return html! {},
    };
    html! {
        section aria-labelledby="tables" {
            h2 #tables { "Tables of the last run" }
            div.wide tabindex="0" role="region" aria-labelledby="tables" {
                table.stacked.flow {
                    thead {
                        tr {
                            @for head in ["Table", "Mode", "Format", "Compare"] {
                                th scope="col" { (head) }
                            }
                            @for head in ["Read", "Inserted", "Updated", "Deleted", "Rejected", "Bytes"] {
                                th.number scope="col" { (head) }
                            }
                        }
                    }
                    tbody { @for row in &rows { (table_row(row)) } }
                }
            }
        }
    }
}

fn table_row(TableRow { table, why }: &TableRow<'_>) -> Markup {
    let rows = [
        ("Read", table.rows_read),
        ("Inserted", table.rows_inserted),
        ("Updated", table.rows_updated),
        ("Deleted", table.rows_deleted),
        ("Rejected", table.rows_rejected),
    ];
    html! {
        tr {
            th scope="row" {
                (shown(&table.target))
                @if table.source != table.target { br; small { "from " (shown(&table.source)) } }
            }
            td data-label="Mode" { (table.mode) }
            td data-label="Format" { (table.format) }
            (cell("", "Compare", table.compare.as_deref()))
            @for (label, rows) in rows { td.number data-label=(label) { (number(rows)) } }
            td.number data-label="Bytes" { (bytes(table.bytes)) }
        }
        @if let Some(why) = why {
            tr.below { td colspan="10" { small { (table.format) ": " (shown(why)) } } }
        }
        @if let Some(drift) = table.drift_in_words() {
            tr.below { td colspan="10" { small { "Columns " (shown(&drift)) } } }
        }
    }
}

fn history(observed: &Observed, found: &Found) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 #history { "History" }
            @match found {
                Err(why) => p.alert { (shown(why)) },
                Ok(found) => {
                    @for unread in &found.unread { (missing(unread)) }
                    @if found.runs.is_empty() { p { "No run is recorded." } }
                    @else {
                        (plot(&found.runs))
                        (runs(observed, &found.runs))
                    }
                }
            }
        }
    }
}

fn missing(unread: &Unread) -> Markup {
    html! {
        p.alert {
            (shown(&unread.to_string()))
            @if let Unread::Failed(error) = unread
                && let Some(hint) = error.hint() { br; span.hint { "Hint: " (shown(hint)) } }
        }
    }
}

fn runs(observed: &Observed, runs: &[RunRecord]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-labelledby="history" {
            table.stacked.flow {
                caption { "The last runs, newest first, from the ledger" }
                thead {
                    tr {
                        @for head in ["Started", "State", "Trigger"] { th scope="col" { (head) } }
                        @for head in ["Took", "Rows written", "Rejected", "Attempts"] {
                            th.number scope="col" { (head) }
                        }
                    }
                }
                tbody { @for run in runs { (run_row(observed, run)) } }
            }
        }
    }
}

fn run_row(observed: &Observed, run: &RunRecord) -> Markup {
    let took = run.finished_at.map(|end| {
        let seconds = end.duration_since(run.started_at).as_secs_f64();
        duration(seconds)
    });
    html! {
        tr {
            th scope="row" { (time(run.started_at, observed.at)) }
            td { span.badge.(class_of_state(run.state)) { (words(run.state.as_str())) } }
            td { (run.trigger.as_str()) }
            (cell("number", "Took", took))
            td.number data-label="Rows written" { (number(run.rows_written())) }
            td.number data-label="Rejected" { (number(run.rows_rejected())) }
            td.number data-label="Attempts" { (run.attempts) }
        }
        @if run.error.is_some() || run.retried.is_some() {
            tr.below.error {
                td colspan="7" {
                    (shown(run.error.as_deref().unwrap_or_default()))
                    @if let Some(retried) = &run.retried {
                        details {
                            summary { "Errors of earlier attempts" }
                            ol { @for why in retried { li { (shown(why)) } } }
                        }
                    }
                }
            }
        }
    }
}
