//! Whether output has colours: <https://no-color.org> and <https://bixense.com/clicolors>. (pure, but for [`Stream`])

use std::io::IsTerminal;

/// Where the output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// What a piece of text means to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    /// It needs attention, and is no failure.
    Notice,
    Heading,
}

impl Stream {
    pub fn has_colours(self) -> bool {
        let is_terminal = match self {
            Stream::Stdout => std::io::stdout().is_terminal(),
            Stream::Stderr => std::io::stderr().is_terminal(),
        };
        wanted(|name| std::env::var(name).ok(), is_terminal)
    }
}

impl Tone {
    /// What switches the colour on, and off again.
    pub fn codes(self) -> (&'static str, &'static str) {
        match self {
            Tone::Plain => ("", ""),
            Tone::Good => ("\x1b[32m", "\x1b[0m"),
            Tone::Bad => ("\x1b[31m", "\x1b[0m"),
            Tone::Notice => ("\x1b[33m", "\x1b[0m"),
            Tone::Heading => ("\x1b[1m", "\x1b[0m"),
        }
    }
}

fn wanted(variable: impl Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    let is_set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if is_set("NO_COLOR").is_some() {
        return false;
    }
    if is_set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    let is_off = is_set("CLICOLOR").is_some_and(|value| value == "0");
    let is_dumb = is_set("TERM").is_none_or(|term| term == "dumb");
    is_terminal && !is_off && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[("TERM", "xterm")], true, true)]
    #[case(&[("TERM", "xterm")], false, false)]
    #[case(&[("TERM", "dumb")], true, false)]
    #[case(&[], true, false)]
    #[case(&[("TERM", "xterm"), ("NO_COLOR", "1")], true, false)]
    #[case(&[("TERM", "xterm"), ("NO_COLOR", "")], true, true)]
    #[case(&[("TERM", "xterm"), ("CLICOLOR", "0")], true, false)]
    #[case(&[("TERM", "xterm"), ("CLICOLOR", "1")], true, true)]
    #[case(&[("CLICOLOR_FORCE", "1")], false, true)]
    #[case(&[("CLICOLOR_FORCE", "0")], false, false)]
    #[case(&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true, true)]
    #[case(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false)]
    fn a_terminal_has_colours_unless_somebody_objects(
        #[case] variables: &[(&str, &str)],
        #[case] is_terminal: bool,
        #[case] expected: bool,
    ) {
        let find = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(wanted(find, is_terminal), expected);
    }
}
