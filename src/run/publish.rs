//! What happens on the target around the load: TRUNCATE or a lock before it, sequences and
//! deferred constraints after it, ANALYZE when all is published.

use crate::config::spec::{JobSpec, Mode};
use crate::error::{Phase, Result};
use crate::pg::ident::{QualifiedName, quote_literal};
use crate::pg::session::Session;
use crate::plan::JobPlan;
use crate::plan::copy::CopyPlan;
use crate::report::TableReport;

/// Locks the target's relations as the mode needs them, and empties them where it does that.
pub(super) async fn prepare(target: &Session, job: &JobSpec, plan: &JobPlan) -> Result<()> {
    match (&plan.truncate, job.mode) {
        (Some(truncate), _) => target.run(Phase::Prepare, truncate).await,
        (None, Mode::Append | Mode::Truncate | Mode::Swap | Mode::Merge | Mode::Upsert) => {
            if plan.tables.is_empty() {
                return Ok(());
            }
            let names: Vec<_> = plan.tables.iter().map(|table| table.target.sql()).collect();
            let sql = format!("LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE", names.join(", ONLY "));
            target.run(Phase::Lock, &sql).await
        }
    }
}

/// The last work before COMMIT. Deferred constraints are checked here, where an error can still
/// be told apart from a COMMIT that went wrong.
pub(super) async fn finish(target: &Session, job: &JobSpec, plan: &JobPlan) -> Result<()> {
    target.run(Phase::Gate, "SET CONSTRAINTS ALL IMMEDIATE").await?;
    if job.sequences {
        for table in &plan.tables {
            for owned in &table.sequences {
                let sql = advance_sequence(table, owned.column.sql().as_str(), &owned.sequence);
                target.run(Phase::Publish, &sql).await.map_err(|error| error.on(&table.target))?;
            }
        }
    }
    Ok(())
}

/// Moves a sequence past the column's values, never backwards, and never out of its own bounds:
/// COPY does not advance it, and the next INSERT would collide.
fn advance_sequence(table: &CopyPlan, column: &str, sequence: &QualifiedName) -> String {
    let regclass = format!("{}::pg_catalog.regclass", quote_literal(&sequence.sql()));
    let from = table.target_from();
    format!(
        "SELECT pg_catalog.setval({regclass}, edge.value, true) \
         FROM pg_catalog.pg_sequence AS s, {sequence} AS at, \
              LATERAL (SELECT (CASE WHEN s.seqincrement > 0 THEN pg_catalog.max({column}) \
                               ELSE pg_catalog.min({column}) END)::pg_catalog.int8 AS value \
                       FROM {from}) AS edge \
         WHERE s.seqrelid = {regclass} \
           AND edge.value BETWEEN s.seqmin AND s.seqmax \
           AND (CASE WHEN s.seqincrement > 0 THEN edge.value > at.last_value \
                     ELSE edge.value < at.last_value END \
                OR (edge.value = at.last_value AND NOT at.is_called))",
        sequence = sequence.sql(),
    )
}

/// Refreshes the planner's statistics.
pub(super) async fn analyze(target: &Session, job: &JobSpec, tables: &[TableReport]) -> Result<()> {
    if !job.analyze {
        return Ok(());
    }
    for table in tables {
        if let Ok(name) = QualifiedName::parse(&table.target) {
            let sql = format!("ANALYZE {}", name.sql());
            target.run(Phase::After, &sql).await.map_err(|error| error.on(&name))?;
        }
    }
    Ok(())
}
