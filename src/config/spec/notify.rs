//! `[notify.NAME]`: who is told of which changes of which jobs.

use std::path::PathBuf;

use super::super::pattern::wildcard_matches;

/// `[notify.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifierSpec {
    /// Its name in the configuration.
    pub name: String,
    /// How it is told.
    pub way: NoticeWay,
    /// Of what.
    pub on: Vec<NoticeKind>,
    /// Of which jobs.
    pub jobs: Vec<JobPattern>,
}

/// How a notifier is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeWay {
    /// A program with its arguments; the notice is its standard input.
    Command(Vec<String>),
    /// A POST to the URL in this file. The URL is a secret.
    Webhook(PathBuf),
}

/// A change of a job's state that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Its run has failed, after all attempts.
    Failed,
    /// A run has committed after notices of other kinds, and the data are fresh.
    Recovered,
    /// Its data are older than `fresh_within`.
    Stale,
    /// The connection was lost during COMMIT, and the outcome could not be determined.
    InDoubt,
}

impl NoticeKind {
    /// Their names in the configuration and in JSON.
    pub const NAMES: [&'static str; 4] = ["failed", "recovered", "stale", "in_doubt"];

    /// Reads a name.
    pub fn parse(name: &str) -> Option<NoticeKind> {
        use NoticeKind::{Failed, InDoubt, Recovered, Stale};
        let all = [Failed, Recovered, Stale, InDoubt];
        all.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Failed => "failed",
            NoticeKind::Recovered => "recovered",
            NoticeKind::Stale => "stale",
            NoticeKind::InDoubt => "in_doubt",
        }
    }
}

/// Names of jobs; `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPattern(String);

impl JobPattern {
    /// Its form was checked with its layer.
    pub fn new(text: &str) -> Self {
        JobPattern(text.to_owned())
    }

    /// Does it match this job?
    pub fn matches(&self, job: &str) -> bool {
        match self.0.contains('*') {
            true => {
                let runs: Vec<String> = self.0.split('*').map(str::to_owned).collect();
                wildcard_matches(&runs, job)
            }
            false => self.0 == job,
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NotifierSpec {
    /// Is it told of this job?
    pub fn is_about(&self, job: &str) -> bool {
        self.jobs.iter().any(|pattern| pattern.matches(job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*", "orders", true)]
    #[case("orders", "orders", true)]
    #[case("orders", "orders_2", false)]
    #[case("sales_*", "sales_orders", true)]
    #[case("sales_*", "orders", false)]
    #[case("*_hourly", "orders_hourly", true)]
    fn patterns_match(#[case] pattern: &str, #[case] job: &str, #[case] expected: bool) {
        assert_eq!(JobPattern::new(pattern).matches(job), expected);
    }

    #[test]
    fn every_kind_is_read_by_its_name() {
        let names = NoticeKind::NAMES.map(|name| NoticeKind::parse(name).map(NoticeKind::as_str));
        assert_eq!(names, NoticeKind::NAMES.map(Some));
        assert_eq!(NoticeKind::parse("ok"), None);
    }
}
