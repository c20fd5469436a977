//! A program that uses the library as the source of a run: what it gives, and what it has to know first.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio_postgres::types::{Kind, Type};

use crate::error::{Phase, Result};
use crate::files::reader::FileReader;
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;

/// A column that is written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type that values are converted to or from. For a column that is written and whose type is a domain,
    /// this is the type below the domain.
    pub ty: Type,
}

/// The program's end of a run. A run takes each part once.
#[derive(Debug)]
pub struct Fed {
    reader: Mutex<Option<FileReader>>,
    /// Receives the columns, in the order in which the program gives them, when the target is ready
    /// for rows. None: what the program gives is read as a file is, and needs no types.
    ready: Mutex<Option<oneshot::Sender<Vec<Column>>>>,
}

impl Fed {
    pub fn new(reader: FileReader, ready: Option<oneshot::Sender<Vec<Column>>>) -> Self {
        Fed {
            reader: Mutex::new(Some(reader)),
            ready: Mutex::new(ready),
        }
    }

    pub(super) fn take_reader(&self) -> Option<FileReader> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.take()
    }

    pub(super) fn wants_types(&self) -> bool {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.is_some()
    }

    pub(super) fn tell_ready(&self, columns: Vec<Column>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = ready.take() {
            // A program that has dropped its end has ended the rows, too.
            let _ = ready.send(columns);
        }
    }
}

/// The columns that the program gives. The server only parses a statement for that, which needs no privilege.
pub(super) async fn columns(target: &Session, table: &CopyPlan) -> Result<Vec<Column>> {
    if table.columns.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = table.columns.iter().map(|c| c.name.sql()).collect();
    let values: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
        table.target.sql(),
        names.join(", "),
        values.join(", ")
    );
    let prepared = target.answer(Phase::Inspect, target.client().prepare(&sql));
    let failed = |error| target.error(Phase::Inspect, error).on(&table.target);
    let statement = prepared.await?.map_err(failed)?;
    let columns = table.columns.iter().zip(statement.params());
    Ok(columns
        .map(|(column, ty)| Column {
            name: column.name.as_str().to_owned(),
            ty: base(ty),
        })
        .collect())
}

/// The binary form of a domain's value is that of the type below it.
fn base(ty: &Type) -> Type {
    match ty.kind() {
        Kind::Domain(below) => base(below),
        _ => ty.clone(),
    }
}
