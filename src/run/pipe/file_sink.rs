//! The target's side of a copy into a file: passes blocks to the writer.

use super::channel::{Item, Receiver};
use super::watch::{Meter, WaitsFor};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::writer::{FileWriter, Unpublished};
use crate::plan::copy::CopyPlan;

/// Writes blocks until the end is announced, and waits until the file is synced.
pub(super) async fn pump(
    mut writer: FileWriter,
    plan: &CopyPlan,
    meter: &Meter<'_>,
    mut incoming: Receiver,
) -> Result<Unpublished> {
    let name = plan.target_name();
    let failed = |error| failed(&name, Phase::CopyIn, error);
    loop {
        match incoming.recv().await {
            Some(Item::Block(block)) => {
                let bytes = block.bytes.clone();
                writer.write(bytes).await.map_err(failed)?;
            }
            Some(Item::End) => {
                meter.waits_for(WaitsFor::Target);
                return writer.finish().await.map_err(failed);
            }
            None => {
                let what = "the source's rows ended without the end of COPY";
                return Err(Error::new(
                    ErrorKind::Truncated,
                    Phase::CopyOut,
                    Side::Local,
                    what,
                ));
            }
        }
    }
}

/// The error of a run whose file cannot be written.
pub fn failed(file: &str, phase: Phase, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ErrorKind::Permission
        }
        std::io::ErrorKind::NotFound => ErrorKind::Config,
        // A retry would not help if the disk is full.
        _ => ErrorKind::DataRejected,
    };
    Error::new(kind, phase, Side::Target, format!("{file}: {error}")).caused_by(error)
}
