//! Reading: what is to be read, as typed rows or as blocks of COPY data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::ToSql;

use super::blocks::Blocks;
use super::client::Client;
use super::format::Format;
use super::from_row::FromRow;
use super::job::{Waits, job, program};
use super::names::{columns, relation};
use super::read_end::ReadEnd;
use super::rows::Rows;
use super::wrong;
use crate::config::spec::{Mode, TableInput, TableSpec};
use crate::error::Result;
use crate::files::layout::FileFormat;
use crate::pg::ident::QualifiedName;
use crate::report::log::LogListener;
use crate::run::read::{self, BLOCKS_AHEAD, Parameters, Wanted};
use crate::run::{JobContext, RunContext};

impl Client {
    /// Reads the rows of a table, a partitioned table or a view.
    pub fn read(&self, relation: &str) -> ReadBuilder {
        ReadBuilder::relation(self.clone(), relation)
    }

    /// Reads the rows that a query gives: one SELECT, VALUES, TABLE or WITH … SELECT. Its values may be parameters
    /// `$1`, `$2`, …: see [`ReadBuilder::bind`]. It runs with an empty `search_path`: qualify names with their schema.
    pub fn query(&self, sql: &str) -> ReadBuilder {
        ReadBuilder::query(self.clone(), sql)
    }
}

/// What is to be read. [`ReadBuilder::rows`] and [`ReadBuilder::blocks`] begin it.
///
/// The rows are of one snapshot. Row security that would hide rows, missing privileges and unknown columns are
/// errors before the first row.
#[must_use = "reading begins with `rows` or `blocks`"]
pub struct ReadBuilder {
    client: Client,
    what: ReadFrom,
    columns: Vec<String>,
    filter: Option<String>,
    parameters: Parameters,
    waits: Waits,
}

enum ReadFrom {
    Relation(String),
    Query(String),
}

impl fmt::Debug for ReadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters are values.
        f.debug_struct("ReadBuilder").finish_non_exhaustive()
    }
}

impl ReadBuilder {
    pub(super) fn relation(client: Client, name: &str) -> Self {
        ReadBuilder::of(client, ReadFrom::Relation(name.to_owned()))
    }

    pub(super) fn query(client: Client, sql: &str) -> Self {
        ReadBuilder::of(client, ReadFrom::Query(sql.to_owned()))
    }

    fn of(client: Client, what: ReadFrom) -> Self {
        ReadBuilder {
            client,
            what,
            columns: Vec::new(),
            filter: None,
            parameters: Vec::new(),
            waits: Waits::default(),
        }
    }

    /// The columns of a relation that are read, in their order. Default: all that are not generated.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// A condition on a relation's rows, as in WHERE.
    pub fn filter(mut self, condition: impl Into<String>) -> Self {
        self.filter = Some(condition.into());
        self
    }

    /// The value of the query's next parameter: of `$1`, then of `$2`, …
    pub fn bind(mut self, value: impl ToSql + Sync + Send + 'static) -> Self {
        self.parameters.push(Box::new(value));
        self
    }

    /// How long to wait for a lock; default: 30 s.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.waits.lock = Some(timeout);
        self
    }

    /// How long nothing may move before the read is given up, because the server is not at work or because the program
    /// takes no rows; default: 5 min.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.waits.stall = Some(timeout);
        self
    }

    /// Begins to read typed rows.
    ///
    /// *Errors:* why the rows cannot be read, or converted into `T`. *Cancellation:* nothing is left on the server.
    pub async fn rows<T: FromRow>(self) -> Result<Rows<T>> {
        let (sender, begun) = oneshot::channel();
        let (batches, receiver) = mpsc::channel(BLOCKS_AHEAD);
        let client = self.client.clone();
        let (context, parameters) = self.context(&Format::text())?;
        let wanted = Wanted::Rows {
            parameters,
            begun: sender,
            batches,
        };
        let ended = start(&client, context, wanted).await?;
        Rows::begin(begun, receiver, ended).await
    }

    /// Begins to read blocks of COPY data: each holds whole rows, or a part of one large row.
    ///
    /// *Errors:* why the rows cannot be read; `Config` for parameters with a format other than binary, because COPY
    /// takes no parameters. *Cancellation:* nothing is left on the server.
    pub async fn blocks(self, format: Format) -> Result<Blocks> {
        if !self.parameters.is_empty() && format.format != FileFormat::Binary {
            let error = wrong("COPY takes no parameters");
            return Err(error.hinted("read binary blocks, or typed rows"));
        }
        let (blocks, receiver) = mpsc::channel(BLOCKS_AHEAD);
        let client = self.client.clone();
        let (context, parameters) = self.context(&format)?;
        let wanted = Wanted::Blocks { parameters, blocks };
        let ended = start(&client, context, wanted).await?;
        Ok(Blocks::new(receiver, ended))
    }

    /// The job that this read is. *Errors:* `Config`.
    fn context(self, format: &Format) -> Result<(JobContext, Parameters)> {
        let (target, input) = match self.what {
            ReadFrom::Relation(name) => {
                let name = relation(&name)?;
                (name.clone(), TableInput::Relation(name))
            }
            ReadFrom::Query(sql) => (
                QualifiedName::new("public", "query"),
                TableInput::Query(sql),
            ),
        };
        if let TableInput::Query(_) = &input
            && (self.filter.is_some() || !self.columns.is_empty())
        {
            return Err(wrong("columns and conditions belong into the query"));
        }
        if let (TableInput::Relation(_), false) = (&input, self.parameters.is_empty()) {
            return Err(wrong("only a query takes parameters"));
        }
        let table = TableSpec {
            input,
            columns: columns(&self.columns)?,
            filter: self.filter,
            ..TableSpec::whole(&target)
        };
        let job = job("read", Mode::Truncate, table, format, self.waits)?;
        let source = self.client.server("source");
        let run = RunContext::one_off(job, source, program(), None, Arc::new(LogListener));
        Ok((run.context, self.parameters))
    }
}

async fn start(client: &Client, context: JobContext, wanted: Wanted) -> Result<ReadEnd> {
    let (sender, ended) = oneshot::channel();
    let task = async move || {
        let done = read::read(&context, wanted).await;
        let _ = sender.send(done);
    };
    client.driver.spawn(task).await?;
    Ok(ended)
}
