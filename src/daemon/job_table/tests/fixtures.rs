//! Jobs, configurations and events to build cases of, and actions in words.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::*;
use crate::config::spec::{
    Config, DaemonSpec, History, Mode, Overlap, PasswordSource, ServerPlace, ServerSpec,
};
use crate::daemon::event::Elsewhere;
use crate::plan::fixtures;

/// A job that copies from server `s` to server `t`, on demand only.
pub(super) fn job(name: &str, change: impl FnOnce(&mut JobSpec)) -> JobSpec {
    let mut spec = JobSpec {
        name: name.to_owned(),
        source: "s".to_owned(),
        target: "t".to_owned(),
        ..fixtures::job(Mode::Merge)
    };
    spec.schedule.catchup_window = Duration::from_secs(3600);
    change(&mut spec);
    spec
}

pub(super) fn minutely(name: &str) -> JobSpec {
    job(name, |j| j.schedule.every = Some(Duration::from_secs(60)))
}

pub(super) fn queueing(name: &str) -> JobSpec {
    let mut spec = minutely(name);
    spec.schedule.overlap = Overlap::Queue;
    spec
}

pub(super) fn after(name: &str, others: &[&str]) -> JobSpec {
    job(name, |j| {
        j.schedule.after = others.iter().map(|o| (*o).to_owned()).collect();
    })
}

pub(super) fn between(name: &str, source: &str, target: &str, workers: u32) -> JobSpec {
    job(name, |j| {
        (j.source, j.target, j.workers) = (source.to_owned(), target.to_owned(), workers);
    })
}

/// Servers `s` and `t` have ten connections, `slow` has one, `wide` four.
pub(super) fn config(max_running_jobs: usize, jobs: Vec<JobSpec>) -> Config {
    let server = |name: &str, max_connections| {
        let spec = ServerSpec {
            name: name.to_owned(),
            place: ServerPlace::Database,
            conninfo: SecretString::from(""),
            password: PasswordSource::Libpq,
            proxy_command: None,
            max_connections,
            encoding: None,
        };
        (name.to_owned(), spec)
    };
    Config {
        file: PathBuf::new(),
        daemon: DaemonSpec {
            max_running_jobs,
            shutdown_grace: Duration::from_secs(60),
            runtime_dir: PathBuf::new(),
            state_dir: PathBuf::new(),
            listen: None,
            timezone: TimeZone::UTC,
            log_level: crate::config::spec::LogLevel::Info,
            history: History::Off,
            history_keep: Duration::from_secs(60),
        },
        servers: [("s", 10), ("t", 10), ("slow", 1), ("wide", 4)]
            .map(|(name, limit)| server(name, limit))
            .into(),
        jobs: jobs.into_iter().map(|j| (j.name.clone(), j)).collect(),
        notifiers: BTreeMap::new(),
        warnings: Vec::new(),
    }
}

pub(super) fn scheduled(config: Config) -> ScheduledConfig {
    ScheduledConfig::new(Arc::new(config)).unwrap()
}

pub(super) fn workers(spec: &JobSpec) -> Connections {
    Connections {
        source: spec.workers,
        target: spec.workers,
    }
}

/// `10:00:30` on the first of January 2026.
pub(super) fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

pub(super) fn table(config: Config) -> JobTable {
    JobTable::new(scheduled(config), workers, &BTreeMap::new(), at("10:00:00")).0
}

pub(super) fn trigger(jobs: &[&str], ticket: Ticket) -> DaemonEvent {
    DaemonEvent::Trigger {
        jobs: jobs.iter().map(|j| (*j).to_owned()).collect(),
        trigger: RunTrigger::Manual,
        ticket: Some(ticket),
    }
}

pub(super) const RUN: Uuid = Uuid::from_u128(1);

pub(super) fn finished(job: &str, outcome: Outcome) -> DaemonEvent {
    DaemonEvent::Finished {
        job: job.into(),
        run_id: RUN,
        outcome,
        elsewhere: None,
    }
}

pub(super) fn skipped(job: &str, elsewhere: Elsewhere) -> DaemonEvent {
    DaemonEvent::Finished {
        job: job.into(),
        run_id: RUN,
        outcome: Outcome::Skipped,
        elsewhere: Some(elsewhere),
    }
}

pub(super) fn committed(job: &str) -> DaemonEvent {
    finished(job, Outcome::Committed)
}

/// All but `FireCompleted`, one word or three an action.
pub(super) fn show(actions: &[Action]) -> String {
    let time = |due: &Option<Timestamp>| {
        due.map_or(String::new(), |t| t.strftime(" %H:%M:%S").to_string())
    };
    let words = actions.iter().filter_map(|action| {
        Some(match action {
            Action::Start(start) => {
                let due = time(&start.due_at);
                let orphan = match start.orphan {
                    None => "",
                    Some(Orphan { is_same: false, .. }) => " after an orphan",
                    Some(Orphan { is_same: true, .. }) => " again",
                };
                format!("start {} {:?}{due}{orphan}", start.job, start.trigger)
            }
            Action::Cancel(job) => format!("cancel {job}"),
            Action::FireCompleted { .. } => return None,
            Action::Skipped { job, due_at, why } => format!("skip {job} {why:?}{}", time(due_at)),
            Action::Answer {
                ticket,
                job,
                answer,
            } => format!("answer {ticket} {job} {answer:?}"),
            Action::Reloaded(c) => {
                format!("reloaded +{:?} -{:?} ~{:?}", c.added, c.removed, c.changed)
            }
            Action::Exit => "exit".to_owned(),
        })
    });
    words.collect::<Vec<_>>().join(", ")
}

pub(super) type Step = (&'static str, DaemonEvent, &'static str);

pub(super) fn check(table: &mut JobTable, steps: Vec<Step>) {
    for (n, (time, event, expected)) in steps.into_iter().enumerate() {
        let said = format!("{event:?}");
        let actions = table.handle(event, at(time));
        assert_eq!(show(&actions), expected, "step {n} at {time}: {said:.60}");
    }
}
