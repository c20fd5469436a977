//! Small pictures of runs: the strip of the overview, and the plot of a job's history.

use std::collections::VecDeque;

use maud::{Markup, html};

use super::parts::{class_of, duration, number, words};
use crate::report::Outcome;
use crate::run::ledger::{RunRecord, RunState};
use crate::wording::counted;

/// The last runs, oldest first: a bar for each. `None` without any.
pub(super) fn strip(runs: &VecDeque<Outcome>) -> Option<Markup> {
    let all = runs.len();
    if all == 0 {
        return None;
    }
    let is_ok = |outcome: &&Outcome| **outcome == Outcome::Committed;
    let ok = runs.iter().filter(is_ok).count();
    let label = format!("{}, {ok} committed", counted(all as u64, "run"));
    Some(html! {
        span.strip role="img" aria-label=(label) title=(label) {
            @for outcome in runs { i class=(class_of(*outcome)) {} }
        }
    })
}

/// The room of one run in the plot, and the height of its two rows of bars, and between them.
const STEP: usize = 12;
const HEIGHT: f64 = 60.0;
const GAP: f64 = 10.0;

/// Durations and rows of these runs, which are given newest first.
pub(super) fn plot(runs: &[RunRecord]) -> Markup {
    let bars: Vec<Bar> = runs.iter().rev().filter_map(Bar::of).collect();
    if bars.len() < 2 {
        return html! {};
    }
    let longest = bars.iter().map(|bar| bar.seconds).fold(0.0, f64::max);
    let most = bars.iter().map(|bar| bar.rows).max().unwrap_or(0);
    let width = bars.len() * STEP;
    let label = format!(
        "{}: the longest took {}, the largest wrote {}",
        counted(bars.len() as u64, "run"),
        duration(longest),
        counted_rows(most),
    );
    let base = HEIGHT * 2.0 + GAP;
    html! {
        figure {
            svg.plot role="img" aria-label=(label) viewBox=(format!("0 0 {width} {base}")) width=(width * 2) {
                @for (at, bar) in bars.iter().enumerate() {
                    g {
                        title { (bar.text()) }
                        (rect(at, bar.seconds / longest.max(0.001), HEIGHT, bar.class))
                        (rect(at, bar.rows as f64 / most.max(1) as f64, base, "rows"))
                    }
                }
            }
            figcaption { "Duration (above) and rows written (below) of " (label) "." }
        }
    }
}

struct Bar {
    class: &'static str,
    started: String,
    state: &'static str,
    seconds: f64,
    rows: u64,
}

impl Bar {
    fn of(run: &RunRecord) -> Option<Bar> {
        let seconds = run.finished_at?.duration_since(run.started_at);
        Some(Bar {
            class: class_of_state(run.state),
            started: format!("{:.0}", run.started_at),
            state: run.state.as_str(),
            seconds: seconds.as_secs_f64().max(0.0),
            rows: run.rows_written(),
        })
    }

    fn text(&self) -> String {
        let (state, took) = (words(self.state), duration(self.seconds));
        format!(
            "{}: {state}, {took}, {}",
            self.started,
            counted_rows(self.rows)
        )
    }
}

fn counted_rows(rows: u64) -> String {
    match rows {
        1 => "1 row".to_owned(),
        rows => format!("{} rows", number(rows)),
    }
}

/// A bar that stands on `base`. None is so small that it cannot be seen.
fn rect(at: usize, share: f64, base: f64, class: &str) -> Markup {
    let height = (share * HEIGHT).clamp(1.0, HEIGHT);
    html! {
        rect.(class) x=(at * STEP + 1) y=(format!("{:.1}", base - height)) width=(STEP - 2)
            height=(format!("{height:.1}")) {}
    }
}

/// The class of a state in the style sheet.
pub(super) fn class_of_state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Committed => "ok",
        RunState::RolledBack => "failing",
        RunState::Cancelled => "cancelled",
        RunState::Lost => "doubt",
    }
}
