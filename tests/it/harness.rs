//! The test support itself: if these fail, no other result means anything.

use std::time::Duration;

use super::support::proxy::{Fault, Rule, Trigger, Way};
use super::support::{self, Cluster, Connection, PATIENCE, Proxy, wait_until};

#[test]
fn databases_are_separate_and_compared_by_rows() {
    let one = support::databases("separate");
    let other = support::databases("separate");
    one.both("CREATE TABLE t (id int, note text)");
    one.source.sql("INSERT INTO t VALUES (1, 'a'), (2, NULL)");
    one.target.sql("INSERT INTO t VALUES (2, NULL), (1, 'a')");
    one.assert_same("public.t");
    assert_eq!(one.source.rows("SELECT note FROM t WHERE id = 2"), [[None]]);
    assert!(
        other.source.try_sql("SELECT FROM t").is_err(),
        "the table is in another database"
    );

    one.target.sql("DELETE FROM t WHERE id = 2");
    let compare = std::panic::AssertUnwindSafe(|| one.assert_same("public.t"));
    assert!(
        std::panic::catch_unwind(compare).is_err(),
        "a difference must fail the test"
    );
}

#[test]
fn the_same_type_has_another_oid_on_the_other_side() {
    let db = support::databases("oids");
    db.both("CREATE TYPE mood AS ENUM ('fine')");
    let oid = "SELECT 'mood'::regtype::oid";
    let source_oid = db.source.value(oid);
    assert_ne!(source_oid, db.target.value(oid));
}

#[test]
fn nothing_is_left_of_a_dropped_cluster() {
    let cluster = Cluster::start();
    let directory = cluster.socket_directory().to_owned();
    assert_eq!(cluster.connect("postgres").value("SELECT 1"), "1");
    cluster.stop("KILL");
    cluster.start_again();
    assert_eq!(cluster.connect("postgres").value("SELECT 1"), "1");
    let conninfo = cluster.conninfo("postgres");
    drop(cluster);
    assert!(!directory.exists());
    assert!(Connection::try_open(&conninfo).is_err());
}

#[test]
fn proxy_forwards_and_counts() {
    let db = support::databases("proxy");
    let proxy = Proxy::start(db.source.cluster.port());
    let seen = proxy.arm(Rule::new(
        Way::ToServer,
        Trigger::Text("generate_series"),
        Fault::Observe,
    ));
    let through = Connection::open(&proxy.conninfo(&db.source.conninfo()));
    assert_eq!(
        through.rows("SELECT * FROM generate_series(1, 1000)").len(),
        1000
    );
    assert_eq!(seen.wait(PATIENCE).connection, 1);
    assert_eq!(proxy.connections(), 1);
    assert!(proxy.messages(Way::ToClient) > 1000);
    assert!(proxy.bytes(Way::ToClient) > 1000);
}

#[test]
fn proxy_survives_the_ssl_request() {
    let db = support::databases("proxy");
    let proxy = Proxy::start(db.source.cluster.port());
    let conninfo = proxy
        .conninfo(&db.source.conninfo())
        .replace("=disable", "=prefer");
    assert_eq!(Connection::open(&conninfo).value("SELECT 1"), "1");
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn proxy_cuts_at_a_message_before_and_after_forwarding_it() {
    let db = support::databases("proxy");
    db.source.sql("CREATE TABLE t (id int)");
    let proxy = Proxy::start(db.source.cluster.port());
    for (after, rows) in [(false, 0), (true, 1)] {
        let rule = Rule::new(Way::ToServer, Trigger::Text("INSERT"), Fault::Cut);
        let cut = proxy.arm(if after { rule.after() } else { rule });
        let through = Connection::open(&proxy.conninfo(&db.source.conninfo()));
        assert!(through.try_sql("INSERT INTO t VALUES (1)").is_err());
        cut.wait(PATIENCE);
        // The server notices the end of the connection in its own time.
        wait_until(PATIENCE, || db.source.value(OTHER_SESSIONS) == "0");
        assert_eq!(db.source.count("t"), rows);
    }
}

#[test]
fn proxy_cuts_mid_message_and_by_reset() {
    let db = support::databases("proxy");
    let proxy = Proxy::start(db.source.cluster.port());
    let through = Connection::open(&proxy.conninfo(&db.source.conninfo()));
    let before = proxy.bytes(Way::ToClient);
    let cut = proxy.arm(Rule::new(Way::ToClient, Trigger::Byte(5001), Fault::Reset));
    assert!(through.try_sql("SELECT repeat('x', 100000)").is_err());
    cut.wait(PATIENCE);
    assert_eq!(proxy.bytes(Way::ToClient) - before, 5001);
}

#[test]
fn proxy_half_closes() {
    let db = support::databases("proxy");
    let proxy = Proxy::start(db.source.cluster.port());
    let through = Connection::open(&proxy.conninfo(&db.source.conninfo()));
    let closed = proxy.arm(Rule::new(
        Way::ToServer,
        Trigger::Message(1),
        Fault::HalfClose,
    ));
    assert!(
        through.try_sql("SELECT 1").is_err(),
        "the server saw the end and left"
    );
    closed.wait(PATIENCE);
}

#[test]
fn proxy_stalls_and_resumes() {
    let db = support::databases("proxy");
    let proxy = Proxy::start(db.source.cluster.port());
    let through = Connection::open(&proxy.conninfo(&db.source.conninfo()));
    let stalled = proxy.arm(Rule::new(
        Way::ToClient,
        Trigger::Typed(b'D', 3),
        Fault::Stall,
    ));
    std::thread::scope(|scope| {
        let query = scope.spawn(|| through.rows("SELECT * FROM generate_series(1, 5)").len());
        stalled.wait(PATIENCE);
        assert_eq!(db.source.value(OTHER_SESSIONS), "1");
        assert!(!query.is_finished());
        proxy.resume();
        assert_eq!(query.join().unwrap(), 5);
    });
}

#[test]
fn a_job_runs_the_binary_in_a_clean_environment() {
    let db = support::databases("job");
    let job = support::job(&db, "");
    let outcome = job.env("PGHOST", "nowhere.invalid").run(&["--version"]);
    assert_eq!(outcome.signal, None, "{outcome}");
}

#[test]
#[should_panic(expected = "in vain")]
fn waiting_has_a_bound() {
    wait_until(Duration::from_millis(20), || false);
}

const OTHER_SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity \
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
