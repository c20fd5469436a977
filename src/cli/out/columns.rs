//! Rows of columns that fit a width, with lines below a row. (pure)

use super::screen::Line;
use crate::cli::colours::Tone;
use crate::harmless;
use crate::wording::wrapped;

/// The narrowest column of names. A longer name has a line of its own.
const NAME_WIDTH_MIN: usize = 12;

/// Between two columns.
const GAP: &str = "  ";

/// One row. The first cell is a name, which may be long.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Row<const N: usize> {
    pub cells: [String; N],
    /// The tone of one of the cells.
    pub tone: (usize, Tone),
    /// What needs attention.
    pub below: Vec<(String, Tone)>,
}

/// The lines of these rows. None is wider than `width`, if that has room for all columns but the first.
pub(in crate::cli) fn in_columns<const N: usize>(
    headings: [&str; N],
    rows: &[Row<N>],
    width: usize,
) -> Vec<Line> {
    let rows: Vec<Row<N>> = rows.iter().map(harmless_row).collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    let others: usize = widths.iter().skip(1).map(|width| width + GAP.len()).sum();
    if let Some(name) = widths.first_mut() {
        *name = (*name).min(width.saturating_sub(others).max(NAME_WIDTH_MIN));
    }
    let mut lines = vec![line(headings, &widths, (0, Tone::Plain)).in_tone(Tone::Heading)];
    for row in &rows {
        let mut cells = row.cells.each_ref().map(String::as_str);
        if let (Some(name), Some(room)) = (cells.first_mut(), widths.first())
            && name.chars().count() > *room
        {
            lines.extend(wrapped(name, width, "", "").into_iter().map(Line::plain));
            *name = "";
        }
        lines.push(line(cells, &widths, row.tone));
        for (text, tone) in &row.below {
            let parts = wrapped(text, width, "    ", "      ");
            lines.extend(parts.into_iter().map(|part| Line::of(part, *tone)));
        }
    }
    lines
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N], (at, tone): (usize, Tone)) -> Line {
    let mut line = Line::default();
    for (number, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
        let tone = match number == at {
            true => tone,
            false => Tone::Plain,
        };
        line.push(cell.to_owned(), tone);
        let padding = width.saturating_sub(cell.chars().count());
        line.push(format!("{:padding$}{GAP}", ""), Tone::Plain);
    }
    line
}

fn harmless_row<const N: usize>(row: &Row<N>) -> Row<N> {
    let line = |text: &String| harmless::line(text).into_owned();
    Row {
        cells: row.cells.each_ref().map(line),
        tone: row.tone,
        below: row
            .below
            .iter()
            .map(|(text, tone)| (line(text), *tone))
            .collect(),
    }
}
