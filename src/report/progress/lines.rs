//! A line every few seconds, where there is no terminal.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use uuid::Uuid;

use super::{locked, retrying};
use crate::harmless;
use crate::report::{Event, Listener, TableProgress};
use crate::wording::counted;

/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct LineListener {
    running: Mutex<HashMap<Uuid, LinePace>>,
}

struct LinePace {
    /// By the tables' numbers.
    began: HashMap<usize, Instant>,
    told: Instant,
}

impl LineListener {
    pub(super) fn new() -> Self {
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
            Event::Locked { server, holders } => tell(&locked(job, server, holders)),
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

/// Prints one message. A closed pipe is not an error.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless::message(text));
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
