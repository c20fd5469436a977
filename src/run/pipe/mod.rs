//! The only place that moves rows: `COPY … TO STDOUT` → blocks of whole rows → bounded channel → `COPY … FROM
//! STDIN`.
//!
//! Both sides run in one task, so a block passes between them without waking another thread. The channel lets
//! each side proceed at its own speed.

pub mod channel;
mod file_sink;
mod file_source;
mod judge;
pub mod limit;
mod program_sink;
mod rows;
mod sink;
mod source;
pub mod stream;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Phase, Result, Side};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::files::reader::FileReader;
use crate::files::writer::{FileWriter, Unpublished};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::run::ledger::Quarantined;

pub use file_sink::failed as write_error;
pub use file_source::failed as file_error;
pub use limit::RateLimit;
pub use program_sink::hand_over;
pub use watch::{WaitsFor, silent_file};

/// The rows and bytes that a COPY has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that the source sent.
    pub rows: u64,
    /// Bytes of COPY data, framing included.
    pub bytes: u64,
    /// Thousandths of the file that have been read, if its size is known.
    pub permille: Option<u16>,
    /// What the copy waits for at the moment.
    pub waits_for: WaitsFor,
}

/// The source of rows.
pub enum RowSource<'a> {
    /// The output of this COPY on a server.
    Server(&'a Session, &'a str),
    /// A file.
    File(FileReader),
}

/// Both sides' counts of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows that the source sent.
    pub rows_read: u64,
    /// Rows that the target acknowledged in its `COPY n`.
    pub rows_written: u64,
    /// Rows that the target rejected.
    pub rows_rejected: u64,
    /// Rows of the target that were read for the comparison.
    pub rows_compared: Option<u64>,
    /// Rows of the source, where they were counted and not all sent.
    pub rows_counted: Option<u64>,
    /// Bytes of COPY data.
    pub bytes: u64,
}

impl Copied {
    /// All rows were taken.
    pub fn all(read: Totals) -> Self {
        Copied {
            rows_read: read.rows,
            rows_written: read.rows,
            rows_rejected: 0,
            rows_compared: None,
            rows_counted: None,
            bytes: read.bytes,
        }
    }
}

/// The limits of a copy, and its progress callback.
pub struct Pace<'a> {
    /// The copy is given up if no byte moves on either side for this long.
    pub stall_timeout: Duration,
    /// The rate limit, shared with the other copies of the run.
    pub limit: Option<&'a RateLimit>,
    /// Called a few times a second with what has been read so far.
    pub on_progress: &'a (dyn Fn(Totals) + Sync),
}

/// Copies the rows of a table or of one of its ranges. Returns the counts of both sides.
///
/// *Errors:* the first error; the other side would only fail because of it. After an error, neither session
/// may be used again: abort both. *Cancellation:* dropping this future leaves both COPYs open; abort both
/// sessions.
pub(super) async fn copy(
    rows_from: RowSource<'_>,
    target: &Session,
    plan: &CopyPlan,
    quarantined: Quarantined<'_>,
    pace: Pace<'_>,
) -> Result<Copied> {
    let counters;
    let (source, meter) = match &rows_from {
        RowSource::Server(source, _) => {
            let meter = watch::Meter::new(source.tap(), target.tap(), plan);
            (Some(*source), meter)
        }
        RowSource::File(reader) => {
            counters = Arc::clone(reader.counters());
            (None, watch::Meter::of_file(&counters, target.tap()))
        }
    };
    let is_file = source.is_none();
    let (blocks, incoming) = channel::bounded(channel::CHANNEL_BYTES_MAX);
    target.enter(Phase::CopyIn);
    let moving = async {
        tokio::try_join!(
            read(rows_from, plan, &meter, pace.limit, blocks),
            take(target, plan, quarantined, &meter, incoming),
        )
    };
    let (totals, judged) = tokio::select! {
        biased;
        moved = moving => moved.map_err(|error| match is_file {
            true => in_file(error, plan),
            false => error,
        })?,
        stalled = meter.watch(source, Some(target), plan, &pace) => return Err(stalled.on(&plan.target)),
    };
    Ok(Copied {
        rows_read: totals.rows,
        rows_written: judged.written,
        rows_rejected: judged.rejected,
        rows_compared: None,
        rows_counted: None,
        bytes: totals.bytes,
    })
}

