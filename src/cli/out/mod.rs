//! Everything that commands print: results to stdout, all else to stderr. No other module prints.
//!
//! Names and messages come from servers and files, so this module makes all of them harmless. A reader that
//! closes the pipe (`| head`) is not an error.

mod columns;
mod screen;

use std::io::{self, IsTerminal, Write};

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

pub(super) use self::columns::{Cell, Row as ColumnRow, in_columns};
pub(super) use self::screen::{
    Line, Screen, can_draw, print_lines, terminal_height, terminal_width,
};
use crate::harmless;
use crate::wording::wrapped;

/// The characters of an error that a table shows; all of it is in JSON and in the log.
const CELL_CHARS_MAX: usize = 200;

/// Prints one JSON object a line.
pub(super) fn print_json(value: &impl serde::Serialize) {
    if let Ok(line) = harmless::json_line(value) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// Prints one message as a result.
pub(super) fn print_text(text: &str) {
    let _ = writeln!(io::stdout(), "{}", harmless::message(text));
}

/// Prints lines whose parts are harmless: see [`harmless::line`].
pub(super) fn print_layout(text: &str) {
    let _ = writeln!(io::stdout(), "{}", harmless::layout(text));
}

/// Asks a person on a terminal. `None` where standard input is no terminal, or has ended.
pub(super) fn ask(question: &str) -> io::Result<Option<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let _ = write!(io::stderr(), "{}", harmless::line(question));
    let mut answer = String::new();
    match stdin.read_line(&mut answer)? {
        0 => Ok(None),
        _ => Ok(Some(answer)),
    }
}

/// Prints one message as a result, fitted to the terminal.
pub(super) fn print_fitted(text: &str) {
    print_layout(&fitted(&harmless::line(text), "", "  "));
}

/// The width of lines on stdout: the terminal's, or any.
pub(super) fn width_to_fit() -> usize {
    match io::stdout().is_terminal() {
        true => terminal_width(),
        false => usize::MAX,
    }
}

/// A table's name on both sides, once if they are the same.
pub(super) fn both_names(source: &str, target: &str) -> String {
    match source == target {
        true => target.to_owned(),
        false => format!("{source} → {target}"),
    }
}

/// A text that is fitted to the terminal, if stdout is one; its first line begins with `first`, others with `rest`.
pub(super) fn fitted(text: &str, first: &str, rest: &str) -> String {
    match io::stdout().is_terminal() {
        true => wrapped(text, terminal_width(), first, rest).join("\n"),
        false => format!("{first}{text}"),
    }
}

/// Prints one message to stderr; used by `complain!`.
pub(super) fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr(), "{}", harmless::message(text));
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

    /// Wraps cells instead of lines where stdout is a terminal. Names (the first column) take at most half of a line.
    pub(super) fn fit(self) -> Self {
        match io::stdout().is_terminal() {
            true => self.fit_into(terminal_width()),
            false => self,
        }
    }

    fn fit_into(mut self, width: usize) -> Self {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        self.0
            .set_width(width)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(names) = self.0.column_mut(0) {
            names.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(50)));
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
    fn long_names_do_not_make_a_table_wider_than_the_terminal() {
        let name = format!("public.{}", "long_name_".repeat(6));
        let mut table = PlainTable::new(["source", "target", "rows", "format"]).fit_into(80);
        let reason = "text: id: int4 → int8 differs in its binary form".to_owned();
        table.add([name.clone(), name, "about 10".to_owned(), reason]);
        let text = table.text();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn a_cell_is_one_line() {
        let mut table = PlainTable::new(["job", "error"]);
        table.add(["a\nb".to_owned(), in_short("one\n  two\x1b")]);
        assert_eq!(table.text(), " job   error\n a\\nb  one two\\x1b");
        assert_eq!(in_short(&"x".repeat(201)), format!("{}…", "x".repeat(200)));
    }
}
