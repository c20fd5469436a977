//! `replace = "partitions"` in mode `swap`: finds the partitions that get rows, each of which is a table of the run.
//!
//! Their bounds may change while the source counts: the plan compares them with those of the counts.

use super::context::JobContext;
use super::gate;
use super::modes::{partitions, replaced};
use crate::catalog;
use crate::config::spec::{TableInput, TableSpec};
use crate::error::{Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::partitions::swapped::{self, Counting};
use crate::plan::{Inspected, Refusal};

/// The tables of a run, with partitions in the place of partitioned targets.
#[derive(Default)]
pub(super) struct Swapped {
    pub tables: Vec<TableSpec>,
    /// Why partitions of a target cannot be replaced.
    pub refused: Vec<Refusal>,
    /// Targets of which no partition is replaced.
    pub warnings: Vec<String>,
}

/// Puts the partitions that get rows in the place of each partitioned target. The source has its snapshot; the target
/// is in a transaction that reads, and in another one after it. `is_run`: the guard judges the number of rows.
///
/// *Errors:* `DataRejected`, if the source has rows without a partition.
pub(super) async fn expand(
    context: &JobContext,
    (source, target): (&Session, &Session),
    tables: Vec<TableSpec>,
    same_place: bool,
    is_run: bool,
) -> Result<Swapped> {
    let job = &context.job;
    let mut found = Swapped::default();
    if !swapped::is_asked_for(job) {
        found.tables = tables;
        return Ok(found);
    }
    let mut countings = Vec::new();
    let entries = inspect(source, target, tables).await?;
    swapped::check(&entries, &mut found.refused);
    for entry in entries {
        if !swapped::is_partitioned(&entry) {
            found.tables.push(entry.spec);
            continue;
        }
        let counting = swapped::plan(job, &entry, same_place, &mut found.refused);
        countings.extend(counting.map(|counting| (entry.spec.target, counting)));
    }
    // Counting may take long: the target is in no transaction meanwhile.
    target.end_reading(Phase::Inspect).await?;
    for (name, counting) in countings {
        let rows = count(context, source, target, &counting).await;
        let rows = rows.map_err(|error| error.on(&name))?;
        if rows.iter().all(|rows| *rows == 0) {
            let warning = format!("{name}: the source has no rows, so no partition is replaced");
            found.warnings.push(warning);
        }
        match counting.tables(&rows) {
            Ok(tables) => found.tables.extend(tables),
            Err(refusal) => found.refused.push(refusal),
        }
        let few = gate::refuse_few(&job.guard, &name, rows.iter().sum());
        found.refused.extend(few.filter(|_| is_run));
    }
    target.begin_reading(Phase::Inspect).await?;
    Ok(found)
}

/// The source's rows for each partition.
async fn count(
    context: &JobContext,
    source: &Session,
    target: &Session,
    counting: &Counting,
) -> Result<Vec<u64>> {
    if let Some(partitionless) = &counting.partitionless {
        partitions::check_partitions((source, target), &context.job, partitionless).await?;
    }
    replaced::given(source, &counting.replaced, &counting.leaves).await
}

async fn inspect(
    source: &Session,
    target: &Session,
    tables: Vec<TableSpec>,
) -> Result<Vec<Inspected>> {
    let relation = |spec: &TableSpec| match &spec.input {
        TableInput::Relation(name) => Some(name.clone()),
        TableInput::Query(_) | TableInput::File(_) => None,
    };
    let sources: Vec<QualifiedName> = tables.iter().filter_map(relation).collect();
    let targets: Vec<QualifiedName> = tables.iter().map(|spec| spec.target.clone()).collect();
    let from = catalog::read(source, &sources).await?;
    let to = catalog::read(target, &targets).await?;
    let mut constraints = catalog::constraints(target, &targets).await?;
    let mut inspected = Vec::with_capacity(tables.len());
    for spec in tables {
        let source_desc = relation(&spec).and_then(|name| from.get(&name).cloned());
        let mut entry = Inspected::new(source, spec, source_desc, &to).await?;
        entry.constraints = constraints.remove(&entry.spec.target);
        inspected.push(entry);
    }
    Ok(inspected)
}
