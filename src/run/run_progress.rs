//! What a run has done so far. It outlives the attempts, so that a later attempt and the report know it.

use std::collections::BTreeSet;

use super::context::RunContext;
use crate::catalog::mark::Mark;
use crate::error::Error;
use crate::pg::ident::QualifiedName;
use crate::plan::copy::CopyPlan;
use crate::report::{Event, Snapshot, TableReport};

/// What a run has done so far.
#[derive(Debug, Default)]
pub(super) struct RunProgress {
    /// The errors of the earlier attempts.
    pub failures: Vec<String>,
    /// The ledger has decided which run the fire belongs to.
    pub fire_claimed: bool,
    /// With `atomic = false`: the tables that earlier runs of the same fire have committed.
    pub committed_before: BTreeSet<String>,
    /// The listener has been told that the run has started.
    is_told: bool,
    /// The source's snapshot in this attempt.
    pub snapshot: Option<Snapshot>,
    /// The new watermarks of the tables that were read.
    pub reached: Vec<WatermarkReached>,
    /// The tables that were loaded.
    pub tables: Vec<TableReport>,
    /// Why a statement of `after_commit` failed.
    pub after_commit: Option<Error>,
}

/// The new watermark of one table.
#[derive(Clone, Debug)]
pub(super) struct WatermarkReached {
    pub relation: QualifiedName,
    pub mark: Mark,
}

impl RunProgress {
    /// Prepares for another attempt. With `atomic = false`, committed tables stay committed.
    pub fn restart(&mut self, failed: &Error) {
        self.failures.push(failed.to_string());
        self.snapshot = None;
        self.tables.retain(|table| table.committed == Some(true));
    }

    /// Tells the listener that the run has started, once.
    pub fn started(&mut self, run: &RunContext) {
        if !std::mem::replace(&mut self.is_told, true) {
            let trigger = run.start.trigger;
            run.context.tell(Event::Started { trigger });
        }
    }

    /// Makes one report of those of the same target: several sources have written it.
    pub fn join_sources(&mut self) {
        let mut joined: Vec<TableReport> = Vec::new();
        for report in self.tables.drain(..) {
            match joined
                .iter_mut()
                .find(|first| first.target == report.target)
            {
                Some(first) => first.add(report),
                None => joined.push(report),
            }
        }
        self.tables = joined;
    }

    /// The number of the current attempt, from 1.
    pub fn attempt_number(&self) -> u32 {
        u32::try_from(self.failures.len() + 1).unwrap_or(u32::MAX)
    }

    /// Have this run and earlier runs of its fire committed all of these tables?
    pub fn are_committed(&self, tables: &[CopyPlan]) -> bool {
        !tables.is_empty() && tables.iter().all(|t| self.is_committed(&t.target_name()))
    }

    fn is_committed(&self, target: &str) -> bool {
        let committed = |table: &TableReport| table.committed == Some(true);
        let in_this_run = |table: &TableReport| table.target == target && committed(table);
        self.committed_before.contains(target) || self.tables.iter().any(in_this_run)
    }
}
