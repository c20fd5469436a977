//! Parts that both pages use: conditions, times, durations, numbers.

use bytesize::ByteSize;
use jiff::Timestamp;
use maud::{Markup, Render, html};

use crate::daemon::observed::ObservedJob;
use crate::report::Outcome;

/// What a person looks for in a job, in the order in which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// The last run failed, or is in doubt.
    Failing,
    /// The data are older than `fresh_within`.
    Stale,
    /// A run is active, here or elsewhere.
    Running,
    /// A run waits for its turn.
    Waiting,
    /// `tableferry pause` keeps it from running.
    Paused,
    /// The last run was committed.
    Ok,
    /// No run has ended since the daemon started, and none was committed before.
    Idle,
}

impl Condition {
    pub(super) const ALL: [Condition; 7] = [
        Condition::Failing,
        Condition::Stale,
        Condition::Running,
        Condition::Waiting,
        Condition::Paused,
        Condition::Ok,
        Condition::Idle,
    ];

    /// All conditions of a job: one that is running may also be failing. The first one is the most important.
    pub(super) fn of(job: &ObservedJob) -> Vec<Condition> {
        let status = &job.status;
        let mut all = Vec::new();
        if matches!(
            status.last_outcome,
            Some(Outcome::RolledBack | Outcome::InDoubt)
        ) || status.attempt_error.is_some()
        {
            all.push(Condition::Failing);
        }
        if status.stale == Some(true) {
            all.push(Condition::Stale);
        }
        match status.state.as_str() {
            "running" | "elsewhere" => all.push(Condition::Running),
            "waiting" => all.push(Condition::Waiting),
            _ => {}
        }
        if status.paused_since.is_some() {
            all.push(Condition::Paused);
        }
        if all.is_empty() {
            all.push(match job.last_success_at {
                Some(_) => Condition::Ok,
                None => Condition::Idle,
            });
        }
        all
    }

    /// The name in URLs and in the style sheet.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Condition::Failing => "failing",
            Condition::Stale => "stale",
            Condition::Running => "running",
            Condition::Waiting => "waiting",
            Condition::Paused => "paused",
            Condition::Ok => "ok",
            Condition::Idle => "idle",
        }
    }
}

/// The conditions of a job, and for how long the run is active or waits, or the job is paused.
pub(super) fn badges(conditions: &[Condition], job: &ObservedJob, now: Timestamp) -> Markup {
    let status = &job.status;
    html! {
        @for condition in conditions {
            span.badge.(condition.as_str()) { (condition.as_str()) } " "
        }
        @if status.state == "elsewhere" { "another daemon runs it " }
        @if let Some(since) = status.since.or(status.paused_since) {
            (exactly(since, &format!("for {}", duration(now.duration_since(since).as_secs_f64()))))
        }
        @if let Some(attempt) = status.attempt { ", attempt " (attempt) }
        @if status.removed { ", removed from the configuration" }
    }
}

/// The class of an outcome in the style sheet.
pub(super) fn class_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Committed => "ok",
        Outcome::RolledBack => "failing",
        Outcome::InDoubt => "doubt",
        Outcome::Cancelled => "cancelled",
        Outcome::Skipped => "idle",
    }
}

/// For people: `rolled back`.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// A time as `3 min ago` or `in 3 min`, with the exact time for those who look closer.
pub(super) fn time(at: Timestamp, now: Timestamp) -> Markup {
    let seconds = now.duration_since(at).as_secs_f64();
    let text = match seconds {
        s if s.abs() < 1.0 => "now".to_owned(),
        s if s < 0.0 => format!("in {}", duration(-s)),
        s => format!("{} ago", duration(s)),
    };
    exactly(at, &text)
}

/// A text that stands for this time.
fn exactly(at: Timestamp, text: &str) -> Markup {
    let exact = format!("{at:.0}");
    html! { time datetime=(exact) title=(exact) { (text) } }
}

/// A cell of a table, with the label that it has where the table has no columns. A narrow window does not show it if it
/// is empty.
pub(super) fn cell(class: &str, label: &str, content: Option<impl Render>) -> Markup {
    match content {
        Some(content) => html! { td.(class) data-label=(label) { (content) } },
        None => html! { td.none.(class) { "–" } },
    }
}

/// The same, or a dash.
pub(super) fn time_or_dash(at: Option<Timestamp>, now: Timestamp) -> Markup {
    match at {
        Some(at) => time(at, now),
        None => html! { "–" },
    }
}

/// `1.5 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let two = |larger: u64, unit: &str, smaller: u64, sub: &str| match smaller {
        0 => format!("{larger} {unit}"),
        _ => format!("{larger} {unit} {smaller} {sub}"),
    };
    match whole {
        0..=9 => format!("{:.1} s", seconds.max(0.0)),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min", whole / 60),
        7200..=172_799 => two(whole / 3600, "h", whole / 60 % 60, "min"),
        _ => two(whole / 86_400, "d", whole / 3600 % 24, "h"),
    }
}

/// `1 234 567`, with spaces that do not break.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}
