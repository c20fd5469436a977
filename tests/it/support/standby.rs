//! Hot standbys.

use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cluster::Cluster;
use super::database::Connection;
use super::service::{Service, free_port, left_out, own_directory, unprivileged};
use super::{PATIENCE, wait_until};

/// A hot standby without patience for queries that are in the way of recovery.
pub struct Standby {
    _service: Service,
    _directory: TempDir,
    port: u16,
}

impl Standby {
    /// A copy of this server that follows it; `None`, and said, where that can't be made.
    pub fn of(primary: &Cluster) -> Option<Self> {
        let bin = primary
            .administrator()
            .value("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
        let bin = PathBuf::from(bin);
        if !bin.join("pg_basebackup").exists() {
            left_out("a standby", "this PostgreSQL has no pg_basebackup");
            return None;
        }
        let directory = own_directory();
        let data = directory.path().join("data");
        let copied = unprivileged(bin.join("pg_basebackup"))
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-R",
                "-c",
                "fast",
                "-X",
                "stream",
                "-p",
            ])
            .arg(primary.port().to_string())
            .arg("-D")
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        let port = free_port();
        let child = unprivileged(bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "max_standby_streaming_delay=0", "-c"])
            .arg(format!("port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service {
            child,
            signal: Signal::SIGQUIT,
        };
        let standby = Standby {
            _service: service,
            _directory: directory,
            port,
        };
        wait_until(PATIENCE, || {
            Connection::try_open(&standby.conninfo("postgres")).is_ok()
        });
        Some(standby)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it has replayed all that its primary has written so far.
    pub fn catch_up(&self, primary: &Cluster) {
        let written = primary
            .administrator()
            .value("SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        let here = Connection::open(&self.conninfo("postgres"));
        wait_until(PATIENCE, || here.value(&replayed) == "t");
    }

    /// Makes it a primary, and waits until it is.
    pub fn promote(&self) {
        let here = Connection::open(&self.conninfo("postgres"));
        assert_eq!(here.value("SELECT pg_promote()"), "t");
    }

    /// As `Cluster::conninfo`.
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable",
            self.port
        )
    }
}
