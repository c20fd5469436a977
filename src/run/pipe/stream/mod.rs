//! `compare = "stream"`: reads source and target at the same time in the order of the key, and stages only
//! rows that differ. The plan decides for which tables (`plan/staged/stream.rs`).

mod buckets;
pub mod changed;
mod changed_keys;
mod key;
mod merge;
mod rows;

use std::cell::Cell;

use tokio::time::MissedTickBehavior;

use self::key::Malformed;
use self::merge::{Disorder, Heads, Merger, NeededRow};
use self::rows::RowCutter;
use super::channel::{self, Item, Receiver, Sender};
use super::watch::{Meter, WaitsFor};
use super::{Copied, Pace, Totals, sink, source};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::pg::watchdog::{SILENCE_CHECK_EVERY, Silence};
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::staged::types::Stream;

/// The sessions of a comparison.
#[derive(Clone, Copy)]
pub struct Sessions<'a> {
    /// Reads the source.
    pub source: &'a Session,
    /// Reads the target.
    pub reader: &'a Session,
    /// Writes the staging table.
    pub target: &'a Session,
}

/// The session that the merge waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MergerWaitsFor {
    Source,
    Reader,
    Target,
}

/// Stages the rows in which the two sides differ. Returns the counts of the source and the number of staged
/// rows. Both COPY statements give rows in the order of the key.
///
/// *Errors:* the first error. After an error, no session may be used again: abort all. *Cancellation:*
/// dropping this future leaves COPYs open; abort the sessions.
pub async fn copy(
    sessions: Sessions<'_>,
    plan: &CopyPlan,
    stream: &Stream,
    (source_out, target_out): (&str, &str),
    pace: Pace<'_>,
) -> Result<Copied> {
    let Sessions {
        source,
        reader,
        target,
    } = sessions;
    let room = channel::CHANNEL_BYTES_MAX / 2;
    let (from_source, of_source) = channel::bounded(room);
    let (from_target, of_target) = channel::bounded(room);
    let (staged, incoming) = channel::bounded(room);
    let read = Meter::new(source.tap(), target.tap(), plan);
    let compared = Meter::new(reader.tap(), target.tap(), plan);
    let waiting = Cell::new(MergerWaitsFor::Source);
    target.enter(Phase::CopyIn);
    let moving = async {
        tokio::try_join!(
            source::pump(source, plan, source_out, &read, pace.limit, from_source),
            source::pump(reader, plan, target_out, &compared, None, from_target),
            merge(plan, stream, (of_source, of_target), staged, &waiting),
            stage(target, plan, &compared, incoming),
        )
    };
    let watch = watch(sessions, (&read, &compared), &waiting, &pace);
    let (totals, of_target, rows_staged, rows_written) = tokio::select! {
        biased;
        moved = moving => moved?,
        stalled = watch => return Err(stalled.on(&plan.target)),
    };
    if rows_staged != rows_written {
        let message = format!(
            "{rows_staged} rows were sent to the staging table, and it took {rows_written}"
        );
        let error = Error::new(ErrorKind::Bug, Phase::CopyIn, Side::Target, message);
        return Err(error.at(target.server()).on(&plan.target));
    }
    Ok(Copied {
        rows_read: totals.rows,
        rows_written,
        rows_rejected: 0,
        rows_compared: Some(of_target.rows),
        rows_counted: None,
        bytes: totals.bytes,
    })
}

/// Writes the rows that differ to the staging table, which is created for the first of them.
async fn stage(
    target: &Session,
    plan: &CopyPlan,
    meter: &Meter<'_>,
    mut incoming: Receiver,
) -> Result<u64> {
    let Some(create) = created_late(plan) else {
        return sink::pump(target, plan, meter, None, incoming).await;
    };
    let first = tokio::select! {
        biased;
        // Creating the table then returns the error.
        () = target.tap().error_arrived() => None,
        item = incoming.recv() => item,
    };
    if let Some(Item::End) = first {
        return Ok(0);
    }
    for sql in create {
        let created = target.run(Phase::CopyIn, sql).await;
        created.map_err(|error| error.on(&plan.target))?;
    }
    sink::pump(target, plan, meter, first, incoming).await
}

/// The statements that create the staging table, if it is created for the first row.
fn created_late(plan: &CopyPlan) -> Option<&[String]> {
    match &plan.load {
        Load::Staged(staged) => staged.is_created_late().then_some(staged.create.as_slice()),
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
    }
}

/// The stream of one side's rows.
struct Incoming<'a> {
    blocks: Receiver,
    rows: RowCutter<'a>,
}

impl Incoming<'_> {
    /// Advances to the next row; false at the end.
    async fn advance(&mut self) -> std::result::Result<bool, Malformed> {
        loop {
            if self.rows.advance()? {
                return Ok(true);
            }
            match self.blocks.recv().await {
                Some(Item::Block(block)) => self.rows.add(block.bytes.clone()),
                Some(Item::End) if self.rows.is_whole() => return Ok(false),
                Some(Item::End) => return Err(Malformed),
                // The reader has failed and is about to return its error, which is the cause.
                None => std::future::pending().await,
            }
        }
    }
}

