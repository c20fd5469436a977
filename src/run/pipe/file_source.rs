//! The source's side of a copy from a file. The reader has decompressed the file and found its rows.

use super::Totals;
use super::channel::Sender;
use super::limit::{self, RateLimit};
use super::source::superseded;
use super::watch::{Meter, WaitsFor};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::reader::{FileReader, ReadError};
use crate::files::rows::Fault;
use crate::plan::copy::CopyPlan;

/// Passes on all blocks of the file, up to its clean end.
pub(super) async fn pump(
    mut reader: FileReader,
    plan: &CopyPlan,
    meter: &Meter<'_>,
    limit: Option<&RateLimit>,
    blocks: Sender,
) -> Result<Totals> {
    let failed = |error| failed(&plan.source, error).on(&plan.target);
    meter.waits_for(WaitsFor::Source);
    while let Some(block) = reader.next().await.map_err(failed)? {
        limit::pass(limit, block.len(), || meter.waits_for(WaitsFor::Limit)).await;
        meter.waits_for(WaitsFor::Target);
        if blocks.send(block).await.is_err() {
            return superseded().await;
        }
        meter.waits_for(WaitsFor::Source);
    }
    let totals = meter.read_so_far();
    meter.waits_for(WaitsFor::Target);
    match blocks.end().await {
        Ok(()) => Ok(totals),
        Err(_) => superseded().await,
    }
}

/// The error of a run whose file cannot be read.
pub fn failed(file: &str, error: ReadError) -> Error {
    let made = |kind, message: String| {
        Error::new(
            kind,
            Phase::CopyOut,
            Side::Source,
            format!("{file}: {message}"),
        )
    };
    match error {
        ReadError::Rows(Fault::Truncated(what)) => made(ErrorKind::Truncated, what),
        ReadError::Rows(Fault::Malformed(what)) => made(ErrorKind::DataRejected, what),
        ReadError::Changed(what) => made(ErrorKind::DataRejected, what),
        ReadError::Io(error) => {
            let kind = match error.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                std::io::ErrorKind::NotFound => ErrorKind::SchemaMismatch,
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                    ErrorKind::DataRejected
                }
                _ => ErrorKind::Unreachable,
            };
            made(kind, error.to_string()).caused_by(error)
        }
    }
}
