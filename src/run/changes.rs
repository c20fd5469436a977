//! The marks of `compare = "changed"`: up to where the last run saw both sides of a table, and where this run
//! has seen them.

use std::collections::BTreeMap;

use super::transaction::PlannedRelations;
use super::{JobContext, RunContext, ledger, watermark};
use crate::catalog::change_mark::{ChangeMark, ChangeState};
use crate::catalog::mark::{Mark, WalPosition, parse};
use crate::catalog::present;
use crate::config::spec::History;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::Inspected;
use crate::plan::copy::CopyPlan;
use crate::plan::staged::changed::may_be_marked;

/// For every table that may be compared by what has changed, reads the mark of its last published run, and
/// where both sides are now. The source has its snapshot.
pub(super) async fn resume(
    context: &JobContext,
    source: &Session,
    target: &Session,
    entries: &mut [Inspected],
    replayed: Option<u64>,
) -> Result<()> {
    let wanted = |entry: &&mut Inspected| may_be_marked(&context.job, entry);
    let mut entries = entries.iter_mut().filter(wanted).peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    let marks = match context.full {
        false if ledger::is_ready(target).await? => {
            ledger::marks(target, &context.job.name).await?
        }
        _ => BTreeMap::new(),
    };
    let (from, to) = tokio::try_join!(present::position(source), present::position(target))?;
    for entry in entries {
        let (Some(of_source), Some(of_target)) = (&entry.source, &entry.target) else {
            continue;
        };
        let columns = watermark::columns(entry);
        let (source, target) = tokio::try_join!(
            present::present(source, &from, of_source, false, &columns),
            present::present(target, &to, of_target, false, &columns),
        )?;
        let since = match marks.get(&entry.spec.target.to_string()) {
            _ if context.full => Err("`--full` compares all rows".to_owned()),
            None => Err("no run has recorded what it saw yet".to_owned()),
            Some(text) => parse(text).ok_or_else(|| {
                "the last run was by another release, whose record cannot be used".to_owned()
            }),
        };
        let columns = columns.into_iter().map(str::to_owned).collect();
        entry.changes = Some(ChangeState {
            since,
            source,
            target,
            columns,
            replayed,
        });
    }
    Ok(())
}

/// Where the targets are before they are read.
pub(super) type Noted = BTreeMap<QualifiedName, Mark>;

/// Notes where the targets are: what other sessions write from now on is new to the next run. The targets are
/// locked against DDL, and have not been read.
///
/// *Errors:* `Conflict` if a target is not the one that was planned for.
pub(super) async fn note(
    target: &Session,
    tables: &[CopyPlan],
    planned: &PlannedRelations,
) -> Result<Noted> {
    let mut noted = Noted::new();
    let place = present::position(target).await?;
    for table in tables {
        let (Some(marking), Some(desc)) = (&table.marking, planned.get(&table.target)) else {
            continue;
        };
        let columns: Vec<&str> = marking.columns.iter().map(String::as_str).collect();
        let now = present::present(target, &place, desc, false, &columns).await?;
        if table.changed().is_some() && now.relation != marking.target {
            let message = "it was replaced or rewritten while the copy was being planned";
            let error = Error::new(ErrorKind::Conflict, Phase::Lock, Side::Target, message);
            return Err(error.at(target.server()).on(&table.target));
        }
        let mark = Mark {
            value: None,
            query: String::new(),
            history: place.history.clone(),
            xmin: place.xmin,
            // What the publishing transaction saw is flushed with it.
            wal: WalPosition::default(),
            relation: now.relation,
        };
        noted.insert(table.target.clone(), mark);
    }
    Ok(noted)
}

/// Records the marks in the transaction that publishes the rows.
pub(super) async fn record(
    run: &RunContext,
    target: &Session,
    tables: &[CopyPlan],
    noted: &Noted,
    flushed: Option<u64>,
) -> Result<()> {
    if noted.is_empty() || run.ledger.history != History::Target {
        return Ok(());
    }
    let sql = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text";
    let what = "the transaction's id";
    let row = target.one_row(Phase::Publish, what, sql, &[]).await?;
    let transaction = row.get::<String>(0)?.parse().map_err(|_| {
        let message = "the transaction's id could not be read";
        Error::new(ErrorKind::Bug, Phase::Publish, Side::Target, message).at(target.server())
    })?;
    for table in tables {
        let (Some(marking), Some(mark)) = (&table.marking, noted.get(&table.target)) else {
            continue;
        };
        let mark = ChangeMark {
            source: marking.source.clone().flushed(flushed),
            target: mark.clone(),
            transaction,
        };
        let (run_id, job) = (run.context.run_id, &run.context.job.name);
        let known = ledger::NextRun::Mark(&mark);
        ledger::record_for_next_run(target, run_id, job, &table.target, known).await?;
    }
    Ok(())
}
