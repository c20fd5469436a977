//! What jobs have done so far.

use std::fmt;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::families::{Families, Family, Label, family, in_unit};
use crate::daemon::counters::{DURATION_BUCKETS, JobCounters};
use crate::daemon::observed::Observed;
use crate::report::Waited;

/// A counter without further labels.
type Count = fn(&JobCounters) -> u64;

impl Families<'_, '_> {
    pub fn jobs_so_far(&mut self, observed: &Observed) -> fmt::Result {
        let sums: [(Family, Count); 7] = [
            (
                family("tableferry_rows_read", "Rows that sources sent"),
                |counters| counters.rows_read,
            ),
            (
                in_unit("tableferry_read", Unit::Bytes, "Bytes of COPY data"),
                |counters| counters.bytes_read,
            ),
            (
                family("tableferry_rows_written", "Rows that targets took"),
                |counters| counters.rows_written,
            ),
            (
                family("tableferry_rows_inserted", "Rows that are new on targets"),
                |counters| counters.rows_inserted,
            ),
            (
                family(
                    "tableferry_rows_updated",
                    "Rows that were changed on targets",
                ),
                |counters| counters.rows_updated,
            ),
            (
                family("tableferry_rows_deleted", "Rows that are gone from targets"),
                |counters| counters.rows_deleted,
            ),
            (
                family("tableferry_rows_rejected", "Rows that targets rejected"),
                |counters| counters.rows_rejected,
            ),
        ];
        for (family, count) in sums {
            let values = counters(observed);
            self.counter(
                family,
                values.map(|(job, counters)| ([("job", job)], count(counters))),
            )?;
        }
        self.counter(
            family("tableferry_runs", "Runs that have ended"),
            counters(observed).flat_map(|(job, counters)| {
                (counters.runs.iter()).map(move |((outcome, trigger), count)| {
                    let labels = [("job", job), ("outcome", *outcome), ("trigger", *trigger)];
                    (labels, *count)
                })
            }),
        )?;
        self.counter(
            family(
                "tableferry_tables_published",
                "Tables that were published, by COPY format and compare",
            ),
            counters(observed).flat_map(|(job, counters)| {
                (counters.tables.iter()).map(move |((format, compare), count)| {
                    let labels = [("job", job), ("format", *format), ("compare", *compare)];
                    (labels, *count)
                })
            }),
        )?;
        self.counter(
            family(
                "tableferry_run_retries",
                "Failed attempts that were followed by another one, by kind of error",
            ),
            counters(observed).flat_map(|(job, counters)| by("kind", job, &counters.retries)),
        )?;
        self.counter(
            family(
                "tableferry_run_errors",
                "Runs that failed, by kind of error",
            ),
            counters(observed).flat_map(|(job, counters)| by("kind", job, &counters.errors)),
        )?;
        self.counter(
            family(
                "tableferry_runs_skipped",
                "Fire times and requests without a run, by reason",
            ),
            counters(observed).flat_map(|(job, counters)| by("reason", job, &counters.skipped)),
        )
    }

    pub fn waits(&mut self, observed: &Observed) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(
            "tableferry_wait",
            "Time that published copies have waited for the source, the target or rate_limit, over all workers",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (job, counters) in counters(observed) {
            let Waited {
                source,
                target,
                rate_limit,
            } = counters.waited;
            let all = [
                ("source", source),
                ("target", target),
                ("rate_limit", rate_limit),
            ];
            for (reason, waited) in all {
                let labels = [("job", job), ("reason", reason)];
                let mut series = metric.encode_family(&labels)?;
                series.encode_counter::<NoLabelSet, _, f64>(&waited.as_secs_f64(), None)?;
            }
        }
        Ok(())
    }

    pub fn durations(&mut self, observed: &Observed) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(
            "tableferry_run_duration",
            "Duration of runs, pauses between attempts included",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (job, counters) in counters(observed) {
            let count: u64 = counters.durations.iter().sum();
            let ends = DURATION_BUCKETS.into_iter();
            let buckets: Vec<_> = ends.zip(counters.durations).collect();
            let labels = [("job", job)];
            let mut series = metric.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(counters.seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn counters(observed: &Observed) -> impl Iterator<Item = (&str, &JobCounters)> {
    observed
        .jobs
        .iter()
        .filter_map(|job| Some((job.status.job.as_str(), &job.past.as_ref()?.counters)))
}

fn by<'c>(
    name: &'static str,
    job: &'c str,
    counts: &'c std::collections::BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = ([Label<'c>; 2], u64)> {
    let labelled =
        move |(value, count): (&&'static str, &u64)| ([("job", job), (name, *value)], *count);
    counts.iter().map(labelled)
}
