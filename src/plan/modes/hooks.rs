//! The user's own statements, `[jobs.NAME.sql]`, among the steps of a mode.

use crate::config::spec::JobSpec;
use crate::error::Phase;
use crate::plan::step::{Hook, Step};

/// Puts `before_load` before the first step that changes rows, or locks a table with rows, but after those that make
/// what the target lacks: new tables are there, and empty. Puts `before_commit` last: where the tables have their new
/// rows.
pub fn around(job: &JobSpec, mut steps: Vec<Step>) -> Vec<Step> {
    let comes_first = |step: &Step| {
        matches!(
            step,
            Step::Begin | Step::LockJob | Step::LockTargets | Step::Create(_) | Step::CountReplaced
        )
    };
    let before_load = hooks("before_load", Phase::Prepare, &job.sql.before_load);
    if !before_load.is_empty() {
        let first = steps.iter().position(|step| !comes_first(step));
        steps.insert(first.unwrap_or(steps.len()), Step::Hooks(before_load));
    }
    let before_commit = hooks("before_commit", Phase::Publish, &job.sql.before_commit);
    if !before_commit.is_empty() {
        steps.push(Step::Hooks(before_commit));
    }
    steps
}

/// What runs after the last COMMIT.
pub fn after_commit(job: &JobSpec) -> Vec<Hook> {
    hooks("after_commit", Phase::After, &job.sql.after_commit)
}

fn hooks(key: &'static str, phase: Phase, statements: &[String]) -> Vec<Hook> {
    let numbered = statements.iter().zip(1..);
    let hook = |(sql, number): (&String, usize)| Hook {
        phase,
        place: (key, number),
        sql: sql.clone(),
    };
    numbered.map(hook).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::Mode;
    use crate::plan::fixtures;
    use crate::plan::step::Statement;

    #[test]
    fn nothing_is_written_before_the_first_and_nothing_after_the_last() {
        let mut job = fixtures::job(Mode::Truncate);
        let steps = || {
            vec![
                Step::Begin,
                Step::LockJob,
                Step::Create(Statement::of_all(Phase::Prepare, "CREATE TABLE t ()")),
                Step::CountReplaced,
                Step::Copy,
                Step::Record,
            ]
        };
        assert_eq!(around(&job, steps()), steps());
        let text = |sql: &str| vec![sql.to_owned(), sql.to_owned()];
        job.sql.before_load = text("SELECT 1");
        job.sql.before_commit = text("SELECT 2");
        let with = around(&job, steps());
        let names = |at: usize| match &with[at] {
            Step::Hooks(hooks) => hooks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            step => panic!("{step:?}"),
        };
        assert_eq!(
            names(4),
            [
                "sql.before_load, statement 1",
                "sql.before_load, statement 2"
            ]
        );
        assert_eq!(
            names(7),
            [
                "sql.before_commit, statement 1",
                "sql.before_commit, statement 2"
            ]
        );
        assert_eq!(with.len(), 8);
    }
}
