//! The target's side of a copy with `on_error = "quarantine"`: copies blocks of rows, each after a
//! savepoint, and finds the rows of a block that the target rejects.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use serde_json::{Map, Value};
use tokio_postgres::Statement;

use super::channel::{CHANNEL_BYTES_MAX, Item, Receiver};
use super::file_error;
use super::rows::{NumberedRow, NumberedRowCutter, NumberedRows};
use super::watch::{Meter, WaitsFor};
use crate::error::{Error, ErrorKind, Phase, Result, ServerError, Side};
use crate::files::layout::{FileFormat, Layout};
use crate::files::reader::ReadError;
use crate::files::rows::Fault;
use crate::files::values::values;
use crate::pg::ident::Ident;
use crate::pg::session::Session;
use crate::plan::column::CopyFormat;
use crate::plan::copy::CopyPlan;
use crate::plan::copy::Quarantine;
use crate::plan::quarantine::{self, Reasons};
use crate::run::ledger::{Quarantined, Rejection};

/// The size of a block, or of one longer row. The channel holds the next block in the meantime.
pub const JUDGED_BLOCK_BYTES_MAX: usize = CHANNEL_BYTES_MAX;

/// The longest row that is recorded whole. Of a longer row, only the key is recorded.
const ROW_BYTES_MAX: usize = 1 << 20;

/// The longest row of a file: with a quote too many, what follows it may be one row up to the file's end.
const FILE_ROW_BYTES_MAX: usize = 64 << 20;

/// Runs before each attempt: the previous attempt has succeeded.
const NEXT: &str = "RELEASE SAVEPOINT tableferry_rows; SAVEPOINT tableferry_rows";

/// The numbers of rows that the target accepted and rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub written: u64,
    pub rejected: u64,
}

