//! Rows of columns that fit a width, with lines below a row. (pure)

use super::screen::Line;
use crate::cli::colours::Tone;
use crate::harmless;
use crate::wording::wrapped;

/// Between two columns.
const GAP: &str = "  ";

/// A part of a row.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Cell {
    text: String,
    /// Its column, with the heading, is aligned to the right.
    is_number: bool,
}

impl Cell {
    pub(in crate::cli) fn text(text: impl Into<String>) -> Self {
        Cell {
            text: text.into(),
            is_number: false,
        }
    }

    pub(in crate::cli) fn number(number: impl ToString) -> Self {
        Cell {
            text: number.to_string(),
            is_number: true,
        }
    }
}

/// One row. The first cell is a name. One that is longer than its column has a line of its own.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Row<const N: usize> {
    pub cells: [Cell; N],
    /// The tone of one of the cells.
    pub tone: (usize, Tone),
    /// What needs attention.
    pub below: Vec<(String, Tone)>,
}

/// The lines of these rows. None is wider than `width`, if that has room for all columns but the first and the first
/// one's heading.
pub(in crate::cli) fn in_columns<const N: usize>(
    headings: [&str; N],
    rows: &[Row<N>],
    width: usize,
) -> Vec<Line> {
    let rows: Vec<Row<N>> = rows.iter().map(harmless_row).collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    let name_min = widths.first().copied().unwrap_or_default();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = cell.text.chars().count().max(*width);
        }
    }
    let others: usize = widths.iter().skip(1).map(|width| width + GAP.len()).sum();
    if let Some(name) = widths.first_mut() {
        *name = (*name).min(width.saturating_sub(others).max(name_min));
    }
    let mut heads = headings.map(Cell::text);
    for (at, head) in heads.iter_mut().enumerate() {
        let is_number = |row: &Row<N>| row.cells.get(at).is_some_and(|cell| cell.is_number);
        head.is_number = rows.iter().any(is_number);
    }
    let mut lines = vec![line(&heads, &widths, (0, Tone::Plain)).in_tone(Tone::Heading)];
    for mut row in rows {
        if let (Some(name), Some(room)) = (row.cells.first_mut(), widths.first())
            && name.text.chars().count() > *room
        {
            let parts = wrapped(&std::mem::take(&mut name.text), width, "", "  ");
            lines.extend(parts.into_iter().map(Line::plain));
        }
        lines.push(line(&row.cells, &widths, row.tone));
        for (text, tone) in &row.below {
            let parts = wrapped(text, width, "    ", "      ");
            lines.extend(parts.into_iter().map(|part| Line::of(part, *tone)));
        }
    }
    lines
}

fn line<const N: usize>(cells: &[Cell; N], widths: &[usize; N], (at, tone): (usize, Tone)) -> Line {
    let mut line = Line::default();
    for (number, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let tone = match number == at {
            true => tone,
            false => Tone::Plain,
        };
        let padding = width.saturating_sub(cell.text.chars().count());
        let (before, after) = match cell.is_number {
            true => (padding, 0),
            false => (0, padding),
        };
        line.push(" ".repeat(before), Tone::Plain);
        line.push(cell.text.clone(), tone);
        line.push(format!("{:after$}{GAP}", ""), Tone::Plain);
    }
    line
}

fn harmless_row<const N: usize>(row: &Row<N>) -> Row<N> {
    let line = |text: &str| harmless::line(text).into_owned();
    Row {
        cells: row.cells.each_ref().map(|cell| Cell {
            text: line(&cell.text),
            is_number: cell.is_number,
        }),
        tone: row.tone,
        below: row
            .below
            .iter()
            .map(|(text, tone)| (line(text), *tone))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &[&str], width: usize) -> Vec<String> {
        let row = |name: &&str| Row {
            cells: [Cell::text(*name), Cell::number(1234), Cell::text("binary")],
            tone: (0, Tone::Plain),
            below: Vec::new(),
        };
        let rows: Vec<Row<3>> = names.iter().map(row).collect();
        let lines = in_columns(["table", "rows", "format"], &rows, width);
        lines.iter().map(Line::text).collect()
    }

    #[test]
    fn numbers_are_aligned_to_the_right_with_their_heading() {
        let lines = ["table     rows  format", "public.t  1234  binary"];
        assert_eq!(shown(&["public.t"], 80), lines);
        assert_eq!(shown(&["public.t"], usize::MAX), lines);
    }

    #[test]
    fn a_name_without_room_has_a_line_of_its_own() {
        let lines = [
            "table  rows  format",
            "public.t",
            "       1234  binary",
            "t      1234  binary",
        ];
        assert_eq!(shown(&["public.t", "t"], 19), lines);
    }
}
