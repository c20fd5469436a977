//! What became of a COMMIT may be learnt long after the run is over.

use nix::sys::signal::Signal;
use rstest::rstest;

use crate::support::daemon::{Daemon, configuration, home};
use crate::support::hang::{hang_at_commit, wait_waiting};
use crate::support::{Databases, PATIENCE, Proxy, databases, job, wait_until};

/// Adds the source's rows: publishing twice would show.
fn append(more: &str) -> String {
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = 'append'\ntables = ['public.t']\n\
         analyze = false\nretry = {{ max = 0 }}\n{more}\n"
    )
}

fn tables(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1), (2)");
    db
}

#[rstest]
#[case::it_is_committed(true)]
#[case::it_is_rolled_back(false)]
fn a_run_left_in_doubt_is_settled_when_the_target_is_back(#[case] commits: bool) {
    let db = tables("doubt");
    let schema = job(&db, &append("")).run(&["schema"]);
    db.target.sql(&schema.stdout);
    let hanging = hang_at_commit(&db.target);
    let proxy = Proxy::start(db.target.cluster.port());
    let direct = configuration(&db, &append("timeout = '5s'"));
    let through = proxy.conninfo(&db.target.conninfo());
    let home = home(&direct.replace(&db.target.conninfo(), &through));
    let daemon = Daemon::start(&home);

    let asking = home.spawn(&["trigger", "j", "--wait"]);
    wait_waiting(&db.target, "COMMIT");
    proxy.refuse(true);
    proxy.cut();
    let asked = asking.wait(PATIENCE);
    assert_eq!(asked.code, Some(4), "{asked}");

    let backend =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'";
    if !commits {
        db.target
            .sql(&format!("SELECT pg_terminate_backend(({backend}))"));
        wait_until(PATIENCE, || db.target.rows(backend).is_empty());
    }
    drop(hanging);
    wait_until(PATIENCE, || db.target.rows(backend).is_empty());
    assert_eq!(db.target.count("t"), if commits { 2 } else { 0 });
    proxy.refuse(false);

    if commits {
        daemon.wait_for(1, "not run: ", "j");
        assert_eq!(daemon.count("started", "j"), 1);
    } else {
        daemon.wait_for(1, "was lost", "j");
        daemon.wait_for(1, "committed", "j");
    }
    assert_eq!(db.target.count("t"), 2, "once");
    assert_eq!(
        db.target.count("tableferry.run WHERE state = 'committed'"),
        1
    );
    assert_eq!(db.target.count("tableferry.run WHERE state = 'running'"), 0);
    daemon.stop();
}

#[test]
fn a_daemon_killed_between_commit_and_its_own_note_of_it_does_not_run_the_fire_again() {
    let db = tables("noted");
    let home = home(&configuration(
        &db,
        &append("every = '1000h'\ncatchup_window = '2000h'"),
    ));
    // What is on its disk at that moment: the fire of long ago is the last that is settled.
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1001);
    let note = |more: &str| {
        let line = format!("{{\"job\":\"j\",\"due_at\":\"{past}\"{more}}}");
        home.file("state/past.jsonl", format!("{{\"version\":1}}\n{line}\n"));
    };
    note("");
    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "committed", "j");
    daemon.kill(Signal::SIGKILL);
    daemon.wait();
    let run_id = db.target.value("SELECT run_id FROM tableferry.run");
    note(&format!(",\"run_id\":\"{run_id}\""));

    let daemon = Daemon::start(&home);
    daemon.wait_for(1, "not run: ", "j");
    assert_eq!(daemon.count("started", "j"), 0);
    assert_eq!(db.target.count("t"), 2);
    daemon.stop();
}
