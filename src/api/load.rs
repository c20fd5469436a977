//! A load: what it is to do, and a load of data in one of COPY's formats.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;

use super::client::Client;
use super::format::Format;
use super::job::{Waits, job, program};
use super::names::{columns, relation};
use super::row_load::RowLoad;
use super::run_handle::RunHandle;
use super::{bug, spoiled, wrong};
use crate::config::spec::{Mode, OnError, RejectLimit, TableSpec, Triggers};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::reader::FileReader;
use crate::files::reader::feed::ByteFeeder;
use crate::report::RunReport;
use crate::report::log::LogListener;
use crate::run::RunContext;
use crate::run::fed::Fed;

/// Bytes that are read from an `AsyncRead` at once.
const READ_BYTES_MAX: usize = 64 << 10;

impl Client {
    /// Loads rows into a table, whose name is read as SQL would: `sales.orders`, `sales."Orders"`.
    pub fn load(&self, table: &str) -> LoadBuilder {
        LoadBuilder::new(self.clone(), table)
    }
}

/// What a load is to do. [`LoadBuilder::rows`] and [`LoadBuilder::data`] begin it.
///
/// A load is planned, checked and published like a job of the daemon, in one transaction: after
/// [`RowLoad::commit`] the table holds the rows; without it, or after any error, it is as before.
#[derive(Clone, Debug)]
#[must_use = "a load begins with `rows` or `data`"]
pub struct LoadBuilder {
    client: Client,
    table: String,
    mode: Mode,
    columns: Vec<String>,
    key: Vec<String>,
    rows: Option<u64>,
    quarantine: Option<u64>,
    allow_empty: bool,
    max_shrink: Option<f64>,
    fire_triggers: bool,
    timeout: Option<Duration>,
    waits: Waits,
}

impl LoadBuilder {
    pub(super) fn new(client: Client, table: &str) -> Self {
        LoadBuilder {
            client,
            table: table.to_owned(),
            mode: Mode::Append,
            columns: Vec::new(),
            key: Vec::new(),
            rows: None,
            quarantine: None,
            allow_empty: false,
            max_shrink: None,
            fire_triggers: true,
            timeout: None,
            waits: Waits::default(),
        }
    }

    /// What the table holds afterwards; default: [`Mode::Append`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The columns that are written, in the order of the rows' values. The others get their defaults.
    ///
    /// Default: all columns that are not generated, in the table's order, or the columns of the data's header.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// For [`Mode::Merge`] and [`Mode::Upsert`]: what identifies a row; default: the primary key.
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Publish only if exactly this many rows came.
    pub fn exact_rows(mut self, rows: u64) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Up to this many rows of CSV or text data that the table rejects are set aside in `tableferry.rejected`, and do
    /// not fail the load. Default: any rejected row fails it. Typed rows and binary data cannot be set aside.
    pub fn quarantine(mut self, limit: u64) -> Self {
        self.quarantine = Some(limit);
        self
    }

    /// May no rows replace those of the table? Default: no.
    pub fn allow_empty(mut self, allow: bool) -> Self {
        self.allow_empty = allow;
        self
    }

    /// The largest share of the table's rows, 0 to 1, that may be lost when all rows are replaced; default: half.
    pub fn max_shrink(mut self, share: f64) -> Self {
        self.max_shrink = Some(share);
        self
    }

    /// Do the table's triggers fire? Default: yes.
    pub fn fire_triggers(mut self, fire: bool) -> Self {
        self.fire_triggers = fire;
        self
    }

