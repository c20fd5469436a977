//! A bar for each table that is being copied, and one for all tables of the run.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{
    HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};
use uuid::Uuid;

use super::{locked, retrying};
use crate::harmless;
use crate::report::{Event, Listener, TableProgress};

/// How often a bar is drawn if nothing moves.
const TICK: Duration = Duration::from_millis(200);

/// The length of the bar of a run.
const WHOLE: f64 = 1000.0;

pub(super) struct Bars {
    all: MultiProgress,
    running: Mutex<HashMap<Uuid, RunBars>>,
}

/// The bars of one run.
#[derive(Default)]
struct RunBars {
    tables: Vec<Bar>,
    /// Of a run of several tables.
    whole: Option<WholeBar>,
}

/// A table that is being copied; several workers may be at several. The last one of a run stays until
/// its end.
struct Bar {
    number: usize,
    bar: ProgressBar,
    loaded: bool,
}

struct WholeBar {
    bar: ProgressBar,
    began: Instant,
    totals: Totals,
}

/// What all tables of a run have come to.
#[derive(Debug, Default)]
struct Totals {
    of: usize,
    loaded: usize,
    rows_loaded: u64,
    bytes_loaded: u64,
    open: BTreeMap<usize, TableProgress>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            running: Mutex::new(HashMap::new()),
        }
    }

    fn start(&self, job: &str, run_id: Uuid, table: &TableProgress) {
        let mut running = self.lock();
        let run = running.entry(run_id).or_default();
        if table.of > 1 && run.whole.is_none() {
            run.whole = Some(self.whole(table.of));
        }
        let bar = match table.rows_estimate {
            Some(rows) => ProgressBar::new(rows.max(1)),
            None => ProgressBar::new_spinner(),
        };
        let bar = match &run.whole {
            Some(whole) => self.all.insert_before(&whole.bar, bar),
            None => self.all.add(bar),
        };
        bar.set_style(style(table.rows_estimate.is_some()));
        let place = format!("{job}  {}/{} {}", table.number, table.of, table.target);
        bar.set_message(harmless::line(&place).into_owned());
        bar.enable_steady_tick(TICK);
        clear(&mut run.tables, |old| {
            old.loaded || old.number == table.number
        });
        run.tables.push(Bar {
            number: table.number,
            bar,
            loaded: false,
        });
        run.total(job, |totals| totals.moved(table));
    }

    fn whole(&self, of: usize) -> WholeBar {
        let bar = self.all.add(ProgressBar::new(WHOLE as u64));
        bar.set_style(whole_style());
        bar.enable_steady_tick(TICK);
        let totals = Totals {
            of,
            ..Totals::default()
        };
        WholeBar {
            bar,
            began: Instant::now(),
            totals,
        }
    }

    fn moved(&self, job: &str, run_id: Uuid, table: &TableProgress, loaded: bool) {
        let mut running = self.lock();
        let Some(run) = running.get_mut(&run_id) else {
            return;
        };
        run.total(job, |totals| match loaded {
            true => totals.loaded(table),
            false => totals.moved(table),
        });
        let alone = run.tables.len() == 1;
        if loaded && !alone {
            clear(&mut run.tables, |old| old.number == table.number);
        }
        let mut rows = run.tables.iter_mut();
        let Some(row) = rows.find(|row| row.number == table.number) else {
            return;
        };
        row.loaded |= loaded;
        // Statistics are old: a bar must not be full before the table is.
        if row.bar.length().is_some_and(|length| length < table.rows) {
            row.bar.set_length(table.rows);
        }
        row.bar.set_position(table.rows);
        row.bar.set_prefix(match table.permille {
            Some(permille) => format!("{}, {} % of the file", ByteSize(table.bytes), permille / 10),
            None => ByteSize(table.bytes).to_string(),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, RunBars>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunBars {
    fn total(&mut self, job: &str, change: impl FnOnce(&mut Totals)) {
        let Some(WholeBar { bar, began, totals }) = &mut self.whole else {
            return;
        };
        change(totals);
        bar.set_message(format!("{}/{} tables  {job}", totals.loaded, totals.of));
        bar.set_prefix(totals.text(began.elapsed()));
        bar.set_position((totals.share() * WHOLE) as u64);
    }

    /// The last phase of the run, which has no rows of its own.
    fn publishing(&self, job: &str) {
        let of_table = || self.tables.last().map(|table| &table.bar);
        if let Some(bar) = self
            .whole
            .as_ref()
            .map(|whole| &whole.bar)
            .or_else(of_table)
        {
            bar.set_message(format!("{job}  publishing"));
        }
    }

    fn clear(mut self) {
        clear(&mut self.tables, |_| true);
        if let Some(whole) = &self.whole {
            whole.bar.finish_and_clear();
        }
    }
}

impl Totals {
    fn moved(&mut self, table: &TableProgress) {
        self.open.insert(table.number, table.clone());
    }

    fn loaded(&mut self, table: &TableProgress) {
        self.open.remove(&table.number);
        self.loaded += 1;
        self.rows_loaded += table.rows;
        self.bytes_loaded += table.bytes;
    }

    /// The share of the tables that is copied; each counts the same, because the size of the next ones is not known.
    fn share(&self) -> f64 {
        let of_open = self.open.values().map(|table| {
            let of_file = table.permille.map(|permille| f64::from(permille) / 1000.0);
            let estimate = table.rows_estimate.filter(|rows| *rows > 0);
            let of_rows = estimate.map(|estimate| table.rows as f64 / estimate as f64);
            of_file.or(of_rows).unwrap_or_default().clamp(0.0, 0.99)
        });
        let done = self.loaded as f64 + of_open.sum::<f64>();
        (done / self.of.max(1) as f64).min(1.0)
    }

    /// Rows, bytes and bytes per second.
    fn text(&self, elapsed: Duration) -> String {
        let sum = |of: fn(&TableProgress) -> u64| self.open.values().map(of).sum::<u64>();
        let rows = self.rows_loaded + sum(|table| table.rows);
        let bytes = self.bytes_loaded + sum(|table| table.bytes);
        let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
        format!(
            "{} rows {} {}/s",
            HumanCount(rows),
            ByteSize(bytes),
            ByteSize(rate as u64)
        )
    }
}

impl Listener for Bars {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        match event {
            Event::TableStarted(table) => self.start(job, run_id, table),
            Event::TableMoved(table) => self.moved(job, run_id, table, false),
            Event::TableLoaded(table) => self.moved(job, run_id, table, true),
            Event::Retrying {
                error,
                pause,
                attempt,
            } => {
                // The next attempt begins anew.
                if let Some(run) = self.lock().remove(&run_id) {
                    run.clear();
                }
                let text = retrying(job, error, *pause, *attempt);
                let _ = self.all.println(harmless::message(&text));
            }
            Event::Locked { server, holders } => {
                let text = locked(job, server, holders);
                let _ = self.all.println(harmless::message(&text));
            }
            Event::Finished(_) => {
                if let Some(run) = self.lock().remove(&run_id) {
                    run.clear();
                }
            }
            Event::Publishing => {
                if let Some(run) = self.lock().get(&run_id) {
                    run.publishing(job);
                }
            }
            Event::Started { .. }
            | Event::Planned { .. }
            | Event::SnapshotTaken
            | Event::SnapshotReleased
            | Event::Warned(_) => {}
        }
    }
}

fn clear(bars: &mut Vec<Bar>, which: impl Fn(&Bar) -> bool) {
    bars.retain(|row| {
        let gone = which(row);
        if gone {
            row.bar.finish_and_clear();
        }
        !gone
    });
}

/// The name takes what the numbers leave of the line, so that a bar is one line everywhere.
fn style(has_estimate: bool) -> ProgressStyle {
    let template = if has_estimate {
        "{wide_msg} [{bar:10}] {percent:>3}% {human_pos} rows {prefix} {rate}/s {eta}"
    } else {
        "{wide_msg} {spinner} {human_pos} rows {prefix} {rate}/s"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        })
        .progress_chars("=> ")
}

/// The same for all tables of a run.
fn whole_style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg} [{bar:10}] {percent:>3}% {prefix} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(number: usize, rows: u64, rows_estimate: Option<u64>) -> TableProgress {
        TableProgress {
            number,
            of: 4,
            target: "public.t".to_owned(),
            rows,
            bytes: rows * 1024,
            rows_estimate,
            permille: None,
        }
    }

    #[test]
    fn a_run_has_come_as_far_as_its_tables() {
        let mut totals = Totals {
            of: 4,
            ..Totals::default()
        };
        assert_eq!(totals.share(), 0.0);
        totals.moved(&table(1, 50, Some(100)));
        assert_eq!(totals.share(), 0.125);
        totals.loaded(&table(1, 100, Some(100)));
        totals.moved(&table(2, 100, None));
        // Statistics are old.
        totals.moved(&table(3, 900, Some(100)));
        assert_eq!(totals.share(), (1.0 + 0.99) / 4.0);
        let text = totals.text(Duration::from_secs(10));
        assert_eq!(text, "1,100 rows 1.1 MiB 110.0 KiB/s");
    }
}
