//! Throw-away PostgreSQL servers that cannot outlive the test process.
//!
//! A server is the child of a small shell script, its guardian, which takes orders from a pipe.
//! When the pipe closes, because the `Cluster` was dropped or the test process ended in whatever
//! way (SIGKILL included, and statics are never dropped), the guardian stops the server and removes
//! its directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};

use super::database::{Connection, Database};

const START_ATTEMPTS_MAX: usize = 5;
const START_WAIT: Duration = Duration::from_secs(60);
const CREATE_DATABASE_WAIT: Duration = Duration::from_secs(30);

/// `$1` is the directory to remove at the end, the rest is the server's command line.
/// Orders: `start`, or the name of a signal to send and then to wait for the server's end. Every order is
/// answered by a line with the server's process id.
const GUARDIAN: &str = r#"
directory=$1; shift
pid=
stop() {
    [ -n "$pid" ] || return
    kill -s "$1" "$pid" 2>/dev/null
    # A server that has only just begun still ignores signals.
    { sleep 10; kill -s KILL "$pid"; } >/dev/null 2>&1 & killer=$!
    wait "$pid" 2>/dev/null
    kill -s KILL "$killer" 2>/dev/null
    pid=
}
trap '' INT TERM HUP
while read -r order; do
    case $order in
        start) "$@" </dev/null >>"$directory/log" 2>&1 & pid=$! ;;
        *) stop "$order" ;;
    esac
    echo "$pid"
done
stop QUIT
# The children of a killed server may live, and write, for a moment longer.
for try in 1 2 3 4 5 6 7 8 9; do rm -rf "$directory" 2>/dev/null && break; sleep 0.2; done
"#;

/// The two servers that all tests share: the source and the target.
///
/// The target's `template1` contains many types, so that a type which a test creates on both sides never
/// has the same OID: code that uses OIDs instead of names fails.
pub fn pair() -> (&'static Cluster, &'static Cluster) {
    static SOURCE: OnceLock<Cluster> = OnceLock::new();
    static TARGET: OnceLock<Cluster> = OnceLock::new();
    std::thread::scope(|scope| {
        let source = scope.spawn(|| {
            SOURCE.get_or_init(|| Cluster::start_with(&ClusterOptions::default().source()))
        });
        let target = TARGET.get_or_init(|| {
            let target = Cluster::start_with(&ClusterOptions::default().target());
            target.shift_oids();
            target
        });
        (
            source
                .join()
                .expect("the source server did not start; see above"),
            target,
        )
    })
}

/// The settings of a server that differ from the defaults.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    settings: Vec<(String, String)>,
    binaries: Option<PathBuf>,
    side: Option<&'static str>,
}

impl ClusterOptions {
    /// Adds a line to `postgresql.conf`, without quotes: `setting("max_connections", "5")`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes the server's programs from this directory.
    pub fn binaries(mut self, directory: impl Into<PathBuf>) -> Self {
        self.binaries = Some(directory.into());
        self
    }

    /// Takes the PostgreSQL version that this test run uses for sources.
    pub fn source(mut self) -> Self {
        self.side = Some("SOURCE");
        self
    }

    /// Takes the PostgreSQL version that this test run uses for targets.
    pub fn target(mut self) -> Self {
        self.side = Some("TARGET");
        self
    }
}

/// A running server with the superuser `postgres`, as which everybody may log in (trust).
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    guardian: Mutex<Guardian>,
    administrator: OnceLock<Mutex<Connection>>,
}

struct Guardian {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Cluster {
    /// Starts a server of this test run's version.
    pub fn start() -> Self {
        Self::start_with(&ClusterOptions::default())
    }

    /// Creates a data directory and starts a server on it. Panics with the server's log if that fails.
    pub fn start_with(options: &ClusterOptions) -> Self {
        let binaries = options
            .binaries
            .clone()
            .unwrap_or_else(|| find_binaries(options.side));
        let owner = unprivileged_user();
        let directory = tempfile::Builder::new()
            .prefix("tableferry-it.")
            .tempdir_in(place())
            .expect("cannot make a directory for a server")
            .keep();
        give_to(&directory, owner.as_ref());
        // Before initdb, so that the guardian removes the directory in any case.
        let mut guardian = Guardian::spawn(&binaries, &directory, owner.as_ref());
        initdb(&binaries, &directory, owner.as_ref());

        for attempt in 1..=START_ATTEMPTS_MAX {
            let port = free_port();
            configure(&directory, port, &options.settings, owner.as_ref());
            match wait_ready(&directory, &guardian.order("start")) {
                Ok(()) => {
                    return Self {
                        directory,
                        port,
                        guardian: Mutex::new(guardian),
                        administrator: OnceLock::new(),
                    };
                }
                // Another process took the port before the server did.
                Err(log) if attempt < START_ATTEMPTS_MAX && log.contains("already in use") => {
                    guardian.order("QUIT");
                    let _ = fs::remove_file(directory.join("log"));
                }
                Err(log) => panic!(
                    "PostgreSQL did not start in {}:\n{log}",
                    directory.display()
                ),
            }
        }
        unreachable!("the last attempt returns or panics");
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, for `host=`.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// The server's data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Libpq's key=value conninfo for the superuser in `database`, over TCP without TLS.
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable",
            self.port
        )
    }

