//! A COMMIT that hangs, like one that waits for a synchronous standby.

use super::database::{Connection, Database};
use super::{PATIENCE, wait_until};

/// Makes COMMITs of publishing transactions hang. The database's ledger must exist.
///
/// They hang until the returned session ends, and cannot be cancelled. tableferry fires deferred triggers
/// before COMMIT, so this one is deferred again.
pub fn hang_at_commit(target: &Database<'_>) -> Connection {
    target.sql(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN LOOP
              BEGIN PERFORM pg_catalog.pg_advisory_xact_lock(4730); RETURN NULL;
              EXCEPTION WHEN query_canceled THEN NULL; END;
            END LOOP; END';
         CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON tableferry.run_table
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.rows_written > 0)
           EXECUTE FUNCTION hang();
         CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN SET CONSTRAINTS tableferry.hang DEFERRED; RETURN NULL; END';
         CREATE TRIGGER defer AFTER UPDATE ON tableferry.run FOR EACH ROW EXECUTE FUNCTION defer()",
    );
    let holder = target.connect();
    holder.sql("SELECT pg_advisory_lock(4730)");
    holder
}

/// Waits until a backend that executes such a statement waits for a lock.
#[track_caller]
pub fn wait_waiting(target: &Database<'_>, statement: &str) {
    let waiting = format!(
        "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND query LIKE '{statement}%'"
    );
    wait_until(PATIENCE, || target.count(&waiting) == 1);
}
