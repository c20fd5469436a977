//! A plan is the list of what will be done. The run carries out these steps, and `tableferry plan`
//! prints them: neither knows another order, or another statement.

use std::ops::Range;

use crate::error::Phase;

/// One of the target's transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Which of the plan's tables it publishes.
    pub tables: Range<usize>,
    /// What is done, in order, up to COMMIT.
    pub steps: Vec<Step>,
    /// What follows COMMIT and takes nothing back when it fails.
    pub after: Vec<Statement>,
}

/// One thing to do for the tables of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begins the target's transaction.
    Begin,
    /// Takes the job's advisory lock, and drops what dead runs of the job left.
    LockJob,
    /// Takes the advisory locks of the target's relations.
    LockTargets,
    /// Counts the rows that will be replaced, for the guard.
    CountReplaced,
    /// Runs one statement on the target.
    Statement(Statement),
    /// Drops tables that hold the names of shadows, if a dead run left them; compares what is attached to
    /// the targets with what the plan saw.
    FreeNames,
    /// Compares the target's definitions with what the plan saw.
    CompareDefinitions,
    /// Refuses targets that were empty when they were planned, and now have rows.
    CheckEmpty,
    /// Opens the workers' connections, in the source's snapshot.
    OpenWorkers,
    /// Opens a connection that reads the target while both sides are compared, and locks what it reads.
    OpenReader,
    /// Makes the tables to load.
    Make,
    /// Copies all tables.
    Copy,
    /// Moves staged rows that the target would reject to `tableferry.rejected`.
    Judge,
    /// Notes the snapshots on the target that are older than the rows.
    NoteSnapshots,
    /// Ends the source's transaction.
    EndSnapshot,
    /// Compares what was sent with what was taken, and asks the guard.
    Gate,
    /// Refuses NULL and repeated keys in staging.
    CheckKeys,
    /// Compares staging with the target and writes what differs; both again where something else may
    /// have changed rows.
    Apply,
    /// Builds the indexes of shadows, side by side where there are several workers.
    BuildIndexes,
    /// Compares both servers' checksums.
    CompareChecksums,
    /// Writes the run's record.
    Record,
    /// Waits until the noted snapshots are gone.
    WaitForSnapshots,
    /// Puts shadows into the places of their targets.
    ReplaceTargets,
    /// Puts files into their places.
    PublishFiles,
}

/// One statement on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When it runs, for errors.
    pub phase: Phase,
    /// The table that it is about, by its place in the plan.
    pub table: Option<usize>,
    /// The statement.
    pub sql: String,
}

impl Statement {
    /// About all tables.
    pub fn of_all(phase: Phase, sql: impl Into<String>) -> Self {
        Statement {
            phase,
            table: None,
            sql: sql.into(),
        }
    }

    /// About one table.
    pub fn of_table(phase: Phase, table: usize, sql: impl Into<String>) -> Self {
        Statement {
            table: Some(table),
            ..Statement::of_all(phase, sql)
        }
    }
}
