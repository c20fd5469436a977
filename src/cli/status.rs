//! `tableferry status`: what the daemon's jobs are doing.

use super::args::JobsArgs;
use super::{Exit, chosen, plain_table, print_json, print_text};
use crate::config::spec::Config;
use crate::daemon::control::{Reply, Request, client};

pub(super) async fn run(config: &Config, wanted: JobsArgs) -> Exit {
    let Some(names) = chosen(config, wanted.jobs) else {
        return Exit::Usage;
    };
    let runtime_dir = &config.daemon.runtime_dir;
    let answered = match client::ask(runtime_dir, &Request::Status).await {
        Ok(mut answers) => answers.next().await,
        Err(error) => Err(error),
    };
    let jobs = match answered {
        Ok(Some(Reply::Status { jobs })) => jobs,
        Ok(other) => {
            eprintln!("tableferry: the daemon gave a strange answer: {other:?}");
            return Exit::Failed;
        }
        Err(error) => {
            eprintln!(
                "tableferry: no daemon answers in {}: {error}\n  hint: `tableferry jobs` shows the \
                 schedule without one",
                runtime_dir.display()
            );
            return Exit::Failed;
        }
    };
    let mut table = plain_table([
        "job",
        "state",
        "last run",
        "ended (UTC)",
        "next (UTC)",
        "error",
    ]);
    for job in jobs.iter().filter(|job| names.contains(&job.job)) {
        if wanted.json {
            print_json(job);
            continue;
        }
        let time = |at: Option<jiff::Timestamp>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
        let outcome = job.last_outcome.map_or("-", |outcome| outcome.as_str());
        table.add_row([
            job.job.clone(),
            job.state.clone(),
            outcome.to_owned(),
            time(job.last_finished_at),
            time(job.next_run_at),
            job.last_error.clone().unwrap_or_default(),
        ]);
    }
    if !wanted.json {
        print_text(&table.trim_fmt());
    }
    Exit::Done
}
