//! Faults of the machine around a server: a standby, a full disk, a pooler, a black hole. Where this machine
//! does not allow one, the test says why and is left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use rstest::rstest;

use super::places::{jobs, tables};
use crate::support::pooler::Pooler;
use crate::support::service::{give, left_out, run};
use crate::support::{
    Cluster, ClusterOptions, Connection, Database, Databases, PATIENCE, Standby, databases_on, job,
    job_between, pair, wait_until,
};

/// A copy that stops at row 2000 until the source's advisory lock 4713 is free.
const SLOW: &str = "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared(4713); END IF; RETURN i; END'";
const SLOWLY: &str = "\n[jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n";

#[test]
fn a_recovery_conflict_on_a_standby_is_tried_again() {
    let primary = Cluster::start_with(&ClusterOptions::default().source());
    let (_, target) = pair();
    let db = databases_on(&primary, target, "standby");
    fill(&db);
    db.source.sql(SLOW);
    db.source
        .sql("CREATE TABLE noise AS SELECT i FROM generate_series(1, 1000) i");
    let Some(standby) = Standby::of(&primary) else {
        return;
    };
    let conninfo = standby.conninfo(db.source.name());
    let there = Connection::open(&conninfo);
    there.sql("SELECT pg_advisory_lock(4713)");
    let config = jobs("truncate", SLOWLY).replace("max = 0", "max = 3, backoff = '100ms'");
    let job = job_between(&conninfo, &db.target.conninfo(), &config);
    let running = job.spawn(&["run", "j", "--json"]);
    let waiting = "pg_locks WHERE locktype = 'advisory' AND NOT granted";
    wait_until(PATIENCE, || there.count(waiting) == 1);

    db.source.sql("DELETE FROM noise");
    db.source.sql("VACUUM noise");

    wait_until(PATIENCE, || {
        there.count("pg_stat_database_conflicts WHERE confl_snapshot > 0") == 1
    });
    there.sql("SELECT pg_advisory_unlock(4713)");
    let outcome = running.wait(PATIENCE);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(
        outcome.report()["attempts"].as_u64().unwrap() > 1,
        "{outcome}"
    );
    db.assert_same("t");
}

#[test]
fn a_full_disk_leaves_the_old_rows() {
    let db = tables("full");
    db.both("ALTER TABLE t ADD PRIMARY KEY (id)");
    let directory = tempfile::Builder::new()
        .prefix("tableferry-disk.")
        .tempdir_in("/tmp")
        .unwrap();
    let Some(_disk) = Mounted::on(directory.path()) else {
        return;
    };
    let space = format!("small_{}", db.target.name());
    db.target.sql(&format!(
        "CREATE TABLESPACE {space} LOCATION '{}'",
        directory.path().display()
    ));
    db.target.sql(&format!(
        "ALTER TABLE t SET TABLESPACE {space}; INSERT INTO t VALUES (-1, 'old')"
    ));
    db.source
        .sql("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(4001, 64000) i");

    for mode in super::MODES {
        let outcome = job(&db, &jobs(mode, "")).run(&["run", "j", "--json"]);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert_eq!(outcome.report()["error"]["sqlstate"], "53100", "{outcome}");
        assert_eq!(
            db.target.value("SELECT string_agg(id::text, ',') FROM t"),
            "-1"
        );
    }
    db.target.sql("DROP TABLE t");
    db.target.sql(&format!("DROP TABLESPACE {space}"));
}

#[test]
fn a_copy_through_a_pooler_in_transaction_mode_is_exact_and_leaves_it_as_it_was() {
    let db = tables("pooler");
    let Some(pooler) = Pooler::before(&db) else {
        return;
    };
    db.both("ALTER TABLE t ADD PRIMARY KEY (id)");
    let rounds = super::MODES
        .into_iter()
        .flat_map(|mode| [(mode, ""), (mode, "workers = 3")]);
    for (mode, more) in rounds {
        db.target.sql("TRUNCATE t");
        let outcome = job_between(&pooler.source(), &pooler.target(), &jobs(mode, more))
            .run(&["run", "j", "--json"]);
        assert_eq!(outcome.code, Some(0), "{mode}: {outcome}");
        db.assert_same("t");
        // Whoever gets our backend next finds its own settings.
        let other = Connection::open(&pooler.target());
        assert_eq!(other.value("SHOW search_path"), "\"$user\", public");
        assert_eq!(other.value("SHOW lock_timeout"), "0");
    }
    // Its own connections to the databases would keep them.
    drop(pooler);
}

/// Behind the black hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swallowed {
    Both,
    Source,
    Target,
}

