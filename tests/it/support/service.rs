//! Other programs than the servers, and helpers to run them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

/// Prints that a part of the tests is left out on this machine.
pub fn left_out(what: &str, why: &str) {
    println!("left out: {what}: {why}");
}

/// Runs as the servers' user, and is killed when this thread ends.
pub fn unprivileged(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if Uid::effective().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command
        .arg(program.as_ref())
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

/// A directory that belongs to the servers' user.
pub fn own_directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("tableferry-it.")
        .tempdir_in("/tmp")
        .unwrap();
    give(directory.path());
    directory
}

/// Changes the owner of everything in it to the servers' user.
pub fn give(path: &Path) {
    if Uid::effective().is_root() {
        assert!(run(
            "chown",
            &["-R", "postgres:postgres", &path.display().to_string()]
        ));
    }
}

/// Whether the program exited with 0.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// A port on which nothing listens at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A program in the background that ends by `signal`.
pub struct Service {
    pub child: Child,
    pub signal: Signal,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = signal::kill(Pid::from_raw(self.child.id().cast_signed()), self.signal);
        let _ = self.child.wait();
    }
}
