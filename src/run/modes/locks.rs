//! Takes several locks within one time limit.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::wording::HOLDERS_NAMED_MAX;

/// The interval of the check for free relations, and the longest wait for a lock that the check found free.
const FREE_CHECK_EVERY: Duration = Duration::from_millis(2);

/// Takes locks by these statements, in one round trip. Together they wait at most `budget`; later
/// statements of the transaction wait for locks at most for the rest of it.
///
/// `lock_timeout` applies to each lock and `statement_timeout` to each statement, so the server computes
/// the time that is left before each statement.
///
/// *Errors:* `Locked` if the time is up. Locks that were taken are kept until the caller rolls back to a
/// savepoint.
pub(super) async fn take(
    target: &Session,
    locks: &[(QualifiedName, String)],
    budget: Duration,
) -> Result<()> {
    let mut sql = format!(
        "SELECT pg_catalog.set_config('tableferry.until', \
           (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000 + {})::pg_catalog.text, true)",
        budget.as_millis()
    );
    for statement in locks.iter().map(|(_, sql)| sql.as_str()).chain([""]) {
        sql.push_str(
            "; SELECT pg_catalog.set_config('lock_timeout', GREATEST(1, \
               pg_catalog.current_setting('tableferry.until')::pg_catalog.float8 \
               - pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8::pg_catalog.text, true); ",
        );
        sql.push_str(statement);
    }
    target.run(Phase::Publish, &sql).await
}

/// Takes the locks like [`take`], but each lock as soon as it is free, in any order. This succeeds if other
/// sessions use the relations with pauses that do not coincide.
///
/// *Errors:* as [`take`], which also waits for the locks that are not free.
pub(super) async fn catch(
    target: &Session,
    locks: &[(QualifiedName, String)],
    budget: Duration,
) -> Result<()> {
    let began = Instant::now();
    let mut left = locks.to_vec();
    while !left.is_empty() && began.elapsed() < budget * 3 / 4 {
        let (free, busy) = free_of(target, left).await?;
        left = busy;
        if free.is_empty() {
            tokio::time::sleep(FREE_CHECK_EVERY).await;
            continue;
        }
        // If another session has locked one of them since the check, all of these are tried again.
        target
            .run(Phase::Publish, "SAVEPOINT tableferry_lock")
            .await?;
        match take(target, &free, FREE_CHECK_EVERY).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Locked => {
                target
                    .run(Phase::Publish, "ROLLBACK TO SAVEPOINT tableferry_lock")
                    .await?;
                left.extend(free);
            }
            Err(error) => return Err(error),
        }
    }
    take(target, &left, budget.saturating_sub(began.elapsed())).await
}

type Locks = Vec<(QualifiedName, String)>;

/// The relations that no other session has locked at the moment, and the others.
async fn free_of(target: &Session, locks: Locks) -> Result<(Locks, Locks)> {
    let names: Vec<String> = locks.iter().map(|(name, _)| name.sql()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sql = "SELECT l.relation IS NULL \
                 FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS wanted (name, place) \
                 LEFT JOIN (SELECT DISTINCT l.relation FROM pg_catalog.pg_locks AS l \
                             WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
                               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
                                                  WHERE d.datname = pg_catalog.current_database())) AS l \
                      ON l.relation = pg_catalog.to_regclass(wanted.name) \
                ORDER BY wanted.place";
    let rows = target.query(Phase::Publish, sql, &[&names]).await?;
    let mut is_free = rows.iter().map(|row| row.get::<_, bool>(0));
    Ok(locks
        .into_iter()
        .partition(|_| is_free.next().unwrap_or(false)))
}

/// The hint of an error that names [`holders`].
pub(super) fn hint(holders: &str) -> String {
    format!("the lock was held by pid {holders}; `lock_timeout` says how long to wait")
}

/// The sessions that hold locks on these relations; None if no other session holds one any more.
pub(super) async fn holders(
    target: &Session,
    locks: &[(QualifiedName, String)],
) -> Result<Option<String>> {
    let names: Vec<String> = locks.iter().map(|(name, _)| name.sql()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sql = "SELECT pg_catalog.format('%s (%s) on %s', a.pid, pg_catalog.concat_ws(', ', a.usename, \
                      NULLIF(a.application_name, ''), a.backend_type, a.state), \
                      pg_catalog.min(name)) \
                 FROM pg_catalog.unnest($1::pg_catalog.text[]) AS name \
                 JOIN pg_catalog.pg_locks AS l ON l.locktype = 'relation' AND l.granted \
                      AND l.relation = pg_catalog.to_regclass(name) \
                      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
                                         WHERE d.datname = pg_catalog.current_database()) \
                 JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
                WHERE a.pid <> pg_catalog.pg_backend_pid() \
                GROUP BY a.pid, a.usename, a.application_name, a.backend_type, a.state, a.xact_start \
                ORDER BY a.xact_start LIMIT 4";
    let rows = target.query(Phase::Publish, sql, &[&names]).await?;
    let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let many = found.len() > HOLDERS_NAMED_MAX;
    found.truncate(HOLDERS_NAMED_MAX);
    let more = if many { " and others" } else { "" };
    Ok((!found.is_empty()).then(|| format!("{}{more}", found.join(", "))))
}
