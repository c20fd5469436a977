//! Validates when a job runs, and how schedules depend on each other.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::cron;
use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawJob;
use super::spec::{JobSpec, ScheduleSpec};

/// A shorter period is hardly meant.
const PERIOD_MIN: SignedDuration = SignedDuration::from_secs(1);

/// The schedule of one job.
pub(super) fn schedule(
    raw: &RawJob,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> ScheduleSpec {
    if raw.cron.is_some() && raw.every.is_some() {
        diagnostics.error(&path.child("every"), "excludes `cron`: keep one of them");
    }
    doubt(raw, path, diagnostics);
    ScheduleSpec {
        cron: raw.cron.clone(),
        every: raw.every,
        timezone: raw.timezone.clone(),
        jitter: raw.jitter,
        overlap: raw.overlap,
        missed: raw.missed,
        catchup_window: raw.catchup_window,
        on_demand: raw.on_demand,
        signal: raw.signal,
        after: raw.after.clone(),
    }
}

/// What is allowed, but hardly meant.
fn doubt(raw: &RawJob, path: &KeyPath, diagnostics: &mut Diagnostics) {
    for doubt in raw.cron.iter().flat_map(|text| cron::doubts(text)) {
        diagnostics.warn(&path.child("cron"), doubt);
    }
    let every = raw.every.map(SignedDuration::try_from).and_then(Result::ok);
    if let Some(every) = every.filter(|every| *every < PERIOD_MIN && !every.is_zero()) {
        let message = format!(
            "{every:#} is shorter than a second: a run takes longer, and most fires are skipped"
        );
        diagnostics.warn(&path.child("every"), message);
    }
    let period = every.or_else(|| cron::shortest_period(raw.cron.as_ref()?));
    let fresh_within = raw
        .fresh_within
        .map(|limit| SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX));
    if let Some(limit) = fresh_within {
        let key = path.child("fresh_within");
        match period {
            Some(period) if limit <= period => diagnostics.warn(
                &key,
                format!(
                    "{limit:#} is not longer than the time between two fires ({period:#}): the data become \
                     stale before each run"
                ),
            ),
            None if raw.after.is_empty() => diagnostics.warn(
                &key,
                "nothing runs the job regularly (`cron`, `every` or `after`): its data become stale unless \
                 it is triggered in time",
            ),
            Some(_) | None => {}
        }
    }
    let jitter = SignedDuration::try_from(raw.jitter).unwrap_or(SignedDuration::MAX);
    if let Some(period) = period.filter(|period| jitter > *period) {
        let message = format!(
            "{jitter:#} is longer than the time between two fires ({period:#}): the job runs at other \
             times than its schedule says"
        );
        diagnostics.warn(&path.child("jitter"), message);
    }
}

/// Signals that two jobs share, and jobs that wait for each other.
pub(super) fn check_between(jobs: &BTreeMap<String, JobSpec>, diagnostics: &mut Diagnostics) {
    let path = |job: &str, key: &str| KeyPath::from("jobs").child(job).child(key);
    let mut signals = BTreeMap::new();
    for (name, job) in jobs {
        let Some(signal) = job.schedule.signal else {
            continue;
        };
        match signals.get(&signal) {
            Some(other) => {
                let message = format!("RTMIN+{signal} already runs job `{other}`");
                diagnostics.error(&path(name, "signal"), message);
            }
            None => {
                signals.insert(signal, name);
            }
        }
    }
    for name in never_ready(jobs) {
        // Each circle is reported once, by the first of its names.
        if let Some(circle) = circle(name, jobs)
            && circle.iter().all(|other| *other >= name)
        {
            let message = format!("the jobs wait for each other: {}", circle.join(" after "));
            diagnostics.error(&path(name, "after"), message);
        }
    }
}

/// The jobs on a circle, and those that wait for one of them.
fn never_ready(jobs: &BTreeMap<String, JobSpec>) -> Vec<&str> {
    let mut dependants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, job) in jobs {
        let known = job
            .schedule
            .after
            .iter()
            .filter(|after| jobs.contains_key(*after));
        for after in known {
            dependants.entry(after).or_default().push(name);
            *waits.entry(name).or_default() += 1;
        }
    }
    let mut ready: Vec<&str> = jobs.keys().map(String::as_str).collect();
    ready.retain(|name| !waits.contains_key(name));
    while let Some(job) = ready.pop() {
        for dependant in dependants.remove(job).unwrap_or_default() {
            if let Some(left) = waits.get_mut(dependant) {
                *left -= 1;
                if *left == 0 {
                    waits.remove(dependant);
                    ready.push(dependant);
                }
            }
        }
    }
    waits.into_keys().collect()
}

/// The shortest way from a job along `after` back to itself.
fn circle<'j>(start: &'j str, jobs: &'j BTreeMap<String, JobSpec>) -> Option<Vec<&'j str>> {
    let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut frontier = vec![start];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for job in frontier {
            let afters = jobs
                .get(job)
                .into_iter()
                .flat_map(|spec| &spec.schedule.after);
            for after in afters {
                if after == start {
                    let mut way = vec![start, job];
                    while let Some(previous) = reached_from.get(way[way.len() - 1]) {
                        way.push(previous);
                    }
                    way.reverse();
                    return Some(way);
                }
                if !reached_from.contains_key(after.as_str()) {
                    reached_from.insert(after, job);
                    next.push(after.as_str());
                }
            }
        }
        frontier = next;
    }
    None
}
