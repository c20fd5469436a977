//! Makes sure that nobody else is at the same work, and that the target is still what was planned
//! for.

use std::collections::BTreeMap;

use crate::catalog;
use crate::catalog::desc::RelationDesc;
use crate::config::spec::{JobSpec, Mode};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::{QualifiedName, fnv1a};
use crate::pg::session::Session;
use crate::plan::copy::JobPlan;

/// Takes the advisory lock of the job, which ends with the session's transaction.
///
/// Transaction locks and not session locks, because a pooler may give a session to two clients.
pub(super) async fn claim_job(target: &Session, job: &JobSpec) -> Result<()> {
    let key = format!("job {}", job.name);
    if try_lock(target, "pg_try_advisory_xact_lock", &key).await? {
        return Ok(());
    }
    let message = format!("another run of job `{}` holds it", job.name);
    Err(busy(target, message))
}

fn busy(target: &Session, message: String) -> Error {
    Error::new(ErrorKind::Locked, Phase::Lock, Side::Target, message)
        .at(target.server())
        .hinted("another run is still at work there; it will be tried again")
}

/// Takes the advisory locks of the target's relations, shared where several jobs may add rows to the
/// same table.
pub(super) async fn claim_tables(target: &Session, job: &JobSpec, plan: &JobPlan) -> Result<()> {
    let function = match job.mode {
        Mode::Append | Mode::Upsert => "pg_try_advisory_xact_lock_shared",
        Mode::Truncate | Mode::Swap | Mode::Merge => "pg_try_advisory_xact_lock",
    };
    for table in &plan.tables {
        if !try_lock(
            target,
            function,
            &format!("relation {}", table.target.sql()),
        )
        .await?
        {
            let what = "another job of tableferry is writing it".to_owned();
            return Err(busy(target, what).on(&table.target));
        }
    }
    Ok(())
}

async fn try_lock(target: &Session, function: &str, what: &str) -> Result<bool> {
    let sql = format!("SELECT pg_catalog.{function}($1)");
    let rows = target.query(Phase::Lock, &sql, &[&lock_key(what)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// The same key on every machine and in every release: FNV-1a, 64 bits.
pub(super) fn lock_key(what: &str) -> i64 {
    let hash = fnv1a(format!("tableferry {what}").as_bytes());
    i64::from_ne_bytes(hash.to_ne_bytes())
}

/// Looks again, now that the target's relations are locked: the plan was made without locks on
/// them, and binary COPY into a column whose type has changed since could corrupt silently.
pub(super) async fn unchanged(
    target: &Session,
    plan: &JobPlan,
    seen: &BTreeMap<QualifiedName, RelationDesc>,
) -> Result<()> {
    let names: Vec<_> = plan
        .tables
        .iter()
        .map(|table| table.target.clone())
        .collect();
    let now = catalog::read(target, &names).await?;
    for name in &names {
        let same = match (seen.get(name), now.get(name)) {
            (Some(before), Some(after)) => {
                before.columns == after.columns
                    && before.kind == after.kind
                    && before.rules == after.rules
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
}
