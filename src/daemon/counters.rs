//! What a job's runs add up to since the daemon started.

use std::collections::BTreeMap;

use crate::error::ErrorKind;
use crate::report::{Outcome, RunReport, RunTrigger, TableReport, Waited};

/// The upper ends of the histogram of durations, in seconds.
pub const DURATION_BUCKETS: [f64; 11] = [
    0.1,
    0.5,
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14_400.0,
    f64::INFINITY,
];

/// Counters of one job. Keys are names of enums, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub struct JobCounters {
    /// By outcome and trigger.
    pub runs: BTreeMap<(&'static str, &'static str), u64>,
    /// Runs whose duration is in each of [`DURATION_BUCKETS`], and their sum in seconds.
    pub durations: [u64; DURATION_BUCKETS.len()],
    pub seconds: f64,
    pub rows_read: u64,
    pub bytes_read: u64,
    pub rows_written: u64,
    pub rows_inserted: u64,
    pub rows_updated: u64,
    pub rows_deleted: u64,
    pub rows_rejected: u64,
    pub waited: Waited,
    /// Published tables by COPY format and `compare`.
    pub tables: BTreeMap<(&'static str, &'static str), u64>,
    /// Failed attempts that were followed by another one, by kind of error.
    pub retries: BTreeMap<&'static str, u64>,
    /// Runs that failed, by kind of error.
    pub errors: BTreeMap<&'static str, u64>,
    /// Fires and requests without a run, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl JobCounters {
    /// A run has ended.
    pub fn ended(&mut self, outcome: Outcome, trigger: RunTrigger, failed: Option<ErrorKind>) {
        *self
            .runs
            .entry((outcome.as_str(), trigger.as_str()))
            .or_default() += 1;
        if let Some(kind) = failed.filter(|_| outcome != Outcome::Skipped) {
            *self.errors.entry(kind.as_str()).or_default() += 1;
        }
    }

    /// The run had these attempts before its last one.
    pub fn retried(&mut self, kinds: &[ErrorKind]) {
        for kind in kinds {
            *self.retries.entry(kind.as_str()).or_default() += 1;
        }
    }

    /// What the run has moved.
    pub fn moved(&mut self, report: &RunReport) {
        let seconds = report.duration().as_secs_f64();
        self.seconds += seconds;
        let bucket = DURATION_BUCKETS.iter().position(|end| seconds <= *end);
        if let Some(count) = bucket.and_then(|at| self.durations.get_mut(at)) {
            *count += 1;
        }
        for table in &report.tables {
            self.rows_read += table.rows_read;
            self.bytes_read += table.bytes;
            self.waited.source += table.waited.source;
            self.waited.target += table.waited.target;
            self.waited.rate_limit += table.waited.rate_limit;
            if is_published(report, table) {
                self.rows_written += table.rows_written;
                self.rows_inserted += table.rows_inserted;
                self.rows_updated += table.rows_updated;
                self.rows_deleted += table.rows_deleted;
                self.rows_rejected += table.rows_rejected;
                let compare = table.compare.unwrap_or("none");
                *self.tables.entry((table.format, compare)).or_default() += 1;
            }
        }
    }

    /// A fire or a request has led to no run.
    pub fn skipped(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

fn is_published(report: &RunReport, table: &TableReport) -> bool {
    report.outcome == Outcome::Committed || table.committed == Some(true)
}
