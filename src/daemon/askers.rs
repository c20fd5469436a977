//! Those who wait at the control socket for an answer of the loop.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::control::Reply;
use super::event::{Answer, Changes, SkipReason, Ticket};

/// Everybody who waits.
#[derive(Debug, Default)]
pub struct Askers {
    next: Ticket,
    waiting: BTreeMap<Ticket, Waiting>,
    reload: Option<mpsc::Sender<Reply>>,
}

#[derive(Debug)]
struct Waiting {
    replies: mpsc::Sender<Reply>,
    /// Jobs without an answer.
    jobs: BTreeSet<String>,
}

impl Askers {
    /// Somebody waits for the ends of runs of these jobs.
    pub fn admit(&mut self, replies: mpsc::Sender<Reply>, jobs: BTreeSet<String>) -> Ticket {
        // Whoever has hung up in the meantime is forgotten here: no list grows for ever.
        self.waiting
            .retain(|_, waiting| !waiting.replies.is_closed());
        self.next += 1;
        self.waiting.insert(self.next, Waiting { replies, jobs });
        self.next
    }

    /// What became of one job; the last answer ends the conversation.
    pub fn answer(&mut self, ticket: Ticket, job: &str, answer: Answer) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return;
        };
        let job = job.to_owned();
        waiting.jobs.remove(&job);
        let reply = match answer {
            Answer::Ended(outcome) => Reply::Ended { job, outcome },
            Answer::Refused(why) => refusal(job, why),
        };
        let gone = waiting.replies.try_send(reply).is_err();
        if gone || waiting.jobs.is_empty() {
            self.waiting.remove(&ticket);
        }
    }

    /// The answer to somebody who does not wait.
    pub fn acknowledge(replies: &mpsc::Sender<Reply>, job: &str, refused: Option<SkipReason>) {
        let job = job.to_owned();
        let _ = replies.try_send(match refused {
            None => Reply::Accepted { job },
            Some(why) => refusal(job, why),
        });
    }

    /// Somebody asks for the reload that is about to be tried.
    pub fn expect_reload(&mut self, replies: mpsc::Sender<Reply>) {
        self.reload = Some(replies);
    }

    /// The new configuration is in force.
    pub fn reloaded(&mut self, changes: Changes) {
        if let Some(replies) = self.reload.take() {
            let names = |list: Vec<super::armed::JobName>| -> Vec<String> {
                list.iter().map(ToString::to_string).collect()
            };
            let _ = replies.try_send(Reply::Reloaded {
                added: names(changes.added),
                removed: names(changes.removed),
                changed: names(changes.changed),
            });
        }
    }

    /// The old configuration stays in force.
    pub fn reload_refused(&mut self, errors: &str) {
        if let Some(replies) = self.reload.take() {
            let _ = replies.try_send(Reply::Invalid {
                errors: errors.to_owned(),
            });
        }
    }
}

fn refusal(job: String, why: SkipReason) -> Reply {
    Reply::Refused {
        job,
        why: why.to_string(),
        unknown: why == SkipReason::Unknown,
    }
}
