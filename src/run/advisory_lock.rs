//! Advisory locks: they exclude other runs of the same job and other jobs on the same target table. Also checks
//! that the target's definitions are still those that were planned for.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use crate::catalog;
use crate::catalog::desc::{ColumnDesc, RelationDesc};
use crate::config::spec::{JobSpec, Mode};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::{QualifiedName, fnv1a};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::staged::listing;

/// Takes the advisory lock of the job. It ends with the transaction.
///
/// Not a session lock, because a pooler may give a session to two clients.
pub(super) async fn lock_job(target: &Session, job: &JobSpec) -> Result<()> {
    let key = lock_key(&format!("job {}", job.name));
    if try_lock(target, "pg_try_advisory_xact_lock", key).await? {
        return Ok(());
    }
    let message = format!("another run of job `{}` holds it", job.name);
    Err(busy(target, message, key).await)
}

/// Marks the open transaction with the run's id, so that its backend can be found if the run is marked lost.
pub(super) async fn mark_transaction(target: &Session, run_id: Uuid) -> Result<()> {
    // Shared: a run may have several transactions.
    let function = "pg_try_advisory_xact_lock_shared";
    let key = run_key(run_id);
    match try_lock(target, function, key).await? {
        true => Ok(()),
        false => Err(busy(target, format!("run {run_id} is locked"), key).await),
    }
}

/// What `mark_transaction` locks.
pub(super) fn run_key(run_id: Uuid) -> i64 {
    lock_key(&format!("run {run_id}"))
}

/// A backend that holds an advisory lock.
pub(super) struct Holder {
    pub pid: i32,
    /// What it calls itself.
    pub application: String,
}

/// The backends that hold this advisory lock in this database.
pub(super) async fn holders(target: &Session, key: i64) -> Result<Vec<Holder>> {
    let sql = "SELECT l.pid, COALESCE(a.application_name, '') FROM pg_catalog.pg_locks AS l \
               LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
               WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted \
               AND l.classid = $1 AND l.objid = $2 AND l.pid <> pg_catalog.pg_backend_pid() \
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
                   WHERE d.datname = pg_catalog.current_database())";
    let [high, low] = key_parts(key);
    let rows = target.query(Phase::Lock, sql, &[&high, &low]).await?;
    let holder = |row: &Row| Holder {
        pid: row.get(0),
        application: row.get(1),
    };
    Ok(rows.iter().map(holder).collect())
}

/// As `pg_locks` shows a key of 64 bits.
fn key_parts(key: i64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = key.to_be_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes)
}

async fn busy(target: &Session, message: String, key: i64) -> Error {
    // The holder may be gone by now. Then the message does not name it.
    let holders = holders(target, key).await.unwrap_or_default();
    let describe = |h: &Holder| format!("{} (PID {})", h.application, h.pid);
    let who: Vec<_> = holders.iter().map(describe).collect();
    let message = match who.is_empty() {
        true => message,
        false => format!("{message}: {}", who.join(", ")),
    };
    Error::new(ErrorKind::Locked, Phase::Lock, Side::Target, message)
        .at(target.server())
        .hinted("another run has not ended yet: wait for it")
}

/// Takes the advisory locks of the target's relations. They are shared in modes in which several jobs may
/// write to one table.
pub(super) async fn lock_tables(
    target: &Session,
    job: &JobSpec,
    tables: &[CopyPlan],
) -> Result<()> {
    let function = match job.mode {
        Mode::Append | Mode::Upsert => "pg_try_advisory_xact_lock_shared",
        Mode::Truncate | Mode::Swap | Mode::Merge => "pg_try_advisory_xact_lock",
    };
    // A job that writes the partitioned table does not run beside one that replaces its partitions.
    let parents: BTreeSet<_> = tables
        .iter()
        .filter_map(|t| t.partition_of.as_ref())
        .collect();
    for name in parents.into_iter().chain(tables.iter().map(|t| &t.target)) {
        let key = lock_key(&format!("relation {}", name.sql()));
        if !try_lock(target, function, key).await? {
            let what = "another job of tableferry is writing it".to_owned();
            return Err(busy(target, what, key).await.on(name));
        }
    }
    Ok(())
}

async fn try_lock(target: &Session, function: &str, key: i64) -> Result<bool> {
    let sql = format!("SELECT pg_catalog.{function}($1)");
    let what = "an advisory lock";
    target
        .one_row(Phase::Lock, what, &sql, &[&key])
        .await?
        .get(0)
}

/// The same key on every machine and in every release: FNV-1a, 64 bits.
pub(super) fn lock_key(what: &str) -> i64 {
    let hash = fnv1a(format!("tableferry {what}").as_bytes());
    i64::from_ne_bytes(hash.to_ne_bytes())
}

/// Compares the definitions again, now that the relations are locked. The plan was made without locks, and
/// binary COPY into a column with another type could corrupt data silently.
pub(super) async fn unchanged(
    target: &Session,
    tables: &[CopyPlan],
    seen: &BTreeMap<QualifiedName, RelationDesc>,
) -> Result<()> {
    let names: Vec<_> = tables.iter().map(|table| table.target.clone()).collect();
    let now = catalog::read(target, &names).await?;
    let writes_rows = listing::of(tables).next().is_some();
    for table in tables {
        let name = &table.target;
        // The run makes the indexes and keys of a new table after the load.
        let compares_effects = writes_rows && !table.is_new();
        let same = match (seen.get(name), now.get(name)) {
            (Some(before), Some(after)) => {
                let is_there = |column: &&ColumnDesc| {
                    !table
                        .in_shadow()
                        .iter()
                        .any(|added| added.name == column.name)
                };
                let expected = before.columns.iter().filter(is_there);
                expected.eq(&after.columns)
                    && before.kind == after.kind
                    && before.rules == after.rules
                    && before.children == after.children
                    && (!compares_effects || before.keeps_effects_of(after))
            }
            _ => false,
        };
        if !same {
            return Err(Error::new(
                ErrorKind::Conflict,
                Phase::Lock,
                Side::Target,
                "its definition changed while the copy was being planned",
            )
            .at(target.server())
            .on(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_keys_never_change_between_releases() {
        assert_eq!(lock_key("job orders"), lock_key("job orders"));
        assert_ne!(lock_key("job orders"), lock_key("job order"));
        // Computed by another implementation of FNV-1a.
        assert_eq!(lock_key("job orders"), -4_225_679_601_192_127_813);
    }

    #[test]
    fn a_key_is_shown_in_two_halves() {
        assert_eq!(key_parts(0x0000_0001_8000_0002), [1, 0x8000_0002]);
        assert_eq!(key_parts(-1), [u32::MAX, u32::MAX]);
    }
}
