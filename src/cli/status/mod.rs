//! `tableferry status`: what the daemon's jobs are doing.

mod text;
mod watch;

use std::io;

use jiff::Timestamp;

use super::args::StatusArgs;
use super::colours::Tone;
use super::out::{Line, complain, print_json, print_lines, terminal_width};
use super::running::RunningDaemon;
use super::{Exit, known};
use crate::daemon::control::{ControlRequest, JobStatusReply, NotifierStatusReply, Reply};
use crate::harmless;
use crate::wording::wrapped;

pub(super) async fn run(daemon: &RunningDaemon<'_>, wanted: StatusArgs) -> Exit {
    if wanted.watch {
        return watch::run(daemon, &wanted).await;
    }
    match look(daemon, &wanted).await {
        Look::Seen(seen) => {
            seen.print(&wanted);
            Exit::Done
        }
        Look::Ended(exit) => exit,
        Look::Absent(error) => absent(daemon, &error),
    }
}

/// What came of asking.
enum Look {
    Seen(Seen),
    /// No daemon answers.
    Absent(io::Error),
    /// It makes no sense to ask again; why is said.
    Ended(Exit),
}

/// The jobs that were asked for, and all notifiers.
struct Seen {
    jobs: Vec<JobStatusReply>,
    notifiers: Vec<NotifierStatusReply>,
    at: Timestamp,
}

fn absent(daemon: &RunningDaemon<'_>, error: &io::Error) -> Exit {
    let exit = daemon.absent(error);
    complain!("  hint: `tableferry jobs` shows the schedule without a daemon");
    exit
}

async fn look(daemon: &RunningDaemon<'_>, wanted: &StatusArgs) -> Look {
    let answered = match daemon.ask(&ControlRequest::Status).await {
        Ok(mut answers) => answers.next().await,
        Err(error) => Err(error),
    };
    let (mut jobs, notifiers) = match answered {
        Ok(Some(Reply::Status { jobs, notifiers })) => (jobs, notifiers),
        // It ends at this moment.
        Ok(None) => return Look::Absent(io::ErrorKind::UnexpectedEof.into()),
        Ok(other) => {
            complain!("tableferry: the daemon gave an unexpected answer: {other:?}");
            return Look::Ended(Exit::Failed);
        }
        Err(error) => return Look::Absent(error),
    };
    let configured: Vec<_> = jobs.iter().map(|job| job.job.as_str()).collect();
    if !known(&configured, &wanted.jobs) {
        return Look::Ended(Exit::Usage);
    }
    jobs.retain(|job| wanted.jobs.is_empty() || wanted.jobs.contains(&job.job));
    Look::Seen(Seen {
        jobs,
        notifiers,
        at: Timestamp::now(),
    })
}

impl Seen {
    fn print(&self, wanted: &StatusArgs) {
        if wanted.json {
            self.jobs.iter().for_each(print_json);
            return;
        }
        print_lines(&self.lines(false));
        for silent in text::silent(&self.notifiers) {
            complain!("{silent}");
        }
    }

    /// `is_whole`: with notifiers, and what is urgent first, because what does not fit is cut off.
    fn lines(&self, is_whole: bool) -> Vec<Line> {
        let mut jobs: Vec<&JobStatusReply> = self.jobs.iter().collect();
        if !is_whole {
            return text::lines(&jobs, self.at, terminal_width());
        }
        jobs.sort_by_key(|job| text::urgency(job));
        let time = format!("{:.0}, every second; Ctrl-C ends this", self.at);
        let mut lines = vec![Line::plain(time)];
        for silent in text::silent(&self.notifiers) {
            let parts = wrapped(&harmless::line(&silent), terminal_width(), "", "  ");
            lines.extend(parts.into_iter().map(|part| Line::of(part, Tone::Bad)));
        }
        lines.push(Line::default());
        lines.extend(text::lines(&jobs, self.at, terminal_width()));
        lines
    }
}
