//! README.md and docs/: every example is run, every link leads somewhere, and what must be explained is.

mod blocks;
mod commands;
mod configurations;
mod coverage;
mod links;
mod privileges;
mod reports;
mod statements;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation.
pub struct Page {
    /// Its path in the project: `docs/modes.md`.
    pub name: String,
    pub text: String,
}

impl Page {
    #[track_caller]
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(name));
        Page {
            name: name.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    }
}

/// README.md and all of docs/.
pub fn pages() -> Vec<Page> {
    let mut names = vec!["README.md".to_owned()];
    names.extend(markdown_in("docs"));
    assert!(names.len() > 10, "{names:?}");
    names.iter().map(|name| Page::read(name)).collect()
}

fn markdown_in(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(directory)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
        .map(|name| format!("{directory}/{name}"))
        .collect();
    names.sort();
    names
}
