//! Tables that one session loads and another publishes: committed before, and seen by no other role.

use crate::error::{ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// Begins a transaction whose rows another transaction publishes. Its COMMIT need not wait for the WAL to
/// be flushed: the publishing COMMIT comes later in the WAL and is flushed.
pub(in crate::run) async fn begin(session: &Session, phase: Phase) -> Result<()> {
    session
        .begin(phase, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    session
        .run(phase, "SET LOCAL synchronous_commit = off")
        .await?;
    session.verify(phase).await
}

/// Commits rows that are not yet published. If the answer to COMMIT is lost, no published row is in doubt.
pub(in crate::run) async fn commit(session: &Session) -> Result<()> {
    session.commit().await.map_err(|error| match error.kind() {
        ErrorKind::InDoubt => error.of_kind(ErrorKind::Unreachable),
        _ => error,
    })
}

/// Revokes privileges that ALTER DEFAULT PRIVILEGES granted: no other role may read a table before it is
/// published.
pub(in crate::run) async fn hide(maker: &Session, name: &QualifiedName) -> Result<()> {
    let sql = "SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' \
                      ELSE pg_catalog.quote_ident(r.rolname) END \
               FROM pg_catalog.pg_class AS c \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               CROSS JOIN pg_catalog.aclexplode(c.relacl) AS acl \
               LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = acl.grantee \
               WHERE n.nspname = $1 AND c.relname = $2 AND acl.grantee <> c.relowner \
                 AND (acl.grantee = 0 OR r.oid IS NOT NULL)";
    let (schema, table) = (name.schema.as_str(), name.name.as_str());
    let rows = maker.query(Phase::Prepare, sql, &[&schema, &table]).await?;
    let others: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "REVOKE ALL ON TABLE {} FROM {}",
        name.sql(),
        others.join(", ")
    );
    maker.run(Phase::Prepare, &sql).await
}