    /// The server's version: 150018 is 15.18.
    pub fn version(&self) -> u32 {
        self.administrator()
            .value("SHOW server_version_num")
            .parse()
            .unwrap()
    }

    /// Creates an empty database. It is dropped with the value.
    pub fn database(&self, name: &str) -> Database<'_> {
        static COUNTER: AtomicUsize = AtomicUsize::new(1);
        let name = format!("{name}_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let started = Instant::now();
        // Another CREATE DATABASE, or a session that has just ended, may still use template1.
        while let Err(error) = self
            .administrator()
            .try_sql(&format!("CREATE DATABASE {name} TEMPLATE template1"))
        {
            let busy = error.code().is_some_and(|code| code.code() == "55006");
            assert!(
                busy && started.elapsed() < CREATE_DATABASE_WAIT,
                "CREATE DATABASE {name}: {error:?}"
            );
        }
        Database::new(self, name)
    }

    /// A new superuser session in `database`.
    pub fn connect(&self, database: &str) -> Connection {
        Connection::open(&self.conninfo(database))
    }

    /// The shared session in the database `postgres`, for statements that concern the whole server.
    pub fn administrator(&self) -> MutexGuard<'_, Connection> {
        let connection = self
            .administrator
            .get_or_init(|| Mutex::new(self.connect("postgres")));
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.is_closed() {
            *connection = self.connect("postgres");
        }
        connection
    }

    /// Stops the server by `signal` (`TERM` smart, `INT` fast, `QUIT` immediate, `KILL`) and waits for its end.
    pub fn stop(&self, signal: &str) {
        self.guardian().order(signal);
        let _ = fs::remove_file(self.directory.join("log"));
    }

    /// Starts a stopped server again, on the same port.
    pub fn start_again(&self) {
        let started = Instant::now();
        loop {
            let pid = self.guardian().order("start");
            match wait_ready(&self.directory, &pid) {
                Ok(()) => return,
                // After SIGKILL of the server, its child processes take a moment to exit.
                Err(log) if log.contains("still in use") && started.elapsed() < START_WAIT => {
                    self.stop("TERM");
                }
                Err(log) => panic!(
                    "PostgreSQL did not start again in {}:\n{log}",
                    self.directory.display()
                ),
            }
        }
    }

    /// Puts a file into the data directory, owned by the server's user and readable only by it.
    pub fn write_file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.data_directory().join(name);
        write_owned(&path, contents.as_ref(), unprivileged_user().as_ref());
        path
    }

    /// Replaces `pg_hba.conf` and has the server read it. Keep a `local all postgres trust` line.
    pub fn set_hba(&self, lines: &str) {
        self.write_file("pg_hba.conf", lines);
        self.administrator().sql("SELECT pg_reload_conf()");
    }

    fn guardian(&self) -> MutexGuard<'_, Guardian> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shift_oids(&self) {
        self.connect("template1").sql(
            "CREATE SCHEMA junk;
             DO $$ BEGIN
                 FOR i IN 1..150 LOOP
                     EXECUTE format('CREATE TYPE junk.pair_%s AS (a int, b text)', i);
                     EXECUTE format('CREATE TYPE junk.label_%s AS ENUM (''x'', ''y'')', i);
                 END LOOP;
                 FOR i IN 1..150 LOOP
                     IF i % 10 = 0 THEN EXECUTE format('DROP TYPE junk.pair_%s', i); END IF;
                 END LOOP;
             END $$",
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.administrator.take();
        let guardian = self
            .guardian
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        guardian.orders.take();
        let _ = guardian.child.wait();
    }
}

