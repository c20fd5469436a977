//! Compares what has changed since the last run: scans both sides at the same time, and streams the ranges of
//! keys in which something may differ. What the scans ask is decided by the plan (`plan/staged/changed.rs`).

use std::cell::RefCell;

use bytes::BytesMut;
use futures_util::{StreamExt, pin_mut};

use super::buckets::{self, Buckets, Ranges, Scanned, Spread};
use super::{Sessions, malformed};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::staged::types::Changed;
use crate::run::pipe::{Copied, Pace};

/// Many short scans of an index look expensive enough to be compiled, and are not.
const NO_JIT: &str = "SET LOCAL jit = off";

/// Stages the rows in which the two sides differ.
///
/// *Errors and cancellation:* as for [`super::copy`].
pub async fn copy(
    sessions: Sessions<'_>,
    plan: &CopyPlan,
    changed: &Changed,
    pace: Pace<'_>,
) -> Result<Copied> {
    let Sessions { source, reader, .. } = sessions;
    tokio::try_join!(
        source.run(Phase::CopyOut, NO_JIT),
        reader.run(Phase::CopyOut, NO_JIT)
    )?;
    let (of_source, of_target) = tokio::try_join!(
        spread(source, &changed.source.spread),
        spread(reader, &changed.target.spread)
    )?;
    let shift = buckets::shift(of_source, of_target, changed.rows, changed.buckets);
    let found = RefCell::new(Buckets::new(shift));
    let scans = (changed.source.scan(shift), changed.target.scan(shift));
    tokio::try_join!(
        scan(source, plan, &scans.0, Scanned::Source, &found),
        scan(reader, plan, &scans.1, Scanned::Target, &found),
    )?;
    let found = found.into_inner();
    let (source_rows, target_rows) = (found.source_rows, found.target_rows);
    let stream = &changed.stream;
    let copied = match found.ranges() {
        Ranges::Only(ranges) if ranges.is_empty() => Copied::default(),
        Ranges::Only(ranges) => {
            let statements = (changed.source.rows(&ranges), changed.target.rows(&ranges));
            drop(ranges);
            super::copy(sessions, plan, stream, (&statements.0, &statements.1), pace).await?
        }
        Ranges::All => {
            let statements = (plan.copy_out.as_str(), stream.target_out.as_str());
            super::copy(sessions, plan, stream, statements, pace).await?
        }
    };
    Ok(Copied {
        rows_counted: Some(source_rows),
        rows_compared: Some(target_rows),
        ..copied
    })
}

/// Where the values of the key's first column lie.
async fn spread(session: &Session, sql: &str) -> Result<Spread> {
    let what = "the least and the greatest key";
    let row = session.one_row(Phase::CopyOut, what, sql, &[]).await?;
    let (low, high): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
    Ok(Spread {
        span: low.zip(high),
        histogram: row.get::<Option<Vec<i64>>>(2)?.unwrap_or_default(),
    })
}

async fn scan(
    session: &Session,
    plan: &CopyPlan,
    sql: &str,
    side: Scanned,
    found: &RefCell<Buckets>,
) -> Result<()> {
    let failed = |error| session.error(Phase::CopyOut, error).on(&plan.target);
    let scanning = async {
        let lines = session.client().copy_out(sql).await.map_err(failed)?;
        pin_mut!(lines);
        let mut open = BytesMut::new();
        while let Some(chunk) = lines.next().await.transpose().map_err(failed)? {
            open.extend_from_slice(&chunk);
            while let Some(end) = memchr::memchr(b'\n', &open) {
                let line = open.split_to(end + 1);
                let added = found.borrow_mut().add(side, &line[..end]);
                added.map_err(|_| malformed(plan, session.side()))?;
            }
        }
        match open.is_empty() {
            true => Ok(()),
            false => Err(malformed(plan, session.side())),
        }
    };
    session.answer(Phase::CopyOut, scanning).await?
}
