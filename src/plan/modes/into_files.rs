//! A target that is files, in mode `truncate` or `swap`: writes all files beside their places, and puts them
//! there at once.

use crate::plan::copy::CopyPlan;
use crate::plan::step::{Publish, Step, Transaction};

/// All files of a job are published together.
pub fn transaction(tables: &[CopyPlan]) -> Transaction {
    Transaction {
        source: 0,
        joins: false,
        tables: 0..tables.len(),
        // Each file is synced when its last row is written.
        steps: vec![Step::Copy, Step::EndSnapshot, Step::Gate],
        publish: Publish::RenameFiles,
        after: Vec::new(),
        after_commit: Vec::new(),
    }
}
