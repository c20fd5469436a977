//! pgBouncer in transaction mode before a pair of databases.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::service::{Service, free_port, give, left_out, own_directory, unprivileged};
use super::{Database, Databases, PATIENCE, wait_until};

/// A pooler. It is stopped when the value is dropped; until then its connections keep the databases from
/// being dropped.
pub struct Pooler {
    _service: Service,
    _directory: TempDir,
    port: u16,
}

impl Pooler {
    /// `None` with a message if pgBouncer is not installed.
    pub fn before(db: &Databases<'_>) -> Option<Self> {
        let paths = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from);
        let Some(program) = paths.into_iter().find(|path| path.exists()) else {
            left_out(
                "a pooler",
                "pgbouncer is not installed; `sh tests/faults.sh` does that",
            );
            return None;
        };
        let directory = own_directory();
        let port = free_port();
        let file = directory.path().join("pgbouncer.ini");
        let users = directory.path().join("users");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\nvia_source = {}\nvia_target = {}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 5\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            place_of(&db.source),
            place_of(&db.target),
            users.display()
        );
        fs::write(&file, settings).unwrap();
        give(directory.path());
        let child = unprivileged(program)
            .args(["-q"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service {
            child,
            signal: Signal::SIGINT,
        };
        wait_until(PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Pooler {
            _service: service,
            _directory: directory,
            port,
        })
    }

    /// The conninfo of the source's database.
    pub fn source(&self) -> String {
        self.conninfo("via_source")
    }

    /// The conninfo of the target's database.
    pub fn target(&self) -> String {
        self.conninfo("via_target")
    }

    fn conninfo(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable",
            self.port
        )
    }
}

fn place_of(database: &Database<'_>) -> String {
    let port = database.cluster.port();
    format!("host=127.0.0.1 port={port} dbname={}", database.name())
}
