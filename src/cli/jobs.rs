//! `tableferry jobs`: the configured jobs, and when each runs next.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::Exit;
use super::out::{PlainTable, complain, print_json};
use crate::config::spec::{Config, Mode};
use crate::daemon::scheduled_config::ScheduledConfig;

/// Fire times shown.
const FIRES_SHOWN: usize = 5;

#[derive(Serialize)]
struct Job<'a> {
    job: &'a str,
    /// Several are separated by commas.
    source: String,
    target: &'a str,
    mode: Mode,
    cron: Option<&'a str>,
    every_seconds: Option<f64>,
    on_demand: bool,
    after: &'a [String],
    next_run_at: Vec<Timestamp>,
}

pub(super) fn run(config: Config, json: bool) -> Exit {
    let scheduled = match ScheduledConfig::new(Arc::new(config)) {
        Ok(scheduled) => scheduled,
        Err(errors) => {
            for error in errors {
                complain!("{error}");
            }
            return Exit::Config;
        }
    };
    let now = Timestamp::now();
    let mut table = PlainTable::new(["job", "from", "to", "mode", "when", "next (UTC)"]).fit();
    for name in scheduled.names() {
        let Some((spec, schedule)) = scheduled.job(name) else {
            continue;
        };
        let job = Job {
            job: name,
            source: spec.sources().collect::<Vec<_>>().join(", "),
            target: &spec.target,
            mode: spec.mode,
            cron: spec.schedule.cron.as_deref(),
            every_seconds: spec.schedule.every.map(|every| every.as_secs_f64()),
            on_demand: spec.schedule.on_demand,
            after: &spec.schedule.after,
            next_run_at: schedule.upcoming(now, FIRES_SHOWN),
        };
        if json {
            print_json(&job);
        } else {
            let times = job.next_run_at.iter().map(|at| format!("{at:.0}"));
            let mut times = times.chain(job.next_run_at.is_empty().then(|| "-".to_owned()));
            table.add([
                job.job.to_owned(),
                job.source.clone(),
                job.target.to_owned(),
                job.mode.as_str().to_owned(),
                when(&job),
                times.next().unwrap_or_default(),
            ]);
            // One time a line.
            for time in times {
                let mut cells: [String; 6] = Default::default();
                cells[5] = time;
                table.add(cells);
            }
        }
    }
    if !json {
        table.print();
    }
    Exit::Done
}

fn when(job: &Job<'_>) -> String {
    match (job.cron, job.every_seconds) {
        (Some(cron), _) => cron.to_owned(),
        (None, Some(seconds)) => format!("every {seconds} s"),
        (None, None) if !job.after.is_empty() => format!("after {}", job.after.join(", ")),
        (None, None) => "on demand".to_owned(),
    }
}
