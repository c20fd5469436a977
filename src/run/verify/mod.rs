//! `tableferry verify`: compares source and target and reports where they differ. It moves no rows.
//!
//! Each side is read in one snapshot. First, checksums compare a whole table. Only if they differ are its
//! ranges compared.

mod narrow;
mod tally;

use std::pin::Pin;
use std::time::Instant;

use futures_util::StreamExt;
use tokio_postgres::RowStream;

use self::narrow::{Narrowed, RangeRows};
use self::tally::{HashedRow, NextRow, Tally};
use super::bounds::{ABORT_WAIT, CLOSE_WAIT};
use super::checksum::{self, Alphabets, Digest};
use super::snapshot_age::SnapshotAge;
use super::{Cancelled, JobContext, RunContext, advisory_lock, ends, inspect, params};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan;
use crate::plan::copy::CopyPlan;
use crate::plan::form::ComparedSide;
use crate::plan::ranges::{Range, SideSql};
use crate::report::difference::{RangeDifference, TableDifference, keeps_promise};

/// Receives the progress of a comparison.
pub trait Watcher {
    /// A step of the comparison of a table begins.
    fn step(&self, target: &str, step: &str);
    /// A table is done.
    fn table(&self, found: &TableDifference);
}

/// Compares all tables of the job. Returns whether the target holds what the job promises.
///
/// *Errors:* what keeps the job from being planned; `Conflict` if the target's definition changes
/// meanwhile. *Cancellation:* through `cancelled`; both servers are told to stop.
pub async fn verify(
    run: &RunContext,
    cancelled: &Cancelled,
    watcher: &dyn Watcher,
) -> Result<bool> {
    let context = &run.context;
    if !context.source.is_database() || !context.target.is_database() {
        let message = "`verify` compares two databases, and a server of this job is a directory";
        return Err(Error::new(
            ErrorKind::Config,
            Phase::Verify,
            Side::Local,
            message,
        ));
    }
    let mut equal = true;
    for run in run.of_each_source() {
        equal &= verify_source(&run, cancelled, watcher).await?;
    }
    Ok(equal)
}

async fn verify_source(
    run: &RunContext,
    cancelled: &Cancelled,
    watcher: &dyn Watcher,
) -> Result<bool> {
    let context = &run.context;
    let source = ends::open(context, Side::Source).await?;
    let target = ends::open(context, Side::Target).await?;
    let result = tokio::select! {
        biased;
        _ = cancelled.cancelled() => Err(Error::new(
            ErrorKind::Cancelled,
            context.phase.get(),
            Side::Local,
            "cancelled by a signal",
        )),
        result = all(run, &source, &target, watcher) => result,
    };
    match &result {
        Ok(_) => tokio::join!(source.close(CLOSE_WAIT), target.close(CLOSE_WAIT)),
        Err(_) => tokio::join!(source.abort(ABORT_WAIT), target.abort(ABORT_WAIT)),
    };
    result
}

async fn all(
    run: &RunContext,
    source: &Session,
    target: &Session,
    watcher: &dyn Watcher,
) -> Result<bool> {
    let resolved = params::with_values(run, Some(target)).await?;
    let context = &resolved.as_ref().unwrap_or(run).context;
    let inspected =
        inspect::servers(context, source, target, &SnapshotAge::default(), 1, false).await?;
    let plan = inspected
        .plan
        .map_err(|refusals| plan::to_error(&refusals))?;
    snapshot(target, &plan.tables).await?;
    target.verify(Phase::Verify).await?;
    advisory_lock::unchanged(target, &plan.tables, &inspected.target).await?;
    let alphabets = checksum::agree(context, source, target, Phase::Verify).await?;
    let mut equal = true;
    for table in &plan.tables {
        let sides = TableSides::new(source, target, &alphabets, table);
        let found = compare(context, &sides, watcher)
            .await
            .map_err(|error| error.on(&table.target))?;
        equal &= found.equal;
        watcher.table(&found);
    }
    Ok(equal)
}

/// The target's snapshot, too, is taken after its locks: a snapshot that is older than a concurrent TRUNCATE
/// would see no rows.
async fn snapshot(target: &Session, tables: &[CopyPlan]) -> Result<()> {
    target
        .begin(Phase::Lock, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let names: Vec<String> = tables.iter().map(CopyPlan::target_from).collect();
    if names.is_empty() {
        return Ok(());
    }
    let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    target.run(Phase::Lock, &sql).await?;
    target.verify(Phase::Verify).await
}

/// Both sides of one table.
struct TableSides<'a> {
    table: &'a CopyPlan,
    source: &'a Session,
    target: &'a Session,
    source_sql: SideSql<'a>,
    target_sql: SideSql<'a>,
}

impl<'a> TableSides<'a> {
    fn new(
        source: &'a Session,
        target: &'a Session,
        alphabets: &Alphabets,
        table: &'a CopyPlan,
    ) -> Self {
        let sql = |side, alphabet: &_| SideSql {
            comparison: &table.comparison,
            side,
            alphabet: Clone::clone(alphabet),
            target_from: table.target_from(),
        };
        TableSides {
            table,
            source,
            target,
            source_sql: sql(ComparedSide::Source, &alphabets.source),
            target_sql: sql(ComparedSide::Target, &alphabets.target),
        }
    }

    async fn digests(&self) -> Result<(Digest, Digest)> {
        let sql = (self.source_sql.digest(), self.target_sql.digest());
        tokio::try_join!(
            checksum::digest(self.source, Phase::Verify, &sql.0),
            checksum::digest(self.target, Phase::Verify, &sql.1),
        )
    }
}

