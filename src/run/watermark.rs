//! Where a table with a watermark was left, and up to where it has been read now.

use super::{Context, ledger};
use crate::catalog::mark::Mark;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::Inspected;
use crate::plan::copy::CopyPlan;
use crate::plan::watermark::starts_over;
use crate::report::Event;

/// Up to where one table has been read.
#[derive(Clone, Debug)]
pub struct Reached {
    relation: QualifiedName,
    mark: Mark,
}

/// The source's cluster, and the transactions that its snapshot sees.
struct Place {
    system: String,
    xmin: u64,
    xmax: u64,
}

/// Finds for every entry with a watermark where its last published run stopped. The source has its
/// snapshot.
pub(super) async fn resume(
    context: &Context,
    source: &Session,
    target: &Session,
    entries: &mut [Inspected],
) -> Result<()> {
    let wanted = |entry: &&mut Inspected| entry.spec.watermark.is_some();
    let mut entries = entries.iter_mut().filter(wanted).peekable();
    if context.full || entries.peek().is_none() || !ledger::is_there(target).await? {
        return Ok(());
    }
    let place = place(source).await?;
    for entry in entries {
        let relation = &entry.spec.target;
        let text = ledger::watermark(target, &context.job.name, relation).await?;
        let mark = text.as_deref().and_then(Mark::parse);
        let usable = |mark: &Mark| mark.is_usable(&place.system, place.xmax);
        if text.is_some() && !mark.as_ref().is_some_and(usable) {
            context.tell(Event::Warned(starts_over(relation)));
        }
        entry.since = mark.filter(usable);
    }
    Ok(())
}

/// Up to where the source's snapshot reaches, for a table that was just read in it.
pub(super) async fn reached(source: &Session, table: &CopyPlan) -> Result<Option<Reached>> {
    let Some(watermark) = &table.watermark else {
        return Ok(None);
    };
    let place = place(source).await?;
    let what = "the highest value of the watermark";
    let row = source.one_row(Phase::CopyOut, what, &watermark.read_value, &[]);
    let value = row.await.and_then(|row| row.get(0));
    Ok(Some(Reached {
        relation: table.target.clone(),
        mark: Mark {
            value: value.map_err(|error| error.on(table.read_relation()))?,
            xmin: place.xmin,
            system: place.system,
            query: watermark.query.clone(),
        },
    }))
}

/// Records it in the transaction that publishes the rows.
pub(super) async fn record(context: &Context, target: &Session, reached: &[Reached]) -> Result<()> {
    for Reached { relation, mark } in reached {
        let (job, value) = (&context.job.name, mark.to_text());
        ledger::record_watermark(target, context.run_id, job, relation, &value).await?;
    }
    Ok(())
}

async fn place(source: &Session) -> Result<Place> {
    // Only what is below xmin counts: on a standby the snapshot does not list what is in progress.
    let sql = "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text, \
                      pg_catalog.pg_snapshot_xmin(snapshot)::pg_catalog.text, \
                      pg_catalog.pg_snapshot_xmax(snapshot)::pg_catalog.text \
               FROM pg_catalog.pg_current_snapshot() AS snapshot";
    let row = source
        .one_row(Phase::Inspect, "the source's snapshot", sql, &[])
        .await?;
    let number = |at: usize| {
        let text: String = row.get(at)?;
        text.parse().map_err(|_| {
            let message = "the source's snapshot could not be read";
            Error::new(ErrorKind::Bug, Phase::Inspect, source.side(), message).at(source.server())
        })
    };
    Ok(Place {
        system: row.get(0)?,
        xmin: number(1)?,
        xmax: number(2)?,
    })
}