/// Adds the file to the error of a row, which names only the line.
fn in_file(error: Error, plan: &CopyPlan) -> Error {
    let is_of_row = error.side() == Side::Target && error.kind() == ErrorKind::DataRejected;
    match (is_of_row, plan.source.as_str()) {
        (false, _) => error,
        (true, "-") => error.hinted("lines are those of the standard input"),
        (true, file) => error.hinted(format!("lines are those of {file}")),
    }
}

/// The target's side: one COPY, or with `on_error = "quarantine"` one for each block.
async fn take(
    target: &Session,
    plan: &CopyPlan,
    quarantined: Quarantined<'_>,
    meter: &watch::Meter<'_>,
    incoming: channel::Receiver,
) -> Result<judge::Judged> {
    match &plan.quarantine {
        Some(quarantine) => {
            judge::pump(target, plan, quarantine, quarantined, meter, incoming).await
        }
        None => Ok(judge::Judged {
            written: sink::pump(target, plan, meter, None, incoming).await?,
            rejected: 0,
        }),
    }
}

/// Copies the rows of `plan.copy_out` into a temporary file and syncs it. The file is not yet renamed.
///
/// *Errors and cancellation:* as for [`copy`]; the file is removed.
pub async fn copy_to_file(
    source: &Session,
    writer: FileWriter,
    plan: &CopyPlan,
    pace: Pace<'_>,
) -> Result<(Totals, Unpublished)> {
    let written = Arc::clone(writer.written());
    let meter = watch::Meter::into_file(source.tap(), &written, plan);
    let (blocks, incoming) = channel::bounded(channel::CHANNEL_BYTES_MAX);
    let moving = async {
        tokio::try_join!(
            source::pump(source, plan, &plan.copy_out, &meter, pace.limit, blocks),
            file_sink::pump(writer, plan, &meter, incoming),
        )
    };
    tokio::select! {
        biased;
        moved = moving => moved,
        stalled = meter.watch(Some(source), None, plan, &pace) => Err(stalled),
    }
}

/// Hands the rows of `plan.copy_out` to a program.
///
/// *Errors and cancellation:* as for [`copy`].
pub async fn copy_to_program(
    source: &Session,
    plan: &CopyPlan,
    pace: &Pace<'_>,
    out: mpsc::Sender<Bytes>,
) -> Result<Totals> {
    let taken = AtomicU64::new(0);
    let meter = watch::Meter::into_file(source.tap(), &taken, plan);
    let (blocks, incoming) = channel::bounded(channel::CHANNEL_BYTES_MAX);
    let moving = async {
        tokio::try_join!(
            source::pump(source, plan, &plan.copy_out, &meter, pace.limit, blocks),
            program_sink::pump(incoming, out, &taken, pace.stall_timeout),
        )
    };
    tokio::select! {
        biased;
        moved = moving => moved.map(|(totals, ())| totals),
        stalled = meter.watch(Some(source), None, plan, pace) => Err(stalled),
    }
}

async fn read(
    rows_from: RowSource<'_>,
    plan: &CopyPlan,
    meter: &watch::Meter<'_>,
    limit: Option<&RateLimit>,
    blocks: channel::Sender,
) -> Result<Totals> {
    match rows_from {
        RowSource::Server(source, copy_out) => {
            source::pump(source, plan, copy_out, meter, limit, blocks).await
        }
        RowSource::File(reader) => file_source::pump(reader, plan, meter, limit, blocks).await,
    }
}