#[rstest]
fn a_black_hole_ends_the_run_and_frees_the_target_in_about_a_minute(
    #[values(Swallowed::Both, Swallowed::Source, Swallowed::Target)] swallowed: Swallowed,
) {
    let Some(hole) = BlackHole::new(swallowed as u32) else {
        return;
    };
    let options = || ClusterOptions::default().setting("listen_addresses", "*");
    let (source, target) = (
        Cluster::start_with(&options()),
        Cluster::start_with(&options()),
    );
    for cluster in [&source, &target] {
        cluster.set_hba(
            "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 10.0.0.0/8 trust\n",
        );
    }
    let db = databases_on(&source, &target, "hole");
    fill(&db);
    db.source.sql(SLOW);
    db.source.sql("SELECT pg_advisory_lock(4713)");
    // A Unix socket needs no network.
    let way = |database: &Database<'_>, other| match swallowed == other {
        true => database.socket_conninfo(),
        false => {
            let address = format!("host={}", hole.address);
            database.conninfo().replace("host=127.0.0.1", &address)
        }
    };
    let config = jobs("truncate", &format!("stall_timeout = '5s'{SLOWLY}"));
    let job = job_between(
        &way(&db.source, Swallowed::Target),
        &way(&db.target, Swallowed::Source),
        &config,
    );
    let mut run = Command::new("ip")
        .args([
            "netns",
            "exec",
            &hole.name,
            env!("CARGO_BIN_EXE_tableferry"),
            "run",
            "j",
            "--json",
        ])
        .env("TABLEFERRY_CONFIG", job.configuration())
        .stdout(fs::File::create(job.directory().join("report")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let waiting = "pg_locks WHERE locktype = 'advisory' AND NOT granted";
    wait_until(PATIENCE, || db.source.count(waiting) == 1);
    let lock = "pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'";
    assert_eq!(db.target.count(lock), 1);

    hole.open();
    let began = Instant::now();
    if swallowed == Swallowed::Target {
        // A slow source would be waited for, not the target.
        db.source.sql("SELECT pg_advisory_unlock(4713)");
    }

    let status = run.wait().unwrap();
    let ended = began.elapsed();
    let report = fs::read_to_string(job.directory().join("report")).unwrap();
    assert_eq!(status.code(), Some(1), "{report}");
    assert!(report.contains("\"stalled\""), "{report}");
    assert!(ended < Duration::from_secs(35), "{ended:?}");
    wait_until(Duration::from_secs(110), || db.target.count(lock) == 0);
    let freed = began.elapsed();
    println!(
        "black hole, {swallowed:?}: the run ended after {ended:.0?}, the target's lock was free after \
         {freed:.0?}"
    );
    if swallowed != Swallowed::Target {
        db.source.sql("SELECT pg_advisory_unlock(4713)");
    }
    assert!(freed < Duration::from_secs(90), "{freed:?}");
    assert_eq!(db.target.count("t"), 0);
}

fn fill(db: &Databases<'_>) {
    db.both("CREATE TABLE t (id int, filler text)");
    db.source
        .sql("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 4000) i");
}

/// A file system of a few megabytes.
struct Mounted(PathBuf);

impl Mounted {
    fn on(path: &Path) -> Option<Self> {
        let place = path.display().to_string();
        if !run(
            "mount",
            &["-t", "tmpfs", "-o", "size=4m", "tableferry", &place],
        ) {
            left_out("a full disk", "no tmpfs can be mounted here");
            return None;
        }
        give(path);
        Some(Mounted(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l", &self.0.display().to_string()]);
    }
}

/// A network namespace behind a bridge. A port that has left its bridge swallows all, and tells nobody.
struct BlackHole {
    name: String,
    bridge: String,
    port: String,
    address: String,
}

impl BlackHole {
    /// `number` tells those of one process apart.
    fn new(number: u32) -> Option<Self> {
        let id = std::process::id() % 60_000 * 3 + number;
        let net = format!("10.213.{}", 1 + id % 250);
        let hole = BlackHole {
            name: format!("tableferry-{id}"),
            bridge: format!("tfb{id}"),
            port: format!("tfp{id}"),
            address: format!("{net}.1"),
        };
        let (name, bridge, port) = (&hole.name, &hole.bridge, &hole.port);
        let inside = format!("tfi{id}");
        let made = Uid::effective().is_root()
            && [
                format!("netns add {name}"),
                format!("link add {bridge} type bridge"),
                // Of its own: with its port's address, packets would still come in by that port.
                format!("link set {bridge} address 02:00:0a:d5:00:01"),
                format!("addr add {net}.1/24 dev {bridge}"),
                format!("link set {bridge} up"),
                format!("link add {port} type veth peer name {inside}"),
                format!("link set {inside} netns {name}"),
                format!("link set {port} master {bridge} up"),
                format!("-n {name} addr add {net}.2/24 dev {inside}"),
                format!("-n {name} link set {inside} up"),
            ]
            .iter()
            .all(|command| run("ip", &command.split(' ').collect::<Vec<_>>()));
        if !made {
            left_out(
                "a black hole",
                "no network namespace with a bridge can be made here",
            );
            return None;
        }
        Some(hole)
    }

    fn open(&self) {
        // Outside of its bridge the port would answer for the host's address, and let packets in.
        let set = ["link", "set", &self.port, "arp", "off", "nomaster"];
        assert!(run("ip", &set));
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        run("ip", &["link", "del", &self.port]);
        run("ip", &["link", "del", &self.bridge]);
        run("ip", &["netns", "del", &self.name]);
    }
}
