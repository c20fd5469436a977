//! What jobs are now.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, family, in_unit, unix};
use crate::daemon::observed::{Observed, ObservedJob};

impl Families<'_, '_> {
    pub fn jobs_now(&mut self, observed: &Observed) -> fmt::Result {
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
        self.each(
            observed,
            family(
                "tableferry_job_columns_not_copied",
                "Columns of the source that the last committed run has left out, because the target lacks them",
            ),
            |job| job.last_success_at.map(|_| job.status.not_copied.count() as f64),
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
}