impl Guardian {
    fn spawn(binaries: &Path, directory: &Path, owner: Option<&User>) -> Self {
        let mut child = as_user("sh", owner)
            .args(["-c", GUARDIAN, "tableferry-test-server"])
            .arg(directory)
            .arg(binaries.join("postgres"))
            .arg("-D")
            .arg(directory.join("data"))
            .current_dir("/")
            // A group of its own: Ctrl-C on the tests must not reach the guardian before it has tidied up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run sh");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            answers,
        }
    }

    /// Sends an order and waits until it is carried out. Returns the server's process id.
    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders.as_mut().unwrap(), "{order}").expect("the guardian is gone");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the guardian does not answer");
        assert!(answer.ends_with('\n'), "the guardian is gone");
        answer.trim().to_owned()
    }
}

/// The directory of the server's programs: `$TABLEFERRY_PG_BIN_SOURCE` or `_TARGET`, `$TABLEFERRY_PG_BIN`,
/// then pg_config, the directories of Debian and Fedora, and `$PATH`.
fn find_binaries(side: Option<&str>) -> PathBuf {
    let has_server = |directory: &PathBuf| {
        directory.join("postgres").is_file() && directory.join("initdb").is_file()
    };
    let variables = side
        .map(|side| format!("TABLEFERRY_PG_BIN_{side}"))
        .into_iter()
        .chain(["TABLEFERRY_PG_BIN".to_owned()]);
    for variable in variables {
        if let Some(value) = std::env::var_os(&variable).filter(|value| !value.is_empty()) {
            return std::env::split_paths(&value)
                .find(has_server)
                .unwrap_or_else(|| {
                    panic!("${variable} names no directory with postgres and initdb: {value:?}")
                });
        }
    }
    let mut candidates = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        candidates.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    packaged.sort();
    candidates.extend(packaged.into_iter().rev().map(|(_, directory)| directory));
    candidates.push(PathBuf::from("/usr/libexec/postgresql"));
    candidates.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    candidates.into_iter().find(has_server).expect(
        "no PostgreSQL server found (postgres and initdb): install one (`sh tests/run.sh` does), \
         or name its directory in $TABLEFERRY_PG_BIN",
    )
}

/// The user that the server runs as: PostgreSQL does not run as root.
fn unprivileged_user() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .expect("running as root needs a user `postgres` or `nobody` to run PostgreSQL as");
    Some(user)
}

fn as_user(program: impl AsRef<OsStr>, owner: Option<&User>) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = owner {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
}

fn give_to(path: &Path, owner: Option<&User>) {
    if let Some(user) = owner {
        nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("chown");
    }
}

fn write_owned(path: &Path, contents: &[u8], owner: Option<&User>) {
    fs::write(path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    give_to(path, owner);
}

/// Where servers have their directories: in memory, if there is enough. Tests make and drop thousands of databases, which
/// some file systems take long for. A socket's path has at most 107 bytes, so it is not $TMPDIR, which may be long.
fn place() -> &'static str {
    const MEMORY: &str = "/dev/shm";
    const ENOUGH_BYTES: u64 = 8 << 30;
    let free = nix::sys::statvfs::statvfs(MEMORY)
        .map(|found| found.blocks_available() * found.fragment_size());
    match free {
        Ok(free) if free >= ENOUGH_BYTES => MEMORY,
        Ok(_) | Err(_) => "/tmp",
    }
}

fn initdb(binaries: &Path, directory: &Path, owner: Option<&User>) {
    let output = as_user(binaries.join("initdb"), owner)
        .args([
            "--no-sync",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
        ])
        .args(["--locale=C", "-D"])
        .arg(directory.join("data"))
        .current_dir("/")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}/initdb: {error}", binaries.display()));
    if !output.status.success() {
        let _ = fs::remove_dir_all(directory);
        panic!("initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn configure(directory: &Path, port: u16, settings: &[(String, String)], owner: Option<&User>) {
    let mut lines = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
         fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n\
         wal_level = replica\nmax_connections = 100\nmax_prepared_transactions = 50\nshared_buffers = '32MB'\n\
         log_min_messages = warning\nlog_line_prefix = '%m [%p] %d '\n",
        directory.display()
    );
    for (name, value) in settings {
        lines.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    }
    let path = directory.join("data/postgresql.auto.conf");
    write_owned(&path, lines.as_bytes(), owner);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

/// Waits for the word `ready` in postmaster.pid, or for the log to say why it never comes. A server that
/// was killed leaves its file behind, so the process id must agree.
fn wait_ready(directory: &Path, pid: &str) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let state = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = state.lines();
        if lines.next() == Some(pid) && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        // Clients that connect too early get a FATAL error.
        let failed = log.lines().any(|line| {
            ["FATAL:", "PANIC:"].iter().any(|word| line.contains(word))
                && !line.contains("the database system is")
        });
        if failed || started.elapsed() > START_WAIT {
            return Err(log);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
