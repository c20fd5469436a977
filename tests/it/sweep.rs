//! Whatever dies, and whenever: the target holds the old rows or the new ones, and the report agrees.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::support::proxy::{Fault, Rule, Trigger, Way};
use crate::support::{Databases, Outcome, PATIENCE, Proxy, databases, job, job_between};

const NEW_ROWS: u64 = 4000;
const OLD_ROWS: u64 = 10;

fn tables(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    db.source.sql(&format!(
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {NEW_ROWS}) i"
    ));
    db.target.sql(&format!(
        "INSERT INTO t SELECT -i, 'old' FROM generate_series(1, {OLD_ROWS}) i"
    ));
    db
}

fn jobs(mode: &str, format: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\ntables = ['public.t']\n\
         format = '{format}'\nretry = {{ max = 0 }}\nstall_timeout = '30s'\nanalyze = false\n"
    )
}

/// The one invariant. Returns whether the new rows are there.
#[track_caller]
fn assert_old_or_new(db: &Databases<'_>, mode: &str, outcome: &Outcome, what: &str) -> bool {
    let old = db.target.count("t WHERE id < 0");
    let new = db
        .target
        .count("t WHERE id > 0 AND filler = repeat('x', 100)");
    let all = db.target.count("t");
    let published = new == NEW_ROWS
        && old
            == if matches!(mode, "append" | "upsert") {
                OLD_ROWS
            } else {
                0
            };
    let untouched = new == 0 && old == OLD_ROWS;
    assert!(
        (published || untouched) && all == old + new,
        "{what}: torn, {old} old and {new} new of {all}\n{outcome}"
    );
    let reported = outcome.report()["outcome"].as_str().unwrap();
    let expected_code = match (published, reported) {
        (true, "committed") => 0,
        (false, "rolled_back") => 1,
        _ => panic!("{what}: published = {published}, reported {reported}\n{outcome}"),
    };
    assert_eq!(outcome.code, Some(expected_code), "{what}: {outcome}");
    let run_id = outcome.report()["run_id"].as_str().unwrap();
    let ledger = format!("SELECT state FROM tableferry.run WHERE run_id = '{run_id}'");
    assert_eq!(db.target.value(&ledger), reported, "{what}: {outcome}");
    published
}

fn restore(db: &Databases<'_>) {
    db.target.sql(&format!(
        "TRUNCATE t; INSERT INTO t SELECT -i, 'old' FROM generate_series(1, {OLD_ROWS}) i"
    ));
}

#[rstest]
fn a_connection_cut_at_any_message_leaves_old_or_new(
    #[values("append", "truncate", "swap", "merge", "upsert")] mode: &str,
    #[values("binary", "text")] format: &str,
    #[values("source", "target")] side: &str,
    #[values(Way::ToServer, Way::ToClient)] way: Way,
) {
    let db = tables("cut");
    let mut struck = 0;
    // Every message of a session's life, then wider and wider steps through the rows.
    let mut at = 1;
    loop {
        let server = if side == "source" {
            &db.source
        } else {
            &db.target
        };
        let proxy = Proxy::start(server.cluster.port());
        let through = proxy.conninfo(&server.conninfo());
        let (source, target) = match side {
            "source" => (through, db.target.conninfo()),
            _ => (db.source.conninfo(), through),
        };
        let armed = proxy.arm(Rule::new(way, Trigger::Message(at), Fault::Cut).on_connection(1));
        let outcome =
            job_between(&source, &target, &jobs(mode, format)).run(&["run", "j", "--json"]);
        assert_old_or_new(&db, mode, &outcome, &format!("cut at message {at}"));
        restore(&db);
        if !armed.has_struck() {
            break;
        }
        struck += 1;
        at += if at < 60 { 3 } else { 397 };
    }
    assert!(struck >= 5, "only {struck} cuts");
    db.wait_until_left();
}

#[rstest]
fn a_killed_backend_rolls_back_and_is_named(
    #[values("append", "truncate", "swap", "merge", "upsert")] mode: &str,
    #[values("source", "target")] side: &str,
) {
    let db = tables("killed");
    // The source's rows wait for a lock that the test holds: the copy is in the middle of its work.
    db.source.sql(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared(4711); END IF; RETURN i; END'",
    );
    db.source.sql("SELECT pg_advisory_lock(4711)");
    let more = "[jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n";
    let config = format!("{}{more}", jobs(mode, "auto"));
    let running = job(&db, &config);
    let running = running.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("locktype = 'advisory'");

    let victim = if side == "source" {
        &db.source
    } else {
        &db.target
    };
    victim.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name LIKE 'tableferry%'",
    );

    let outcome = running.wait(PATIENCE);
    assert!(!assert_old_or_new(&db, mode, &outcome, "killed backend"));
    let error = &outcome.report()["error"];
    assert_eq!(error["side"], side, "{outcome}");
    assert_eq!(error["sqlstate"], "57P01", "{outcome}");
    assert_eq!(error["kind"], "server_shutdown", "{outcome}");
    db.source.sql("SELECT pg_advisory_unlock(4711)");
    db.wait_until_left();
}

