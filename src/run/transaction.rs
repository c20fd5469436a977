//! One of the target's transactions, with the data of the attempt that its steps need.

use std::collections::BTreeMap;

use super::pipe::RateLimit;
use super::snapshot_age::SnapshotAge;
use crate::catalog::desc::RelationDesc;
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::step::Transaction;

/// The target's relations as they were described for the plan.
pub(super) type PlannedRelations = BTreeMap<QualifiedName, RelationDesc>;

/// One of the target's transactions, with the data of the attempt that its steps need.
#[derive(Clone, Copy)]
pub(super) struct TransactionContext<'a> {
    pub plan: &'a JobPlan,
    pub transaction: &'a Transaction,
    pub planned: &'a PlannedRelations,
    /// It is the last transaction of the run.
    pub last: bool,
    /// The position at which the reports of its tables begin.
    pub first: usize,
    /// The number of workers that have something to do.
    pub workers: usize,
    /// The rate limit that all workers share.
    pub limit: Option<&'a RateLimit>,
    pub snapshot_age: &'a SnapshotAge,
}

impl<'a> TransactionContext<'a> {
    /// The tables that it publishes.
    pub fn tables(&self) -> &'a [CopyPlan] {
        self.plan.tables_of(self.transaction)
    }

    /// The tables that earlier transactions of the run have published.
    pub fn published(&self) -> &'a [CopyPlan] {
        let earlier = self.plan.tables.get(..self.transaction.tables.start);
        // The tables of other sources are the same tables.
        let earlier = earlier.filter(|_| self.transaction.source == 0);
        earlier.unwrap_or_default()
    }
}