/// Writes rows until the end is announced. Rejected rows are recorded in the same transaction.
///
/// *Errors:* `DataRejected` if too many rows are rejected; every error that is not caused by a row.
pub(super) async fn pump(
    target: &Session,
    plan: &CopyPlan,
    quarantine: &Quarantine,
    quarantined: Quarantined<'_>,
    meter: &Meter<'_>,
    mut incoming: Receiver,
) -> Result<Judged> {
    let prepared = target.client().prepare(&plan.copy_in).await;
    let statement =
        prepared.map_err(|error| target.error(Phase::CopyIn, error).on(&plan.target))?;
    let (layout, from_file) = match &plan.format {
        CopyFormat::File(layout) => (layout.clone(), true),
        CopyFormat::Text(_) | CopyFormat::Binary => (Layout::new(FileFormat::Text), false),
    };
    let mut rows = NumberedRowCutter::new(&layout);
    let mut judge = Judge {
        target,
        plan,
        layout,
        quarantine,
        quarantined,
        statement,
        savepoint: Savepoint::None,
        rejections: Vec::new(),
        reasons: Reasons::default(),
        judged: Judged::default(),
    };
    let torn = |fault| file_error(&plan.source, ReadError::Rows(fault)).on(&plan.target);
    target.tap().forget_error();
    loop {
        let item = tokio::select! {
            biased;
            item = incoming.recv() => item,
            // Otherwise a closed target would be noticed only when the source sends its next row.
            () = target.tap().error_arrived() => {
                target.run(Phase::CopyIn, "SELECT 1").await.map_err(|error| error.on(&plan.target))?;
                target.tap().forget_error();
                continue;
            }
        };
        match item {
            Some(Item::Block(block)) => {
                rows.push(&block.bytes).map_err(torn)?;
                if rows.whole_bytes() >= JUDGED_BLOCK_BYTES_MAX {
                    // Dropping the block frees its bytes in the channel for the next one.
                    drop(block);
                    judge.load(&rows.take()).await?;
                }
                if from_file && rows.open_bytes() > FILE_ROW_BYTES_MAX {
                    return Err(too_long(plan, rows.open_line()));
                }
            }
            // A file's last row may lack its newline.
            Some(Item::End) if !rows.finish().map_err(torn)? || from_file => {
                meter.waits_for(WaitsFor::Target);
                judge.load(&rows.take()).await?;
                judge.release().await?;
                let judged = judge.judged;
                match quarantine
                    .limit
                    .is_exceeded_by(judged.rejected, rows.rows())
                {
                    true => return Err(judge.too_many()),
                    false => return Ok(judged),
                }
            }
            Some(Item::End) | None => {
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
}

fn too_long(plan: &CopyPlan, line: u64) -> Error {
    let mib = FILE_ROW_BYTES_MAX >> 20;
    let what = format!("line {line}: the row that begins here is longer than {mib} MiB");
    let error = file_error(&plan.source, ReadError::Rows(Fault::Malformed(what)));
    error
        .on(&plan.target)
        .hinted("is a quote missing, or one too many? `on_error = \"abort\"` loads longer rows")
}

enum Savepoint {
    /// There is none.
    None,
    /// What came after it stays.
    Used,
    /// Nothing came after it, or nothing that stays.
    Fresh,
}

struct Judge<'a> {
    target: &'a Session,
    plan: &'a CopyPlan,
    layout: Layout,
    quarantine: &'a Quarantine,
    quarantined: Quarantined<'a>,
    statement: Statement,
    savepoint: Savepoint,
    /// Counts of the current block.
    rejections: Vec<Rejection>,
    reasons: Reasons,
    judged: Judged,
}

impl Judge<'_> {
    async fn load(&mut self, rows: &NumberedRows) -> Result<()> {
        let whole: Range<usize> = 0..rows.len();
        let mut open: Vec<Range<usize>> = Vec::new();
        open.extend(Some(whole).filter(|rows| !rows.is_empty()));
        while let Some(part) = open.pop() {
            let bytes = match &self.quarantine.line {
                Some(_) => rows.numbered(&part, self.layout.delimiter()),
                None => rows.part(&part),
            };
            match self.attempt(bytes).await? {
                Ok(written) => self.judged.written += written,
                Err(refused) if part.len() == 1 => self.reject(rows.row(part.start), refused)?,
                Err(refused) => {
                    let named = refused.line().and_then(|line| rows.at_line(&part, line));
                    let parts = quarantine::parts(&part, named);
                    open.extend(parts.into_iter().rev());
                }
            }
        }
        if self.rejections.is_empty() {
            return Ok(());
        }
        self.release().await?;
        let rejections = std::mem::take(&mut self.rejections);
        let recorded = self
            .quarantined
            .record(self.target, &self.plan.target, &rejections);
        recorded.await.map_err(|error| error.on(&self.plan.target))
    }

    /// Copies some rows. The inner error is caused by one of them; then none of them is on the target.
    async fn attempt(&mut self, rows: Bytes) -> Result<Result<u64, ServerError>> {
        let begin = match self.savepoint {
            Savepoint::None => Some("SAVEPOINT tableferry_rows"),
            Savepoint::Used => Some(NEXT),
            Savepoint::Fresh => None,
        };
        if let Some(sql) = begin {
            self.run(sql).await?;
        }
        let failed = |error| {
            self.target
                .error(Phase::CopyIn, error)
                .on(&self.plan.target)
        };
        let client = self.target.client();
        // An error before the first row is not caused by a row, and the session cannot be used after it.
        let sink = client.copy_in::<_, Bytes>(&self.statement);
        let sink = sink.await.map_err(failed)?;
        pin_mut!(sink);
        sink.feed(rows).await.map_err(failed)?;
        let error = match sink.finish().await {
            Ok(written) => {
                self.savepoint = Savepoint::Used;
                return Ok(Ok(written));
            }
            Err(error) => error,
        };
        let refused = error.as_db_error().map(ServerError::from);
        let of_a_row = |refused: &ServerError| quarantine::is_of_a_row(&refused.code);
        let Some(refused) = refused.filter(of_a_row) else {
            return Err(failed(error));
        };
        self.run("ROLLBACK TO SAVEPOINT tableferry_rows").await?;
        self.target.tap().forget_error();
        self.savepoint = Savepoint::Fresh;
        Ok(Err(refused))
    }

    fn reject(&mut self, row: NumberedRow<'_>, refused: ServerError) -> Result<()> {
        let name = refused
            .constraint()
            .and_then(|name| self.quarantine.names.get(name));
        let name = name.cloned();
        let refused = refused.renamed(name);
        self.judged.rejected += 1;
        self.reasons.add(&refused.code, &refused.reason());
        if self.quarantine.limit.is_exceeded(self.judged.rejected) {
            return Err(self.too_many());
        }
        let columns: Vec<&Ident> = self.plan.columns.iter().map(|c| &c.name).collect();
        let values = values(&self.layout, &columns, row.text);
        let named = |at: usize| {
            let name = columns.get(at)?.as_str().to_owned();
            let value = values.get(at)?.clone();
            // A key of a megabyte is none.
            let fits = value
                .as_ref()
                .is_none_or(|text| text.len() <= ROW_BYTES_MAX);
            fits.then(|| (name, value.map_or(Value::Null, Value::String)))
        };
        let object = |places: &mut dyn Iterator<Item = usize>| -> Map<String, Value> {
            places.filter_map(named).collect()
        };
        let key = object(&mut self.quarantine.key.iter().copied());
        let whole = self.quarantine.log_values && row.text.len() <= ROW_BYTES_MAX;
        let shown = match whole {
            true => object(&mut (0..values.len())),
            false => key.clone(),
        };
        self.rejections
            .push(Rejection::new(row.line, key, shown, &refused));
        Ok(())
    }

    fn too_many(&self) -> Error {
        let message = format!(
            "{} rows are rejected, {}: {}",
            self.judged.rejected,
            self.quarantine.limit.describe(),
            self.reasons.describe()
        );
        Error::new(
            ErrorKind::DataRejected,
            Phase::CopyIn,
            Side::Target,
            message,
        )
        .at(self.target.server())
        .on(&self.plan.target)
        .hinted("nothing was published; raise `reject_limit` if so many may be left out")
    }

    async fn release(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.savepoint, Savepoint::None) {
            Savepoint::None => Ok(()),
            Savepoint::Used | Savepoint::Fresh => {
                self.run("RELEASE SAVEPOINT tableferry_rows").await
            }
        }
    }

    async fn run(&self, sql: &str) -> Result<()> {
        let done = self.target.run(Phase::CopyIn, sql).await;
        done.map_err(|error| error.on(&self.plan.target))
    }
}