    /// How long the whole load may take, the program's own part included; default: no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long the load waits for a lock; default: 30 s.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.waits.lock = Some(timeout);
        self
    }

    /// How long nothing may move before the load is given up: rows from the program, or answers of a
    /// server that is not at work; default: 5 min.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.waits.stall = Some(timeout);
        self
    }

    /// Begins a load of typed rows. When it returns, the target is ready for them: the load is planned, checked,
    /// and the table is locked as the mode needs it.
    ///
    /// *Errors:* every reason why the load cannot be run, as one error. *Cancellation:* the load rolls back.
    pub async fn rows(self) -> Result<RowLoad> {
        let (feeder, reader) = FileReader::fed();
        let (sender, ready) = oneshot::channel();
        let run = self.run(&Format::binary(), Fed::new(reader, Some(sender)))?;
        let mut handle = RunHandle::start(&self.client, run).await?;
        match ready.await {
            Ok(columns) => Ok(RowLoad::new(handle, feeder, columns)),
            Err(_) => Err(handle.failure().await),
        }
    }

    /// Begins a load of data in one of COPY's formats; gzip and zstd are known by their first bytes. Errors of
    /// planning come with the data, because a header is part of the plan.
    ///
    /// *Errors:* `Config`. *Cancellation:* the load rolls back.
    pub async fn data(self, format: Format) -> Result<DataLoad> {
        let layout = crate::files::layout::Layout::with(format.format, format.options()?);
        let started = FileReader::fed_bytes(layout);
        let (feeder, reader) =
            started.map_err(|error| bug(format!("no thread could be started: {error}")))?;
        let run = self.run(&format, Fed::new(reader, None))?;
        Ok(DataLoad {
            feeder: Some(feeder),
            run: RunHandle::start(&self.client, run).await?,
        })
    }

    /// The run that this load is. *Errors:* `Config`.
    fn run(&self, format: &Format, fed: Fed) -> Result<RunContext> {
        let target = relation(&self.table)?;
        let table = TableSpec {
            columns: columns(&self.columns)?,
            key: columns(&self.key)?,
            ..TableSpec::whole(&target)
        };
        let mut job = job("load", self.mode, table, format, self.waits)?;
        // The program's rows cannot be read again.
        job.retry.max = 0;
        job.guard.allow_empty = self.allow_empty;
        if let Some(share) = self.max_shrink {
            if !(0.0..=1.0).contains(&share) {
                return Err(wrong("`max_shrink` is a share, from 0 to 1"));
            }
            job.guard.max_shrink = share;
        }
        if let Some(limit) = self.quarantine {
            job.on_error = OnError::Quarantine;
            job.reject_limit = RejectLimit::Rows(limit);
        }
        if !self.fire_triggers {
            job.triggers = Triggers::Skip;
        }
        job.timeout = self.timeout;
        let server = self.client.server("target");
        let listener = Arc::new(LogListener);
        let mut run = RunContext::one_off(job, program(), server, self.rows, listener);
        // Loads of one program into one table exclude each other only where the mode needs that.
        run.context.job.name = format!("load {}", run.context.run_id);
        run.context.fed = Some(Arc::new(fed));
        run.context.idle = Some(self.client.idle.clone());
        Ok(run)
    }
}

/// A load of data in one of COPY's formats. Dropping it rolls back.
#[must_use = "the rows are published by `commit`"]
pub struct DataLoad {
    /// None after an error.
    feeder: Option<ByteFeeder>,
    run: RunHandle,
}

impl fmt::Debug for DataLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataLoad").finish_non_exhaustive()
    }
}

impl DataLoad {
    /// Gives a piece of the data, which may end anywhere. Waits while the target is behind.
    ///
    /// *Errors:* the load's own; it cannot be committed any more. *Cancellation:* the same.
    pub async fn write(&mut self, data: impl Into<Bytes>) -> Result<()> {
        // If this future is dropped, so is the feeder: data that is lost with it must not go unnoticed.
        let feeder = self.feeder.take().ok_or_else(spoiled)?;
        match feeder.bytes(data.into()).await {
            Ok(()) => {
                self.feeder = Some(feeder);
                Ok(())
            }
            Err(_) => Err(self.run.failure().await),
        }
    }

    /// Gives all that the reader has. Several readers follow each other as one.
    ///
    /// *Errors:* those of [`DataLoad::write`]; `Truncated` if the reader fails.
    pub async fn read(&mut self, reader: impl AsyncRead) -> Result<()> {
        let mut reader = std::pin::pin!(reader);
        loop {
            let mut buffer = BytesMut::with_capacity(READ_BYTES_MAX);
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => self.write(buffer.freeze()).await?,
                Err(error) => {
                    self.feeder = None;
                    let message = format!("the reader failed: {error}");
                    let (kind, phase) = (ErrorKind::Truncated, Phase::CopyOut);
                    return Err(Error::new(kind, phase, Side::Source, message).caused_by(error));
                }
            }
        }
    }

    /// Ends the data, publishes the rows, and waits for the proof of it.
    ///
    /// *Errors:* why the table is as before. `InDoubt`: the connection was lost during COMMIT, and
    /// it could not be found out whether the rows are there. *Cancellation:* the outcome is not known.
    pub async fn commit(mut self) -> Result<RunReport> {
        match self.feeder.take() {
            // If the run has ended, it has the error.
            Some(feeder) => drop(feeder.end().await),
            None => return Err(spoiled()),
        }
        self.run.end().await
    }

    /// Rolls back, and waits until the connection is closed. Dropping the load rolls back without waiting.
    pub async fn rollback(mut self) {
        self.run.cancel();
        let _ = self.run.end().await;
    }
}
