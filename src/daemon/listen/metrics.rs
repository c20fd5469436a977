//! `/metrics`, in OpenMetrics. All series are made from what the event loop says at that moment, so those of a
//! job that a reload has removed are gone. Labels are names from the configuration, or of enums.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::daemon::counters::{DURATION_BUCKETS, JobCounters};
use crate::daemon::observed::{Observed, ObservedJob};
use crate::report::Waited;

/// All metrics, in OpenMetrics' text format.
pub(super) fn text(observed: Observed) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(observed));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(&mut encoder);
        families.daemon(self)?;
        families.servers(self)?;
        families.notices(self)?;
        families.jobs_now(self)?;
        families.jobs_so_far(self)?;
        families.waits(self)?;
        families.durations(self)
    }
}

/// A family's name without its unit and suffix, and its help.
#[derive(Clone)]
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
}

fn family(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        unit: None,
        help,
    }
}

fn in_unit(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family {
        name,
        unit: Some(unit),
        help,
    }
}

type Label<'v> = (&'static str, &'v str);

/// A counter without further labels.
type Count = fn(&JobCounters) -> u64;

struct Families<'e, 'w>(&'e mut DescriptorEncoder<'w>);

impl Families<'_, '_> {
    fn gauge<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        values: impl Iterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A family of one series without labels.
    fn single(&mut self, family: Family, value: f64) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn counter<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in values {
            let mut series = metric.encode_family(&labels)?;
            series.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn daemon(&mut self, observed: &Observed) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        self.0
            .encode_descriptor(
                "tableferry_build",
                "Version of tableferry",
                None,
                MetricType::Info,
            )?
            .encode_info(&build)?;
        let reloads = &observed.reloads;
        self.single(
            in_unit(
                "tableferry_start_timestamp",
                Unit::Seconds,
                "When the daemon started, in Unix time",
            ),
            unix(observed.daemon_started_at),
        )?;
        self.single(
            family("tableferry_jobs", "Configured jobs"),
            as_f64(observed.config.jobs.len()),
        )?;
        self.single(
            family(
                "tableferry_running_jobs_limit",
                "Runs at once, as max_running_jobs says",
            ),
            as_f64(observed.config.daemon.max_running_jobs),
        )?;
        self.single(
            family(
                "tableferry_config_last_reload_successful",
                "Whether the last reload was accepted; 0 while the file differs from the configuration in force \
                 because it is wrong",
            ),
            f64::from(u8::from(!reloads.is_refused)),
        )?;
        self.single(
            in_unit(
                "tableferry_config_last_reload_success_timestamp",
                Unit::Seconds,
                "When the configuration in force was read, in Unix time",
            ),
            unix(reloads.accepted_at),
        )?;
        let results = [("accepted", reloads.accepted), ("refused", reloads.refused)];
        self.counter(
            family("tableferry_reloads", "Reloads of the configuration"),
            results
                .into_iter()
                .map(|(result, count)| ([("result", result)], count)),
        )
    }

    fn servers(&mut self, observed: &Observed) -> fmt::Result {
        let labelled = |name| [("server", name)];
        self.gauge(
            family(
                "tableferry_server_connections",
                "Connections that running jobs may use",
            ),
            (observed.servers.iter()).map(|server| {
                (
                    labelled(server.name.as_str()),
                    f64::from(server.connections),
                )
            }),
        )?;
        self.gauge(
            family(
                "tableferry_server_connections_limit",
                "Connections across all jobs, as max_connections says",
            ),
            (observed.servers.iter()).map(|server| {
                (
                    labelled(server.name.as_str()),
                    f64::from(server.connections_max),
                )
            }),
        )
    }

    fn notices(&mut self, observed: &Observed) -> fmt::Result {
        self.counter(
            family(
                "tableferry_notices",
                "Notices by result: sent, failed in all tries, replaced by a newer one of the same job before they were sent",
            ),
            (observed.notifiers.iter()).flat_map(|notifier| {
                let results = [
                    ("sent", notifier.sent),
                    ("failed", notifier.failed),
                    ("replaced", notifier.replaced),
                ];
                let name = notifier.notifier.as_str();
                results.map(|(result, count)| ([("notifier", name), ("result", result)], count))
            }),
        )?;
        self.gauge(
            family(
                "tableferry_notices_waiting",
                "Notices that are not sent yet",
            ),
            (observed.notifiers.iter()).map(|notifier| {
                (
                    [("notifier", notifier.notifier.as_str())],
                    as_f64(notifier.waiting),
                )
            }),
        )
    }

