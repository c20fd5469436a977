//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set. Ordered as a reader goes through the layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file; line and column count from 1, and are 0 where the whole file (or line) is meant.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    /// The path of a key in this table.
    #[must_use]
    pub fn child(&self, key: &str) -> KeyPath {
        let mut segments = self.0.clone();
        segments.push(key.to_owned());
        KeyPath(segments)
    }

    /// The table that holds the key.
    pub(super) fn parent(&self) -> KeyPath {
        KeyPath(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The key itself; empty for the whole configuration.
    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

impl From<&str> for KeyPath {
    /// A path of bare keys.
    fn from(dotted: &str) -> Self {
        KeyPath(dotted.split('.').map(str::to_owned).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
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
        if !self.key.0.is_empty() {
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

    #[test]
    fn an_error_reads_place_key_message() {
        let error = ConfigError {
            origin: Some(Origin::File {
                path: "config/tableferry.toml".into(),
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
