//! How far a run has come, for those who look at it from outside. The run's thread writes it, a few times a
//! second; the page and the metrics read it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::error::ErrorKind;
use crate::report::{Event, TableProgress};

/// The progress of one run.
#[derive(Debug, Default)]
pub struct LiveRun(Mutex<LiveProgress>);

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// It logs in, waits for locks, and compares both sides' definitions.
    #[default]
    Preparing,
    Copying,
    /// It writes differences, checks counts, and commits.
    Publishing,
    /// An attempt has failed. The run pauses, and then prepares another one.
    Retrying,
}

/// How far the current attempt has come.
#[derive(Clone, Debug, Default)]
pub struct LiveProgress {
    pub doing: Doing,
    /// The tables of the job, once it is planned.
    pub tables: usize,
    /// How many of them are copied, and what was read of these.
    pub loaded: usize,
    pub rows_loaded: u64,
    pub bytes_loaded: u64,
    /// Those that are being copied, by their numbers.
    pub open: BTreeMap<usize, OpenTable>,
    /// Who holds the lock that the run waits for: server, and sessions.
    pub locked: Option<(String, String)>,
    /// Since when the source's snapshot is held.
    pub snapshot_since: Option<Timestamp>,
    /// Why the earlier attempts failed.
    pub retried: Vec<ErrorKind>,
}

/// A table that is being copied.
#[derive(Clone, Debug)]
pub struct OpenTable {
    pub progress: TableProgress,
    pub since: Timestamp,
}

impl LiveRun {
    /// Takes note of an event.
    pub fn on(&self, event: &Event, now: Timestamp) {
        self.lock().on(event, now);
    }

    /// The progress at the moment.
    pub fn read(&self) -> LiveProgress {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LiveProgress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveProgress {
    fn on(&mut self, event: &Event, now: Timestamp) {
        // Each other event is a sign that it no longer waits.
        self.locked = None;
        match event {
            Event::Locked { server, holders } => {
                self.locked = Some((server.clone(), holders.clone()));
            }
            Event::Started { .. } => self.doing = Doing::Preparing,
            Event::Planned { tables, .. } => {
                self.doing = Doing::Copying;
                self.tables = *tables;
            }
            Event::SnapshotTaken => self.snapshot_since = Some(now),
            Event::SnapshotReleased => self.snapshot_since = None,
            Event::TableStarted(progress) => {
                let progress = progress.clone();
                let since = now;
                self.open
                    .insert(progress.number, OpenTable { progress, since });
            }
            Event::TableMoved(progress) => {
                if let Some(open) = self.open.get_mut(&progress.number) {
                    open.progress = progress.clone();
                }
            }
            Event::TableLoaded(progress) => {
                self.open.remove(&progress.number);
                self.loaded += 1;
                self.rows_loaded += progress.rows;
                self.bytes_loaded += progress.bytes;
            }
            Event::Publishing => self.doing = Doing::Publishing,
            Event::Retrying { error, .. } => {
                let mut retried = std::mem::take(&mut self.retried);
                retried.push(error.kind());
                *self = LiveProgress {
                    doing: Doing::Retrying,
                    retried,
                    ..LiveProgress::default()
                };
            }
            Event::Warned(_) | Event::Finished(_) => {}
        }
    }

    /// Rows that were read so far, over all tables.
    pub fn rows(&self) -> u64 {
        let open = self.open.values().map(|table| table.progress.rows);
        self.rows_loaded + open.sum::<u64>()
    }

    /// Bytes that were read so far, over all tables.
    pub fn bytes(&self) -> u64 {
        let open = self.open.values().map(|table| table.progress.bytes);
        self.bytes_loaded + open.sum::<u64>()
    }
}

impl OpenTable {
    /// The share of the table that is copied, as far as it can be told.
    pub fn share(&self) -> Option<f64> {
        let TableProgress {
            rows,
            rows_estimate,
            permille,
            ..
        } = &self.progress;
        match (permille, rows_estimate) {
            (Some(permille), _) => Some(f64::from(*permille) / 1000.0),
            // Statistics are old: the table is not complete before it is.
            (None, Some(estimate)) if *estimate > 0 => {
                Some((*rows as f64 / *estimate as f64).min(0.99))
            }
            _ => None,
        }
    }

    /// How many seconds are left at the rate so far.
    pub fn seconds_left(&self, now: Timestamp) -> Option<f64> {
        let share = self.share().filter(|share| *share > 0.01)?;
        let took = now.duration_since(self.since).as_secs_f64().max(0.0);
        Some(took / share * (1.0 - share))
    }
}

impl Doing {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Doing::Preparing => "preparing",
            Doing::Copying => "copying",
            Doing::Publishing => "publishing",
            Doing::Retrying => "pausing before the next attempt",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, Phase, Side};

    fn table(number: usize, rows: u64) -> TableProgress {
        TableProgress {
            number,
            of: 2,
            target: format!("public.t{number}"),
            rows,
            bytes: rows * 10,
            rows_estimate: Some(100),
            permille: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn rows_of_loaded_and_of_open_tables_count() {
        let mut live = LiveProgress::default();
        let planned = Event::Planned {
            tables: 2,
            warnings: Vec::new(),
        };
        live.on(&planned, at(0));
        live.on(&Event::TableStarted(table(1, 0)), at(0));
        live.on(&Event::TableLoaded(table(1, 100)), at(5));
        live.on(&Event::TableStarted(table(2, 0)), at(5));
        live.on(&Event::TableMoved(table(2, 50)), at(10));
        assert_eq!((live.tables, live.loaded), (2, 1));
        assert_eq!((live.rows(), live.bytes()), (150, 1500));
        let open = &live.open[&2];
        assert_eq!(open.share(), Some(0.5));
        assert_eq!(open.seconds_left(at(15)), Some(10.0));
        // More rows than the statistics say.
        live.on(&Event::TableMoved(table(2, 500)), at(20));
        assert_eq!(live.open[&2].share(), Some(0.99));
    }

    #[test]
    fn a_snapshot_is_held_until_it_is_released_or_the_attempt_fails() {
        let mut live = LiveProgress::default();
        live.on(&Event::SnapshotTaken, at(3));
        assert_eq!(live.snapshot_since, Some(at(3)));
        live.on(&Event::SnapshotReleased, at(4));
        assert_eq!(live.snapshot_since, None);
    }

    #[test]
    fn another_attempt_begins_anew_and_remembers_why() {
        let mut live = LiveProgress::default();
        live.on(&Event::SnapshotTaken, at(0));
        live.on(&Event::TableStarted(table(1, 7)), at(0));
        let error = Error::new(ErrorKind::Stalled, Phase::CopyOut, Side::Source, "x");
        let retrying = Event::Retrying {
            error: Arc::new(error),
            pause: Duration::from_secs(1),
            attempt: 2,
        };
        live.on(&retrying, at(1));
        assert_eq!((live.rows(), live.doing), (0, Doing::Retrying));
        assert_eq!(live.snapshot_since, None);
        live.on(&retrying, at(2));
        assert_eq!(live.retried, [ErrorKind::Stalled, ErrorKind::Stalled]);
    }
}
