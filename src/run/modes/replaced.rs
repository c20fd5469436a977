//! `replace = "partitions"`: empties the partitions that get rows, before the load.

use std::collections::BTreeMap;

use crate::catalog;
use crate::catalog::constraints::Leaf;
use crate::catalog::desc::RelationDesc;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::partitions::replaced::{self, Replaced};
use crate::run::context::JobContext;
use crate::run::gate::{self, RowsBefore};

/// Empties the partitions that get rows. Their parents are locked, so that no others are attached. Adds the rows that
/// are replaced to `before`.
///
/// *Errors:* `Guard`, which names the partition.
pub(in crate::run) async fn replace(
    context: &JobContext,
    source: &Session,
    target: &Session,
    tables: &[CopyPlan],
    planned: &BTreeMap<QualifiedName, RelationDesc>,
    before: &mut RowsBefore,
) -> Result<()> {
    let mut emptied = Vec::new();
    for table in tables {
        let Some(replaced) = &table.partitions.replaced else {
            continue;
        };
        let failed = |error: Error| error.on(&table.target);
        let leaves = leaves(target, table).await.map_err(failed)?;
        let rows = given(source, replaced, &leaves).await.map_err(failed)?;
        let mut total = 0;
        let may_count = planned.get(&table.target);
        let may_count = may_count.is_some_and(|desc| desc.privileges.select);
        for (leaf, rows) in leaves.iter().zip(rows).filter(|(_, rows)| *rows > 0) {
            if may_count {
                let what = "the number of rows of a partition";
                let sql = leaf.count(&table.target);
                let row = target.one_row(Phase::Gate, what, &sql, &[]).await;
                let replaced = row.map_err(failed)?.count(0)?;
                gate::check_partition(context, &leaf.table(), replaced, rows)?;
                total += replaced;
            }
            emptied.push(leaf.table());
        }
        if may_count {
            before.insert(table.target.to_string(), total);
        }
    }
    match replaced::truncate(&emptied) {
        Some(sql) => target.run(Phase::Prepare, &sql).await,
        None => Ok(()),
    }
}

async fn leaves(target: &Session, table: &CopyPlan) -> Result<Vec<Leaf>> {
    let names = std::slice::from_ref(&table.target);
    let constraints = catalog::constraints(target, names)
        .await?
        .remove(&table.target);
    let leaves = constraints.and_then(|constraints| constraints.leaf_tables);
    leaves.ok_or_else(|| {
        let message = "it is no longer partitioned";
        let error = Error::new(ErrorKind::Conflict, Phase::Prepare, Side::Target, message);
        error.at(target.server())
    })
}

/// The source's rows for each partition.
pub(in crate::run) async fn given(
    source: &Session,
    replaced: &Replaced,
    leaves: &[Leaf],
) -> Result<Vec<u64>> {
    let mut rows = Vec::with_capacity(leaves.len());
    for sql in replaced.counts_of(leaves) {
        let what = "the numbers of rows for each partition";
        let row = source.one_row(Phase::Prepare, what, &sql, &[]).await?;
        let columns = (leaves.len() - rows.len()).min(replaced::COUNTED_MAX);
        for at in 0..columns {
            rows.push(row.count(at)?);
        }
    }
    Ok(rows)
}
