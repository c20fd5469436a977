//! Several locks at once, within one budget of time.

use std::time::Duration;

use crate::error::{Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// Takes locks by these statements, in one round trip. All together wait no longer than `budget`, and
/// whatever waits for a lock later in the transaction, for what is left of it.
///
/// `lock_timeout` counts anew for each lock, and `statement_timeout` for each statement, so that the
/// server reckons before each statement how much time is left.
///
/// *Errors:* `Locked` when the time is up; locks that were taken are kept until the caller goes back to
/// a savepoint.
pub(super) async fn take(target: &Session, statements: &[String], budget: Duration) -> Result<()> {
    let mut sql = format!(
        "SELECT pg_catalog.set_config('tableferry.until', \
           (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000 + {})::pg_catalog.text, true)",
        budget.as_millis()
    );
    for statement in statements {
        sql.push_str(
            "; SELECT pg_catalog.set_config('lock_timeout', GREATEST(1, \
               pg_catalog.current_setting('tableferry.until')::pg_catalog.float8 \
               - pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8::pg_catalog.text, true); ",
        );
        sql.push_str(statement);
    }
    target.run(Phase::Publish, &sql).await
}

/// Who holds locks on any of these tables; None where nobody else does any more.
pub(super) async fn holders(target: &Session, tables: &[QualifiedName]) -> Result<Option<String>> {
    let names: Vec<String> = tables.iter().map(QualifiedName::sql).collect();
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
    let many = found.len() > HOLDERS_MAX;
    found.truncate(HOLDERS_MAX);
    let more = if many { " and others" } else { "" };
    Ok((!found.is_empty()).then(|| {
        let found = found.join(", ");
        format!("the lock was held by pid {found}{more}; `lock_timeout` says how long to wait")
    }))
}

/// How many lock holders an error names.
const HOLDERS_MAX: usize = 3;
