//! One daemon for each `runtime_dir` and each `state_dir`: the pid file, and the lock on it that says
//! whether it is true.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// This process is the daemon of the directory, until this is dropped or the process ends.
#[derive(Debug)]
pub struct Instance {
    file: File,
}

/// Why this process is not the daemon.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another one is.
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
        /// Where.
        dir: PathBuf,
    },
    /// The file system.
    #[error("cannot write the pid file {}: {why}", .path.display())]
    Io {
        /// The pid file.
        path: PathBuf,
        /// Its words.
        why: io::Error,
    },
}

impl Instance {
    /// Becomes the daemon of this `runtime_dir`.
    pub fn lock_runtime_dir(runtime_dir: &Path) -> Result<Self, InstanceError> {
        Instance::lock(pid_file(runtime_dir), 0o644, "runtime_dir", runtime_dir)
    }

    /// Becomes the daemon that remembers in this `state_dir`. *Errors:* another one does; each would
    /// overwrite what the other has written.
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

    /// The process that is the daemon of this `runtime_dir` now. A pid file that a killed daemon
    /// left behind has no lock, and counts for nothing.
    pub fn holder(runtime_dir: &Path) -> Option<i32> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(pid_file(runtime_dir))
            .ok()?;
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
        let locked = i32::from(lock.l_type) != libc::F_UNLCK;
        locked.then(|| read_pid(&mut file)).flatten()
    }
}

impl Drop for Instance {
    /// Emptied, not removed: whoever has the file open already must find the same file locked or free.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// A lock that belongs to the open file: unlike flock's it can be asked about without being taken for
/// a moment (which could keep out a daemon that starts just then), unlike POSIX's it is not lost when
/// the process closes another handle.
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

    #[test]
    fn a_second_daemon_is_refused_by_name() {
        let dir = TempDir::new().unwrap();
        let first = Instance::lock_runtime_dir(dir.path()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Instance::holder(dir.path()), Some(pid));

        let error = Instance::lock_runtime_dir(dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("(pid {pid})")), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");

        drop(first);
        assert_eq!(Instance::holder(dir.path()), None);
        Instance::lock_runtime_dir(dir.path()).unwrap();
    }

    #[test]
    fn what_a_killed_daemon_left_counts_for_nothing() {
        let dir = TempDir::new().unwrap();
        std::fs::write(pid_file(dir.path()), "1\nleft over from long ago").unwrap();
        assert_eq!(Instance::holder(dir.path()), None);
        let _instance = Instance::lock_runtime_dir(dir.path()).unwrap();
        let text = std::fs::read_to_string(pid_file(dir.path())).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn somebody_who_asks_does_not_keep_a_daemon_out() {
        let dir = TempDir::new().unwrap();
        std::fs::write(pid_file(dir.path()), "").unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| (0..2000).all(|_| Instance::holder(dir.path()).is_none()));
            while !asking.is_finished() {
                // Emptied on drop, so that nobody sees this process's pid.
                Instance::lock_runtime_dir(dir.path()).map(drop).unwrap();
            }
            let _ = asking.join().unwrap();
        });
    }

    #[test]
    fn the_pid_file_is_not_written_elsewhere() {
        let dir = TempDir::new().unwrap();
        let outside = dir.path().join("precious");
        std::fs::write(&outside, "kept").unwrap();
        symlink(&outside, pid_file(dir.path())).unwrap();
        let error = Instance::lock_runtime_dir(dir.path()).unwrap_err();
        assert!(matches!(error, InstanceError::Io { .. }), "{error}");
        assert_eq!(Instance::holder(dir.path()), None);
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
