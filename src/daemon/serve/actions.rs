//! Carries out the actions of the job table, and reports the ends of runs to it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::Daemon;
use crate::daemon::event::{Action, DaemonEvent, Elsewhere, Outcome, SkipReason};
use crate::daemon::health::RunEnd;
use crate::daemon::past_runs::PastRun;
use crate::daemon::reload;
use crate::daemon::runner::EndedRun;
use crate::report::RunReport;
use crate::report::drift::NotCopied;

impl Daemon {
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        let mut run_ids = BTreeMap::new();
        for action in &actions {
            match action {
                Action::Start(start) => {
                    let run_id = Uuid::now_v7();
                    self.state_file
                        .started(&start.job, run_id, Timestamp::now());
                    run_ids.insert(start.job.clone(), run_id);
                }
                Action::FireCompleted { job, due_at } => self.state_file.completed(job, *due_at),
                Action::Reloaded(changes) => {
                    let added = changes.added.iter().map(ToString::to_string);
                    self.state_file.saved_jobs(added, Timestamp::now());
                }
                _ => {}
            }
        }
        // In one write, before a run can have published anything.
        self.save();
        let mut skipped = Vec::new();
        for action in actions {
            match action {
                Action::Start(start) => {
                    if let Some(run_id) = run_ids.remove(&start.job) {
                        self.runner.start(start, run_id);
                    }
                }
                Action::Cancel(job) => self.runner.cancel(&job),
                Action::FireCompleted { .. } => {}
                Action::Skipped { job, due_at, why } => {
                    // A name that is not configured is no label.
                    if !matches!(why, SkipReason::Unknown | SkipReason::Removed) {
                        self.past_runs.skipped(&job, why);
                    }
                    skipped.push((job, due_at, why));
                }
                Action::Answer {
                    ticket,
                    job,
                    answer,
                } => self.clients.answer(ticket, &job, answer),
                Action::Reloaded(changes) => {
                    tracing::info!("configuration reloaded: {}", reload::text(&changes));
                    self.follow_config();
                    self.settle_all();
                    let scheduled = self.table.scheduled();
                    self.past_runs.retain(|job| scheduled.job(job).is_some());
                    self.clients.reloaded(changes);
                    self.job_registry
                        .update(self.table.scheduled(), Timestamp::now());
                    self.ledger_watch.update(self.table.scheduled());
                }
                Action::Exit => self.done = true,
            }
        }
        self.skips.say(&skipped);
    }

    pub(super) fn on_ended(&mut self, ended: EndedRun) {
        let EndedRun {
            job,
            run_id,
            due_at,
            trigger,
            report,
        } = ended;
        let retried = self.runner.live(&job).map(|live| live.read().retried);
        self.runner.forget(&job);
        let now = Timestamp::now();
        let mut not_copied = NotCopied::default();
        let (outcome, elsewhere, error, snapshot_at, report) = match report {
            Ok(report) => {
                let snapshot_at = snapshot_at(&report, due_at);
                let (outcome, elsewhere) = (report.outcome, report.elsewhere);
                let error = report.error.clone();
                not_copied = NotCopied::of(&report.tables);
                (outcome, elsewhere, error, snapshot_at, Some(report))
            }
            Err(error) => {
                tracing::error!(job = &*job, "{}", error.message);
                (Outcome::RolledBack, None, Some(error), None, None)
            }
        };
        match (outcome, elsewhere) {
            (Outcome::InDoubt, _) => {}
            (Outcome::Committed, _) | (_, Some(Elsewhere::Committed)) => {
                self.state_file.ended(&job);
                self.state_file
                    .committed(&job, snapshot_at, not_copied, now);
            }
            _ => self.state_file.ended(&job),
        }
        if elsewhere != Some(Elsewhere::AtWork) {
            self.skips.over(&job);
        }
        if self.table.scheduled().job(&job).is_some() {
            let run = PastRun {
                trigger,
                outcome,
                elsewhere,
                error,
                report,
                retried: retried.unwrap_or_default(),
                finished_at: now,
            };
            self.past_runs.ended(&job, run);
        }
        let stale_at = self.stale_at(&job);
        let change = self
            .health
            .ended(&job, run_end(outcome, elsewhere), stale_at, now);
        self.tell_changes(Vec::from_iter(change), now);
        self.apply(DaemonEvent::Finished {
            job,
            run_id,
            outcome,
            elsewhere,
        });
    }

    pub(super) fn save(&mut self) {
        if let Err(error) = self.state_file.save() {
            tracing::error!(
                "the state file cannot be written, so a restart forgets which jobs have run: {error}"
            );
        }
    }
}

/// A run that another daemon has taken over says what that daemon's run has published, but not how it failed.
fn run_end(outcome: Outcome, elsewhere: Option<Elsewhere>) -> RunEnd {
    match (outcome, elsewhere) {
        (Outcome::Committed, _) | (_, Some(Elsewhere::Committed)) => RunEnd::Committed,
        (Outcome::InDoubt, _) => RunEnd::InDoubt,
        (Outcome::RolledBack, _) => RunEnd::Failed,
        (Outcome::Cancelled | Outcome::Skipped, _) => RunEnd::Open,
    }
}

/// When the source's snapshot was taken that a committed run has published. Files have none: they are not older
/// than the run. A run of another daemon is not older than its fire.
fn snapshot_at(report: &RunReport, due_at: Option<Timestamp>) -> Option<Timestamp> {
    match (report.outcome, &report.snapshot) {
        (Outcome::Committed, Some(snapshot)) => Some(snapshot.taken_at),
        (Outcome::Committed, None) => Some(report.started_at),
        _ => due_at,
    }
}
