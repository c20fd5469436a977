//! Finds the configuration files, and the directories that are used if no key names them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, KeyPath};
use super::request::Request;
use crate::private::is_read_by_others;

/// Where the file is looked for when neither flag nor environment names it.
const PLACES: [&str; 2] = ["/etc/tableferry/tableferry.toml", "config/tableferry.toml"];

/// The file that was named, or the first that exists.
pub(super) fn main_file(request: &Request) -> Result<PathBuf, ConfigError> {
    named(request)
        .or_else(first_in_place)
        .ok_or_else(|| ConfigError {
            origin: None,
            key: KeyPath::default(),
            message: format!(
                "no configuration: neither --config nor $TABLEFERRY_CONFIG names a file, and there is no {}",
                PLACES.join(" or ")
            ),
        })
}

fn named(request: &Request) -> Option<PathBuf> {
    let in_variable = || request.variable("TABLEFERRY_CONFIG").map(PathBuf::from);
    request.explicit.clone().or_else(in_variable)
}

fn first_in_place() -> Option<PathBuf> {
    let mut places = PLACES.iter().map(PathBuf::from);
    places.find(|place| fs::exists(place).unwrap_or(true))
}

/// Where a configuration is written that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewFile {
    /// Here. Commands find it without `--config` if that was not given now.
    At(PathBuf),
    /// There is a file.
    Exists(PathBuf),
}

/// The file that was named, else root's place, else the other one. A file that is not named must not hide behind one
/// that is found first.
pub fn new_file(request: &Request) -> NewFile {
    let root_or_not = || match request.uid {
        0 => PathBuf::from(PLACES[0]),
        _ => PathBuf::from(PLACES[1]),
    };
    let path = match named(request) {
        Some(path) => path,
        None => first_in_place().unwrap_or_else(root_or_not),
    };
    match fs::exists(&path).unwrap_or(true) {
        true => NewFile::Exists(path),
        false => NewFile::At(path),
    }
}

/// A file's text, and whether others than its owner may read it.
pub(super) struct FileText {
    pub path: PathBuf,
    pub text: io::Result<String>,
    pub is_shared: bool,
}

/// The file itself, then `conf.d/*.toml` beside it in name order.
pub(super) fn read(file: &Path) -> Vec<FileText> {
    let mut texts = vec![read_one(file.to_owned())];
    let folder = file.with_file_name("conf.d");
    let entries: io::Result<Vec<PathBuf>> =
        fs::read_dir(&folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match entries {
        Ok(mut paths) => {
            paths.retain(|path| is_layer(path));
            paths.sort();
            texts.extend(paths.into_iter().map(read_one));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => texts.push(FileText {
            path: folder,
            text: Err(error),
            is_shared: false,
        }),
    }
    texts
}

/// Editors leave files such as `.#name.toml` behind.
fn is_layer(path: &Path) -> bool {
    let is_hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "toml")
}

fn read_one(path: PathBuf) -> FileText {
    FileText {
        text: fs::read_to_string(&path),
        is_shared: is_read_by_others(&path),
        path,
    }
}

/// What `runtime_dir` and `state_dir` are by default.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directories {
    pub runtime: PathBuf,
    pub state: PathBuf,
}

/// systemd's directories, or root's, or the user's.
///
/// The runtime directory is in /tmp only for a user without `$XDG_RUNTIME_DIR` and without a home. Another
/// user could create it first, so its owner and mode must be checked.
pub(super) fn directories(request: &Request) -> Directories {
    // systemd separates several directories with colons; the first is used.
    let systemd = |name| {
        let listed = request.variable(name)?;
        Some(PathBuf::from(listed.split(':').next()?))
    };
    let per_user = |name| Some(PathBuf::from(request.variable(name)?).join("tableferry"));
    let is_root = request.uid == 0;
    let home = request
        .variable("HOME")
        .map(|home| Path::new(home).join(".local/state/tableferry"));
    let fallback = PathBuf::from(format!("/tmp/tableferry-{}", request.uid));
    let root = |path: &str| is_root.then(|| PathBuf::from(path));
    let state = systemd("STATE_DIRECTORY")
        .or_else(|| root("/var/lib/tableferry"))
        .or_else(|| per_user("XDG_STATE_HOME"))
        .or(home)
        .unwrap_or_else(|| fallback.join("state"));
    let runtime = systemd("RUNTIME_DIRECTORY")
        .or_else(|| root("/run/tableferry"))
        .or_else(|| per_user("XDG_RUNTIME_DIR"))
        .unwrap_or_else(|| match state.starts_with(&fallback) {
            true => fallback,
            false => state.join("run"),
        });
    Directories { runtime, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, &[], "/run/tableferry", "/var/lib/tableferry")]
    #[case(0, &[("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("STATE_DIRECTORY", "/var/lib/a")], "/run/a", "/var/lib/a")]
    #[case(7, &[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/home/x")], "/run/user/7/tableferry", "/home/x/.local/state/tableferry")]
    #[case(7, &[("XDG_STATE_HOME", "/s")], "/s/tableferry/run", "/s/tableferry")]
    #[case(7, &[("HOME", "/home/x")], "/home/x/.local/state/tableferry/run", "/home/x/.local/state/tableferry")]
    #[case(7, &[("HOME", "")], "/tmp/tableferry-7", "/tmp/tableferry-7/state")]
    fn directories_by_default(
        #[case] uid: u32,
        #[case] env: &[(&str, &str)],
        #[case] runtime: &str,
        #[case] state: &str,
    ) {
        let request = Request {
            env: env
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            uid,
            ..Request::default()
        };
        let expected = Directories {
            runtime: runtime.into(),
            state: state.into(),
        };
        assert_eq!(directories(&request), expected);
    }

    #[test]
    fn the_flag_wins_over_the_variable() {
        let mut request = Request {
            explicit: Some("a.toml".into()),
            env: vec![("TABLEFERRY_CONFIG".into(), "b.toml".into())],
            ..Request::default()
        };
        assert_eq!(main_file(&request).unwrap(), PathBuf::from("a.toml"));
        request.explicit = None;
        assert_eq!(main_file(&request).unwrap(), PathBuf::from("b.toml"));
    }

    #[test]
    fn conf_d_is_read_in_name_order_without_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let conf_d = folder.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        for name in ["20-b.toml", "10-a.toml", ".#hidden.toml", "note.txt"] {
            fs::write(conf_d.join(name), name).unwrap();
        }
        let file = folder.path().join("main.toml");
        fs::write(&file, "main").unwrap();
        let texts: Vec<_> = read(&file).into_iter().map(|f| f.text.unwrap()).collect();
        assert_eq!(texts, ["main", "10-a.toml", "20-b.toml"]);
    }

    #[rstest]
    #[case(0o600, false)]
    #[case(0o640, true)]
    #[case(0o604, true)]
    fn a_file_that_others_may_read_is_shared(#[case] mode: u32, #[case] is_shared: bool) {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_one(file.path().to_owned()).is_shared, is_shared);
    }
}
