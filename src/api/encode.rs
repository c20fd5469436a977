//! Typed rows → binary COPY data, checked against the target's columns.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{BorrowToSql, IsNull, ToSql, WrongType};

use super::Column;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::wording::counted;

/// Bytes of rows that are given to the target at once, or one larger row.
pub(super) const BLOCK_BYTES_MAX: usize = 64 << 10;

/// What binary COPY data begins with: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
const TRAILER: i16 = -1;

/// A row that can be written: a tuple of up to 16 values, an array, slice or vector of values, or a
/// type of the program's own:
///
/// ```
/// use tableferry::{RowWriter, ToRow};
///
/// struct Order {
///     id: i64,
///     customer: Option<String>,
/// }
///
/// impl ToRow for Order {
///     fn write_to(&self, row: &mut RowWriter<'_>) {
///         row.value(&self.id).value(&self.customer);
///     }
/// }
/// ```
pub trait ToRow {
    /// Writes all values, in the order of the load's columns.
    fn write_to(&self, row: &mut RowWriter<'_>);
}

/// Takes the values of one row.
#[derive(Debug)]
pub struct RowWriter<'a> {
    columns: &'a [Column],
    bytes: &'a mut BytesMut,
    /// The number of values so far.
    given: usize,
    errors: Vec<(String, BoxedError)>,
}

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

impl RowWriter<'_> {
    /// Writes the next value. A value that the column does not take fails the whole row.
    #[inline]
    pub fn value<T: ToSql + ?Sized>(&mut self, value: &T) -> &mut Self {
        let column = self.columns.get(self.given);
        self.given += 1;
        let Some(column) = column else {
            return self;
        };
        let start = self.bytes.len();
        // NULL, unless there is a value.
        self.bytes.put_i32(-1);
        match value.to_sql_checked(&column.ty, self.bytes) {
            Ok(IsNull::Yes) => {}
            Ok(IsNull::No) => match i32::try_from(self.bytes.len() - start - 4) {
                Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes()),
                Err(error) => self.errors.push((column.name.clone(), error.into())),
            },
            Err(error) => self.errors.push((column.name.clone(), error)),
        }
        self
    }

    /// The columns that are written.
    pub fn columns(&self) -> &[Column] {
        self.columns
    }
}

/// Rows that are encoded and not yet given to the load.
#[derive(Debug)]
pub(super) struct Encoder {
    columns: Vec<Column>,
    fields: i16,
    bytes: BytesMut,
    rows: u64,
    /// Rows of all blocks.
    rows_before: u64,
}

impl Encoder {
    pub fn new(columns: Vec<Column>) -> Self {
        let mut bytes = BytesMut::with_capacity(2 * BLOCK_BYTES_MAX);
        bytes.put_slice(HEADER);
        Encoder {
            // A table has at most 1600 columns.
            fields: i16::try_from(columns.len()).unwrap_or(i16::MAX),
            columns,
            bytes,
            rows: 0,
            rows_before: 0,
        }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The number of bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Encodes one row. *Errors:* it does not fit the columns; nothing of it is kept.
    #[inline]
    pub fn row<R: ToRow + ?Sized>(&mut self, row: &R) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.put_i16(self.fields);
        let mut writer = RowWriter {
            columns: &self.columns,
            bytes: &mut self.bytes,
            given: 0,
            errors: Vec::new(),
        };
        row.write_to(&mut writer);
        let RowWriter { given, errors, .. } = writer;
        if given == self.columns.len() && errors.is_empty() {
            self.rows += 1;
            return Ok(());
        }
        self.bytes.truncate(start);
        let number = self.rows_before + self.rows + 1;
        Err(match given == self.columns.len() {
            true => refused(number, errors),
            false => self.miscounted(number, given),
        })
    }

    /// Takes the block that is ready, and the number of its rows.
    pub fn take(&mut self) -> (bytes::Bytes, u64) {
        let rows = std::mem::take(&mut self.rows);
        self.rows_before += rows;
        let block = self.bytes.split().freeze();
        self.bytes.reserve(2 * BLOCK_BYTES_MAX);
        (block, rows)
    }

    /// Ends the data.
    pub fn end(&mut self) {
        self.bytes.put_i16(TRAILER);
    }

    fn miscounted(&self, number: u64, given: usize) -> Error {
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let message = format!(
            "row {number} has {}, and {} written: {}",
            counted(given, "value"),
            match names.len() {
                1 => "1 column is".to_owned(),
                many => format!("{many} columns are"),
            },
            names.join(", ")
        );
        Error::new(
            ErrorKind::SchemaMismatch,
            Phase::CopyIn,
            Side::Local,
            message,
        )
        .hinted("name the columns to write, in the order of the values, with `columns`")
    }
}

/// The error of a row whose values the columns do not take.
fn refused(number: u64, errors: Vec<(String, BoxedError)>) -> Error {
    let (wrong, other): (Vec<_>, Vec<_>) = errors
        .into_iter()
        .partition(|(_, error)| error.is::<WrongType>());
    if wrong.is_empty() {
        let names: Vec<&str> = other.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!(
            "row {number}: no binary form of the value for column {}",
            names.join(", ")
        );
        // The causes may hold values.
        let causes: Vec<String> = other.iter().map(|(_, error)| error.to_string()).collect();
        return Error::new(ErrorKind::DataRejected, Phase::CopyIn, Side::Local, message)
            .with_detail(causes.join("; "));
    }
    let mismatches: Vec<String> = wrong
        .iter()
        .map(|(name, error)| format!("column {name}: {error}"))
        .collect();
    let message = format!("row {number}: {}", mismatches.join("; "));
    Error::new(ErrorKind::SchemaMismatch, Phase::CopyIn, Side::Local, message).hinted(
        "the documentation of `tableferry::types::ToSql` lists which Rust type is for which type; types of other \
         crates need a feature of the crate postgres-types",
    )
}

impl<R: ToRow + ?Sized> ToRow for &R {
    #[inline]
    fn write_to(&self, row: &mut RowWriter<'_>) {
        (**self).write_to(row);
    }
}

impl<T: BorrowToSql> ToRow for [T] {
    fn write_to(&self, row: &mut RowWriter<'_>) {
        for value in self {
            row.value(value.borrow_to_sql());
        }
    }
}

impl<T: BorrowToSql> ToRow for Vec<T> {
    fn write_to(&self, row: &mut RowWriter<'_>) {
        self.as_slice().write_to(row);
    }
}

impl<T: BorrowToSql, const N: usize> ToRow for [T; N] {
    fn write_to(&self, row: &mut RowWriter<'_>) {
        self.as_slice().write_to(row);
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: ToSql),+> ToRow for ($($name,)+) {
            #[inline]
            fn write_to(&self, row: &mut RowWriter<'_>) {
                #[expect(non_snake_case, reason = "a value is named like its type")]
                let ($($name,)+) = self;
                $(row.value($name);)+
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);
tuples!(A B C D E F G H I J K L M);
tuples!(A B C D E F G H I J K L M N);
tuples!(A B C D E F G H I J K L M N O);
tuples!(A B C D E F G H I J K L M N O P);
