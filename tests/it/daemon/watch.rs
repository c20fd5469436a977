//! What a person sees of the daemon on a terminal.

use nix::sys::signal::Signal;

use super::tables;
use crate::support::daemon::{Daemon, configuration, home, truncate_job};
use crate::support::{Terminal, assert_fits, on_a_terminal};

const OPEN: &str = "\u{1b}[?1049h";
const CLOSE: &str = "\u{1b}[?1049l";

#[test]
fn the_status_is_drawn_again_until_ctrl_c_and_the_terminal_is_restored() {
    let db = tables("watch");
    let long = "a_job_whose_name_is_so_long_that_it_does_not_fit_beside_the_other_columns";
    let jobs = format!(
        "{}{}",
        truncate_job("j", ""),
        truncate_job(long, "fresh_within = '1h'")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));

    let Some(mut terminal) = Terminal::start(&home, "status --watch") else {
        return;
    };
    terminal.wait_for("committed", 2);
    terminal.enter("\u{3}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains(OPEN) && shown.trim_end().ends_with(CLOSE),
        "{shown:?}"
    );
    assert_eq!(
        shown.matches("\u{1b}[?25l").count(),
        shown.matches("\u{1b}[?25h").count()
    );
    assert_fits("status --watch", &shown);
    assert!(shown.contains(long), "{shown}");

    // Without a terminal: one block after the other.
    let watching = home.spawn(&["status", "--watch"]);
    crate::support::wait_until(crate::support::PATIENCE, || {
        watching.stdout().matches("last run").count() >= 2
    });
    watching.kill(Signal::SIGINT);
    let outcome = watching.wait(crate::support::PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(!outcome.stdout.contains('\u{1b}'), "{outcome}");

    // A daemon that goes away is said, and one that comes is shown.
    let Some(mut terminal) = Terminal::start(&home, "status --watch") else {
        return;
    };
    terminal.wait_for("committed", 1);
    daemon.stop();
    terminal.wait_for("no daemon answers", 1);
    terminal.enter("\u{3}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.trim_end().ends_with(CLOSE), "{shown:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let db = tables("colours");
    let with = |name: &str, value: &str| {
        let home = home(&configuration(&db, &truncate_job("j", "")));
        match name {
            "" => home,
            name => home.env(name, value),
        }
    };
    for (name, value, on_terminal, in_pipe) in [
        ("", "", true, false),
        ("NO_COLOR", "1", false, false),
        ("CLICOLOR", "0", false, false),
        ("CLICOLOR_FORCE", "1", true, true),
        ("TERM", "dumb", false, false),
    ] {
        let home = with(name, value);
        let daemon = Daemon::start(&home);
        assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
        let has_colours = |text: &str| text.contains("\u{1b}[32m");
        let piped = daemon.ask(&["status"]);
        assert_eq!(has_colours(&piped.stdout), in_pipe, "{name}: {piped}");
        if let Some(shown) = on_a_terminal(&home, "status", "") {
            assert!(shown.contains("committed"), "{shown}");
            assert_eq!(has_colours(&shown), on_terminal, "{name}: {shown:?}");
            assert_fits("status", &shown);
        }
        daemon.stop();
    }
}