#[rstest]
#[case(Signal::SIGINT)]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGKILL)]
fn a_signal_in_the_middle_of_a_copy_rolls_back_on_both_servers(#[case] signal: Signal) {
    let db = tables("signal");
    db.source.sql(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS
           'BEGIN IF i = 2000 THEN PERFORM pg_advisory_lock_shared(4712); END IF; RETURN i; END'",
    );
    db.source.sql("SELECT pg_advisory_lock(4712)");
    let config = format!(
        "{}[jobs.j.table.'public.t']\nset.id = 'public.slow(id)'\n",
        jobs("truncate", "auto")
    );
    let running = job(&db, &config);
    let running = running.spawn(&["run", "j", "--json"]);
    db.source.wait_for_waiter("locktype = 'advisory'");

    running.kill(signal);

    let outcome = running.wait(PATIENCE);
    if signal == Signal::SIGKILL {
        assert_eq!(outcome.signal, Some(9));
        // Nobody was left to send a cancel: the source's backend notices when its lock is free.
        db.source.sql("SELECT pg_advisory_unlock(4712)");
    } else {
        assert_eq!(outcome.code, Some(3), "{outcome}");
        assert_eq!(outcome.report()["outcome"], "cancelled", "{outcome}");
        assert_eq!(outcome.report()["error"]["kind"], "cancelled", "{outcome}");
    }
    db.wait_until_left();
    assert_eq!(db.target.count("t"), OLD_ROWS);
    assert_eq!(db.target.count("t WHERE id < 0"), OLD_ROWS);
}

#[test]
fn a_target_error_stops_the_source_promptly() {
    let db = databases("prompt");
    db.both("CREATE TABLE t (id bigint)");
    // More rows than could be sent in the test's patience.
    db.target.sql("ALTER TABLE t ADD CHECK (id <> 1000)");
    let config = "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\nretry = { max = 0 }\n\
         [jobs.j.table.'public.t']\nquery = 'SELECT pg_catalog.generate_series(1, 100000000000) AS id'\n";

    let outcome = job(&db, config).run(&["run", "j", "--json"]);

    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["error"]["sqlstate"], "23514", "{outcome}");
    db.wait_until_left();
}

#[test]
fn a_source_that_falls_silent_is_given_up_after_stall_timeout() {
    let db = tables("stall");
    let proxy = Proxy::start(db.source.cluster.port());
    let armed = proxy
        .arm(Rule::new(Way::ToClient, Trigger::Typed(b'd', 500), Fault::Stall).on_connection(1));
    let config = jobs("truncate", "auto").replace("'30s'", "'1s'");
    let outcome = job_between(
        &proxy.conninfo(&db.source.conninfo()),
        &db.target.conninfo(),
        &config,
    )
    .run(&["run", "j", "--json"]);

    assert!(armed.has_struck());
    assert_eq!(outcome.report()["error"]["kind"], "stalled", "{outcome}");
    assert_eq!(outcome.report()["error"]["side"], "source", "{outcome}");
    assert!(!assert_old_or_new(
        &db,
        "truncate",
        &outcome,
        "stalled source"
    ));
}

/// The connection dies at COMMIT: the request is lost, or it has arrived and its reply is lost. Without
/// a key, rows that are published twice would be there twice.
#[rstest]
#[case::commit_was_lost(Way::ToServer, 2)]
#[case::its_reply_was_lost(Way::ToClient, 1)]
fn a_lost_commit_in_append_mode_leaves_the_rows_there_once(
    #[case] way: Way,
    #[case] attempts: u64,
    #[values("target", "off")] history: &str,
) {
    let db = tables("reply");
    db.target.sql("ALTER TABLE t DROP CONSTRAINT t_pkey");
    let proxy = Proxy::start(db.target.cluster.port());
    // Not before the rows: the ledger has commits of its own.
    let copying = Rule::new(Way::ToServer, Trigger::Text("FROM STDIN"), Fault::Stall);
    let copying = proxy.arm(copying.on_connection(1));
    let config = format!(
        "{}[daemon]\nhistory = '{history}'\n",
        jobs("append", "auto")
    );
    let job = job_between(
        &db.source.conninfo(),
        &proxy.conninfo(&db.target.conninfo()),
        &config.replace("max = 0", "max = 2, backoff = '10ms'"),
    );
    let running = job.spawn(&["run", "j", "--json"]);
    copying.wait(PATIENCE);
    let lost = proxy.arm(Rule::new(way, Trigger::Text("COMMIT"), Fault::Cut).on_connection(1));
    proxy.resume();

    let outcome = running.wait(PATIENCE);

    assert!(lost.has_struck());
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "committed", "{outcome}");
    assert_eq!(outcome.report()["attempts"], attempts, "{outcome}");
    assert_eq!(db.target.count("t"), OLD_ROWS + NEW_ROWS);
    assert_eq!(db.target.count("t WHERE id > 0"), NEW_ROWS);
    let distinct = "SELECT count(DISTINCT id) FROM t";
    assert_eq!(db.target.value(distinct), (OLD_ROWS + NEW_ROWS).to_string());
    if history == "target" {
        assert_eq!(
            db.target.count("tableferry.run WHERE state = 'committed'"),
            1
        );
        assert_eq!(db.target.count("tableferry.run_table"), 1);
    }
    db.wait_until_left();
}
