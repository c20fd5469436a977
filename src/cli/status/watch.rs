//! `tableferry status --watch`: the status again every second, until Ctrl-C.

use std::time::Duration;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

use super::{Look, absent, look};
use crate::cli::Exit;
use crate::cli::args::StatusArgs;
use crate::cli::out::{Line, Screen, can_draw, complain, terminal_height};
use crate::cli::running::RunningDaemon;

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a daemon may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

pub(super) async fn run(daemon: &RunningDaemon<'_>, wanted: &StatusArgs) -> Exit {
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            complain!("tableferry: signals cannot be handled: {error}");
            return Exit::Failed;
        }
    };
    // A daemon that is not there from the beginning will hardly come; one that restarts does.
    let mut screen: Option<Screen> = None;
    loop {
        let looked = tokio::select! {
            biased;
            _ = signals.next() => return Exit::Done,
            looked = tokio::time::timeout(ANSWER_WAIT, look(daemon, wanted)) => looked,
        };
        match looked {
            Ok(Look::Seen(seen)) => match can_draw() && !wanted.json {
                true => screen
                    .get_or_insert_with(Screen::open)
                    .draw(&fit(seen.lines(true), terminal_height())),
                false => seen.print(wanted),
            },
            Ok(Look::Ended(exit)) => return exit,
            Ok(Look::Absent(error)) => match &screen {
                Some(screen) => screen.draw(&[Line::plain(format!("no daemon answers: {error}"))]),
                None => return absent(daemon, &error),
            },
            Err(_) => match &screen {
                Some(screen) => {
                    screen.draw(&[Line::plain("the daemon does not answer".to_owned())])
                }
                None => {
                    complain!("tableferry: the daemon does not answer");
                    return Exit::Failed;
                }
            },
        }
        tokio::select! {
            biased;
            _ = signals.next() => return Exit::Done,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The lines that the terminal has room for; the last one says how many more there are.
fn fit(mut lines: Vec<Line>, height: usize) -> Vec<Line> {
    let room = height.saturating_sub(1).max(2);
    if lines.len() > room {
        let more = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(Line::plain(format!("… and {more} more lines")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted() {
        let lines = |n: usize| {
            (0..n)
                .map(|n| Line::plain(n.to_string()))
                .collect::<Vec<_>>()
        };
        let shown = |n: usize| fit(lines(n), 5).iter().map(Line::text).collect::<Vec<_>>();
        assert_eq!(shown(4), ["0", "1", "2", "3"]);
        assert_eq!(shown(6), ["0", "1", "2", "… and 3 more lines"]);
    }
}
