//! The overview: counters, and a row for each job.

use maud::{Markup, html};

use super::charts::strip;
use super::parts::{Condition, badges, cell, class_of, duration, number, time, words};
use super::{Filter, document, shown};
use crate::daemon::control::NotifierStatusReply;
use crate::daemon::observed::{Observed, ObservedJob};
use crate::daemon::past_runs::JobPast;
use crate::report::{Outcome, TableReport};

/// The whole page.
pub(in crate::daemon::listen) fn overview(observed: &Observed, filter: &Filter) -> String {
    let mut rows: Vec<(Vec<Condition>, &ObservedJob)> = observed
        .jobs
        .iter()
        .map(|job| (Condition::of(job), job))
        .collect();
    let counts = Condition::ALL.map(|condition| {
        let has_it = rows.iter().filter(|(all, _)| all.contains(&condition));
        (condition, has_it.count())
    });
    rows.retain(|(conditions, job)| {
        let is_asked = |condition: &Condition| condition.as_str() == filter.state;
        job.status.job.contains(filter.name.trim())
            && (filter.state.is_empty() || conditions.iter().any(is_asked))
    });
    // Names are in order within each condition.
    rows.sort_by_key(|(conditions, _)| conditions.first().copied());
    let refreshes = filter.refresh != "off";
    let switched = if refreshes { "off" } else { "" };
    let switch = address(&filter.name, &filter.state, switched);
    let body = html! {
        header {
            h1 { "tableferry" }
            nav aria-label="Jobs by state" {
                ul.counters {
                    (counter("all", observed.jobs.len(), filter, ""))
                    @for (condition, count) in counts {
                        (counter(condition.as_str(), count, filter, condition.as_str()))
                    }
                }
            }
            (search(filter))
        }
        main {
            @if observed.reloads.is_refused {
                p.alert role="alert" {
                    "The configuration file is wrong. The configuration that was read "
                    (time(observed.reloads.accepted_at, observed.at))
                    " stays in force; `tableferry reload` shows the errors."
                }
            }
            (table(observed, &rows))
            (notices(&observed.notifiers))
        }
    };
    document("tableferry", refreshes, &switch, &body)
}

/// The address of the overview with these filters.
fn address(name: &str, state: &str, refresh: &str) -> String {
    let pairs = [("name", name), ("state", state), ("refresh", refresh)];
    let query: Vec<_> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    match query.is_empty() {
        true => "/".to_owned(),
        false => format!("/?{}", query.join("&")),
    }
}

