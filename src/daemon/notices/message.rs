//! What a notice says: JSON for programs, with a `text` for people. Bounded, and without values of rows.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::config::spec::NoticeKind;
use crate::error::{ErrorKind, Phase, Side};
use crate::harmless;
use crate::report::ErrorReport;
use crate::report::drift::NotCopied;

/// The longest error message and hint in a notice, and the longest text.
const MESSAGE_CHARS_MAX: usize = 2000;
const TEXT_CHARS_MAX: usize = 3000;

/// One notice, as JSON says it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// For people: one text without markup.
    pub text: String,
    /// `failed`, `recovered`, `stale`, `in_doubt`, or `test`.
    pub notice: &'static str,
    /// `None` for a test.
    pub job: Option<String>,
    /// The machine of the daemon.
    pub host: String,
    /// When the daemon noticed it.
    pub at: Timestamp,
    /// When the source's snapshot was taken that the target holds.
    pub snapshot_at: Option<Timestamp>,
    pub fresh_within_seconds: Option<f64>,
    /// The source's columns that the target's rows lack.
    #[serde(flatten)]
    pub not_copied: NotCopied,
    /// What was wrong with the last run.
    pub error: Option<NoticeError>,
}

/// An error as the report of a run has it, never with values of rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoticeError {
    kind: ErrorKind,
    phase: Phase,
    side: Side,
    relation: Option<String>,
    sqlstate: Option<String>,
    message: String,
    hint: Option<String>,
}

/// What is known of a job when its state changes.
#[derive(Clone, Debug)]
pub struct Facts<'f> {
    pub job: &'f str,
    pub snapshot_at: Option<Timestamp>,
    pub fresh_within_seconds: Option<f64>,
    pub not_copied: &'f NotCopied,
    /// What was wrong with its last run. Not known after a restart.
    pub error: Option<&'f ErrorReport>,
}

impl Notice {
    /// The notice of a change.
    pub fn new(kind: NoticeKind, facts: &Facts<'_>, host: &str, at: Timestamp) -> Self {
        let with_error = matches!(kind, NoticeKind::Failed | NoticeKind::InDoubt);
        let error = facts.error.filter(|_| with_error).map(NoticeError::new);
        Notice {
            text: plain(&text(kind, facts, error.as_ref(), host)),
            notice: kind.as_str(),
            job: Some(facts.job.to_owned()),
            host: host.to_owned(),
            at,
            snapshot_at: facts.snapshot_at,
            fresh_within_seconds: facts.fresh_within_seconds,
            not_copied: facts.not_copied.clone(),
            error,
        }
    }

    /// The notice of `notify NAME --test`.
    pub fn test(notifier: &str, host: &str, at: Timestamp) -> Self {
        let text = format!("tableferry on {host}: this is a test of notifier `{notifier}`");
        Notice {
            text: plain(&text),
            notice: "test",
            job: None,
            host: host.to_owned(),
            at,
            snapshot_at: None,
            fresh_within_seconds: None,
            not_copied: NotCopied::default(),
            error: None,
        }
    }

    /// One JSON object and a line break.
    pub fn body(&self) -> Vec<u8> {
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        body
    }
}

