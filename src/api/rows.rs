//! A stream of typed rows.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::oneshot;

use super::Column;
use super::from_row::{FromRow, Row};
use super::read_end::{Batches, ReadEnd, end, panicked};
use crate::error::{Error, Result};

/// A stream of rows. Its memory does not depend on their number. Dropping it ends the read on the server.
///
/// ```no_run
/// # async fn example(client: tableferry::Client) -> tableferry::Result<()> {
/// let query = client.query("SELECT id, name FROM sales.orders WHERE price > $1").bind(9.5_f64);
/// let mut rows = query.rows::<(i64, Option<String>)>().await?;
/// while let Some(row) = rows.next().await {
///     let (id, name) = row?;
///     println!("{id}: {name:?}");
/// }
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Rows<T> {
    columns: Vec<Column>,
    batches: Batches,
    current: std::vec::IntoIter<tokio_postgres::Row>,
    ended: Option<ReadEnd>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl<T: FromRow> Rows<T> {
    pub(super) async fn begin(
        begun: oneshot::Receiver<Vec<Column>>,
        batches: Batches,
        ended: ReadEnd,
    ) -> Result<Self> {
        let mut ended = Some(ended);
        let Ok(columns) = begun.await else {
            end(&mut ended).await?;
            return Err(panicked());
        };
        T::check(&columns)?;
        Ok(Rows {
            columns,
            batches,
            current: Vec::new().into_iter(),
            ended,
            of: PhantomData,
        })
    }

    /// The columns of the rows.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row; None at the end of all rows. *Cancellation:* no row is lost.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<Error>> {
        let Some(ended) = &mut self.ended else {
            return Poll::Ready(None);
        };
        let done = ready!(ended.poll_unpin(context));
        self.ended = None;
        Poll::Ready(done.unwrap_or_else(|_| Err(panicked())).err())
    }
}

impl<T: FromRow> Stream for Rows<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rows = self.get_mut();
        loop {
            if let Some(row) = rows.current.next() {
                return Poll::Ready(Some(T::from_row(Row::new(row))));
            }
            match ready!(rows.batches.poll_recv(context)) {
                Some(batch) => rows.current = batch.into_iter(),
                None => return Poll::Ready(ready!(rows.poll_end(context)).map(Err)),
            }
        }
    }
}
