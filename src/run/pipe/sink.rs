//! The target's side of a copy: writes blocks, and stops as soon as the target reports an error.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};

use super::channel::{Item, Receiver};
use super::watch::{Meter, WaitsFor};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;

/// How long a target that has reported an error may take to end the COPY.
const ERROR_WAIT: Duration = Duration::from_secs(10);

/// Writes blocks until the end is announced. `first` was received before. Returns the number of rows that the target acknowledged.
pub(super) async fn pump(
    target: &Session,
    plan: &CopyPlan,
    meter: &Meter<'_>,
    first: Option<Item>,
    mut incoming: Receiver,
) -> Result<u64> {
    let failed = |error| target.error(Phase::CopyIn, error).on(&plan.target);
    let sink = target
        .client()
        .copy_in::<_, Bytes>(plan.copy_in.as_str())
        .await
        .map_err(failed)?;
    pin_mut!(sink);

    let mut first = first;
    loop {
        // tokio-postgres reads the target's answer only in `finish()`. The tap sees an error when it
        // arrives, so that the rest of the table is not sent into a COPY that has failed, and a target that
        // is gone is noticed before the source sends its next row.
        let item = tokio::select! {
            biased;
            () = target.tap().error_arrived() => break,
            item = next(&mut first, &mut incoming) => item,
        };
        match item {
            Some(Item::Block(block)) => tokio::select! {
                biased;
                () = target.tap().error_arrived() => break,
                fed = sink.feed(block.bytes.clone()) => fed.map_err(failed)?,
            },
            Some(Item::End) => {
                meter.waits_for(WaitsFor::Target);
                return sink.finish().await.map_err(failed);
            }
            None => {
                return Err(Error::new(
                    ErrorKind::Truncated,
                    Phase::CopyOut,
                    Side::Local,
                    "the source's rows ended without the end of COPY",
                )
                .on(&plan.target));
            }
        }
    }
    let answered = tokio::time::timeout(ERROR_WAIT, sink.finish()).await;
    Err(match answered {
        Ok(Err(error)) => failed(error),
        Ok(Ok(_)) | Err(_) => Error::new(
            ErrorKind::DataRejected,
            Phase::CopyIn,
            Side::Target,
            "the target reported an error during COPY and then did not end it",
        )
        .at(target.server())
        .on(&plan.target),
    })
}

async fn next(first: &mut Option<Item>, incoming: &mut Receiver) -> Option<Item> {
    match first.take() {
        Some(item) => Some(item),
        None => incoming.recv().await,
    }
}
