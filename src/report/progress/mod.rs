//! Progress for people, on stderr: bars on a terminal, otherwise a line every few seconds.

mod bars;
mod lines;

use std::io::IsTerminal as _;
use std::time::Duration;

use self::bars::Bars;
use self::lines::LineListener;
use super::Listener;
use crate::error::Error;

/// A listener that suits stderr. A terminal that cannot move its cursor gets lines.
pub fn for_stderr() -> Box<dyn Listener> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    match std::io::stderr().is_terminal() && !is_dumb {
        true => Box::new(Bars::new()),
        false => Box::new(LineListener::new()),
    }
}

fn locked(job: &str, server: &str, holders: &str) -> String {
    format!("{job}: waits for a lock on {server}, held by pid {holders}")
}

fn retrying(job: &str, error: &Error, pause: Duration, attempt: u32) -> String {
    format!(
        "{job}: {error}; attempt {attempt} in {:.0} s",
        pause.as_secs_f64()
    )
}
