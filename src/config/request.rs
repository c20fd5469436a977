//! What selects the configuration that is read: flags and environment.

use std::path::PathBuf;

/// A snapshot of the process, so that tests need no process of their own.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--config`.
    pub explicit: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Flags that set a key: its path, dotted as in TOML, and its text.
    pub overrides: Vec<(String, String)>,
    /// The effective user, for the default directories.
    pub uid: u32,
}

impl Request {
    /// This process's environment and user.
    pub fn from_process(explicit: Option<PathBuf>) -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Request {
            explicit,
            env: std::env::vars_os()
                .map(|(name, value)| (lossy(name), lossy(value)))
                .collect(),
            overrides: Vec::new(),
            uid: nix::unistd::Uid::effective().as_raw(),
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}
