//! Rows for a program that uses the library: planned and locked like an export, read in one snapshot, handed
//! over in order.

use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::{FromSql, ToSql, Type, WrongType};
use tokio_postgres::{Row, Statement};

use super::bounds::{ABORT_WAIT, CLOSE_WAIT};
use super::fed::Column;
use super::pipe::{self, Pace};
use super::snapshot_age::SnapshotAge;
use super::target_files::TargetFiles;
use super::{JobContext, ends, inspect, preflight};
use crate::config::spec::TableInput;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan;
use crate::plan::copy::CopyPlan;
use crate::wording::counted;

/// Blocks, or batches of rows, that wait for the program.
pub const BLOCKS_AHEAD: usize = 4;

/// Bytes of rows that are handed over at once, or one larger row.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// Rows that are handed over at once.
pub type Batch = Vec<Row>;

/// The values of a query's parameters.
pub type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// In which form the program takes the rows.
pub enum Wanted {
    /// As rows of values.
    Rows {
        parameters: Parameters,
        /// Receives the columns before the first row.
        begun: oneshot::Sender<Vec<Column>>,
        batches: mpsc::Sender<Batch>,
    },
    /// As COPY data of the format that the job's file has.
    Blocks {
        parameters: Parameters,
        blocks: mpsc::Sender<Bytes>,
    },
}

/// Reads what the job's only table names. After it returns, no session is left.
///
/// *Errors:* the first one; what was handed over before is not all.
pub async fn read(context: &JobContext, wanted: Wanted) -> Result<()> {
    let session = ends::open(context, Side::Source).await?;
    let done = within(context, &session, wanted).await;
    match &done {
        Ok(()) => session.close(CLOSE_WAIT).await,
        Err(_) => session.abort(ABORT_WAIT).await,
    }
    done
}

async fn within(context: &JobContext, session: &Session, wanted: Wanted) -> Result<()> {
    let is_bound = match &wanted {
        Wanted::Rows { parameters, .. } | Wanted::Blocks { parameters, .. } => {
            !parameters.is_empty()
        }
    };
    let tables = context.job.table.values();
    let mut query = tables.filter_map(|table| match &table.input {
        TableInput::Query(sql) => Some(sql.as_str()),
        TableInput::Relation(_) | TableInput::File(_) => None,
    });
    match (query.next(), wanted) {
        (Some(sql), wanted) if is_bound => {
            // One statement: its snapshot is taken when its relations are locked.
            let modes = "ISOLATION LEVEL READ COMMITTED READ ONLY";
            session.begin(Phase::Lock, modes).await?;
            session.verify(Phase::Lock).await?;
            execute(context, session, sql, wanted).await?;
        }
        (_, Wanted::Blocks { blocks, .. }) => {
            let table = planned(context, session).await?;
            let pace = Pace {
                stall_timeout: context.job.stall_timeout,
                limit: None,
                on_progress: &|_| {},
            };
            pipe::copy_to_program(session, &table, &pace, blocks).await?;
        }
        (_, wanted) => {
            let table = planned(context, session).await?;
            execute(context, session, &table.comparison.source, wanted).await?;
        }
    }
    session.run(Phase::CopyOut, "COMMIT").await
}

/// The plan of what is read without parameters. The session then has its snapshot.
async fn planned(context: &JobContext, session: &Session) -> Result<CopyPlan> {
    let age = SnapshotAge::default();
    let files = TargetFiles::new(context);
    let inspected = inspect::into_files(context, session, &files, &age).await?;
    let mut plan = inspected
        .plan
        .map_err(|refusals| plan::to_error(&refusals))?;
    preflight::check_source(context, session, &plan).await?;
    let none = || {
        let what = "nothing was planned to be read";
        Error::new(ErrorKind::Bug, Phase::Plan, Side::Local, what)
    };
    plan.tables.pop().ok_or_else(none)
}

/// Reads by the extended protocol, in binary.
async fn execute(context: &JobContext, session: &Session, sql: &str, wanted: Wanted) -> Result<()> {
    let failed = |error| session.error(Phase::CopyOut, error);
    let prepared = session.answer(Phase::Inspect, session.client().prepare(sql));
    let prepared = prepared.await?;
    let statement = prepared.map_err(|error| session.error(Phase::Inspect, error))?;
    let (parameters, begun, mut out) = match wanted {
        Wanted::Rows {
            parameters,
            begun,
            batches,
        } => (parameters, Some(begun), ProgramEnd::Rows(batches)),
        Wanted::Blocks { parameters, blocks } => (parameters, None, ProgramEnd::Blocks(blocks)),
    };
    check_parameters(&statement, &parameters)?;
    let stall_timeout = context.job.stall_timeout;
    let running = session.client().query_raw(&statement, parameters);
    let running = session.answer(Phase::CopyOut, running).await?;
    let mut rows = pin!(running.map_err(|error| refused(session, error))?);
    if let Some(begun) = begun {
        let columns = statement.columns().iter();
        let columns = columns.map(|column| Column {
            name: column.name().to_owned(),
            ty: column.type_().clone(),
        });
        let _ = begun.send(columns.collect());
    }
    out.begin(stall_timeout).await?;
    loop {
        let Some(first) = session.answer(Phase::CopyOut, rows.next()).await? else {
            return out.end(stall_timeout).await;
        };
        let mut batch = vec![first.map_err(failed)?];
        let mut bytes = batch[0].raw_size_bytes();
        let mut is_over = false;
        while bytes < BATCH_BYTES_MAX {
            match rows.next().now_or_never() {
                Some(Some(row)) => {
                    let row = row.map_err(failed)?;
                    bytes += row.raw_size_bytes();
                    batch.push(row);
                }
                Some(None) => {
                    is_over = true;
                    break;
                }
                None => break,
            }
        }
        out.rows(batch, bytes, stall_timeout).await?;
        if is_over {
            return out.end(stall_timeout).await;
        }
    }
}

