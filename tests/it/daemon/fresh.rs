//! `fresh_within`: how old the data of a job may be.

use serde_json::Value;

use super::tables;
use crate::support::daemon::{Daemon, configuration, home, truncate_job};
use crate::support::{PATIENCE, wait_until};

/// What `status --json` says of the job.
#[track_caller]
fn status(daemon: &Daemon<'_>, job: &str) -> Value {
    daemon.ask(&["status", job, "--json"]).report().clone()
}

#[test]
fn data_become_stale_when_their_snapshot_is_too_old() {
    let db = tables("fresh");
    let jobs = format!(
        "{}{}",
        truncate_job("j", "fresh_within = '3s'"),
        truncate_job("other", "on_demand = false")
    );
    let home = home(&configuration(&db, &jobs));
    let daemon = Daemon::start(&home);
    // A job that has never committed counts from when it became known.
    wait_until(PATIENCE, || status(&daemon, "j")["stale"] == true);
    assert_eq!(status(&daemon, "j")["snapshot_at"], Value::Null);
    let never = status(&daemon, "other");
    assert_eq!(never["stale"], Value::Null, "without the key: {never}");

    db.source.sql("ALTER TABLE t ADD note text");
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    let after = status(&daemon, "j");
    assert_eq!(after["not_copied"][0], "public.t.note", "{after}");
    // A machine that is busy for 3 s would find it stale again.
    assert_eq!(after["fresh_within_seconds"], 3.0, "{after}");
    assert!(after["snapshot_at"].is_string(), "{after}");
    wait_until(PATIENCE, || status(&daemon, "j")["stale"] == true);
    let people = daemon.ask(&["status", "j"]);
    let lacks = "1 column of the source is not copied: public.t.note";
    for part in ["idle, stale", lacks] {
        assert!(people.stdout.contains(part), "{people}");
    }
    let snapshot_at = status(&daemon, "j")["snapshot_at"].clone();
    let in_ledger =
        "SELECT snapshot_at = '{}' FROM tableferry.run ORDER BY started_at DESC LIMIT 1";
    let in_ledger = in_ledger.replace("{}", snapshot_at.as_str().unwrap());
    assert_eq!(db.target.value(&in_ledger), "t");
    let view = "SELECT stale AND fresh_within = '3s' AND freshness >= '3s' \
                FROM tableferry.job_status WHERE job = 'j'";
    assert_eq!(db.target.value(view), "t");

    // A restart does not forget it, and a failed run does not make the data newer.
    daemon.stop();
    db.target.sql("ALTER TABLE t RENAME TO gone");
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(1));
    let failed = status(&daemon, "j");
    assert_eq!(failed["snapshot_at"], snapshot_at, "{failed}");
    assert_eq!(failed["stale"], true, "{failed}");
    assert_eq!(failed["not_copied"][0], "public.t.note", "{failed}");
    // The target gets the column.
    db.target
        .sql("ALTER TABLE gone RENAME TO t; ALTER TABLE t ADD note text");
    assert_eq!(daemon.ask(&["trigger", "j", "--wait"]).code, Some(0));
    let mended = status(&daemon, "j");
    assert_eq!(mended["not_copied"], Value::Null, "{mended}");
    daemon.stop();
}
