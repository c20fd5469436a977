//! Compares what has changed since the last run. Both sides are asked at the same time; what they are asked is decided
//! by the plan (`plan/staged/changed.rs`).

use std::cell::RefCell;

use bytes::BytesMut;
use futures_util::{StreamExt, pin_mut};

use super::buckets::{self, Buckets, Scanned, Spread, Totals};
use super::changed_keys::{ChangedKeys, is_worthwhile, values};
use super::key::Malformed;
use super::{Sessions, malformed};
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::staged::changed_side::{ChangedSide, LeadRange};
use crate::plan::staged::types::Changed;
use crate::run::pipe::{Copied, Pace};

/// Many short scans of an index look expensive enough to be compiled, and are not.
const NO_JIT: &str = "SET LOCAL jit = off";

/// Where the buckets of a scan do not fit, all rows of the table are written to disk.
const MEMORY_FOR_BUCKETS: &str = "SELECT pg_catalog.set_config('work_mem', '64MB', true) \
     WHERE pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) < 64 * 1024 * 1024";

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
    let sides = Sides {
        source,
        target: reader,
        plan,
        changed,
    };
    sides.run(NO_JIT).await?;
    let (ranges, totals) = match sides.changed_ranges().await? {
        Some(ranges) => {
            let totals = sides.totals(ChangedSide::totals).await?;
            (sides.differing(ranges, &totals).await?, Some(totals))
        }
        None => (None, None),
    };
    let stream = &changed.stream;
    let copied = match ranges {
        Some(ranges) if ranges.is_empty() => Copied::default(),
        Some(ranges) => {
            let statements = (changed.source.rows(&ranges), changed.target.rows(&ranges));
            drop(ranges);
            super::copy(sessions, plan, stream, (&statements.0, &statements.1), pace).await?
        }
        None => {
            let statements = (plan.copy_out.as_str(), stream.target_out.as_str());
            super::copy(sessions, plan, stream, statements, pace).await?
        }
    };
    let rows = totals.map(|(source, target)| (source.rows, target.rows));
    Ok(Copied {
        rows_counted: Some(rows.map_or(copied.rows_read, |(source, _)| source)),
        rows_compared: rows.map_or(copied.rows_compared, |(_, target)| Some(target)),
        ..copied
    })
}

/// Both sides of a comparison.
#[derive(Clone, Copy)]
struct Sides<'a> {
    source: &'a Session,
    target: &'a Session,
    plan: &'a CopyPlan,
    changed: &'a Changed,
}

impl Sides<'_> {
    async fn run(self, sql: &str) -> Result<()> {
        tokio::try_join!(
            self.source.run(Phase::CopyOut, sql),
            self.target.run(Phase::CopyOut, sql)
        )?;
        Ok(())
    }

    /// The ranges of keys in which rows have changed on either side; None if there are too many.
    async fn changed_ranges(self) -> Result<Option<Vec<LeadRange>>> {
        let (mut of_source, mut of_target) = (ChangedKeys::default(), ChangedKeys::default());
        let asked = self.changed;
        let (sql_source, sql_target) = (asked.source.changed_keys(), asked.target.changed_keys());
        tokio::try_join!(
            self.lines(self.source, &sql_source, |line| of_source.add(line)),
            self.lines(self.target, &sql_target, |line| of_target.add(line)),
        )?;
        Ok(of_source.joined(of_target))
    }

    /// The ranges of keys that have to be compared; None: all rows have to.
    async fn differing(
        self,
        ranges: Vec<LeadRange>,
        totals: &(Totals, Totals),
    ) -> Result<Option<Vec<LeadRange>>> {
        let rows = totals.0.rows.max(totals.1.rows);
        let same_keys = totals.0 == totals.1;
        if ranges.is_empty() && same_keys {
            return Ok(Some(ranges));
        }
        let (within, same_keys) = match same_keys && self.changed.has_one_row_a_value {
            true => (values(&ranges), true),
            false => {
                let within = match ranges.is_empty() {
                    true => Default::default(),
                    false => self.totals(|side| side.totals_within(&ranges)).await?,
                };
                let outside = (totals.0 - within.0, totals.1 - within.1);
                (within.0.rows.max(within.1.rows), outside.0 == outside.1)
            }
        };
        match same_keys {
            true => Ok(is_worthwhile(within, ranges.len(), rows).then_some(ranges)),
            false => self.with_buckets(ranges, within, rows).await,
        }
    }

    /// These ranges, and the buckets that have other keys on one side.
    async fn with_buckets(
        self,
        ranges: Vec<LeadRange>,
        within: u64,
        rows: u64,
    ) -> Result<Option<Vec<LeadRange>>> {
        self.run(MEMORY_FOR_BUCKETS).await?;
        let asked = self.changed;
        let (of_source, of_target) = tokio::try_join!(
            spread(self.source, &asked.source.spread),
            spread(self.target, &asked.target.spread)
        )?;
        let shift = buckets::shift(of_source, of_target, asked.rows, asked.buckets);
        let found = RefCell::new(Buckets::new(shift));
        let (sql_source, sql_target) = (asked.source.buckets(shift), asked.target.buckets(shift));
        let add = |side, line: &[u8]| found.borrow_mut().add(side, line);
        tokio::try_join!(
            self.lines(self.source, &sql_source, |line| add(Scanned::Source, line)),
            self.lines(self.target, &sql_target, |line| add(Scanned::Target, line)),
        )?;
        Ok(found.into_inner().differing(ranges, within, rows))
    }

    async fn totals(self, of: impl Fn(&ChangedSide) -> String) -> Result<(Totals, Totals)> {
        let (mut of_source, mut of_target) = (Totals::default(), Totals::default());
        let (sql_source, sql_target) = (of(&self.changed.source), of(&self.changed.target));
        tokio::try_join!(
            self.lines(self.source, &sql_source, |line| of_source.add(line)),
            self.lines(self.target, &sql_target, |line| of_target.add(line)),
        )?;
        Ok((of_source, of_target))
    }

    /// Runs a COPY TO STDOUT in the text format, and takes its lines.
    async fn lines(
        self,
        session: &Session,
        sql: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<()> {
        let failed = |error| session.error(Phase::CopyOut, error).on(&self.plan.target);
        let malformed = || malformed(self.plan, session.side());
        let reading = async {
            let lines = session.client().copy_out(sql).await.map_err(failed)?;
            pin_mut!(lines);
            let mut open = BytesMut::new();
            while let Some(chunk) = lines.next().await.transpose().map_err(failed)? {
                open.extend_from_slice(&chunk);
                while let Some(end) = memchr::memchr(b'\n', &open) {
                    let line = open.split_to(end + 1);
                    take(&line[..end]).map_err(|_| malformed())?;
                }
            }
            match open.is_empty() {
                true => Ok(()),
                false => Err(malformed()),
            }
        };
        session.answer(Phase::CopyOut, reading).await?
    }
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
