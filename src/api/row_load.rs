//! A load of typed rows.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};

use super::encode::{BLOCK_BYTES_MAX, Encoder, ToRow};
use super::run_handle::RunHandle;
use super::{Column, spoiled};
use crate::error::Result;
use crate::files::reader::feed::Feeder;
use crate::report::RunReport;

/// How long rows may wait for a block to become full.
const BLOCK_WAIT: Duration = Duration::from_secs(1);

/// A load of typed rows, which go to the server in COPY's binary format. Dropping it rolls back.
///
/// ```no_run
/// # async fn example(client: tableferry::Client) -> tableferry::Result<()> {
/// use tableferry::Mode;
///
/// let mut load = client.load("sales.orders").mode(Mode::Upsert).rows().await?;
/// load.write((1_i64, "bolts", 250_i32)).await?;
/// load.write_all([(2_i64, "nuts", 250_i32), (3, "washers", 500)]).await?;
/// let report = load.commit().await?;
/// assert_eq!(report.tables[0].rows_read, 3);
/// # Ok(()) }
/// ```
///
/// A program that has rows all the time commits batches of them. The loads use one connection:
///
/// ```no_run
/// # async fn example(client: tableferry::Client, batches: Vec<Vec<(i64, String)>>) -> tableferry::Result<()> {
/// for batch in batches {
///     let mut load = client.load("sales.events").rows().await?;
///     load.write_all(batch).await?;
///     load.commit().await?;
/// }
/// # Ok(()) }
/// ```
///
/// The first row is checked against the table's columns before anything of it is sent: the number of its values
/// and all of their types. The server checks everything else, and any error fails the whole load.
#[must_use = "the rows are published by `commit`"]
pub struct RowLoad {
    encoder: Encoder,
    /// None after an error.
    feeder: Option<Feeder>,
    run: RunHandle,
    last_block: Instant,
}

impl fmt::Debug for RowLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowLoad")
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

impl RowLoad {
    pub(super) fn new(run: RunHandle, feeder: Feeder, columns: Vec<Column>) -> Self {
        RowLoad {
            encoder: Encoder::new(columns),
            feeder: Some(feeder),
            run,
            last_block: Instant::now(),
        }
    }

    /// The columns that are written, in the order of a row's values.
    pub fn columns(&self) -> &[Column] {
        self.encoder.columns()
    }

    /// Writes one row. Waits while the target is behind.
    ///
    /// *Errors:* the row does not fit the columns, or the load has failed; it cannot be committed any more.
    /// *Cancellation:* if the row was to be sent, the load cannot be committed any more.
    pub async fn write<R: ToRow>(&mut self, row: R) -> Result<()> {
        self.encode(&row)?;
        // The future need not hold it while it waits.
        drop(row);
        // A program that writes slowly must not look as if it were gone.
        if self.is_full() || self.last_block.elapsed() >= BLOCK_WAIT {
            self.send().await?;
        }
        Ok(())
    }

    /// Writes the rows of an iterator. *Errors and cancellation:* as for [`RowLoad::write`].
    pub async fn write_all<R: ToRow>(&mut self, rows: impl IntoIterator<Item = R>) -> Result<()> {
        for row in rows {
            self.encode(&row)?;
            drop(row);
            if self.is_full() {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Writes the rows of a stream. *Errors and cancellation:* as for [`RowLoad::write`].
    pub async fn write_stream<R: ToRow>(&mut self, rows: impl Stream<Item = R>) -> Result<()> {
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.next().await {
            self.write(row).await?;
        }
        Ok(())
    }

    /// Ends the rows, publishes them, and waits for the proof of it.
    ///
    /// *Errors:* why the table is as before. `InDoubt`: the connection was lost during COMMIT, and
    /// it could not be found out whether the rows are there. *Cancellation:* the outcome is not known.
    pub async fn commit(mut self) -> Result<RunReport> {
        self.encoder.end();
        self.send().await?;
        if let Some(feeder) = self.feeder.take() {
            // If the run has ended, it has the error.
            let _ = feeder.end().await;
        }
        self.run.end().await
    }

    /// Rolls back, and waits until the connection is closed. Dropping the load rolls back without waiting.
    pub async fn rollback(mut self) {
        self.run.cancel();
        let _ = self.run.end().await;
    }

    #[inline]
    fn encode<R: ToRow>(&mut self, row: &R) -> Result<()> {
        if self.feeder.is_none() {
            return Err(spoiled());
        }
        let encoded = self.encoder.row(row);
        if encoded.is_err() {
            // All or nothing: a row that is missing must not go unnoticed.
            self.feeder = None;
        }
        encoded
    }

    fn is_full(&self) -> bool {
        self.encoder.len() >= BLOCK_BYTES_MAX
    }

    async fn send(&mut self) -> Result<()> {
        // If this future is dropped, so is the feeder: rows that are lost with it must not go unnoticed.
        let feeder = self.feeder.take().ok_or_else(spoiled)?;
        self.last_block = Instant::now();
        let (block, rows) = self.encoder.take();
        match feeder.block(block, rows).await {
            Ok(()) => {
                self.feeder = Some(feeder);
                Ok(())
            }
            Err(_) => Err(self.run.failure().await),
        }
    }
}
