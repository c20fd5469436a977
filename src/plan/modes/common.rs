//! Steps that several modes share.

use super::Facts;
use crate::catalog::desc::RelationKind;
use crate::config::spec::{Mode, OnError, Verify};
use crate::error::Phase;
use crate::plan::copy::CopyPlan;
use crate::plan::step::{Run, Step};

const IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE";

const DEFER: &str = "SET CONSTRAINTS ALL DEFERRED";

/// Begins, and keeps other runs away. With `atomic = false` a session of its own has claimed the job.
pub fn begin(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = vec![Step::Begin];
    if facts.job.atomic {
        steps.push(Step::LockJob);
    }
    steps.push(Step::LockTargets);
    steps
}

/// Locks all targets at once, so that what was planned stays true.
pub fn lock(facts: &Facts<'_>, mode: &str) -> Option<Step> {
    let names: Vec<String> = facts.tables().map(|(_, t)| t.target.sql()).collect();
    let names = names.join(", ONLY ");
    let sql = format!("LOCK TABLE ONLY {names} IN {mode} MODE");
    (!names.is_empty()).then(|| Step::Run(Run::of_all(Phase::Lock, sql)))
}

/// Tables that refer to each other in a circle: what may be checked at COMMIT is. In a transaction of one
/// table there is no circle.
pub fn defer_circle(facts: &Facts<'_>) -> Option<Step> {
    (facts.circle && facts.job.atomic).then(defer)
}

/// Rows that change one after the other pass through states that no constraint allows.
pub fn defer() -> Step {
    Step::Run(Run::of_all(Phase::Prepare, DEFER))
}

/// Loads all tables, into the targets or beside them.
pub fn load(facts: &Facts<'_>, beside: bool) -> Vec<Step> {
    let mut steps = vec![Step::CompareDefinitions];
    if facts.job.on_error == OnError::Quarantine {
        // What is checked at COMMIT is no longer about a row.
        steps.push(Step::Run(Run::of_all(Phase::Prepare, IMMEDIATE)));
    }
    if facts.workers > 1 {
        steps.push(Step::OpenWorkers);
    }
    if beside {
        steps.push(Step::Make);
    }
    if facts.tables().any(|(_, table)| table.stream().is_some()) {
        steps.push(Step::OpenReader);
    }
    steps.push(Step::Copy);
    steps
}

/// Judges what is staged. Its own constraints were checked at once; the target's can wait again.
pub fn judge(facts: &Facts<'_>) -> Vec<Step> {
    match facts.job.on_error {
        OnError::Quarantine => vec![Step::Judge, defer()],
        OnError::Abort => Vec::new(),
    }
}

/// The snapshot holds back the source's vacuum: it ends before the target does its part, unless it is
/// needed for checksums.
pub fn end_snapshot(facts: &Facts<'_>) -> Option<Step> {
    let from_files = |table: &CopyPlan| table.source_kind == RelationKind::File;
    let has_snapshot = !facts.all.iter().any(from_files);
    (has_snapshot && facts.is_last() && !compares(facts)).then_some(Step::EndSnapshot)
}

/// Compares checksums where the job asks for it.
pub fn checksums(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if compares(facts) {
        steps.push(Step::CompareChecksums);
        if facts.is_last() {
            steps.push(Step::EndSnapshot);
        }
    }
    steps
}

fn compares(facts: &Facts<'_>) -> bool {
    facts.job.verify == Verify::Checksum
}

/// Deferred constraints are checked while an error can still be told from a COMMIT that went wrong.
pub fn check_constraints() -> Step {
    Step::Run(Run::of_all(Phase::Gate, IMMEDIATE))
}

/// Moves sequences past the copied values.
pub fn sequences<'a>(facts: &'a Facts<'a>) -> impl Iterator<Item = Step> + 'a {
    let all = facts.tables().filter(|_| facts.job.sequences);
    all.flat_map(|(at, table)| {
        let owned = table.sequences.iter();
        owned.map(move |owned| Step::Run(Run::of_table(Phase::Publish, at, &owned.sql)))
    })
}

/// Refreshes the planner's statistics. A shadow was analysed before it was published.
pub fn analyze(facts: &Facts<'_>) -> Vec<Run> {
    if !facts.job.analyze || facts.job.mode == Mode::Swap {
        return Vec::new();
    }
    let analyze = |(at, table): (usize, &crate::plan::copy::CopyPlan)| {
        Run::of_table(Phase::After, at, format!("ANALYZE {}", table.target.sql()))
    };
    facts.tables().map(analyze).collect()
}
