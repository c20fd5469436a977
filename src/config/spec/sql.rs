//! SQL of a job: its statements, and the texts that may name parameters.

use super::{JobSpec, TableInput};

/// The parameter that is the time of the last run that was committed.
pub const LAST_SUCCESS: &str = "last_success";

/// The parameters that every job has.
pub const BUILT_IN_PARAMS: [&str; 3] = ["due_at", LAST_SUCCESS, "run_id"];

/// `[jobs.NAME.sql]`: statements that run on the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobSql {
    /// In the publishing transaction, before anything is written.
    pub before_load: Vec<String>,
    /// In the publishing transaction, when all is written.
    pub before_commit: Vec<String>,
    /// After COMMIT.
    pub after_commit: Vec<String>,
}

impl JobSql {
    /// Do statements change what the publishing transaction publishes?
    pub fn is_in_transaction(&self) -> bool {
        !(self.before_load.is_empty() && self.before_commit.is_empty())
    }

    /// The lists by their keys.
    pub fn lists(&self) -> [(&'static str, &Vec<String>); 3] {
        [
            ("before_load", &self.before_load),
            ("before_commit", &self.before_commit),
            ("after_commit", &self.after_commit),
        ]
    }
}

impl JobSpec {
    /// The same job with other texts in place of its SQL.
    #[must_use]
    pub fn with_sql(&self, text: impl Fn(&str) -> String) -> JobSpec {
        let mut job = self.clone();
        for table in job.table.values_mut() {
            if let TableInput::Query(query) = &mut table.input {
                *query = text(query);
            }
            let texts = table.filter.iter_mut().chain(table.set.values_mut());
            texts.for_each(|sql| *sql = text(sql));
        }
        let JobSql {
            before_load,
            before_commit,
            after_commit,
        } = &mut job.sql;
        let hooks = [before_load, before_commit, after_commit];
        let hooks = hooks.into_iter().flatten();
        hooks.for_each(|sql| *sql = text(sql));
        job
    }
}
