//! The environment of a conninfo: variables, files, users.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// An argument, so that tests can say what is there.
pub struct Outside<'a> {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// The home directory, where `.pgpass`, `.postgresql` and `.pg_service.conf` are.
    pub home: Option<PathBuf>,
    /// The operating system's name for us: the default role.
    pub os_user: Option<String>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Is there such a file?
    pub exists: &'a dyn Fn(&Path) -> bool,
}

impl Outside<'_> {
    /// A variable that is set to something.
    pub fn var(&self, name: &str) -> Option<String> {
        self.vars
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// A path below the home directory.
    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path))
    }
}
