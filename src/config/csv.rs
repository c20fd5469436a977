//! `csv` of a job and of a table: the options of COPY for CSV and text files.

use super::columns::column_names;
use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawCsv;
use crate::files::layout::FileOptions;

/// Reads the options of COPY. Values of the wrong form were reported with their layer.
pub(super) fn options(raw: RawCsv, path: &KeyPath, diagnostics: &mut Diagnostics) -> FileOptions {
    let byte = |text: Option<String>| text.and_then(|text| text.bytes().next());
    FileOptions {
        header: raw.header,
        delimiter: byte(raw.delimiter),
        null: raw.null,
        quote: byte(raw.quote),
        escape: byte(raw.escape),
        force_null: column_names(raw.force_null, &path.child("force_null"), diagnostics),
        encoding: raw.encoding,
    }
}
