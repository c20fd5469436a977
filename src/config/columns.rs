//! Lists of column names.

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use crate::pg::ident::Ident;

/// Parses and folds column names, and reports names that occur twice. Names that do not parse were reported with their layer.
pub(super) fn column_names(
    names: Option<Vec<String>>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Ident>> {
    let mut columns = Vec::new();
    for column in names?.iter().flat_map(|name| Ident::parse(name)) {
        if columns.contains(&column) {
            diagnostics.error(path, format!("names {column} twice"));
        }
        columns.push(column);
    }
    Some(columns)
}
