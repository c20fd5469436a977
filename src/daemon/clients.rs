//! Clients of the control socket that wait for an answer.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::control::Reply;
use super::event::{Answer, Changes, SkipReason, Ticket};

/// All clients that wait.
#[derive(Debug, Default)]
pub struct Clients {
    next: Ticket,
    waiting: BTreeMap<Ticket, WaitingClient>,
    reload: Option<mpsc::Sender<Reply>>,
}

#[derive(Debug)]
struct WaitingClient {
    replies: mpsc::Sender<Reply>,
    /// Jobs that are not answered yet.
    jobs: BTreeSet<String>,
}

impl Clients {
    /// A client waits for the ends of runs of these jobs.
    pub fn admit(&mut self, replies: mpsc::Sender<Reply>, jobs: BTreeSet<String>) -> Ticket {
        // Clients that have disconnected are removed here, so that the map stays bounded.
        self.waiting
            .retain(|_, waiting| !waiting.replies.is_closed());
        self.next += 1;
        self.waiting
            .insert(self.next, WaitingClient { replies, jobs });
        self.next
    }

    /// Answers for one job. The last answer closes the connection.
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

    /// Answers a client that does not wait.
    pub fn acknowledge(replies: &mpsc::Sender<Reply>, job: &str, refused: Option<SkipReason>) {
        let job = job.to_owned();
        let _ = replies.try_send(match refused {
            None => Reply::Accepted { job },
            Some(why) => refusal(job, why),
        });
    }

    /// A client asked for the reload that follows.
    pub fn expect_reload(&mut self, replies: mpsc::Sender<Reply>) {
        self.reload = Some(replies);
    }

    /// The new configuration is in force.
    pub fn reloaded(&mut self, changes: Changes) {
        if let Some(replies) = self.reload.take() {
            let names = |list: Vec<super::scheduled_config::JobName>| -> Vec<String> {
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