/// A value of a query, in which only letters, digits and a few signs stay as they are.
fn percent(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn counter(label: &str, count: usize, filter: &Filter, state: &str) -> Markup {
    let is_current = filter.state == state;
    html! {
        li {
            a.(label) href=(address(&filter.name, state, &filter.refresh))
                aria-current=[is_current.then_some("true")] {
                strong { (count) } " " (label)
            }
        }
    }
}

fn search(filter: &Filter) -> Markup {
    html! {
        form role="search" action="/" method="get" {
            label for="name" { "Name contains" }
            input #name type="search" name="name" value=(shown(&filter.name));
            @if !filter.state.is_empty() {
                input type="hidden" name="state" value=(shown(&filter.state));
            }
            @if !filter.refresh.is_empty() {
                input type="hidden" name="refresh" value=(shown(&filter.refresh));
            }
            button { "Filter" }
        }
    }
}

fn table(observed: &Observed, rows: &[(Vec<Condition>, &ObservedJob)]) -> Markup {
    html! {
        table.stacked {
            caption { "Jobs, failing and stale ones first. Runs and rows since the daemon started " (time(observed.daemon_started_at, observed.at)) "." }
            thead {
                tr {
                    th scope="col" { "Job" }
                    th scope="col" { "State" }
                    th scope="col" { "Data from" }
                    th scope="col" { "Last run" }
                    th.number scope="col" { "Rows changed" }
                    th scope="col" { "Runs" }
                    th scope="col" { "Next run" }
                }
            }
            tbody {
                @for (conditions, job) in rows { (row(observed, conditions, job)) }
                @if rows.is_empty() {
                    tr {
                        td colspan="7" {
                            @if observed.jobs.is_empty() { "No job is configured." } @else { "No job matches." }
                        }
                    }
                }
            }
        }
    }
}

fn row(observed: &Observed, conditions: &[Condition], job: &ObservedJob) -> Markup {
    let status = &job.status;
    let past = job.past.as_deref();
    let error = status.attempt_error.as_ref().or(status.last_error.as_ref());
    html! {
        tr {
            th scope="row" { a href=(format!("/jobs/{}", percent(&status.job))) { (shown(&status.job)) } }
            td data-label="State" { (badges(conditions, job, observed.at)) }
            (cell("", "Data from", freshness(observed, job)))
            (cell("", "Last run", last_run(observed, job)))
            (cell("number", "Rows changed", changed(past)))
            (cell("", "Runs", past.and_then(|past| strip(&past.recent))))
            (cell("", "Next run", status.next_run_at.map(|at| time(at, observed.at))))
        }
        @if let Some(error) = error {
            tr.below.error {
                td colspan="7" {
                    (shown(error))
                    @if let Some(hint) = hint(past) { br; span.hint { "Hint: " (shown(hint)) } }
                }
            }
        }
    }
}

/// What the notifiers have sent, if there are any.
fn notices(notifiers: &[NotifierStatusReply]) -> Markup {
    if notifiers.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="notices" {
            h2 #notices { "Notices" }
            table.stacked {
                thead {
                    tr {
                        th scope="col" { "Notifier" }
                        @for head in ["Sent", "Failed", "Waiting"] { th.number scope="col" { (head) } }
                        th scope="col" { "Last error" }
                    }
                }
                tbody { @for notifier in notifiers { (notifier_row(notifier)) } }
            }
        }
    }
}

fn notifier_row(notifier: &NotifierStatusReply) -> Markup {
    html! {
        tr {
            th scope="row" { (shown(&notifier.notifier)) }
            td.number data-label="Sent" { (number(notifier.sent)) }
            td.number data-label="Failed" { (number(notifier.failed)) }
            td.number data-label="Waiting" { (notifier.waiting) }
            (cell("failing", "Last error", notifier.last_error.as_deref().map(shown)))
        }
    }
}

/// The age of the data, and the age that the job allows.
pub(super) fn freshness(observed: &Observed, job: &ObservedJob) -> Option<Markup> {
    let status = &job.status;
    let at = status.snapshot_at.or(job.last_success_at);
    let limit = status.fresh_within_seconds;
    (at.is_some() || limit.is_some()).then(|| {
        html! {
            @match at { Some(at) => (time(at, observed.at)), None => "–" }
            @if let Some(limit) = limit { " " small { "limit " (duration(limit)) } }
        }
    })
}

fn last_run(observed: &Observed, job: &ObservedJob) -> Option<Markup> {
    let outcome = job.status.last_outcome?;
    let report = job.past.as_ref().and_then(|past| past.report.as_ref());
    let took = report.filter(|_| outcome != Outcome::Skipped);
    Some(html! {
        span class=(class_of(outcome)) { (words(outcome.as_str())) }
        @if let Some(report) = took { " in " (duration(report.duration().as_secs_f64())) }
        @if let Some(at) = job.status.last_finished_at { ", " (time(at, observed.at)) }
    })
}

/// Rows that the last run has written, and in modes that look for differences also deleted.
fn changed(past: Option<&JobPast>) -> Option<String> {
    let report = past?.report.as_ref()?;
    let rows = |table: &TableReport| match table.mode.compares() {
        true => table.rows_changed(),
        false => table.rows_written,
    };
    (report.outcome == Outcome::Committed).then(|| number(report.tables.iter().map(rows).sum()))
}

/// What to do about the last error.
pub(super) fn hint(past: Option<&JobPast>) -> Option<&str> {
    past?.last.as_ref()?.error.as_ref()?.hint.as_deref()
}
