//! The status page: HTML without a script. It is made of what the event loop and the ledger say, and is
//! read-only.
//!
//! Everything from a server, a file or a name goes through [`shown`], which makes control characters visible;
//! maud escapes markup.

mod charts;
mod job;
mod overview;
mod parts;
#[cfg(test)]
mod tests;

pub(super) use job::job;
pub(super) use overview::overview;

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::harmless;

/// The style sheet.
pub(super) const STYLE: &str = include_str!("style.css");

/// The icon: two tables and an arrow.
pub(super) const ICON: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1f6feb"/>"##,
    r##"<path d="M3 8h8M8 4.5 11.5 8 8 11.5" fill="none" stroke="#fff" stroke-width="2"/></svg>"##,
);

/// The seconds after which a browser loads the page again.
const REFRESH_SECONDS: u64 = 10;

/// Which jobs the overview lists.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// A part of the job's name.
    #[serde(default)]
    pub name: String,
    /// The [condition](parts::Condition), by its name.
    #[serde(default)]
    pub state: String,
    /// `off`: the page is not loaded again by itself.
    #[serde(default)]
    pub refresh: String,
}

/// Whether the page is loaded again by itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// `off`: it is not.
    #[serde(default)]
    pub refresh: String,
}

/// A text from elsewhere, harmless.
fn shown(text: &str) -> Cow<'_, str> {
    harmless::line(text)
}

/// A whole document. `switch` is the address of the same page with the other value of `refresh`.
fn document(title: &str, refreshes: bool, switch: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refreshes {
                    meta http-equiv="refresh" content=(REFRESH_SECONDS);
                }
                meta name="color-scheme" content="light dark";
                title { (shown(title)) }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="/icon.svg" type="image/svg+xml";
            }
            body {
                (body)
                footer {
                    p {
                        "tableferry " (env!("CARGO_PKG_VERSION")) " · "
                        @if refreshes {
                            "reloads every " (REFRESH_SECONDS) " s · "
                            a href=(switch) { "stop reloading" }
                        } @else {
                            a href=(switch) { "reload every " (REFRESH_SECONDS) " s" }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}
