//! Lines with colours, and a terminal that they are drawn on again and again.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::colours::{Stream, Tone};
use crate::harmless;

/// What lines are fitted to where there is no terminal.
const WIDTH: usize = 80;

/// Narrower terminals are not heeded.
const WIDTH_MIN: usize = 40;

/// Lines of a terminal that does not say how many it has.
const HEIGHT: usize = 24;

/// Another page of the terminal, without a cursor; and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// One line; its parts may have colours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Line(Vec<(String, Tone)>);

impl Line {
    pub(in crate::cli) fn of(text: String, tone: Tone) -> Self {
        Line(vec![(text, tone)])
    }

    pub(in crate::cli) fn plain(text: String) -> Self {
        Line::of(text, Tone::Plain)
    }

    pub(in crate::cli) fn push(&mut self, text: String, tone: Tone) {
        self.0.push((text, tone));
    }

    /// All of it in one tone.
    pub(in crate::cli) fn in_tone(self, tone: Tone) -> Self {
        Line::of(self.text(), tone)
    }

    /// Without colours, and without blanks at its end.
    pub(in crate::cli) fn text(&self) -> String {
        let parts: String = self.0.iter().map(|(text, _)| text.as_str()).collect();
        parts.trim_end().to_owned()
    }

    /// As it is printed: only the codes of colours are obeyed by a terminal.
    fn painted(&self, has_colours: bool) -> String {
        if !has_colours {
            return harmless::line(&self.text()).into_owned();
        }
        let mut painted = String::new();
        for (text, tone) in &self.0 {
            let (on, off) = tone.codes();
            painted += on;
            painted += &harmless::line(text);
            painted += off;
        }
        painted.trim_end().to_owned()
    }
}

/// Prints lines as results.
pub(in crate::cli) fn print_lines(lines: &[Line]) {
    let has_colours = Stream::Stdout.has_colours();
    let mut out = io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{}", line.painted(has_colours));
    }
}

/// How wide a line on stdout may be.
pub(in crate::cli) fn terminal_width() -> usize {
    size().map_or(WIDTH, |(width, _)| width.max(WIDTH_MIN))
}

/// How many lines the terminal has.
pub(in crate::cli) fn terminal_height() -> usize {
    size().map_or(HEIGHT, |(_, height)| height)
}

fn size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let (width, height) = is_terminal
        .then(|| terminal_size::terminal_size_of(stdout))
        .flatten()?;
    // Some say 0 where they do not know.
    let known = |number: u16, otherwise| match number {
        0 => otherwise,
        number => usize::from(number),
    };
    Some((known(width.0, WIDTH), known(height.0, HEIGHT)))
}

/// Can stdout's cursor be moved?
pub(in crate::cli) fn can_draw() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !is_dumb
}

/// A page of the terminal of its own. Dropping it shows what was there before.
pub(in crate::cli) struct Screen {
    has_colours: bool,
}

impl Screen {
    pub(in crate::cli) fn open() -> Self {
        write(OPEN);
        Screen {
            has_colours: Stream::Stdout.has_colours(),
        }
    }

    /// Shows these lines, and nothing else. They must fit.
    pub(in crate::cli) fn draw(&self, lines: &[Line]) {
        let mut text = String::from("\x1b[H");
        for line in lines {
            text += &line.painted(self.has_colours);
            text += "\x1b[K\r\n";
        }
        text += "\x1b[J";
        write(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(CLOSE);
    }
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_set_a_colour() {
        let mut line = Line::plain("a\x1b[31m".to_owned());
        line.push("bad ".to_owned(), Tone::Bad);
        assert_eq!(line.painted(true), "a\\x1b[31m\x1b[31mbad \x1b[0m");
        assert_eq!(line.painted(false), "a\\x1b[31mbad");
    }
}
