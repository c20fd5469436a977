//! Which of the target's tables have no rows.

use std::collections::{BTreeMap, BTreeSet};

use super::desc::{RelationDesc, RelationKind};
use crate::error::{Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// The tables without rows among those that may be read, and that are not known to have rows. Reads at most one
/// row of each; where many rows were deleted since the last VACUUM, it passes over them.
pub async fn empty(
    target: &Session,
    tables: &BTreeMap<QualifiedName, RelationDesc>,
) -> Result<BTreeSet<QualifiedName>> {
    let asked: Vec<&QualifiedName> = tables
        .values()
        .filter(|table| {
            table.kind == RelationKind::Table
                && table.rows_estimate.is_none_or(|rows| rows == 0)
                && table.privileges.select
                && table.privileges.usage
        })
        .map(|table| &table.name)
        .collect();
    if asked.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list: Vec<String> = asked
        .iter()
        .map(|name| format!("NOT EXISTS (SELECT FROM ONLY {})", name.sql()))
        .collect();
    let sql = format!("SELECT ARRAY[{}]", list.join(", "));
    let what = "which targets are empty";
    let row = target.one_row(Phase::Inspect, what, &sql, &[]).await?;
    let answers: Vec<bool> = row.get(0)?;
    let empty = asked.into_iter().zip(answers);
    Ok(empty
        .filter(|(_, is_empty)| *is_empty)
        .map(|(name, _)| name.clone())
        .collect())
}