impl NoticeError {
    fn new(error: &ErrorReport) -> Self {
        NoticeError {
            kind: error.kind,
            phase: error.phase,
            side: error.side,
            relation: error.relation.as_deref().map(cut),
            sqlstate: error.sqlstate.clone(),
            message: cut(&error.plain_message),
            hint: error.hint.as_deref().map(cut),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn text(kind: NoticeKind, facts: &Facts<'_>, error: Option<&NoticeError>, host: &str) -> String {
    let mut text = format!("tableferry on {host}: job `{}` ", facts.job);
    text += &match kind {
        NoticeKind::Failed => "failed".to_owned(),
        NoticeKind::Recovered => "has recovered".to_owned(),
        NoticeKind::InDoubt => {
            "is in doubt: the connection was lost during COMMIT, and the outcome is not known"
                .to_owned()
        }
        NoticeKind::Stale => stale(facts),
    };
    let is_of_data = matches!(kind, NoticeKind::Stale | NoticeKind::Recovered);
    if let (true, Some(not_copied)) = (is_of_data, facts.not_copied.in_words()) {
        text += &format!("; {not_copied}");
    }
    if let Some(error) = error {
        text += &format!(": {}", error.message);
        if let Some(hint) = &error.hint {
            text += &format!(" (hint: {hint})");
        }
    }
    text
}

fn stale(facts: &Facts<'_>) -> String {
    let limit = facts.fresh_within_seconds.unwrap_or_default();
    let limit = SignedDuration::try_from_secs_f64(limit).unwrap_or_default();
    match facts.snapshot_at {
        Some(at) => format!("is stale: its data are of {at:.0}, and `fresh_within` is {limit:#}"),
        None => format!("is stale: no run has committed, and `fresh_within` is {limit:#}"),
    }
}

/// Names and messages of servers must neither forge lines nor become markup or mentions of a chat tool.
fn plain(text: &str) -> String {
    let visible = harmless::line(text);
    let replaced = visible.chars().map(|c| match c {
        '<' => '‹',
        '>' => '›',
        '@' => '＠',
        c => c,
    });
    replaced.take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use serde_json::{Value, json};

    fn facts<'f>(error: Option<&'f ErrorReport>, not_copied: &'f NotCopied) -> Facts<'f> {
        Facts {
            job: "orders",
            snapshot_at: Some(Timestamp::from_second(0).unwrap()),
            fresh_within_seconds: Some(5400.0),
            not_copied,
            error,
        }
    }

    fn notice(kind: NoticeKind, error: Option<&ErrorReport>) -> Value {
        notice_of(kind, error, &NotCopied::default())
    }

    fn notice_of(kind: NoticeKind, error: Option<&ErrorReport>, not_copied: &NotCopied) -> Value {
        let now = Timestamp::from_second(6000).unwrap();
        let notice = Notice::new(kind, &facts(error, not_copied), "box", now);
        serde_json::from_slice(&notice.body()).unwrap()
    }

    fn error(message: &str) -> ErrorReport {
        let error = Error::new(ErrorKind::Bug, Phase::CopyIn, Side::Target, message);
        ErrorReport::new(&error.hinted("do this"), true)
    }

    #[test]
    fn a_failure_says_why_and_what_to_do() {
        let error = error("no <!channel> @here\u{1b}[31m\nfake line");
        let said = notice(NoticeKind::Failed, Some(&error));
        let text = said["text"].as_str().unwrap();
        assert!(
            text.starts_with("tableferry on box: job `orders` failed: "),
            "{text}"
        );
        assert!(text.ends_with("(hint: do this)"), "{text}");
        assert!(
            text.contains("‹!channel› ＠here\\x1b[31m\\nfake line"),
            "{text}"
        );
        // For programs, the message is as it was.
        let message = said["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("<!channel> @here\u{1b}[31m\nfake line"),
            "{message}"
        );
        assert_eq!(said["error"]["side"], "target");
        assert_eq!(said["notice"], "failed");
    }

    #[test]
    fn other_notices_carry_no_error() {
        let error = error("long ago");
        let said = notice(NoticeKind::Stale, Some(&error));
        assert_eq!(
            said["text"],
            "tableferry on box: job `orders` is stale: its data are of 1970-01-01T00:00:00Z, and \
             `fresh_within` is 1h 30m"
        );
        assert_eq!(said["error"], Value::Null);
        assert_eq!(said["fresh_within_seconds"], json!(5400.0));
        let said = notice(NoticeKind::Recovered, Some(&error));
        assert_eq!(
            said["text"],
            "tableferry on box: job `orders` has recovered"
        );
        assert_eq!(said["not_copied"], Value::Null);
    }

    #[test]
    fn columns_that_the_data_lack_are_named() {
        let not_copied = NotCopied {
            columns: vec!["public.orders.note".to_owned()],
            more: 0,
        };
        let said = notice_of(NoticeKind::Recovered, None, &not_copied);
        assert_eq!(
            said["text"],
            "tableferry on box: job `orders` has recovered; 1 column of the source is not copied: \
             public.orders.note"
        );
        assert_eq!(said["not_copied"], json!(["public.orders.note"]));
        let said = notice_of(NoticeKind::Stale, None, &not_copied);
        let text = said["text"].as_str().unwrap();
        assert!(text.ends_with("1h 30m; 1 column of the source is not copied: public.orders.note"));
    }

    #[test]
    fn a_notice_is_bounded() {
        let error = error(&"ä\u{1}".repeat(100_000));
        let said = notice(NoticeKind::InDoubt, Some(&error));
        assert_eq!(
            said["text"].as_str().unwrap().chars().count(),
            TEXT_CHARS_MAX
        );
        let message = said["error"]["message"].as_str().unwrap();
        assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX);
    }
}
