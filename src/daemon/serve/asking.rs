//! Those who want something of the daemon: signals, the spool, the socket.

use std::time::Instant;

use tokio::sync::mpsc;

use super::Daemon;
use crate::daemon::askers::Askers;
use crate::daemon::control::{Reply, Request};
use crate::daemon::event::{Event, SkipReason, Trigger};
use crate::daemon::signals::SignalEvent;
use crate::daemon::spool::Wanted;
use crate::daemon::{reload, status};
use crate::words::counted;

impl Daemon {
    pub(super) fn on_signal(&mut self, signal: SignalEvent) {
        match signal {
            SignalEvent::Stop => self.stop(),
            SignalEvent::Reload => {
                // What is wrong has been logged.
                let _ = self.reload();
            }
            SignalEvent::Look => self.look_into_spool(true),
            SignalEvent::Status => {
                for job in status::jobs(&self.table, &self.last_runs) {
                    tracing::info!(
                        job = job.job,
                        state = job.state,
                        last_outcome = job.last_outcome.map(tracing::field::debug),
                        next_run_at = job.next_run_at.map(tracing::field::display),
                        "status"
                    );
                }
            }
            SignalEvent::Job(number) => self.apply(Event::Signal(number)),
        }
    }

    fn stop(&mut self) {
        let grace = self.table.armed().config().daemon.shutdown_grace;
        let running = self.table.running().count();
        tracing::info!(running, grace_seconds = grace.as_secs(), "stopping");
        self.tell(
            self.supervisor
                .stopping(&format!("waiting for {}", counted(running, "run"))),
        );
        self.apply(Event::Stop);
    }

    fn reload(&mut self) -> Result<(), String> {
        self.tell(self.supervisor.reloading());
        let read = reload::read(&self.request, self.table.armed().config());
        let result = match read {
            Ok(armed) => {
                (self.in_force)(armed.config());
                self.apply(Event::Reload(armed));
                Ok(())
            }
            Err(errors) => {
                tracing::error!("the new configuration is refused, the old one stays: {errors}");
                Err(errors)
            }
        };
        self.status_told = status::line(&self.table);
        self.tell(self.supervisor.ready(&self.status_told));
        result
    }

    /// `signalled`: an empty spool then means all on-demand jobs.
    pub(super) fn look_into_spool(&mut self, signalled: bool) {
        loop {
            let taken = match self.spool.take() {
                Ok(taken) => taken,
                Err(error) => return tracing::error!("the trigger spool can't be read: {error}"),
            };
            for (name, why) in &taken.rejected {
                tracing::warn!("trigger file `{name}` is refused: {why}");
            }
            let more = taken.more;
            match self.storm.wanted(&taken, Instant::now()) {
                Wanted::Named => self.apply(Event::Trigger {
                    jobs: taken.jobs.into_iter().collect(),
                    trigger: Trigger::Signal,
                    ticket: None,
                }),
                Wanted::OnDemand if signalled => self.apply(Event::OnDemand),
                Wanted::OnDemand | Wanted::Echo => {}
            }
            if !more {
                return;
            }
        }
    }

    pub(super) fn on_asked(&mut self, request: Request, replies: mpsc::Sender<Reply>) {
        match request {
            Request::Trigger { jobs, wait: true } => {
                let ticket = self.askers.admit(replies, jobs.iter().cloned().collect());
                self.apply(Event::Trigger {
                    jobs,
                    trigger: Trigger::Manual,
                    ticket: Some(ticket),
                });
            }
            Request::Trigger { jobs, wait: false } => {
                for job in &jobs {
                    let refused = match self.table.armed().job(job) {
                        None => Some(SkipReason::Unknown),
                        Some(_) => self.table.is_stopping().then_some(SkipReason::Stopping),
                    };
                    Askers::acknowledge(&replies, job, refused);
                }
                self.apply(Event::Trigger {
                    jobs,
                    trigger: Trigger::Manual,
                    ticket: None,
                });
            }
            Request::Reload => {
                self.askers.expect_reload(replies);
                if let Err(errors) = self.reload() {
                    self.askers.reload_refused(&errors);
                }
            }
            Request::Status => {
                let jobs = status::jobs(&self.table, &self.last_runs);
                let _ = replies.try_send(Reply::Status { jobs });
            }
        }
    }
}
