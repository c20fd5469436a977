//! Everything that commands print: results to stdout, all else to stderr. No other module prints.
//!
//! Names and messages come from servers and files, so this module makes all of them harmless. A reader that
//! closes the pipe (`| head`) is not an error.

use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};

use crate::harmless;

/// The characters of an error that a table shows; all of it is in JSON and in the log.
const CELL_CHARS_MAX: usize = 200;

/// Prints one JSON object a line.
pub(super) fn print_json(value: &impl serde::Serialize) {
    if let Ok(line) = harmless::json_line(value) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Prints one message as a result.
pub(super) fn print_text(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", harmless::message(text));
}

/// Prints lines whose parts are harmless: see [`harmless::line`].
pub(super) fn print_layout(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", harmless::layout(text));
}

/// Prints one message to stderr; used by `complain!`.
pub(super) fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless::message(text));
}

/// Prints one message to stderr.
macro_rules! complain {
    ($($arguments:tt)*) => {
        crate::cli::out::to_stderr(&format!($($arguments)*))
    };
}
pub(super) use complain;

/// A table without lines, for people.
pub(super) struct PlainTable(Table);

impl PlainTable {
    pub(super) fn new<H: Into<Row>>(header: H) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        PlainTable(table)
    }

    /// Wraps cells instead of lines where stdout is a terminal. Names (the first column) stay whole.
    pub(super) fn fit(mut self) -> Self {
        let width = std::io::stdout()
            .is_terminal()
            .then(terminal_size::terminal_size)
            .flatten();
        if let Some((terminal_size::Width(width), _)) = width {
            self.0
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic);
            if let Some(names) = self.0.column_mut(0) {
                names.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    pub(super) fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.0
            .add_row(cells.map(|cell| harmless::line(&cell).into_owned()));
    }

    pub(super) fn align_right(&mut self, columns: impl IntoIterator<Item = usize>) {
        for index in columns {
            if let Some(column) = self.0.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }

    pub(super) fn text(&self) -> String {
        self.0.trim_fmt()
    }

    pub(super) fn print(&self) {
        print_layout(&self.text());
    }
}

/// The beginning of an error of several lines, for a cell of a table.
pub(super) fn in_short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line() {
        let mut table = PlainTable::new(["job", "error"]);
        table.add(["a\nb".to_owned(), in_short("one\n  two\x1b")]);
        assert_eq!(table.text(), " job   error\n a\\nb  one two\\x1b");
        assert_eq!(in_short(&"x".repeat(201)), format!("{}…", "x".repeat(200)));
    }
}
