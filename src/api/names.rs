//! Names of relations and columns, as a program writes them.

use super::wrong;
use crate::error::Result;
use crate::pg::ident::{Ident, QualifiedName};

/// A relation's name. *Errors:* `Config`.
pub(super) fn relation(name: &str) -> Result<QualifiedName> {
    QualifiedName::parse(name)
        .map_err(|error| wrong(format!("`{name}` is no relation's name: {error}")))
}

/// Columns' names. *Errors:* `Config`.
pub(super) fn idents(names: &[String]) -> Result<Vec<Ident>> {
    let mut idents = Vec::with_capacity(names.len());
    for name in names {
        let ident = Ident::parse(name)
            .map_err(|error| wrong(format!("`{name}` is no column's name: {error}")))?;
        if idents.contains(&ident) {
            return Err(wrong(format!("column {ident} is named twice")));
        }
        idents.push(ident);
    }
    Ok(idents)
}
