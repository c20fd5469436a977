//! A configuration with its valid schedules. The job table gets it at start-up and at each reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::spec::{Config, JobSpec};
use crate::daemon::cron::Expressions;
use crate::daemon::schedule::{Schedule, ScheduleError};

/// A job's name, shared by all that mention it.
pub type JobName = Arc<str>;

/// A configuration with the schedule of each of its jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScheduledConfig {
    config: Arc<Config>,
    schedules: Arc<BTreeMap<JobName, Schedule>>,
    dependants: Arc<BTreeMap<String, Vec<JobName>>>,
}

impl ScheduledConfig {
    /// Reads every job's schedule. *Errors:* one for each schedule that is invalid.
    pub fn new(config: Arc<Config>) -> Result<Self, Vec<ScheduleError>> {
        let mut schedules = BTreeMap::new();
        let mut dependants: BTreeMap<String, Vec<JobName>> = BTreeMap::new();
        let mut expressions = Expressions::default();
        let zone = &config.daemon.timezone;
        let mut errors = Vec::new();
        for (name, job) in &config.jobs {
            let schedule = match Schedule::sharing(name, &job.schedule, zone, &mut expressions) {
                Ok(schedule) => schedule,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let name = JobName::from(name.as_str());
            for dependency in &job.schedule.after {
                let list = dependants.entry(dependency.clone()).or_default();
                list.push(name.clone());
            }
            schedules.insert(name, schedule);
        }
        if errors.is_empty() {
            Ok(ScheduledConfig {
                config,
                schedules: Arc::new(schedules),
                dependants: Arc::new(dependants),
            })
        } else {
            Err(errors)
        }
    }

    /// The configuration. Runs keep it, even when a reload has replaced it.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The jobs' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &JobName> {
        self.schedules.keys()
    }

    /// A job and its schedule.
    pub fn job(&self, name: &str) -> Option<(&JobSpec, &Schedule)> {
        Some((self.config.jobs.get(name)?, self.schedules.get(name)?))
    }

    /// The jobs that name this one in `after`.
    pub fn dependants(&self, name: &str) -> impl Iterator<Item = &JobName> {
        self.dependants.get(name).into_iter().flatten()
    }

    /// Whether both configurations give this job the same fire times and the same conditions.
    pub fn same_schedule(&self, other: &ScheduledConfig, name: &str) -> bool {
        let of =
            |config: &ScheduledConfig| config.config.jobs.get(name).map(|job| job.schedule.clone());
        of(self) == of(other) && self.config.daemon.timezone == other.config.daemon.timezone
    }
}
