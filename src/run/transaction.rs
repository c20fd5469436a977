//! One of the target's transactions, with what its steps need to know of the attempt.

use std::collections::BTreeMap;

use super::pipe::RateLimit;
use super::snapshot_age::SnapshotAge;
use crate::catalog::desc::RelationDesc;
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::step::Transaction;

/// The target's relations as they were described for the plan.
pub(super) type PlannedRelations = BTreeMap<QualifiedName, RelationDesc>;

/// One of the target's transactions, with what its steps need to know of the attempt.
#[derive(Clone, Copy)]
pub(super) struct TransactionContext<'a> {
    pub plan: &'a JobPlan,
    pub transaction: &'a Transaction,
    pub planned: &'a PlannedRelations,
    /// No other transaction of the run comes after it.
    pub last: bool,
    /// How many workers have something to do.
    pub workers: usize,
    /// How fast the source may be read, by all workers together.
    pub limit: Option<&'a RateLimit>,
    pub snapshot_age: &'a SnapshotAge,
}

impl<'a> TransactionContext<'a> {
    /// The tables that it publishes.
    pub fn tables(&self) -> &'a [CopyPlan] {
        self.plan.tables_of(self.transaction)
    }
}
