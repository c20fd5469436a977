//! The target's half where it is a program that uses the library: it takes blocks when it likes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::channel::{Item, Receiver};
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// Hands over all blocks until the end has been announced. `taken` counts their bytes.
pub(super) async fn pump(
    mut incoming: Receiver,
    out: mpsc::Sender<Bytes>,
    taken: &AtomicU64,
    within: Duration,
) -> Result<()> {
    loop {
        match incoming.recv().await {
            Some(Item::Block(block)) => {
                let bytes = block.bytes.clone();
                taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                hand_over(&out, bytes, within).await?;
            }
            Some(Item::End) => return Ok(()),
            None => {
                let what = "the source's rows ended without the end of COPY";
                let (kind, phase) = (ErrorKind::Truncated, Phase::CopyOut);
                return Err(Error::new(kind, phase, Side::Local, what));
            }
        }
    }
}

/// Waits until the program has room. *Errors:* `Cancelled` if it wants no more; `Stalled`.
pub async fn hand_over<T>(out: &mpsc::Sender<T>, value: T, within: Duration) -> Result<()> {
    let failed = |kind, message: String| Err(Error::new(kind, Phase::CopyIn, Side::Local, message));
    match tokio::time::timeout(within, out.send(value)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => failed(
            ErrorKind::Cancelled,
            "the program wants no more rows".to_owned(),
        ),
        Err(_) => {
            let seconds = within.as_secs_f64();
            failed(
                ErrorKind::Stalled,
                format!("the program took no row for {seconds} s"),
            )
        }
    }
}
