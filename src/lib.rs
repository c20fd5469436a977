//! Loads rows into PostgreSQL tables, all or nothing, and reads them back.
//!
//! This is the library of the program `tableferry`, which keeps tables on one PostgreSQL server as exact copies of
//! tables, or queries, on another. A program's rows take the same way as the daemon's: both sides are described and
//! planned before a row moves, the rows go by COPY, and they are published in one transaction whose outcome is proven.
//!
//! # Loading
//!
//! [`Client::load`] loads into a table in any [`Mode`]: rows are appended, replace all rows, are merged, or update
//! rows by key. [`RowLoad`] takes typed rows: values that implement [`ToSql`](types::ToSql), checked against the table's
//! columns before the first row is sent.
//!
//! ```no_run
//! use tableferry::{Client, Mode};
//!
//! # async fn example() -> tableferry::Result<()> {
//! let client = Client::connect("postgresql://loader@warehouse.example/dwh").await?;
//!
//! let mut load = client.load("sales.orders").mode(Mode::Upsert).columns(["id", "customer"]).rows().await?;
//! load.write((1_i64, "Ada")).await?;
//! load.write_all((2..1000).map(|id| (id, None::<&str>))).await?;
//! let report = load.commit().await?;       // without it, the table is as before
//! println!("{} rows", report.rows_written());
//! # Ok(()) }
//! ```
//!
//! [`DataLoad`] takes CSV, COPY's text or binary format, plain or compressed, from any
//! [`AsyncRead`](tokio::io::AsyncRead):
//!
//! ```no_run
//! use tableferry::Format;
//!
//! # async fn example(client: tableferry::Client, body: impl tokio::io::AsyncRead) -> tableferry::Result<()> {
//! let mut load = client.load("sales.orders").data(Format::csv().delimiter(b';')).await?;
//! load.read(body).await?;
//! load.commit().await?;
//! # Ok(()) }
//! ```
//!
//! # Reading
//!
//! [`Client::read`] reads a relation, [`Client::query`] a query with parameters, as a stream of typed [`Rows`] or of
//! [`Blocks`] of COPY data. Memory does not depend on the number of rows.
//!
//! ```no_run
//! # async fn example(client: tableferry::Client) -> tableferry::Result<()> {
//! let query = client.query("SELECT id, customer FROM sales.orders WHERE id > $1").bind(500_i64);
//! let mut rows = query.rows::<(i64, Option<String>)>().await?;
//! while let Some(row) = rows.next().await {
//!     let (id, customer) = row?;
//!     println!("{id}: {customer:?}");
//! }
//! # Ok(()) }
//! ```
//!
//! # Errors
//!
//! Every [`Error`] tells its [kind](Error::kind), the [side](Error::side) and the [phase](Error::phase) in which it
//! appeared, the server's [SQLSTATE](Error::sqlstate), and what to do ([`Error::hint`]). Its message contains no cell
//! values; [`Error::detail`] may. After any error of a load except [`ErrorKind::InDoubt`], the table is as before.
//!
//! # Runtimes
//!
//! A [`Client`] drives its connections on a thread of its own. The futures and streams of this crate can be polled on
//! any runtime.

// What is printed is made harmless first: see `cli::out`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

// The modules depend on each other in one direction only: see ARCHITECTURE.md. Those that are hidden are open for this
// package's own tests and promise nothing.
mod api;
#[doc(hidden)]
pub mod catalog;
mod child;
mod cli;
#[doc(hidden)]
pub mod config;
mod daemon;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod files;
mod harmless;
#[doc(hidden)]
pub mod pg;
#[doc(hidden)]
pub mod plan;
mod private;
mod report;
mod run;
mod wording;

pub use api::{
    Blocks, Client, Column, DataLoad, Format, FromRow, LoadBuilder, ReadBuilder, Row, RowLoad,
    RowWriter, Rows, ToRow,
};
#[doc(inline)]
pub use config::spec::Mode;
#[doc(inline)]
pub use error::{Error, ErrorKind, Phase, Result, Side};
pub use report::{
    ColumnChange, Drift, DriftedColumn, ErrorReport, Outcome, RunReport, RunTrigger, Snapshot,
    TableReport,
};
/// The crate postgres-types, whose traits convert values. Its features add types of other crates.
pub use tokio_postgres::types;

#[doc(hidden)]
pub use cli::main;
#[doc(hidden)]
pub use harmless::is_harmful;
