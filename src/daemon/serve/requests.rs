//! Requests to the daemon: signals, the trigger spool, the control socket.

use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::Daemon;
use crate::daemon::clients::Clients;
use crate::daemon::control::{ControlRequest, JobStatusReply, Reply};
use crate::daemon::event::{DaemonEvent, Outcome, RunTrigger, SkipReason};
use crate::daemon::signals::SignalEvent;
use crate::daemon::skips::REFUSALS_LOGGED_MAX;
use crate::daemon::spool::{BareSignal, SpoolScan};
use crate::daemon::{reload, status};
use crate::wording::counted;

/// A look into the spool that is not over.
pub(super) struct OpenScan {
    scan: SpoolScan,
    signalled: bool,
    /// Files that were no trigger files.
    refused: usize,
}

impl Daemon {
    pub(super) fn on_signal(&mut self, signal: SignalEvent) {
        match signal {
            SignalEvent::Stop => self.stop(),
            SignalEvent::Reload => {
                // What is wrong has been logged.
                let _ = self.reload();
            }
            SignalEvent::ScanSpool => self.scan_spool(true),
            SignalEvent::Status => {
                for job in self.status() {
                    tracing::info!(
                        job = job.job,
                        state = job.state,
                        last_outcome = job.last_outcome.map(Outcome::as_str),
                        attempt = job.attempt,
                        next_run_at = job.next_run_at.map(tracing::field::display),
                        stale = job.stale,
                        "status"
                    );
                }
            }
            SignalEvent::Job(number) => self.apply(DaemonEvent::Signal(number)),
        }
    }

    fn status(&self) -> Vec<JobStatusReply> {
        let now = Timestamp::now();
        status::jobs(&self.table, &self.past_runs, &self.state_file, now)
    }

    fn stop(&mut self) {
        let grace = self.table.scheduled().config().daemon.shutdown_grace;
        let running = self.table.running().count();
        tracing::info!(running, grace_seconds = grace.as_secs(), "stopping");
        self.tell(
            self.supervisor
                .stopping(&format!("waiting for {}", counted(running, "run"))),
        );
        self.apply(DaemonEvent::Stop);
    }

    fn reload(&mut self) -> Result<(), String> {
        self.tell(self.supervisor.reloading());
        let read = reload::read(&self.request, self.table.scheduled().config());
        let result = match read {
            Ok(scheduled) => {
                self.reloads.accepted += 1;
                self.reloads.is_refused = false;
                self.reloads.accepted_at = Timestamp::now();
                (self.in_force)(scheduled.config());
                self.apply(DaemonEvent::Reload(scheduled));
                Ok(())
            }
            Err(errors) => {
                self.reloads.refused += 1;
                self.reloads.is_refused = true;
                tracing::error!(
                    "the new configuration is refused, and the old one stays in force: {errors}"
                );
                Err(errors)
            }
        };
        self.status_told = status::line(&self.table);
        self.tell(self.supervisor.ready(&self.status_told));
        result
    }

    /// Reads the trigger spool. `signalled`: an empty spool means all on-demand jobs.
    pub(super) fn scan_spool(&mut self, signalled: bool) {
        if self.open_scan.is_some() {
            self.scan_again |= signalled;
            return;
        }
        match self.spool.scan() {
            Ok(scan) => {
                self.open_scan = Some(OpenScan {
                    scan,
                    signalled,
                    refused: 0,
                });
                self.continue_scan();
            }
            Err(error) => tracing::error!("the trigger spool can't be read: {error}"),
        }
    }

    /// Reads one batch of the spool. The loop calls it again for the rest.
    pub(super) fn continue_scan(&mut self) {
        let Some(mut open) = self.open_scan.take() else {
            return;
        };
        let taken = match open.scan.take() {
            Ok(taken) => taken,
            Err(error) => return tracing::error!("the trigger spool can't be read: {error}"),
        };
        for (name, why) in &taken.rejected {
            open.refused += 1;
            if open.refused <= REFUSALS_LOGGED_MAX {
                tracing::warn!("trigger file `{name}` is refused: {why}");
            }
        }
        if open.scan.has_found() {
            self.storm.named(Instant::now());
        }
        if !taken.jobs.is_empty() {
            self.apply(DaemonEvent::Trigger {
                jobs: taken.jobs.into_iter().collect(),
                trigger: RunTrigger::Signal,
                ticket: None,
            });
        }
        if taken.more {
            self.open_scan = Some(open);
            return;
        }
        if open.refused > REFUSALS_LOGGED_MAX {
            let more = open.refused - REFUSALS_LOGGED_MAX;
            tracing::warn!("{more} more trigger files are refused");
        }
        if open.signalled && !open.scan.has_found() {
            self.on_bare_signal();
        }
        if std::mem::take(&mut self.scan_again) {
            self.scan_spool(true);
        }
    }

    fn on_bare_signal(&mut self) {
        match self.storm.wanted(Instant::now()) {
            BareSignal::OnDemand => self.apply(DaemonEvent::OnDemand),
            BareSignal::Echo { is_first: true } => tracing::info!(
                "SIGUSR1 without a trigger file is taken for the announcement of files that were \
                 taken less than a second ago; send it again to run all jobs with `on_demand`"
            ),
            BareSignal::Echo { is_first: false } => {}
        }
    }

    pub(super) fn on_asked(&mut self, request: ControlRequest, replies: mpsc::Sender<Reply>) {
        match request {
            ControlRequest::Trigger { jobs, wait: true } => {
                let ticket = self.clients.admit(replies, jobs.iter().cloned().collect());
                self.apply(DaemonEvent::Trigger {
                    jobs,
                    trigger: RunTrigger::Manual,
                    ticket: Some(ticket),
                });
            }
            ControlRequest::Trigger { jobs, wait: false } => {
                for job in &jobs {
                    let refused = match self.table.scheduled().job(job) {
                        None => Some(SkipReason::Unknown),
                        Some(_) if self.table.paused_since(job).is_some() => {
                            Some(SkipReason::Paused)
                        }
                        Some(_) => self.table.is_stopping().then_some(SkipReason::Stopping),
                    };
                    Clients::acknowledge(&replies, job, refused);
                }
                self.apply(DaemonEvent::Trigger {
                    jobs,
                    trigger: RunTrigger::Manual,
                    ticket: None,
                });
            }
            ControlRequest::Reload => {
                self.clients.expect_reload(replies);
                if let Err(errors) = self.reload() {
                    self.clients.reload_refused(&errors);
                }
            }
            ControlRequest::Status => {
                let jobs = self.status();
                let notifiers = self.notifiers.status();
                let _ = replies.try_send(Reply::Status { jobs, notifiers });
            }
        }
    }
}