async fn compare(
    context: &JobContext,
    sides: &TableSides<'_>,
    watcher: &dyn Watcher,
) -> Result<TableDifference> {
    let began = Instant::now();
    let name = sides.table.target.to_string();
    let told = |step: &str| watcher.step(&name, step);
    told("comparing checksums");
    let (source, target) = sides.digests().await?;
    let comparison = &sides.table.comparison;
    let mut found = TableDifference {
        job: context.job.name.clone(),
        source: sides.table.source.clone(),
        target: name.clone(),
        equal: true,
        rows_source: source.rows,
        rows_target: target.rows,
        missing: 0,
        extra: 0,
        different: 0,
        key: comparison
            .key
            .iter()
            .map(|column| column.name.to_string())
            .collect(),
        not_compared: comparison.left_out.clone(),
        ranges: Vec::new(),
        rows: None,
        seconds: 0.0,
    };
    if source != target {
        let keyed = !comparison.key.is_empty();
        let (tops, tally) = if keyed {
            let Narrowed { tops, differing } =
                narrow::by_key(sides, (&source, &target), &told).await?;
            told("reading the rows that may differ");
            let ranges: Vec<Range> = tops.iter().map(|top| top.range.clone()).collect();
            let sql = |side: &SideSql<'_>| side.stream(&differing, &ranges);
            let tally = Tally::new(true, tops.len());
            let tally = merge(sides, sql, tally).await?;
            (tops, tally)
        } else {
            let (tops, differing) = narrow::by_hash(sides).await?;
            told("reading the rows that may differ");
            let sql = |side: &SideSql<'_>| side.stream_buckets(&differing);
            let tally = Tally::new(false, tops.len());
            let tally = merge(sides, sql, tally).await?;
            (tops, tally)
        };
        put(&mut found, &tops, tally, context.job.log_values && keyed);
        if found.missing + found.extra + found.different == 0 {
            let message = "the checksums differ, and no row does";
            let error = Error::new(
                ErrorKind::DataRejected,
                Phase::Verify,
                Side::Source,
                message,
            );
            return Err(error.at(&context.source.name).hinted(
                "an expression of `set`, a `query` or a view gives another value each time that it is \
                 computed, such as random() or clock_timestamp()",
            ));
        }
        if context.job.log_values {
            for row in found.rows.iter_mut().flatten() {
                row.key = sides.source_sql.alphabet.read(&row.key);
            }
        }
        found.equal = keeps_promise(
            context.job.keeps_other_rows(),
            found.missing,
            found.extra,
            found.different,
        );
    }
    found.seconds = began.elapsed().as_secs_f64();
    Ok(found)
}

fn put(found: &mut TableDifference, tops: &[RangeRows], tally: Tally, with_keys: bool) {
    let of = tops.len();
    for (at, (top, counts)) in tops.iter().zip(&tally.ranges).enumerate() {
        found.missing += counts.missing;
        found.extra += counts.extra;
        found.different += counts.different;
        if *counts == tally::Counts::default() {
            continue;
        }
        let (from, to) = match &top.range {
            Range::Between(from, to) if with_keys => (from.clone(), to.clone()),
            Range::Between(..) | Range::Nulls => (None, None),
        };
        found.ranges.push(RangeDifference {
            range: at + 1,
            of,
            from,
            to,
            rows_source: top.source,
            rows_target: top.target,
            missing: counts.missing,
            extra: counts.extra,
            different: counts.different,
        });
    }
    found.rows = with_keys.then_some(tally.rows);
}

/// Reads both sides' rows in the same order and counts differences.
async fn merge(
    sides: &TableSides<'_>,
    sql: impl Fn(&SideSql<'_>) -> String,
    mut tally: Tally,
) -> Result<Tally> {
    let (from, to) = (sql(&sides.source_sql), sql(&sides.target_sql));
    let (mut source, mut target) = tokio::try_join!(
        SideRows::open(sides.source, &from, tally.ranges.len()),
        SideRows::open(sides.target, &to, tally.ranges.len())
    )?;
    let (mut a, mut b) = tokio::try_join!(source.next(), target.next())?;
    while let Some(step) = tally::step(a.as_ref(), b.as_ref()) {
        let behind = if step == NextRow::Target { &b } else { &a };
        if let (NextRow::Source | NextRow::Target, Some(line)) = (step, behind) {
            tally.only(step, line);
        }
        match step {
            NextRow::Both => (a, b) = tokio::try_join!(source.next(), target.next())?,
            NextRow::Source => a = source.next().await?,
            NextRow::Target => b = target.next().await?,
        }
    }
    tally.count_key();
    Ok(tally)
}

/// The rows of one side. Rows that are not yet read wait on the server.
struct SideRows<'a> {
    session: &'a Session,
    /// The number of ranges.
    ranges: usize,
    stream: Pin<Box<RowStream>>,
}

impl<'a> SideRows<'a> {
    async fn open(session: &'a Session, sql: &str, ranges: usize) -> Result<Self> {
        let asked = session.client().query_raw(sql, Vec::<i32>::new());
        let stream = session
            .answer(Phase::Verify, asked)
            .await?
            .map_err(|error| session.error(Phase::Verify, error))?;
        Ok(SideRows {
            session,
            ranges,
            stream: Box::pin(stream),
        })
    }

    async fn next(&mut self) -> Result<Option<HashedRow>> {
        let row = self.session.answer(Phase::Verify, self.stream.next());
        let row = row.await?.transpose();
        let row = row.map_err(|error| self.session.error(Phase::Verify, error))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let row = self.session.check(Phase::Verify, "rows that differ", row);
        Ok(Some(HashedRow {
            key: row.get(0)?,
            hash: row.get(1)?,
            range: row.index(2, self.ranges)?,
        }))
    }
}
