//! Waits for snapshots on the target that are older than the rows of a shadow table.
//!
//! When a shadow replaces its table, every transaction sees the new table at once. But transactions with
//! an older snapshot do not see its rows: a REPEATABLE READ transaction would find the table empty.
//! Frozen rows are visible to every snapshot, but only the session that created the table can load them.
//! So a table that several workers have loaded is published after the older transactions have ended.
//! CREATE INDEX CONCURRENTLY waits in the same way.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::param::Param;
use crate::pg::session::Session;

/// The shortest and the longest pause between two queries for older snapshots.
const SNAPSHOT_PAUSE_MIN: Duration = Duration::from_millis(20);
const SNAPSHOT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Transactions whose snapshots may not see the rows.
#[derive(Debug, Default)]
pub(in crate::run) struct OlderSnapshots {
    /// `xmax` of a snapshot that was taken after the rows were committed. Every later snapshot sees the
    /// rows.
    xmax: String,
    pids: Vec<i32>,
    transactions: Vec<String>,
}

/// Other transactions in this database whose snapshot has an `xmin` below $1. `backend_xmin` has 32 bits,
/// so it is compared modulo 2^32. Backends without a user are autovacuum workers, which do not
/// matter here.
const OLDER: &str = "\
SELECT a.pid, l.virtualtransaction \
FROM pg_catalog.pg_stat_activity AS a \
JOIN pg_catalog.pg_locks AS l ON l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted \
     AND l.virtualxid = l.virtualtransaction \
WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL \
  AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid <> ALL ($2) \
  AND ((a.backend_xmin::pg_catalog.text::pg_catalog.int8 - $1::pg_catalog.text::pg_catalog.int8) \
       & 4294967295) >= 2147483648";

/// Finds the older snapshots after the rows have been committed. `ours` are the run's own backends on this
/// server.
pub(in crate::run) async fn find_older(target: &Session, ours: &[i32]) -> Result<OlderSnapshots> {
    let sql =
        "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text";
    let row = target
        .one_row(Phase::Gate, "the target's snapshot", sql, &[])
        .await?;
    let xmax: String = row.get(0)?;
    let rows = target.query(Phase::Gate, OLDER, &[&xmax, &ours]).await?;
    Ok(OlderSnapshots {
        xmax,
        pids: rows.iter().map(|row| row.get(0)).collect(),
        transactions: rows.iter().map(|row| row.get(1)).collect(),
    })
}

/// Waits until these transactions have ended, for at most `lock_timeout`.
///
/// *Errors:* `Locked`, naming their backends.
pub(in crate::run) async fn wait(
    target: &Session,
    job: &JobSpec,
    older: &OlderSnapshots,
) -> Result<()> {
    if older.pids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT pid FROM ({OLDER}) AS older (pid, transaction) \
         WHERE (pid, transaction) IN (SELECT * FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.int4[]), \
                                                               pg_catalog.unnest($4::pg_catalog.text[])) AS noted)"
    );
    let (none, pids): (&[i32], &[i32]) = (&[], &older.pids);
    let transactions: Vec<&str> = older.transactions.iter().map(String::as_str).collect();
    let began = Instant::now();
    let mut pause = SNAPSHOT_PAUSE_MIN;
    loop {
        let parameters: [&dyn Param; 4] = [&older.xmax, &none, &pids, &transactions];
        let rows = target.query(Phase::Publish, &sql, &parameters).await?;
        let left: Vec<String> = rows
            .iter()
            .map(|row| row.get::<_, i32>(0).to_string())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if !job.lock_timeout.is_zero() && began.elapsed() >= job.lock_timeout {
            let message = format!(
                "transactions that are older than the new rows and would find the table empty did not end within {} s: backends {}",
                job.lock_timeout.as_secs_f64(),
                left.join(", ")
            );
            return Err(Error::new(ErrorKind::Locked, Phase::Publish, Side::Target, message)
                .at(target.server())
                .hinted(
                    "end them, raise `lock_timeout`, or set `workers = 1`: the rows that one worker loads are visible to every transaction",
                ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SNAPSHOT_PAUSE_MAX);
    }
}
