//! Finds files in a directory that jobs read or write. Files outside of it are refused.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a file cannot be used: a sentence without the file's name.
#[derive(Debug)]
pub enum UnusablePath {
    /// The configuration or the contents of the directory must be changed.
    Misplaced(String),
    /// An error of the operating system.
    Io(io::Error),
}

impl std::fmt::Display for UnusablePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UnusablePath::Misplaced(why) => f.write_str(why),
            UnusablePath::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for UnusablePath {
    fn from(error: io::Error) -> Self {
        UnusablePath::Io(error)
    }
}

/// Is this the name of a file in a directory or below it? *Errors:* why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let path = Path::new(name);
    if name.is_empty() || name.ends_with('/') || path.file_name().is_none() {
        return Err("is no file name".to_owned());
    }
    if name.contains('\0') {
        return Err("contains a NUL byte".to_owned());
    }
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_));
    match path.components().all(stays) {
        true => Ok(()),
        false => Err("leaves the server's `dir`: name a file beneath it, without `..`".to_owned()),
    }
}

/// The path of a file to read. Symbolic links are followed if they stay beneath the directory.
pub fn source(directory: &Path, name: &str) -> Result<PathBuf, UnusablePath> {
    check_name(name).map_err(UnusablePath::Misplaced)?;
    let directory = fs::canonicalize(directory)?;
    let path = fs::canonicalize(directory.join(name))?;
    beneath(&directory, &path)?;
    Ok(path)
}

/// The path of a file to write. An existing file must be a regular file, because it is replaced.
pub fn target(directory: &Path, name: &str) -> Result<PathBuf, UnusablePath> {
    check_name(name).map_err(UnusablePath::Misplaced)?;
    let directory = fs::canonicalize(directory)?;
    let path = directory.join(name);
    let parent = fs::canonicalize(path.parent().unwrap_or(&directory))?;
    beneath(&directory, &parent)?;
    let path = match path.file_name() {
        Some(file) => parent.join(file),
        None => path,
    };
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_symlink() => Err(UnusablePath::Misplaced(
            "is a symbolic link, which would be replaced: name the file itself".to_owned(),
        )),
        Ok(found) if !found.is_file() => {
            Err(UnusablePath::Misplaced("is not a regular file".to_owned()))
        }
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(error.into()),
    }
}

fn beneath(directory: &Path, path: &Path) -> Result<(), UnusablePath> {
    match path.starts_with(directory) {
        true => Ok(()),
        false => Err(UnusablePath::Misplaced(
            "is reached by a symbolic link that leaves the server's `dir`".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_stay_beneath_the_directory() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let dir = inside.path();
        fs::write(outside.path().join("secret.csv"), "x").unwrap();
        fs::write(dir.join("a.csv"), "x").unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/b.csv"), "x").unwrap();
        symlink(outside.path(), dir.join("out")).unwrap();
        symlink(outside.path().join("secret.csv"), dir.join("s.csv")).unwrap();
        symlink("sub/b.csv", dir.join("b.csv")).unwrap();

        for name in ["a.csv", "sub/b.csv", "b.csv"] {
            assert!(source(dir, name).is_ok(), "{name}");
        }
        for name in [
            "../a.csv",
            "/etc/passwd",
            "out/secret.csv",
            "s.csv",
            "",
            "sub/",
            ".",
        ] {
            assert!(source(dir, name).is_err(), "{name}");
        }
        for name in ["a.csv", "sub/c.csv", "new.csv"] {
            assert!(target(dir, name).is_ok(), "{name}");
        }
        for name in ["../a.csv", "out/c.csv", "s.csv", "b.csv", "sub", "no/c.csv"] {
            assert!(target(dir, name).is_err(), "{name}");
        }
    }
}
