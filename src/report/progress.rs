//! Progress for people, on stderr: a bar on a terminal, otherwise a line every few seconds.

use std::collections::HashMap;
use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{
    HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};
use uuid::Uuid;

use super::{Event, Listener, TableProgress};
use crate::error::Error;
use crate::harmless;
use crate::wording::counted;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A listener that suits stderr.
pub fn for_stderr() -> Box<dyn Listener> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(LineListener::new())
    }
}

struct Bars {
    all: MultiProgress,
    running: Mutex<HashMap<Uuid, Vec<Bar>>>,
}

/// A table that is being copied; several workers may be at several. The last one of a run stays until
/// its end.
struct Bar {
    number: usize,
    bar: ProgressBar,
    loaded: bool,
}

impl Bars {
    fn new() -> Self {
        Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            running: Mutex::new(HashMap::new()),
        }
    }

    fn start(&self, job: &str, run_id: Uuid, table: &TableProgress) {
        let bar = self.all.add(match table.rows_estimate {
            Some(rows) => ProgressBar::new(rows.max(1)),
            None => ProgressBar::new_spinner(),
        });
        bar.set_style(style(table.rows_estimate.is_some()));
        let place = format!("{job}  {}/{} {}", table.number, table.of, table.target);
        bar.set_message(harmless::line(&place).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut running = self.lock();
        let bars = running.entry(run_id).or_default();
        clear(bars, |old| old.loaded || old.number == table.number);
        bars.push(Bar {
            number: table.number,
            bar,
            loaded: false,
        });
    }

    fn moved(&self, run_id: Uuid, table: &TableProgress, loaded: bool) {
        let mut running = self.lock();
        let Some(bars) = running.get_mut(&run_id) else {
            return;
        };
        let alone = bars.len() == 1;
        if loaded && !alone {
            clear(bars, |old| old.number == table.number);
        }
        let Some(row) = bars.iter_mut().find(|row| row.number == table.number) else {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Vec<Bar>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Bars {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        match event {
            Event::TableStarted(table) => self.start(job, run_id, table),
            Event::TableMoved(table) => self.moved(run_id, table, false),
            Event::TableLoaded(table) => self.moved(run_id, table, true),
            Event::Retrying {
                error,
                pause,
                attempt,
            } => {
                let text = retrying(job, error, *pause, *attempt);
                let _ = self.all.println(harmless::message(&text));
            }
            Event::Finished(_) => {
                clear(&mut self.lock().remove(&run_id).unwrap_or_default(), |_| {
                    true
                })
            }
            Event::Publishing => {
                if let Some(Bar { bar, .. }) = self.lock().get(&run_id).and_then(|bars| bars.last())
                {
                    bar.set_message(format!("{job}  publishing"));
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

fn retrying(job: &str, error: &Error, pause: Duration, attempt: u32) -> String {
    format!(
        "{job}: {error}; attempt {attempt} in {:.0} s",
        pause.as_secs_f64()
    )
}

/// Prints one message. A closed pipe is not an error.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless::message(text));
}

struct LineListener {
    running: Mutex<HashMap<Uuid, LinePace>>,
}

struct LinePace {
    /// By the tables' numbers.
    began: HashMap<usize, Instant>,
    told: Instant,
}

impl LineListener {
    fn new() -> Self {
        LineListener {
            running: Mutex::new(HashMap::new()),
        }
    }
}

impl Listener for LineListener {
    fn on(&self, job: &str, run_id: Uuid, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match event {
            Event::TableStarted(table) => {
                // The interval runs on over small tables, so that a thousand of them stay quiet.
                let pace = running.entry(run_id).or_insert_with(|| LinePace {
                    began: HashMap::new(),
                    told: now,
                });
                pace.began.insert(table.number, now);
            }
            Event::TableMoved(table) => {
                if let Some(pace) = running.get_mut(&run_id)
                    && now.duration_since(pace.told) >= LINE_INTERVAL
                {
                    pace.told = now;
                    let began = pace.began.get(&table.number).copied().unwrap_or(now);
                    tell(&line(job, table, now.duration_since(began)));
                }
            }
            Event::TableLoaded(table) => {
                if let Some(pace) = running.get_mut(&run_id) {
                    pace.began.remove(&table.number);
                }
            }
            Event::Retrying {
                error,
                pause,
                attempt,
            } => {
                tell(&retrying(job, error, *pause, *attempt));
            }
            Event::Finished(_) => {
                running.remove(&run_id);
            }
            Event::Started { .. }
            | Event::Planned { .. }
            | Event::Publishing
            | Event::SnapshotTaken
            | Event::SnapshotReleased
            | Event::Warned(_) => {}
        }
    }
}

fn line(job: &str, table: &TableProgress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = ByteSize((table.bytes as f64 / seconds) as u64);
    let mut text = format!(
        "{job}: {}/{} {}: {}, {}, {rate}/s",
        table.number,
        table.of,
        table.target,
        counted(table.rows, "row"),
        ByteSize(table.bytes)
    );
    let estimate = table.rows_estimate;
    let estimate = estimate.filter(|rows| *rows >= table.rows && *rows > 0);
    let of_file = table.permille.map(|permille| f64::from(permille) / 1000.0);
    let share = of_file.or_else(|| Some(table.rows as f64 / estimate? as f64));
    if let Some(share) = share {
        let (about, what) = match of_file {
            Some(_) => ("", " of the file"),
            None => ("about ", ""),
        };
        text.push_str(&format!(", {about}{:.0} %{what}", share * 100.0));
        if share > 0.01 {
            text.push_str(&format!(", {:.0} s left", seconds / share - seconds));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        Some(2000),
        None,
        "orders: 1/2 public.orders: 1000 rows, 9.8 KiB, 4.9 KiB/s, about 50 %, 2 s left"
    )]
    #[case(
        None,
        Some(500),
        "orders: 1/2 public.orders: 1000 rows, 9.8 KiB, 4.9 KiB/s, 50 % of the file, 2 s left"
    )]
    #[case(
        Some(500),
        None,
        "orders: 1/2 public.orders: 1000 rows, 9.8 KiB, 4.9 KiB/s"
    )]
    #[case(None, None, "orders: 1/2 public.orders: 1000 rows, 9.8 KiB, 4.9 KiB/s")]
    fn a_line_tells_rows_bytes_rate_and_what_is_left(
        #[case] rows_estimate: Option<u64>,
        #[case] permille: Option<u16>,
        #[case] text: &str,
    ) {
        let table = TableProgress {
            number: 1,
            of: 2,
            target: "public.orders".to_owned(),
            rows: 1000,
            bytes: 10_000,
            rows_estimate,
            permille,
        };
        assert_eq!(line("orders", &table, Duration::from_secs(2)), text);
    }
}
