//! Queries that must return a row. A missing row or value is an error that names what was asked for: it must
//! never be taken for 0, false or an empty string.

use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use super::param::Param;
use super::session::Session;
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// What was asked for, and where.
#[derive(Clone, Debug)]
struct CheckedQuery {
    what: &'static str,
    phase: Phase,
    side: Side,
    server: String,
}

impl CheckedQuery {
    fn error(&self, gave: &str) -> Error {
        let message = format!("the query for {} gave {gave}", self.what);
        Error::new(ErrorKind::Bug, self.phase, self.side, message).at(&self.server)
    }
}

/// A row whose values are checked when they are read.
#[derive(Debug)]
pub struct CheckedRow {
    row: Row,
    asked: CheckedQuery,
}

impl CheckedRow {
    /// The value in this column. *Errors:* `Bug` for NULL, unless `T` is an `Option`, and for a value of
    /// another type.
    pub fn get<T: FromSqlOwned>(&self, column: usize) -> Result<T> {
        self.row
            .try_get(column)
            .map_err(|error| self.error(column, "no such value").caused_by(error))
    }

    /// The `bigint` in this column as a number of something. *Errors:* `Bug` for NULL and for a negative
    /// number.
    pub fn count(&self, column: usize) -> Result<u64> {
        let count: i64 = self.get(column)?;
        u64::try_from(count).map_err(|_| self.error(column, "a negative number"))
    }

    /// The `integer` in this column as a number below `end`. *Errors:* `Bug` for NULL and any other number.
    pub fn index(&self, column: usize, end: usize) -> Result<usize> {
        let index: i32 = self.get(column)?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < end)
            .ok_or_else(|| self.error(column, "a number out of bounds"))
    }

    fn error(&self, column: usize, gave: &str) -> Error {
        self.asked
            .error(&format!("{gave} in column {}", column + 1))
    }
}

impl Session {
    /// Runs a query for `what`, such as "the snapshot of the source".
    pub async fn checked(
        &self,
        phase: Phase,
        what: &'static str,
        sql: &str,
        parameters: &[&dyn Param],
    ) -> Result<Vec<CheckedRow>> {
        let rows = self.query(phase, sql, parameters).await?;
        let checked = |row| self.check(phase, what, row);
        Ok(rows.into_iter().map(checked).collect())
    }

    /// The same for a row of a query for `what` that was run otherwise.
    pub fn check(&self, phase: Phase, what: &'static str, row: Row) -> CheckedRow {
        CheckedRow {
            row,
            asked: self.asked(phase, what),
        }
    }

    /// Runs a query that gives one row. *Errors:* `Bug` for none, and for more.
    pub async fn one_row(
        &self,
        phase: Phase,
        what: &'static str,
        sql: &str,
        parameters: &[&dyn Param],
    ) -> Result<CheckedRow> {
        let row = self.row_if_any(phase, what, sql, parameters).await?;
        row.ok_or_else(|| self.asked(phase, what).error("no row"))
    }

    /// Runs a query that gives one row or none. *Errors:* `Bug` for more.
    pub async fn row_if_any(
        &self,
        phase: Phase,
        what: &'static str,
        sql: &str,
        parameters: &[&dyn Param],
    ) -> Result<Option<CheckedRow>> {
        let mut rows = self.checked(phase, what, sql, parameters).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            many => Err(self
                .asked(phase, what)
                .error(&format!("{many} rows instead of one"))),
        }
    }

    fn asked(&self, phase: Phase, what: &'static str) -> CheckedQuery {
        CheckedQuery {
            what,
            phase,
            side: self.side(),
            server: self.server().to_owned(),
        }
    }
}
