//! `tableferry status`: what the daemon's jobs are doing.

use super::args::JobsArgs;
use super::out::{PlainTable, complain, in_short, print_json};
use super::running::RunningDaemon;
use super::{Exit, known};
use crate::daemon::control::{ControlRequest, JobStatusReply, Reply};

pub(super) async fn run(daemon: &RunningDaemon<'_>, wanted: JobsArgs) -> Exit {
    let answered = match daemon.ask(&ControlRequest::Status).await {
        Ok(mut answers) => answers.next().await,
        Err(error) => Err(error),
    };
    let (jobs, notifiers) = match answered {
        Ok(Some(Reply::Status { jobs, notifiers })) => (jobs, notifiers),
        Ok(other) => {
            complain!("tableferry: the daemon gave an unexpected answer: {other:?}");
            return Exit::Failed;
        }
        Err(error) => {
            let exit = daemon.absent(&error);
            complain!("  hint: `tableferry jobs` shows the schedule without a daemon");
            return exit;
        }
    };
    let configured: Vec<_> = jobs.iter().map(|job| job.job.as_str()).collect();
    if !known(&configured, &wanted.jobs) {
        return Exit::Usage;
    }
    let chosen = |name: &String| wanted.jobs.is_empty() || wanted.jobs.contains(name);
    let mut table = PlainTable::new([
        "job",
        "state",
        "last run",
        "ended (UTC)",
        "next (UTC)",
        "error",
    ])
    .fit();
    for job in jobs.iter().filter(|job| chosen(&job.job)) {
        if wanted.json {
            print_json(job);
            continue;
        }
        let time = |at: Option<jiff::Timestamp>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
        let error = job.attempt_error.as_ref().or(job.last_error.as_ref());
        let outcome = job.last_outcome.map_or("-", |outcome| outcome.as_str());
        table.add([
            job.job.clone(),
            state(job),
            outcome.to_owned(),
            time(job.last_finished_at),
            time(job.next_run_at),
            in_short(error.map_or("", String::as_str)),
        ]);
    }
    if !wanted.json {
        table.print();
        for notifier in &notifiers {
            if let Some(error) = &notifier.last_error {
                let name = &notifier.notifier;
                complain!("notifier `{name}`: the last notice could not be sent: {error}");
            }
        }
    }
    Exit::Done
}

fn state(job: &JobStatusReply) -> String {
    let mut text = job.state.clone();
    if let Some(attempt) = job.attempt {
        text += &format!(", attempt {attempt}");
    }
    if job.paused_since.is_some() {
        text += ", paused";
    }
    if job.stale == Some(true) {
        text += ", stale";
    }
    if job.removed {
        text += ", removed";
    }
    text
}
