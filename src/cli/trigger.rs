//! `tableferry trigger` and `tableferry reload`: requests to the running daemon, over its control socket.

use std::collections::BTreeSet;

use super::args::TriggerArgs;
use super::out::{complain, print_text};
use super::running::RunningDaemon;
use super::{Exit, exit_of, worse};
use crate::daemon::control::{ControlRequest, Reply, client};

pub(super) async fn run(daemon: &RunningDaemon<'_>, wanted: TriggerArgs) -> Exit {
    let jobs: BTreeSet<String> = wanted.jobs.into_iter().collect();
    let request = ControlRequest::Trigger {
        jobs: jobs.iter().cloned().collect(),
        wait: wanted.wait,
    };
    match daemon.ask(&request).await {
        Ok(answers) => tell_answers(answers, jobs.len()).await,
        Err(error) => daemon.absent(&error),
    }
}

async fn tell_answers(mut answers: client::Answers, jobs: usize) -> Exit {
    let mut exit = Exit::Done;
    let mut told = 0;
    loop {
        match answers.next().await {
            Ok(Some(Reply::Accepted { job })) => print_text(&format!("{job}: accepted")),
            Ok(Some(Reply::Ended { job, outcome })) => {
                print_text(&format!("{job}: {}", outcome.as_str()));
                exit = worse(exit, exit_of(outcome));
            }
            Ok(Some(Reply::Refused { job, why, unknown })) => {
                complain!("tableferry: {job}: {why}");
                exit = worse(exit, if unknown { Exit::Usage } else { Exit::Failed });
            }
            Ok(None) if told >= jobs => return exit,
            Ok(other) => {
                complain!("tableferry: the daemon left before it had answered ({other:?})");
                return Exit::Failed;
            }
            Err(error) => {
                complain!("tableferry: the daemon's answer can't be read: {error}");
                return Exit::Failed;
            }
        }
        told += 1;
    }
}

pub(super) async fn reload(daemon: &RunningDaemon<'_>) -> Exit {
    let mut answers = match daemon.ask(&ControlRequest::Reload).await {
        Ok(answers) => answers,
        Err(error) => return daemon.absent(&error),
    };
    match answers.next().await {
        Ok(Some(Reply::Reloaded {
            added,
            removed,
            changed,
        })) => {
            let parts: Vec<_> = [("added", added), ("removed", removed), ("changed", changed)]
                .into_iter()
                .filter(|(_, jobs)| !jobs.is_empty())
                .map(|(what, jobs)| format!("; {what} {}", jobs.join(", ")))
                .collect();
            print_text(&format!("reloaded{}", parts.concat()));
            Exit::Done
        }
        Ok(Some(Reply::Invalid { errors })) => {
            for error in errors.lines() {
                complain!("{error}");
            }
            complain!("the old configuration stays in force");
            Exit::Config
        }
        Ok(other) => {
            complain!("tableferry: the daemon gave an unexpected answer: {other:?}");
            Exit::Failed
        }
        Err(error) => {
            complain!("tableferry: the daemon's answer can't be read: {error}");
            Exit::Failed
        }
    }
}
