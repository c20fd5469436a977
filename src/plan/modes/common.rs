//! Steps that several modes share.

use super::{TransactionInput, create};
use crate::catalog::desc::RelationKind;
use crate::config::spec::{Mode, OnError, Verify};
use crate::error::Phase;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::step::{Statement, Step};

const IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE";

const DEFER: &str = "SET CONSTRAINTS ALL DEFERRED";

/// Begins the transaction, takes the advisory locks, and makes what the target lacks. With `atomic = false`, a
/// separate session holds the job's advisory lock.
pub fn begin(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = vec![Step::Begin];
    if input.job.atomic {
        steps.push(Step::LockJob);
    }
    steps.push(Step::LockTargets);
    steps.extend(create::before(input));
    steps
}

/// Locks all targets in one statement, so that their definitions stay those of the plan.
pub fn lock(input: &TransactionInput<'_>, mode: &str) -> Option<Step> {
    let names: Vec<String> = input.tables().map(|(_, t)| t.target.sql()).collect();
    let names = names.join(", ONLY ");
    let sql = format!("LOCK TABLE ONLY {names} IN {mode} MODE");
    (!names.is_empty()).then(|| Step::Statement(Statement::of_all(Phase::Lock, sql)))
}

/// Tables that reference each other in a circle: defers all constraints that are DEFERRABLE. A transaction
/// of one table has no circle.
pub fn defer_circle(input: &TransactionInput<'_>) -> Option<Step> {
    (input.circle && input.job.atomic).then(defer)
}

/// While rows change one after the other, constraints may be violated temporarily.
pub fn defer() -> Step {
    Step::Statement(Statement::of_all(Phase::Prepare, DEFER))
}

/// Loads all tables, into the targets or beside them.
pub fn load(input: &TransactionInput<'_>, beside: bool) -> Vec<Step> {
    let mut steps = vec![Step::CompareDefinitions];
    if input.tables().any(|(_, table)| table.marking.is_some()) {
        steps.push(Step::NoteTargets);
    }
    if input.tables().any(|(_, table)| table.must_be_empty) {
        steps.push(Step::CheckEmpty);
    }
    if input.job.on_error == OnError::Quarantine {
        // An error at COMMIT cannot be attributed to a row.
        steps.push(Step::Statement(Statement::of_all(
            Phase::Prepare,
            IMMEDIATE,
        )));
    }
    if input.workers > 1 {
        steps.push(Step::OpenWorkers);
    }
    if beside {
        steps.push(Step::Make);
    }
    if input.tables().any(|(_, table)| table.stream().is_some()) {
        steps.push(Step::OpenReader);
    }
    let is_partitioned = |table: &CopyPlan| {
        let missing = table.partitions.missing.as_ref();
        table.partitions.on_source.is_some() || missing.is_some_and(|missing| missing.on_source)
    };
    if input.tables().any(|(_, table)| is_partitioned(table)) {
        steps.push(Step::FindPartitions);
    }
    if input
        .tables()
        .any(|(_, table)| table.partitions.replaced.is_some())
    {
        steps.push(Step::ReplacePartitions);
    }
    steps.push(Step::Copy);
    if input.tables().any(|(_, table)| table.kept().is_some()) {
        steps.push(Step::BringUp);
    }
    steps
}

/// Drops the tables of parts.
pub fn drop_parts<'a>(input: &'a TransactionInput<'a>) -> impl Iterator<Item = Step> + 'a {
    input.tables().filter_map(|(at, table)| {
        let sql = &table.resume.as_ref()?.drop;
        Some(Step::Statement(Statement::of_table(
            Phase::Publish,
            at,
            sql,
        )))
    })
}

/// Finds staged rows that the target would reject. The staging table's constraints were checked at once;
/// the target's are deferred again.
pub fn judge(input: &TransactionInput<'_>) -> Vec<Step> {
    match input.job.on_error {
        OnError::Quarantine => vec![Step::Judge, defer()],
        OnError::Abort => Vec::new(),
    }
}

/// The snapshot holds back VACUUM on the source. It ends before the target's remaining steps, unless
/// checksums need it.
pub fn end_snapshot(input: &TransactionInput<'_>) -> Option<Step> {
    let from_files = |table: &CopyPlan| table.source_kind == RelationKind::File;
    let has_snapshot = !input.all.iter().any(from_files);
    (has_snapshot && input.is_last() && !compares(input)).then_some(Step::EndSnapshot)
}

/// Compares checksums if the job asks for it.
pub fn checksums(input: &TransactionInput<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if compares(input) {
        steps.push(Step::CompareChecksums);
        if input.is_last() {
            steps.push(Step::EndSnapshot);
        }
    }
    steps
}

fn compares(input: &TransactionInput<'_>) -> bool {
    input.job.verify == Verify::Checksum
}

/// Deferred constraints are checked before COMMIT, so that their errors differ from a failed COMMIT.
pub fn check_constraints() -> Step {
    Step::Statement(Statement::of_all(Phase::Gate, IMMEDIATE))
}

/// Moves sequences past the copied values.
pub fn sequences<'a>(input: &'a TransactionInput<'a>) -> impl Iterator<Item = Step> + 'a {
    let all = input.tables().filter(|_| input.job.sequences);
    all.flat_map(|(at, table)| {
        let owned = table.sequences.iter();
        owned.map(move |owned| {
            Step::MoveSequence(Statement::of_table(Phase::Publish, at, &owned.sql))
        })
    })
}

/// Runs ANALYZE. A shadow was analyzed before it was published. Autovacuum does not analyze partitioned tables.
pub fn analyze(input: &TransactionInput<'_>) -> Vec<Statement> {
    if !input.job.analyze {
        return Vec::new();
    }
    let is_new = |(_, table): &(usize, &CopyPlan)| {
        input.job.mode != Mode::Swap || matches!(table.load, Load::Direct)
    };
    let analyze = |(at, table): (usize, &CopyPlan)| {
        Statement::of_table(Phase::After, at, format!("ANALYZE {}", table.target.sql()))
    };
    let statements = input.tables().filter(is_new).map(analyze);
    statements.chain(analyze_parents(input)).collect()
}

/// Partitioned tables of which partitions are replaced, each once, after the last of these.
fn analyze_parents(input: &TransactionInput<'_>) -> Vec<Statement> {
    let is_last = |(at, table): &(usize, &CopyPlan)| {
        let mut later = input.all[at + 1..].iter();
        table.partition_of.is_some() && later.all(|other| other.partition_of != table.partition_of)
    };
    let analyze = |(at, table): (usize, &CopyPlan)| {
        let parent = table.partition_of.as_ref()?;
        let sql = format!("ANALYZE {}", parent.sql());
        Some(Statement::of_table(Phase::After, at, sql))
    };
    input.tables().filter(is_last).filter_map(analyze).collect()
}