    fn jobs_now(&mut self, observed: &Observed) -> fmt::Result {
        let is = |state: &'static str| {
            move |job: &ObservedJob| Some(f64::from(u8::from(job.status.state == state)))
        };
        self.each(
            observed,
            family("tableferry_job_running", "Whether a run is active"),
            is("running"),
        )?;
        self.each(
            observed,
            family("tableferry_job_waiting", "Whether a run waits for its turn"),
            is("waiting"),
        )?;
        self.each(
            observed,
            family(
                "tableferry_job_running_elsewhere",
                "Whether another daemon runs the job",
            ),
            is("elsewhere"),
        )?;
        self.each(
            observed,
            family(
                "tableferry_job_paused",
                "Whether `tableferry pause` keeps the job from running",
            ),
            |job| Some(f64::from(u8::from(job.status.paused_since.is_some()))),
        )?;
        let timestamp = |name, help| in_unit(name, Unit::Seconds, help);
        self.each(
            observed,
            timestamp(
                "tableferry_job_run_start_timestamp",
                "When the active run started, in Unix time",
            ),
            |job| {
                let is_running = job.status.state == "running";
                job.status.since.filter(|_| is_running).map(unix)
            },
        )?;
        self.each(
            observed,
            family(
                "tableferry_job_run_rows",
                "Rows that the active run has read",
            ),
            |job| Some(job.live.as_ref()?.read().rows() as f64),
        )?;
        self.each(
            observed,
            in_unit(
                "tableferry_job_run",
                Unit::Bytes,
                "Bytes that the active run has read",
            ),
            |job| Some(job.live.as_ref()?.read().bytes() as f64),
        )?;
        self.each(
            observed,
            timestamp(
                "tableferry_job_snapshot_start_timestamp",
                "Since when the active run holds the source's snapshot, in Unix time; VACUUM there cannot remove \
                 rows meanwhile",
            ),
            |job| job.live.as_ref()?.read().snapshot_since.map(unix),
        )?;
        self.each(
            observed,
            timestamp(
                "tableferry_job_last_success_timestamp",
                "When a run was last committed, in Unix time",
            ),
            |job| job.last_success_at.map(unix),
        )?;
        self.each(
            observed,
            timestamp(
                "tableferry_job_data_timestamp",
                "When the source's snapshot was taken that the target holds, in Unix time by the source's clock",
            ),
            |job| job.status.snapshot_at.map(unix),
        )?;
        self.each(
            observed,
            timestamp(
                "tableferry_job_next_run_timestamp",
                "The next fire time, in Unix time",
            ),
            |job| job.status.next_run_at.map(unix),
        )?;
        self.each(
            observed,
            in_unit(
                "tableferry_job_fresh_within",
                Unit::Seconds,
                "The age from which on the data count as stale, as fresh_within says",
            ),
            |job| job.status.fresh_within_seconds,
        )?;
        self.each(
            observed,
            family(
                "tableferry_job_stale",
                "Whether the data are older than fresh_within",
            ),
            |job| Some(f64::from(u8::from(job.status.stale?))),
        )?;
        let outcome = |job: &ObservedJob| job.status.last_outcome.map(|outcome| outcome.as_str());
        self.gauge(
            family(
                "tableferry_job_last_run_outcome",
                "1 for the outcome of the last run",
            ),
            observed.jobs.iter().filter_map(move |job| {
                let labels = [("job", job.status.job.as_str()), ("outcome", outcome(job)?)];
                Some((labels, 1.0))
            }),
        )
    }

    fn each(
        &mut self,
        observed: &Observed,
        family: Family,
        value: impl Fn(&ObservedJob) -> Option<f64>,
    ) -> fmt::Result {
        let values = observed.jobs.iter();
        self.gauge(
            family,
            values.filter_map(|job| Some(([("job", job.status.job.as_str())], value(job)?))),
        )
    }

    fn jobs_so_far(&mut self, observed: &Observed) -> fmt::Result {
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

    fn waits(&mut self, observed: &Observed) -> fmt::Result {
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

    fn durations(&mut self, observed: &Observed) -> fmt::Result {
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

fn unix(at: Timestamp) -> f64 {
    // Milliseconds are exact in a double.
    at.as_millisecond() as f64 / 1000.0
}

fn as_f64(count: usize) -> f64 {
    count as f64
}
