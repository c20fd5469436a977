//! `tableferry trigger` and `tableferry reload`: words with the running daemon, over its control
//! socket; a trigger falls back to the spool and a signal.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::args::TriggerArgs;
use super::{Exit, exit_of, print_text, worse};
use crate::config::spec::Config;
use crate::daemon::control::{Reply, Request, client};
use crate::daemon::instance::Instance;
use crate::daemon::spool::Spool;

pub(super) async fn run(config: &Config, wanted: TriggerArgs) -> Exit {
    let request = Request::Trigger {
        jobs: wanted.jobs.clone(),
        wait: wanted.wait,
    };
    match client::ask(&config.daemon.runtime_dir, &request).await {
        Ok(answers) => tell_answers(answers, wanted.jobs.len()).await,
        Err(error) if wanted.wait => no_daemon(config, &error),
        Err(error) => match spool(config, &wanted.jobs) {
            Ok(()) => Exit::Done,
            Err(why) => {
                eprintln!("tableferry: {why}");
                no_daemon(config, &error)
            }
        },
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
            Ok(Some(Reply::Refused { job, why })) => {
                eprintln!("tableferry: {job}: {why}");
                exit = worse(exit, Exit::Usage);
            }
            Ok(None) if told >= jobs => return exit,
            Ok(other) => {
                eprintln!("tableferry: the daemon left before it had answered ({other:?})");
                return Exit::Failed;
            }
            Err(error) => {
                eprintln!("tableferry: the daemon's answer can't be read: {error}");
                return Exit::Failed;
            }
        }
        told += 1;
    }
}

/// The way without a socket: files that name the jobs, then the signal that says "look".
fn spool(config: &Config, jobs: &[String]) -> Result<(), String> {
    let runtime_dir = &config.daemon.runtime_dir;
    let pid = Instance::holder(runtime_dir)
        .ok_or_else(|| format!("no daemon lives in {}", runtime_dir.display()))?;
    for job in jobs {
        if !config.jobs.contains_key(job) {
            return Err(format!("there is no job `{job}`"));
        }
        Spool::of(runtime_dir)
            .put(job)
            .map_err(|error| error.to_string())?;
    }
    kill(Pid::from_raw(pid), Signal::SIGUSR1)
        .map_err(|error| format!("the daemon (pid {pid}) can't be signalled: {error}"))?;
    print_text("spooled, and the daemon was told by SIGUSR1");
    Ok(())
}

pub(super) async fn reload(config: &Config) -> Exit {
    let mut answers = match client::ask(&config.daemon.runtime_dir, &Request::Reload).await {
        Ok(answers) => answers,
        Err(error) => return no_daemon(config, &error),
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
            eprintln!("{errors}\nthe old configuration stays in force");
            Exit::Config
        }
        Ok(other) => {
            eprintln!("tableferry: the daemon gave a strange answer: {other:?}");
            Exit::Failed
        }
        Err(error) => {
            eprintln!("tableferry: the daemon's answer can't be read: {error}");
            Exit::Failed
        }
    }
}

fn no_daemon(config: &Config, error: &io::Error) -> Exit {
    eprintln!(
        "tableferry: no daemon answers in {}: {error}",
        config.daemon.runtime_dir.display()
    );
    Exit::Failed
}
