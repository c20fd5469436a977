//! The modes, and what distinguishes them. Code asks these questions, so that the compiler lists them for a new mode.

/// What the target holds afterwards.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Old rows and the source's rows.
    Append,
    /// Exactly the source's rows, by TRUNCATE and COPY.
    Truncate,
    /// Exactly the source's rows, by a shadow table.
    Swap,
    /// Exactly the source's rows, by their differences.
    Merge,
    /// The source's rows by key; others stay.
    Upsert,
}

impl Mode {
    /// The names of all modes, as the configuration writes them.
    pub(crate) const NAMES: [&'static str; 5] = ["append", "truncate", "swap", "merge", "upsert"];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Append => "append",
            Mode::Truncate => "truncate",
            Mode::Swap => "swap",
            Mode::Merge => "merge",
            Mode::Upsert => "upsert",
        }
    }

    /// The mode of this name.
    pub(crate) fn named(name: &str) -> Option<Mode> {
        let all = [
            Mode::Append,
            Mode::Truncate,
            Mode::Swap,
            Mode::Merge,
            Mode::Upsert,
        ];
        all.into_iter().find(|mode| mode.as_str() == name)
    }

    /// Rows stay that the source does not have.
    pub(crate) fn keeps_other_rows(self) -> bool {
        match self {
            Mode::Append | Mode::Upsert => true,
            Mode::Truncate | Mode::Swap | Mode::Merge => false,
        }
    }

    /// All rows are written anew, also those that are as they were.
    pub(crate) fn replaces_all_rows(self) -> bool {
        match self {
            Mode::Truncate | Mode::Swap => true,
            Mode::Append | Mode::Merge | Mode::Upsert => false,
        }
    }

    /// Staged rows are compared with the target's, and only rows that differ are written.
    pub(crate) fn compares(self) -> bool {
        match self {
            Mode::Merge | Mode::Upsert => true,
            Mode::Append | Mode::Truncate | Mode::Swap => false,
        }
    }

    /// Rows of the target are changed by UPDATE.
    pub(crate) fn updates(self) -> bool {
        match self {
            Mode::Merge | Mode::Upsert => true,
            Mode::Append | Mode::Truncate | Mode::Swap => false,
        }
    }

    /// Rows of the target are deleted by DELETE.
    pub(crate) fn deletes(self) -> bool {
        match self {
            Mode::Merge => true,
            Mode::Append | Mode::Truncate | Mode::Swap | Mode::Upsert => false,
        }
    }

    /// COPY writes the target itself, unless a watermark needs staging.
    pub(crate) fn loads_directly(self) -> bool {
        match self {
            Mode::Append | Mode::Truncate => true,
            Mode::Swap | Mode::Merge | Mode::Upsert => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_its_name() {
        for name in Mode::NAMES {
            assert_eq!(Mode::named(name).map(Mode::as_str), Some(name));
        }
        assert_eq!(Mode::named("sync"), None);
    }
}
