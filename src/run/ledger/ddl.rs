//! The ledger's tables. The first run creates them, or a DBA does with `tableferry schema`.

use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::run::advisory_lock::lock_key;

/// The version of the tables. Increase it with every change to them.
const SCHEMA_VERSION: i32 = 7;

/// All objects of the schema. The script can be run repeatedly and upgrades tables of older versions.
const TABLES: &str = include_str!("schema.sql");

const SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS tableferry;";

const SCHEMA_COMMENT: &str =
    "COMMENT ON SCHEMA tableferry IS 'tableferry''s ledger: its runs, and what they published';";

/// An old script must not touch a newer ledger.
fn guard() -> String {
    format!(
        "DO $$
BEGIN
    IF pg_catalog.to_regclass('tableferry.ledger') IS NOT NULL THEN
        IF EXISTS (SELECT FROM tableferry.ledger WHERE version > {SCHEMA_VERSION}) THEN
            RAISE EXCEPTION 'the ledger was made by a newer version of tableferry';
        END IF;
    END IF;
END $$;"
    )
}

/// The privileges of a role that uses a ledger which another role has created.
const GRANTS: &str = "\
-- What tableferry's role needs, if another role runs this:
--   GRANT USAGE ON SCHEMA tableferry TO loader;
--   GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA tableferry TO loader;
-- and, so that it can delete runs older than `history_keep`:
--   GRANT DELETE ON tableferry.run, tableferry.run_table, tableferry.fire, tableferry.rejected, tableferry.request TO loader;
-- and, for `tableferry resume`:
--   GRANT DELETE ON tableferry.pause TO loader;
-- and, for jobs of mode merge or upsert with several workers, which stage rows there:
--   GRANT CREATE ON SCHEMA tableferry TO loader;
-- What a role needs that asks for runs, with SELECT tableferry.request('job'):
--   GRANT USAGE ON SCHEMA tableferry TO asker;
--   GRANT EXECUTE ON FUNCTION tableferry.request(text) TO asker;
-- What a role needs that only reads:
--   GRANT USAGE ON SCHEMA tableferry TO reader;
--   GRANT SELECT ON ALL TABLES IN SCHEMA tableferry TO reader;
";

/// The whole DDL, for psql.
pub fn script() -> String {
    let (lock, guard) = (lock_key(LOCK), guard());
    format!(
        "-- tableferry's ledger, version {SCHEMA_VERSION}: run this in each target database.\n\
         -- Running it again changes nothing.\n--\n\
         {GRANTS}\nBEGIN;\n\
         SET LOCAL client_min_messages = warning;\n\
         SET LOCAL search_path = '';\n\
         SELECT pg_catalog.pg_advisory_xact_lock({lock});\n\
         {guard}\n\n\
         {SCHEMA}\n{SCHEMA_COMMENT}\n\n{TABLES}\nCOMMIT;"
    )
}

/// What two runs that find no ledger agree on.
const LOCK: &str = "ledger";

/// What there is of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LedgerState {
    /// Not even the schema.
    Nothing,
    /// Only the schema, which another role may have created.
    Schema,
    /// Tables of an older version.
    Outdated,
    /// Tables of the current version.
    Ready,
}

/// Reads the state of the ledger.
///
/// *Errors:* `SchemaMismatch` for a ledger of an unknown version; `Permission`.
pub(super) async fn state(target: &Session) -> Result<LedgerState> {
    // Not to_regclass: it fails without USAGE on the schema.
    let sql = "SELECT n.oid IS NOT NULL, c.oid IS NOT NULL FROM (SELECT) AS one \
               LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'tableferry' \
               LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'ledger'";
    let row = target
        .one_row(Phase::Prepare, "the ledger's existence", sql, &[])
        .await?;
    match (row.get(0)?, row.get(1)?) {
        (false, _) => Ok(LedgerState::Nothing),
        (true, false) => Ok(LedgerState::Schema),
        (true, true) => known_version(target).await,
    }
}

async fn known_version(target: &Session) -> Result<LedgerState> {
    let sql = "SELECT version FROM tableferry.ledger";
    let row = target.row_if_any(Phase::Prepare, "the ledger's version", sql, &[]);
    let version: i32 = match row.await.map_err(unusable)? {
        Some(row) => row.get(0)?,
        // The row was deleted.
        None => 0,
    };
    match version {
        SCHEMA_VERSION => return Ok(LedgerState::Ready),
        1..SCHEMA_VERSION => return Ok(LedgerState::Outdated),
        _ => {}
    }
    let (made_by, advice) = if version > SCHEMA_VERSION {
        ("a newer", "use that version here, too")
    } else {
        ("no", "restore its row, or drop the schema")
    };
    let message = format!(
        "the ledger has version {version}, made by {made_by} tableferry; this one knows {SCHEMA_VERSION}"
    );
    Err(about_ledger(
        Error::new(
            ErrorKind::SchemaMismatch,
            Phase::Prepare,
            target.side(),
            message,
        )
        .at(target.server()),
    )
    .hinted(format!("{advice}; or set `history = \"local\"` or \"off\"")))
}

/// Creates the ledger, or upgrades an older one.
///
/// *Errors:* as `state`; `Permission`, with a hint, if the role may not create it.
pub(super) async fn make(target: &Session) -> Result<()> {
    if state(target).await? == LedgerState::Ready {
        return Ok(());
    }
    target
        .begin(Phase::Prepare, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    let found = make_here(target).await?;
    target.run(Phase::Prepare, "COMMIT").await?;
    let server = target.server();
    match found {
        LedgerState::Ready => {}
        LedgerState::Outdated => {
            tracing::info!(server, "the ledger is upgraded to version {SCHEMA_VERSION}")
        }
        LedgerState::Nothing | LedgerState::Schema => tracing::info!(
            server,
            "there was no ledger: schema tableferry is created, without any earlier run"
        ),
    }
    Ok(())
}

/// Does so in the open transaction, and returns what was there. A dry run takes it back.
pub(super) async fn make_here(target: &Session) -> Result<LedgerState> {
    let lock = format!(
        "SELECT pg_catalog.pg_advisory_xact_lock({})",
        lock_key(LOCK)
    );
    target.run(Phase::Prepare, &lock).await?;
    // Another run may have created it in the meantime.
    let found = state(target).await?;
    let schema = match found {
        LedgerState::Ready => return Ok(found),
        // Without CREATE on the database, CREATE SCHEMA IF NOT EXISTS fails even if the schema exists.
        LedgerState::Schema | LedgerState::Outdated => String::new(),
        LedgerState::Nothing => format!("{SCHEMA} {SCHEMA_COMMENT}"),
    };
    let made = target
        .run(Phase::Prepare, &format!("{schema} {TABLES}"))
        .await;
    made.map_err(|error| {
        advised(error.at_place("the ledger (schema tableferry) cannot be created or upgraded"))
    })?;
    Ok(found)
}

/// An error of a statement on the ledger's tables.
pub(super) fn unusable(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Permission => advised(error),
        _ => about_ledger(error),
    }
}

/// Adds the hint for a role that may not create the ledger.
pub(super) fn advised(error: Error) -> Error {
    about_ledger(error).hinted(
        "have a DBA run what `tableferry schema` prints, with its GRANTs; \
         or set `history = \"local\"` or \"off\"",
    )
}

fn about_ledger(error: Error) -> Error {
    error.on(&QualifiedName::new("tableferry", "run"))
}

/// Was it the ledger that failed?
pub(super) fn is_about_ledger(error: &Error) -> bool {
    error.relation() == Some("tableferry.run")
}
