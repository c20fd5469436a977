//! Standbys.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::cluster::Cluster;
use super::database::Connection;
use super::service::{Service, free_port, left_out, own_directory, unprivileged};
use super::{PATIENCE, wait_until};

/// A standby that cancels conflicting queries at once.
pub struct Standby {
    service: Service,
    directory: TempDir,
    port: u16,
}

impl Standby {
    /// A hot standby of this server; `None` with a message if that is not possible.
    pub fn of(primary: &Cluster) -> Option<Self> {
        Self::start(primary, true)
    }

    /// The same; a standby that is not hot refuses logins.
    pub fn start(primary: &Cluster, hot: bool) -> Option<Self> {
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
            .args([
                "-c",
                if hot {
                    "hot_standby=on"
                } else {
                    "hot_standby=off"
                },
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service {
            child,
            signal: Signal::SIGQUIT,
        };
        let standby = Standby {
            service,
            directory,
            port,
        };
        wait_until(PATIENCE, || match standby.try_open() {
            Ok(_) => hot,
            Err(error) => !hot && error.code().is_some_and(|code| code.code() == "57P03"),
        });
        Some(standby)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it has replayed all that its primary has written so far.
    pub fn catch_up(&self, primary: &Cluster) {
        // The servers of the tests commit asynchronously, and only WAL that was flushed is sent.
        let administrator = primary.administrator();
        administrator.sql(
            "BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, '', ''); COMMIT",
        );
        let written = administrator.value("SELECT pg_current_wal_flush_lsn()");
        drop(administrator);
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        let here = Connection::open(&self.conninfo("postgres"));
        wait_until(PATIENCE, || here.value(&replayed) == "t");
    }

    /// Promotes it and waits until it is a primary.
    pub fn promote(&self) {
        // As pg_ctl does.
        fs::write(self.directory.path().join("data/promote"), "").unwrap();
        let pid = Pid::from_raw(self.service.child.id().cast_signed());
        signal::kill(pid, Signal::SIGUSR1).unwrap();
        wait_until(PATIENCE, || {
            let recovers = |here: Connection| here.value("SELECT pg_is_in_recovery()");
            self.try_open().is_ok_and(|here| recovers(here) == "f")
        });
    }

    fn try_open(&self) -> Result<Connection, tokio_postgres::Error> {
        Connection::try_open(&self.conninfo("postgres"))
    }

    /// As `Cluster::conninfo`.
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable",
            self.port
        )
    }
}
