//! At most one daemon uses a `runtime_dir`, and at most one uses a `state_dir`. The pid file says which, and the
//! lock on it shows whether that daemon is alive.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// The lock that makes this process the daemon of a directory, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Instance {
    file: File,
}

/// Why this process is not the daemon.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process is.
    #[error(
        "another daemon{} is running with {key} {}; \
         stop it, or give this one a {key} of its own",
        .pid.map_or(String::new(), |pid| format!(" (pid {pid})")), .dir.display()
    )]
    Taken {
        /// Its process, if it has said so already.
        pid: Option<i32>,
        /// The directory's key in the configuration.
        key: &'static str,
        dir: PathBuf,
    },
    #[error("cannot write the pid file {}: {why}", .path.display())]
    Io { path: PathBuf, why: io::Error },
}

impl Instance {
    /// Makes this process the daemon of a `runtime_dir`.
    pub fn lock_runtime_dir(runtime_dir: &Path) -> Result<Self, InstanceError> {
        Instance::lock(pid_file(runtime_dir), 0o644, "runtime_dir", runtime_dir)
    }

    /// Makes this process the daemon of a `state_dir`. Two daemons would overwrite each other's state file.
    pub fn lock_state_dir(state_dir: &Path) -> Result<Self, InstanceError> {
        let path = state_dir.join("daemon.lock");
        Instance::lock(path, 0o600, "state_dir", state_dir)
    }

    fn lock(
        path: PathBuf,
        mode: u32,
        key: &'static str,
        dir: &Path,
    ) -> Result<Self, InstanceError> {
        let failed = |why| InstanceError::Io {
            path: path.clone(),
            why,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(&path)
            .map_err(failed)?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(InstanceError::Taken {
                    pid: read_pid(&mut file),
                    key,
                    dir: dir.to_owned(),
                });
            }
            Err(why) => return Err(failed(why.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Instance { file })
    }
}

impl Drop for Instance {
    /// Empties the file and does not remove it: a process that has it open must find the same file locked or
    /// free.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// A lock that belongs to the open file. Unlike a POSIX lock, it is not lost when the process closes another
/// handle.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn pid_file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("tableferry.pid")
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn written(runtime_dir: &Path) -> String {
        std::fs::read_to_string(pid_file(runtime_dir)).unwrap()
    }

    #[test]
    fn a_second_daemon_is_refused_by_name() {
        let dir = TempDir::new().unwrap();
        let first = Instance::lock_runtime_dir(dir.path()).unwrap();
        let pid = std::process::id();
        assert_eq!(written(dir.path()), format!("{pid}\n"));

        let error = Instance::lock_runtime_dir(dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("(pid {pid})")), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");

        drop(first);
        assert_eq!(written(dir.path()), "");
        Instance::lock_runtime_dir(dir.path()).unwrap();
    }

    #[test]
    fn what_a_killed_daemon_left_counts_for_nothing() {
        let dir = TempDir::new().unwrap();
        std::fs::write(pid_file(dir.path()), "1\nleft over from long ago").unwrap();
        let _instance = Instance::lock_runtime_dir(dir.path()).unwrap();
        assert_eq!(written(dir.path()), format!("{}\n", std::process::id()));
    }

    #[test]
    fn the_pid_file_is_not_written_elsewhere() {
        let dir = TempDir::new().unwrap();
        let outside = dir.path().join("precious");
        std::fs::write(&outside, "kept").unwrap();
        symlink(&outside, pid_file(dir.path())).unwrap();
        let error = Instance::lock_runtime_dir(dir.path()).unwrap_err();
        assert!(matches!(error, InstanceError::Io { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "kept");
    }

    #[test]
    fn no_runtime_dir_is_an_error_that_names_it() {
        let error = Instance::lock_runtime_dir(Path::new("/nonexistent/ferry")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/nonexistent/ferry/tableferry.pid"),
            "{error}"
        );
    }
}
