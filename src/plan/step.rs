//! A plan is a list of steps. The run carries them out, and `tableferry plan` prints them, so both have the
//! same order and the same statements.

use std::ops::Range;

use crate::error::Phase;

/// Tables that are published together: one of the target's transactions, or the files of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The position of its source among those of the job.
    pub source: usize,
    /// The positions of the tables that it publishes.
    pub tables: Range<usize>,
    /// The steps before the rows are published, in order. They can be cancelled.
    pub steps: Vec<Step>,
    /// How the rows are published. This is not cancelled.
    pub publish: Publish,
    /// The statements after that. If they fail, the rows stay published.
    pub after: Vec<Statement>,
    /// The user's own statements after that.
    pub after_commit: Vec<Hook>,
    /// It publishes what the transactions before it have read from several sources.
    pub joins: bool,
}

/// How the rows of a transaction become visible to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// COMMIT on the target.
    Commit,
    /// Renames temporary files to their names, then syncs their directories.
    RenameFiles,
    /// `--dry-run`: ROLLBACK on the target, or nothing for files.
    RollBack,
    /// `--dry-run` with `atomic = false`: the target's transaction goes on with the next tables, which may refer to
    /// these.
    GoOn,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begins the target's transaction.
    Begin,
    /// Takes the job's advisory lock, and drops tables that killed runs of the job left behind.
    LockJob,
    /// Takes the advisory locks of the target's relations.
    LockTargets,
    /// Counts the rows that the run replaces, for the guard.
    CountReplaced,
    /// Makes what the target lacks: runs one statement on the target.
    Create(Statement),
    /// Runs one statement on the target.
    Statement(Statement),
    /// Runs statements of the user's own on the target.
    Hooks(Vec<Hook>),
    /// Drops tables with the names of shadows that a killed run left behind. Compares the targets'
    /// attachments with those of the plan.
    FreeNames,
    /// Compares the target's definitions with those of the plan.
    CompareDefinitions,
    /// Notes the target's snapshot before its tables are read, for the marks of `compare = "changed"`.
    NoteTargets,
    /// Refuses targets that were empty when they were planned, and now have rows.
    CheckEmpty,
    /// Opens the workers' connections, in the source's snapshot.
    OpenWorkers,
    /// Opens a connection that reads the target for `compare = "stream"`, and locks the tables that it
    /// reads.
    OpenReader,
    /// Creates the tables to load.
    Make,
    /// Finds rows without a partition on the source: makes partitions, or refuses the rows.
    FindPartitions,
    /// Empties the partitions that get rows, with `replace = "partitions"`.
    ReplacePartitions,
    /// Copies all tables.
    Copy,
    /// Makes loads of a run that died, and which are kept, what the source is at the snapshot of this run.
    BringUp,
    /// Moves staged rows that the target would reject to `tableferry.rejected`.
    Judge,
    /// Records the snapshots on the target that are older than the rows.
    NoteSnapshots,
    /// Ends the source's transaction.
    EndSnapshot,
    /// Compares the rows that the source sent with those that the target took, and applies the guard.
    Gate,
    /// Refuses NULL and repeated keys in staging tables.
    CheckKeys,
    /// Compares staging tables with their targets and writes the differences. Repeats both if something
    /// else may have changed rows.
    Apply,
    /// Builds the indexes of shadows; with several workers, in parallel.
    BuildIndexes,
    /// Moves a sequence past the copied values. ROLLBACK does not undo it.
    MoveSequence(Statement),
    /// Compares both servers' checksums.
    CompareChecksums,
    /// Writes the run's record to the ledger.
    Record,
    /// Waits until the recorded snapshots have ended.
    WaitForSnapshots,
    /// Replaces the targets by their shadows.
    ReplaceTargets,
}

/// One statement of the user's own on the target: of `[jobs.NAME.sql]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The phase that errors report.
    pub phase: Phase,
    /// The key of its list, and its place there, counted from 1.
    pub place: (&'static str, usize),
    /// The statement.
    pub sql: String,
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, number) = self.place;
        write!(f, "sql.{key}, statement {number}")
    }
}

/// One statement on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The phase that errors report.
    pub phase: Phase,
    /// The position of the table that it concerns; None if it concerns all.
    pub table: Option<usize>,
    /// The statement.
    pub sql: String,
}

impl Statement {
    /// A statement that concerns all tables.
    pub fn of_all(phase: Phase, sql: impl Into<String>) -> Self {
        Statement {
            phase,
            table: None,
            sql: sql.into(),
        }
    }

    /// A statement that concerns one table.
    pub fn of_table(phase: Phase, table: usize, sql: impl Into<String>) -> Self {
        Statement {
            table: Some(table),
            ..Statement::of_all(phase, sql)
        }
    }
}
