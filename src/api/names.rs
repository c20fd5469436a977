//! Names of relations and columns, as a program writes them.

use super::wrong;
use crate::config::one_off;
use crate::error::Result;
use crate::pg::ident::{Ident, QualifiedName};

/// A relation's name. *Errors:* `Config`.
pub(super) fn relation(name: &str) -> Result<QualifiedName> {
    QualifiedName::parse(name)
        .map_err(|error| wrong(format!("`{name}` is no relation's name: {error}")))
}

/// Columns' names; None if there are none. *Errors:* `Config`.
pub(super) fn columns(names: &[String]) -> Result<Option<Vec<Ident>>> {
    one_off::columns(names).map_err(wrong)
}
