//! `tableferry notify NAME --test`: sends a notice to see that it arrives.

use jiff::Timestamp;

use super::Exit;
use super::args::NotifyArgs;
use super::out::{complain, print_text};
use crate::config::spec::{Config, NoticeWay};
use crate::daemon::notices::{self, Notice, Output};

pub(super) fn run(config: &Config, wanted: &NotifyArgs) -> Exit {
    let name = &wanted.name;
    if !wanted.test {
        return Exit::Usage;
    }
    let Some(spec) = config.notifiers.get(name) else {
        let known: Vec<_> = config.notifiers.keys().map(String::as_str).collect();
        let known = match known[..] {
            [] => "none is configured".to_owned(),
            _ => format!("configured: {}", known.join(", ")),
        };
        complain!("tableferry: there is no notifier `{name}`; {known}");
        return Exit::Usage;
    };
    let notice = Notice::test(name, &notices::host(), Timestamp::now());
    // Once: a person sees the reason, and tries again.
    match notices::send_once(&spec.way, &notice.body(), Output::Shown, &|| false) {
        Ok(()) => {
            print_text(&match &spec.way {
                NoticeWay::Command(command) => {
                    let program = command.first().map_or("", String::as_str);
                    format!("{name}: `{program}` was told, and ended with exit status 0")
                }
                NoticeWay::Webhook(_) => format!("{name}: the server took the notice"),
            });
            Exit::Done
        }
        Err(error) => {
            complain!("tableferry: notifier `{name}`: the notice could not be sent: {error}");
            Exit::Failed
        }
    }
}
