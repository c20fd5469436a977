//! Could a run be recorded? Asked by `check --connect`; changes nothing.

use super::ddl::{self, Found};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::session::Session;

/// How the ledger stands on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is there.
    Ready,
    /// The first run will make it, or bring it up to date.
    ToBeMade,
}

/// Looks whether the role may use the ledger, or make it.
///
/// *Errors:* `Permission`, with what to do; `SchemaMismatch` for a ledger of another version.
pub async fn check(target: &Session) -> Result<Readiness> {
    let (sql, readiness) = match ddl::look(target).await? {
        Found::Nothing => (
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
            Readiness::ToBeMade,
        ),
        Found::Schema => (
            "SELECT pg_catalog.has_schema_privilege('tableferry', 'USAGE') \
             AND pg_catalog.has_schema_privilege('tableferry', 'CREATE')",
            Readiness::ToBeMade,
        ),
        Found::Older => (
            "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c \
             WHERE c.relnamespace = 'tableferry'::pg_catalog.regnamespace AND c.relname = 'run'",
            Readiness::ToBeMade,
        ),
        Found::Ready => (
            "SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, p.needed)) \
             FROM pg_catalog.pg_class c \
             CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS p (needed) \
             WHERE c.relnamespace = 'tableferry'::pg_catalog.regnamespace \
             AND c.relname IN ('run', 'run_table', 'watermark', 'fire')",
            Readiness::Ready,
        ),
    };
    let rows = target.query(Phase::Inspect, sql, &[]).await?;
    match rows.first().and_then(|row| row.get(0)) {
        Some(true) => Ok(readiness),
        Some(false) | None => {
            let message = match readiness {
                Readiness::ToBeMade => {
                    "the role may not make the ledger (schema tableferry), or bring it up to date"
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
