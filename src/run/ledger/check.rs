//! Checks, without changing anything, whether runs can be recorded. `check --connect` uses it.

use super::ddl::{self, LedgerState};
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::Refusal;
use crate::plan::shared::has_stages;

/// How the ledger stands on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is there.
    Ready,
    /// The first run will create or upgrade it.
    ToBeMade,
}

/// May the role use the ledger, or create it?
///
/// *Errors:* `Permission`, with a hint; `SchemaMismatch` for a ledger of another version.
pub async fn check(target: &Session) -> Result<Readiness> {
    let (sql, readiness) = match ddl::state(target).await? {
        LedgerState::Nothing => (
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
            Readiness::ToBeMade,
        ),
        LedgerState::Schema => (
            "SELECT pg_catalog.has_schema_privilege('tableferry', 'USAGE') \
             AND pg_catalog.has_schema_privilege('tableferry', 'CREATE')",
            Readiness::ToBeMade,
        ),
        LedgerState::Outdated => (
            "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c \
             WHERE c.relnamespace = 'tableferry'::pg_catalog.regnamespace AND c.relname = 'run'",
            Readiness::ToBeMade,
        ),
        LedgerState::Ready => (
            "SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, p.needed)) \
             FROM pg_catalog.pg_class c \
             CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS p (needed) \
             WHERE c.relnamespace = 'tableferry'::pg_catalog.regnamespace \
             AND c.relname IN ('run', 'run_table', 'watermark', 'fire', 'pause', 'request')",
            Readiness::Ready,
        ),
    };
    let row = target.row_if_any(Phase::Inspect, "privileges on the ledger", sql, &[]);
    let may: Option<bool> = match row.await? {
        Some(row) => row.get(0)?,
        None => None,
    };
    match may {
        Some(true) => Ok(readiness),
        Some(false) | None => {
            let message = match readiness {
                Readiness::ToBeMade => {
                    "the role may not create the ledger (schema tableferry), or upgrade it"
                }
                Readiness::Ready => "the role may not write the ledger",
            };
            let error = Error::new(
                ErrorKind::Permission,
                Phase::Inspect,
                target.side(),
                message,
            );
            Err(ddl::advised(error.at(target.server())))
        }
    }
}

/// Why the workers' staging tables cannot be created, if they cannot.
pub(in crate::run) async fn refuse_stages(
    target: &Session,
    job: &JobSpec,
) -> Result<Option<Refusal>> {
    if !has_stages(job) {
        return Ok(None);
    }
    let sql = "SELECT CASE WHEN n.oid IS NULL \
                      THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
                      ELSE pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                       AND pg_catalog.has_schema_privilege(n.oid, 'CREATE') END, \
                      pg_catalog.quote_ident(CURRENT_USER) \
               FROM (SELECT) AS one \
               LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'tableferry'";
    let row = target
        .one_row(Phase::Inspect, "privileges on the ledger", sql, &[])
        .await?;
    if row.get::<bool>(0)? {
        return Ok(None);
    }
    let role: String = row.get(1)?;
    let message = "the role lacks CREATE on schema tableferry, where several workers stage rows";
    let refusal = Refusal::permission(Side::Target, format!("job `{}`", job.name), message);
    Ok(Some(refusal.hinted(format!(
        "GRANT USAGE, CREATE ON SCHEMA tableferry TO {role}, which `tableferry schema` makes; or set \
         `workers = 1`"
    ))))
}
