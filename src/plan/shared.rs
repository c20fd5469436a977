//! Loading by several workers. They commit rows before these are published, so they need tables of their own,
//! with a mark that identifies the tables of a killed run.
//!
//! Each attempt uses other names. Otherwise a worker that was taken for dead could write into the table of a
//! later run.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::config::spec::{JobSpec, Mode};
use crate::pg::ident::{Ident, QualifiedName, fnv1a};

/// The prefix of the names of all tables that are not yet published.
pub const TABLE_PREFIX: &str = "tableferry_";

/// What is in the names of tables of parts.
const PARTS: &str = "parts";

/// The prefix of a shadow's comment.
pub const SHADOW_MARK: &str = "tableferry: shadow of ";

/// The prefix of a staging table's comment.
const STAGE_MARK: &str = "tableferry: staging of ";

/// The prefix of the comment of a table of parts.
const PARTS_MARK: &str = "tableferry: parts of ";

/// Tables with the rows that a run that died has loaded, and that are kept, by target.
pub type KeptTables = BTreeMap<QualifiedName, QualifiedName>;

/// One attempt of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The run.
    pub run_id: Uuid,
    /// From 1.
    pub number: u32,
    /// The position of the source among those of the job.
    pub source: usize,
}

/// What the plans of a job's tables share if several workers load them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The job.
    job: String,
    attempt: Attempt,
    /// How many bytes of a table one COPY should read.
    pub range_bytes: u64,
    /// They keep the name that the attempt which died gave them.
    kept: KeptTables,
}

/// Are staging tables created in schema `tableferry`?
pub fn has_stages(job: &JobSpec) -> bool {
    job.loaders() > 1 && job.mode != Mode::Swap
}

impl Shared {
    /// None for a job that one worker loads, in one transaction.
    pub fn new(
        job: &JobSpec,
        attempt: Attempt,
        range_bytes: u64,
        kept: KeptTables,
    ) -> Option<Self> {
        (job.loaders() > 1).then(|| Shared {
            job: job.name.clone(),
            attempt,
            range_bytes,
            kept,
        })
    }

    /// The name of the staging table.
    pub fn stage(&self, target: &QualifiedName) -> QualifiedName {
        self.kept(target).cloned().unwrap_or_else(|| QualifiedName {
            schema: Ident::new("tableferry"),
            name: self.name("stage", target),
        })
    }

    /// The name of the shadow.
    pub fn shadow(&self, target: &QualifiedName) -> QualifiedName {
        self.kept(target).cloned().unwrap_or_else(|| QualifiedName {
            schema: target.schema.clone(),
            name: self.name("shadow", target),
        })
    }

    /// The table whose rows are kept.
    pub fn kept(&self, target: &QualifiedName) -> Option<&QualifiedName> {
        self.kept.get(target)
    }

    /// The name of the table of parts, beside the loaded table. Always another one in each attempt: a worker of
    /// the attempt that died cannot mark a part as complete any more.
    pub fn parts(&self, target: &QualifiedName, loaded: &QualifiedName) -> QualifiedName {
        QualifiedName {
            schema: loaded.schema.clone(),
            name: self.name(PARTS, target),
        }
    }

    fn name(&self, what: &str, target: &QualifiedName) -> Ident {
        let Attempt { run_id, number, .. } = self.attempt;
        let digest = fnv1a(format!("{} {run_id} {number}", target.sql()).as_bytes());
        Ident::new(format!("{TABLE_PREFIX}{what}_{digest:016x}"))
    }

    /// The comment of the staging table.
    pub fn stage_mark(&self, target: &QualifiedName) -> String {
        format!("{STAGE_MARK}{target}{}", self.made_by())
    }

    /// The comment of the shadow.
    pub fn shadow_mark(&self, target: &QualifiedName) -> String {
        format!("{SHADOW_MARK}{target}{}", self.made_by())
    }

    /// The comment of the table of parts.
    pub fn parts_mark(&self, target: &QualifiedName) -> String {
        format!("{PARTS_MARK}{target}{}", self.made_by())
    }

    fn made_by(&self) -> String {
        format!(", by run {}{}", self.attempt.run_id, of_job(&self.job))
    }
}

/// The suffix of the comments of all tables that a job creates.
pub fn of_job(job: &str) -> String {
    format!(" of job {job}")
}

/// Was the table created by a run of this job, and not published? Only a run that holds the job's advisory
/// lock may drop it, because then no other run of the job is alive.
pub fn is_leftover(name: &str, comment: &str, job: &str) -> bool {
    let marked = [SHADOW_MARK, STAGE_MARK, PARTS_MARK]
        .iter()
        .any(|mark| comment.starts_with(mark));
    let made_by = comment
        .strip_suffix(&of_job(job))
        .and_then(|text| text.rsplit_once(", by run "));
    let has_run = made_by.is_some_and(|(_, run_id)| run_id.parse::<Uuid>().is_ok());
    name.starts_with(TABLE_PREFIX) && marked && has_run
}

/// Is a leftover of this name a table of parts?
pub fn is_of_parts(name: &str) -> bool {
    let rest = name.strip_prefix(TABLE_PREFIX);
    rest.is_some_and(|rest| rest.starts_with(PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use rstest::rstest;

    const RUN: &str = "0193b5c0-0000-7000-8000-000000000001";

    #[test]
    fn names_are_other_ones_in_every_attempt_and_are_known_again() {
        let mut job = fixtures::job(Mode::Merge);
        job.workers = 2;
        let target = QualifiedName::new("s", "x".repeat(63));
        let made = |number| {
            let run_id = RUN.parse().unwrap();
            let attempt = Attempt {
                run_id,
                number,
                source: 0,
            };
            Shared::new(&job, attempt, 1, KeptTables::new()).unwrap()
        };
        let (first, second) = (made(1), made(2));
        assert_ne!(first.stage(&target), second.stage(&target));
        assert_ne!(first.shadow(&target), second.shadow(&target));
        for (name, mark) in [
            (first.stage(&target), first.stage_mark(&target)),
            (first.shadow(&target), first.shadow_mark(&target)),
            (
                first.parts(&target, &first.shadow(&target)),
                first.parts_mark(&target),
            ),
        ] {
            assert!(is_leftover(name.name.as_str(), &mark, "j"), "{name} {mark}");
        }
    }

    #[rstest]
    #[case("tableferry_stage_1", format!("tableferry: staging of a.t, by run {RUN} of job j"), true)]
    #[case("tableferry_shadow_1", format!("tableferry: shadow of a.t, by run {RUN} of job j"), true)]
    #[case::of_another_job("tableferry_stage_1", format!("tableferry: staging of a.t, by run {RUN} of job i_j"), false)]
    #[case::of_another_name("t", format!("tableferry: staging of a.t, by run {RUN} of job j"), false)]
    #[case::of_no_run("tableferry_stage_1", "tableferry: staging of a.t, by run 7 of job j".to_owned(), false)]
    #[case::made_and_published_in_one("tableferry_shadow_1", "tableferry: shadow of a.t".to_owned(), false)]
    #[case::somebody_elses("tableferry_stage_1", format!("a note, by run {RUN} of job j"), false)]
    fn leftovers_are_known_by_their_name_and_comment(
        #[case] name: &str,
        #[case] comment: String,
        #[case] expected: bool,
    ) {
        assert_eq!(is_leftover(name, &comment, "j"), expected);
    }
}
