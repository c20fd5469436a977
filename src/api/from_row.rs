//! Rows that are read: each is converted by `FromSql`.

use std::fmt;

use tokio_postgres::row::RowIndex;
use tokio_postgres::types::{FromSqlOwned, WrongType};

use super::Column;
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// A row that was read.
#[derive(Debug)]
pub struct Row {
    row: tokio_postgres::Row,
}

/// A Rust value for a row: a tuple of up to 16 values, [`Row`] itself, or a type of the program's own:
///
/// ```
/// use tableferry::{FromRow, Result, Row};
///
/// struct Order {
///     id: i64,
///     customer: Option<String>,
/// }
///
/// impl FromRow for Order {
///     fn from_row(row: Row) -> Result<Self> {
///         Ok(Order { id: row.get("id")?, customer: row.get("customer")? })
///     }
/// }
/// ```
pub trait FromRow: Sized {
    /// Converts one row. *Errors:* those of [`Row::get`], or the program's own.
    fn from_row(row: Row) -> Result<Self>;

    /// Can rows with these columns be converted? Asked before the first row, also where there is none.
    ///
    /// *Errors:* why not.
    fn check(columns: &[Column]) -> Result<()> {
        let _ = columns;
        Ok(())
    }
}

impl Row {
    pub(super) fn new(row: tokio_postgres::Row) -> Self {
        Row { row }
    }

    /// The value of a column, by its place from 0 or by its name. A column that may be NULL is read as an `Option`.
    ///
    /// *Errors:* `SchemaMismatch`: there is no such column, or it has another type; `DataRejected`: the value is
    /// NULL or cannot be converted.
    pub fn get<T: FromSqlOwned>(&self, column: impl RowIndex + fmt::Display) -> Result<T> {
        let name = column.to_string();
        self.row
            .try_get(column)
            .map_err(|error| unreadable(&name, error))
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Are there no columns?
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }
}

fn unreadable(column: &str, error: tokio_postgres::Error) -> Error {
    let cause = std::error::Error::source(&error);
    let is_mismatch = cause.is_none_or(|cause| cause.is::<WrongType>());
    let is_null = cause.is_some_and(|cause| cause.is::<tokio_postgres::types::WasNull>());
    let (kind, what) = match (is_mismatch, is_null, cause) {
        (true, _, Some(cause)) => (ErrorKind::SchemaMismatch, cause.to_string()),
        (true, _, None) => (
            ErrorKind::SchemaMismatch,
            "there is no such column".to_owned(),
        ),
        (false, true, _) => (ErrorKind::DataRejected, "NULL needs an `Option`".to_owned()),
        (false, false, _) => (
            ErrorKind::DataRejected,
            "the value cannot be converted".to_owned(),
        ),
    };
    Error::new(
        kind,
        Phase::CopyOut,
        Side::Local,
        format!("column {column}: {what}"),
    )
    .caused_by(error)
}

impl FromRow for Row {
    fn from_row(row: Row) -> Result<Self> {
        Ok(row)
    }
}

/// Compares what a program's tuple takes with what comes.
fn compare(columns: &[Column], wanted: &[(bool, &'static str)]) -> Result<()> {
    let mismatch = |message: String| {
        let (kind, phase) = (ErrorKind::SchemaMismatch, Phase::CopyOut);
        Err(Error::new(kind, phase, Side::Local, message))
    };
    if columns.len() != wanted.len() {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return mismatch(format!(
            "the rows have {} columns, and {} are converted: {}",
            columns.len(),
            wanted.len(),
            names.join(", ")
        ));
    }
    let wrong: Vec<String> = columns
        .iter()
        .zip(wanted)
        .filter(|(_, (accepts, _))| !accepts)
        .map(|(column, (_, rust))| {
            let Column { name, ty } = column;
            format!("column {name} is {ty}, which is no `{rust}`")
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => mismatch(wrong.join("; ")),
    }
}

macro_rules! tuples {
    ($($name:ident $at:tt)+) => {
        impl<$($name: FromSqlOwned),+> FromRow for ($($name,)+) {
            fn from_row(row: Row) -> Result<Self> {
                Ok(($(row.get::<$name>($at)?,)+))
            }

            fn check(columns: &[Column]) -> Result<()> {
                let accepts = |at: usize, accepts: fn(&tokio_postgres::types::Type) -> bool| {
                    columns.get(at).is_some_and(|column| accepts(&column.ty))
                };
                compare(columns, &[$((accepts($at, $name::accepts), std::any::type_name::<$name>())),+])
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0 B 1);
tuples!(A 0 B 1 C 2);
tuples!(A 0 B 1 C 2 D 3);
tuples!(A 0 B 1 C 2 D 3 E 4);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13 O 14);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13 O 14 P 15);