/// The error of a query that did not begin. tokio-postgres says that a value does not fit its parameter by a text
/// alone, and keeps the number, from 0, in it.
fn refused(session: &Session, error: tokio_postgres::Error) -> Error {
    let text = error.to_string();
    let number = text.strip_prefix("error serializing parameter ");
    let number = number.and_then(|rest| rest.split(':').next()?.trim().parse::<usize>().ok());
    let Some(number) = number else {
        return session.error(Phase::CopyOut, error);
    };
    let cause = std::error::Error::source(&error);
    let why = match cause {
        Some(cause) if cause.is::<WrongType>() => format!(": {cause}"),
        // It may hold the value.
        _ => String::new(),
    };
    let message = format!("parameter ${} does not take the value{why}", number + 1);
    let (kind, phase) = (ErrorKind::SchemaMismatch, Phase::Plan);
    Error::new(kind, phase, Side::Source, message).caused_by(error)
}

fn check_parameters(statement: &Statement, parameters: &Parameters) -> Result<()> {
    if statement.params().len() == parameters.len() {
        return Ok(());
    }
    let message = format!(
        "the query has {}, and {} bound",
        counted(statement.params().len(), "parameter"),
        match parameters.len() {
            1 => "1 is".to_owned(),
            many => format!("{many} are"),
        }
    );
    let (kind, phase) = (ErrorKind::SchemaMismatch, Phase::Plan);
    Err(Error::new(kind, phase, Side::Source, message))
}

/// The program's end.
enum ProgramEnd {
    Rows(mpsc::Sender<Batch>),
    /// As binary COPY data.
    Blocks(mpsc::Sender<Bytes>),
}

/// What binary COPY data begins and ends with.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const BINARY_TRAILER: &[u8] = &[0xff, 0xff];

impl ProgramEnd {
    async fn begin(&mut self, within: Duration) -> Result<()> {
        match self {
            ProgramEnd::Rows(_) => Ok(()),
            ProgramEnd::Blocks(blocks) => {
                pipe::hand_over(blocks, Bytes::from_static(BINARY_HEADER), within).await
            }
        }
    }

    async fn rows(&mut self, batch: Batch, bytes: usize, within: Duration) -> Result<()> {
        match self {
            ProgramEnd::Rows(batches) => pipe::hand_over(batches, batch, within).await,
            ProgramEnd::Blocks(blocks) => {
                let mut block = BytesMut::with_capacity(bytes + 2 * batch.len());
                batch.iter().try_for_each(|row| put(row, &mut block))?;
                pipe::hand_over(blocks, block.freeze(), within).await
            }
        }
    }

    async fn end(&mut self, within: Duration) -> Result<()> {
        match self {
            ProgramEnd::Rows(_) => Ok(()),
            ProgramEnd::Blocks(blocks) => {
                pipe::hand_over(blocks, Bytes::from_static(BINARY_TRAILER), within).await
            }
        }
    }
}

/// Adds a row to binary COPY data. Its values have the same form there.
fn put(row: &Row, block: &mut BytesMut) -> Result<()> {
    let failed = |error: Option<tokio_postgres::Error>| {
        let message = "a row has no form in COPY data";
        let made = Error::new(ErrorKind::Bug, Phase::CopyOut, Side::Local, message);
        match error {
            Some(error) => made.caused_by(error),
            None => made,
        }
    };
    block.put_i16(i16::try_from(row.len()).map_err(|_| failed(None))?);
    for at in 0..row.len() {
        let value: Option<Raw<'_>> = row.try_get(at).map_err(|error| failed(Some(error)))?;
        match value {
            Some(Raw(bytes)) => {
                block.put_i32(i32::try_from(bytes.len()).map_err(|_| failed(None))?);
                block.put_slice(bytes);
            }
            None => block.put_i32(-1),
        }
    }
    Ok(())
}

/// A value as the server sent it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
