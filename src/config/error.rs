//! The errors of a configuration, with their places.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was set. Ordered as a reader goes through the layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file; line and column count from 1, and are 0 where the whole file (or line) is meant.
    File {
        /// The file.
        path: Arc<Path>,
        line: usize,
        /// The character in the line.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                for number in [line, column] {
                    if *number > 0 {
                        write!(f, ":{number}")?;
                    }
                }
                Ok(())
            }
            Origin::Environment(variable) => write!(f, "${variable}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// The way to a key: `jobs.orders.table."mart.customers".where`.
///
/// One text, each name followed by `END`: the places of thousands of jobs' keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(String);

/// Stands in no name, and sorts before all that does.
const END: char = '\0';

impl KeyPath {
    /// The path of a key in this table.
    #[must_use]
    pub fn child(&self, key: &str) -> KeyPath {
        let mut path = String::with_capacity(self.0.len() + key.len() + 1);
        path.push_str(&self.0);
        if key.contains(END) {
            path.push_str(&key.replace(END, "\u{fffd}"));
        } else {
            path.push_str(key);
        }
        path.push(END);
        KeyPath(path)
    }

    /// The table that holds the key.
    pub(super) fn parent(&self) -> KeyPath {
        let above = self.0.strip_suffix(END).and_then(|path| path.rfind(END));
        KeyPath(above.map_or(String::new(), |end| self.0[..=end].to_owned()))
    }

    /// Its names, from the outermost on.
    pub(super) fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split_terminator(END)
    }

    /// The key itself; empty for the whole configuration.
    pub(super) fn last(&self) -> &str {
        self.names().next_back().unwrap_or_default()
    }

    /// The whole configuration is meant.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'n> FromIterator<&'n str> for KeyPath {
    fn from_iter<N: IntoIterator<Item = &'n str>>(names: N) -> Self {
        let root = KeyPath::default();
        names.into_iter().fold(root, |path, name| path.child(name))
    }
}

impl From<&str> for KeyPath {
    /// A path of bare keys.
    fn from(dotted: &str) -> Self {
        dotted.split('.').collect()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.names().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            let bare = !segment.is_empty()
                && segment
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if bare {
                write!(f, "{dot}{segment}")?;
            } else {
                // TOML's quotes: a literal string where that saves escaping.
                let quote = if segment.contains('"') { '\'' } else { '"' };
                write!(f, "{dot}{quote}{}{quote}", segment.escape_default())?;
            }
        }
        Ok(())
    }
}

/// One thing that is wrong. `Display` is one paragraph: where, which key, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where it was set, unless nothing was.
    pub origin: Option<Origin>,
    /// Which key; empty where the whole file is meant.
    pub key: KeyPath,
    /// What is wrong. Never holds a password.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_root() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, in the order of the files. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        ConfigErrors(vec![error])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], &[], "")]
    #[case(&["jobs"], &[], "jobs")]
    #[case(&["jobs", "a.b"], &["jobs"], "a.b")]
    #[case(&["jobs", "", "x"], &["jobs", ""], "x")]
    #[case(&[""], &[], "")]
    #[case(&["a\0b", "c"], &["a\u{fffd}b"], "c")]
    fn a_path_has_a_parent_and_a_last_name(
        #[case] names: &[&str],
        #[case] parent: &[&str],
        #[case] last: &str,
    ) {
        let path: KeyPath = names.iter().copied().collect();
        assert_eq!(path.names().count(), names.len());
        assert_eq!(path.is_root(), names.is_empty());
        assert_eq!(path.parent(), parent.iter().copied().collect());
        assert_eq!(path.last(), last);
    }

    #[test]
    fn an_error_reads_place_key_message() {
        let error = ConfigError {
            origin: Some(Origin::File {
                path: Path::new("config/tableferry.toml").into(),
                line: 12,
                column: 0,
            }),
            key: KeyPath::from("jobs.orders.table")
                .child("mart.customers")
                .child("where"),
            message: "unknown key".into(),
        };
        assert_eq!(
            error.to_string(),
            r#"config/tableferry.toml:12: jobs.orders.table."mart.customers".where: unknown key"#
        );
    }
}