/// Merges both sides and returns the number of staged rows.
async fn merge(
    plan: &CopyPlan,
    stream: &Stream,
    (of_source, of_target): (Receiver, Receiver),
    staged: Sender,
    waiting: &Cell<MergerWaitsFor>,
) -> Result<u64> {
    let incoming = |blocks| Incoming {
        blocks,
        rows: RowCutter::new(&plan.format, &stream.key),
    };
    let (mut source, mut target) = (incoming(of_source), incoming(of_target));
    let mut merger = Merger::new(&plan.format, stream.marks_gone);
    let mut heads = Heads::default();
    let mut next = NeededRow::Both;
    while next != NeededRow::Done {
        if matches!(next, NeededRow::Source | NeededRow::Both) {
            waiting.set(MergerWaitsFor::Source);
            let more = source.advance().await;
            heads.source = more.map_err(|Malformed| malformed(plan, Side::Source))?;
            if heads.source {
                let in_order = merger.source_advanced(&source.rows);
                in_order.map_err(|why| disorder(plan, why))?;
            }
        }
        if matches!(next, NeededRow::Target | NeededRow::Both) {
            waiting.set(MergerWaitsFor::Reader);
            let more = target.advance().await;
            heads.target = more.map_err(|Malformed| malformed(plan, Side::Target))?;
            if heads.target {
                let in_order = merger.target_advanced(&target.rows);
                in_order.map_err(|why| disorder(plan, why))?;
            }
        }
        next = merger.step(&source.rows, &target.rows, heads);
        if let Some(block) = merger.block() {
            waiting.set(MergerWaitsFor::Target);
            if staged.send(block).await.is_err() {
                return superseded().await;
            }
        }
    }
    waiting.set(MergerWaitsFor::Target);
    let (block, rows) = merger.end();
    // Without rows, the block holds what the format begins and ends with.
    let is_needed = !block.is_empty() && (rows > 0 || created_late(plan).is_none());
    if (is_needed && staged.send(block).await.is_err()) || staged.end().await.is_err() {
        return superseded().await;
    }
    Ok(rows)
}

/// The writer has failed and is about to return its error, which is the cause.
async fn superseded<T>() -> Result<T> {
    std::future::pending().await
}

fn malformed(plan: &CopyPlan, side: Side) -> Error {
    let message = "COPY sent data that is not in its format";
    Error::new(ErrorKind::Truncated, Phase::CopyOut, side, message).on(&plan.target)
}

fn disorder(plan: &CopyPlan, why: Disorder) -> Error {
    let (side, message) = match why {
        Disorder::Source => (Side::Source, "its rows do not come in the order of the key"),
        Disorder::Target => (Side::Target, "its rows do not come in the order of the key"),
        Disorder::Repeated => (
            Side::Target,
            "the target has at least 1 key in more than one row",
        ),
    };
    let hint = match why {
        Disorder::Source | Disorder::Target => {
            "the server orders this type in another way, or an index is damaged (amcheck finds out): \
             `compare = \"full\"` does without the order"
        }
        Disorder::Repeated => {
            "a DEFERRABLE constraint whose trigger was disabled allows such rows, and so does a damaged index: \
             delete all but one row of each key"
        }
    };
    Error::new(ErrorKind::DataRejected, Phase::CopyOut, side, message)
        .on(&plan.target)
        .hinted(hint)
}

/// Reports progress. Returns only if no bytes move and the side that is waited for is not working.
async fn watch(
    sessions: Sessions<'_>,
    (read, compared): (&Meter<'_>, &Meter<'_>),
    waiting: &Cell<MergerWaitsFor>,
    pace: &Pace<'_>,
) -> Error {
    let Sessions {
        source,
        reader,
        target,
    } = sessions;
    let moved = || {
        let received = source.tap().received() + reader.tap().received();
        (received, target.tap().sent())
    };
    let mut ticks = tokio::time::interval(SILENCE_CHECK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::new(target.watchdog(), pace.stall_timeout, moved());
    loop {
        ticks.tick().await;
        let is_limited = read.is_limited() || compared.is_limited();
        (pace.on_progress)(Totals {
            waits_for: match waiting.get() {
                _ if is_limited => WaitsFor::Limit,
                MergerWaitsFor::Source => WaitsFor::Source,
                MergerWaitsFor::Reader | MergerWaitsFor::Target => WaitsFor::Target,
            },
            ..read.read_so_far()
        });
        if is_limited {
            silence.restart(moved());
        }
        if !silence.is_due(moved()) {
            continue;
        }
        let (silent, phase) = match waiting.get() {
            MergerWaitsFor::Source => (source, Phase::CopyOut),
            MergerWaitsFor::Reader => (reader, Phase::CopyOut),
            MergerWaitsFor::Target => (target, Phase::CopyIn),
        };
        let checked = silence.check(silent.watchdog(), phase, moved).await;
        if let Some(error) = checked {
            return error;
        }
    }
}
