//! The source's side of a copy: reads COPY data, passes it on, and checks that it is complete.

use futures_util::{StreamExt, pin_mut};

use super::Totals;
use super::channel::Sender;
use super::limit::{self, RateLimit};
use super::watch::{Meter, WaitsFor};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;

/// The two bytes that end binary COPY data: a field count of -1.
const BINARY_TRAILER: [u8; 2] = [0xff, 0xff];

/// Reads all COPY data. A block holds whole rows, or a piece of a large row: the tap below tokio-postgres joins
/// and cuts messages.
pub(super) async fn pump(
    source: &Session,
    plan: &CopyPlan,
    copy_out: &str,
    meter: &Meter<'_>,
    limit: Option<&RateLimit>,
    blocks: Sender,
) -> Result<Totals> {
    let failed = |error| source.error(Phase::CopyOut, error).on(plan.read_relation());
    let stream = source.client().copy_out(copy_out).await.map_err(failed)?;
    pin_mut!(stream);

    let mut tail = [0_u8; 2];
    meter.waits_for(WaitsFor::Source);
    while let Some(chunk) = stream.next().await.transpose().map_err(failed)? {
        tail = last_two(tail, &chunk);
        limit::pass(limit, chunk.len(), || meter.waits_for(WaitsFor::Limit)).await;
        meter.waits_for(WaitsFor::Target);
        if blocks.send(chunk).await.is_err() {
            return superseded().await;
        }
        meter.waits_for(WaitsFor::Source);
    }
    // The stream ends only after CopyDone. A broken connection is an error above.
    if plan.format.is_binary() && tail != BINARY_TRAILER {
        return Err(Error::new(
            ErrorKind::Truncated,
            Phase::CopyOut,
            Side::Source,
            "the binary COPY data ended without its trailer",
        )
        .at(source.server())
        .on(plan.read_relation()));
    }
    let totals = meter.read_so_far();
    meter.waits_for(WaitsFor::Target);
    match blocks.end().await {
        Ok(()) => Ok(totals),
        Err(_) => superseded().await,
    }
}

/// Never returns: the target's side has failed, and its error ends the copy.
pub(super) async fn superseded<T>() -> Result<T> {
    std::future::pending().await
}

fn last_two(before: [u8; 2], chunk: &[u8]) -> [u8; 2] {
    match chunk {
        [.., a, b] => [*a, *b],
        [b] => [before[1], *b],
        [] => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailer_is_found_across_blocks() {
        let mut tail = [0, 0];
        for chunk in [&b"rows\xff"[..], b"", b"\xff"] {
            tail = last_two(tail, chunk);
        }
        assert_eq!(tail, BINARY_TRAILER);
        assert_eq!(last_two(tail, b"x"), [0xff, b'x']);
    }
}
