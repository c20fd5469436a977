//! The steps of each mode from beginning to end, one file for each mode, and one for targets that are
//! directories. `common.rs` has the steps that several modes share.

mod append;
mod common;
mod create;
mod hooks;
mod into_files;
mod merge;
mod swap;
mod truncate;
mod upsert;

use std::ops::Range;

use crate::config::spec::{JobSpec, Mode};
use crate::plan::copy::CopyPlan;
use crate::plan::step::{Publish, Step, Transaction};

pub(super) use into_files::transaction as into_files;

/// The input of a transaction's steps.
pub(super) struct TransactionInput<'a> {
    pub job: &'a JobSpec,
    /// All tables of the job.
    pub all: &'a [CopyPlan],
    /// The positions of the tables that the transaction publishes.
    pub tables: Range<usize>,
    pub workers: u32,
    /// Tables reference each other in a circle, and their foreign keys are deferrable.
    pub circle: bool,
}

impl<'a> TransactionInput<'a> {
    /// The tables of the transaction, with their positions in the plan.
    fn tables(&self) -> impl Iterator<Item = (usize, &'a CopyPlan)> {
        let tables = self.all.iter().enumerate();
        tables.skip(self.tables.start).take(self.tables.len())
    }

    /// Is it the last transaction? After it, the source's snapshot is not needed.
    fn is_last(&self) -> bool {
        self.tables.end == self.all.len()
    }
}

/// The target's transactions: one for all tables or, with `atomic = false`, one for each table. If no partition gets
/// rows, the run has no table, and one transaction records it.
pub(super) fn transactions(
    job: &JobSpec,
    all: &[CopyPlan],
    workers: u32,
    circle: bool,
) -> Vec<Transaction> {
    let ranges: Vec<Range<usize>> = match job.atomic {
        _ if all.is_empty() => std::iter::once(0..0).collect(),
        true => std::iter::once(0..all.len()).collect(),
        false => (0..all.len()).map(|at| at..at + 1).collect(),
    };
    let transaction = |tables: Range<usize>| {
        let input = TransactionInput {
            job,
            all,
            tables: tables.clone(),
            workers,
            circle,
        };
        Transaction {
            source: 0,
            joins: false,
            tables,
            steps: hooks::around(job, steps(&input)),
            publish: Publish::Commit,
            after: common::analyze(&input),
            after_commit: match input.is_last() {
                true => hooks::after_commit(job),
                false => Vec::new(),
            },
        }
    };
    ranges.into_iter().map(transaction).collect()
}

fn steps(input: &TransactionInput<'_>) -> Vec<Step> {
    match input.job.mode {
        Mode::Append => append::steps(input),
        Mode::Truncate => truncate::steps(input),
        Mode::Swap => swap::steps(input),
        Mode::Merge => merge::steps(input),
        Mode::Upsert => upsert::steps(input),
    }
}
