//! Hints for SQLSTATEs, for errors whose origin gives no hint of its own.

use super::{Phase, Side};

/// What to do about a server that does not take writes.
pub(super) const READ_ONLY: &str = "the server is read-only: connect to the primary, or list all hosts with target_session_attrs=read-write";

const WRITES_TO_SOURCE: &str = "the source is read in a READ ONLY transaction: leave functions with side effects, such as nextval(), out of `query`, `where`, `set` and views";

/// A sentence for the person who reads the error.
pub(super) fn of_sqlstate(sqlstate: &str, phase: Phase, side: Side) -> Option<&'static str> {
    let copying_in = matches!(phase, Phase::CopyIn | Phase::Gate);
    Some(match (sqlstate, side) {
        ("23505", _) if copying_in => {
            "rows with the same key are already in the target, or twice in the source: `append` only adds; \
             `truncate` replaces all rows"
        }
        ("23505", _) if phase == Phase::Publish => {
            "a unique constraint other than the key's is violated while rows are changed: make it DEFERRABLE, or use mode `truncate`"
        }
        ("23503", _) if phase == Phase::Publish => {
            "rows refer to a row that the run deletes, or to a row that is not on the target: copy both \
             tables in the same job, and make the foreign key DEFERRABLE"
        }
        ("23502", _) if copying_in => {
            "the source column has a NULL: add NOT NULL on the source, a `where`, or `set.COLUMN = \
             \"coalesce(…)\"`"
        }
        ("23503", _) => {
            "the referenced rows are not on the target: copy that table in the same job, or in a job that runs before"
        }
        ("23P01", _) if copying_in => {
            "the row conflicts with a row of the target, or with another row of the source: \
             `append` only adds, `truncate` replaces all rows; or leave rows out with `where`"
        }
        ("23P01", _) if phase == Phase::Publish => {
            "an exclusion constraint is violated, maybe only while rows are changed: make it DEFERRABLE, or use mode `truncate`"
        }
        ("23514", _) if copying_in => {
            "the target is stricter than the source: change the target's constraint, or leave the rows out with `where`"
        }
        ("22P02" | "22P03", _) => {
            "the two types don't hold the same values (an enum's labels, a newer type's): see \
             `tableferry plan`"
        }
        ("22001" | "22003", _) => {
            "the target's column is narrower than the source's values: widen the column, or shorten the value with `set.COLUMN`"
        }
        ("22021", Side::Source) => {
            "the source holds bytes that are not in its encoding: set `encoding` on the server"
        }
        ("22P05", Side::Source) => {
            "a character of the source has no equivalent in the encoding of the connection, which is \
             UTF8 unless a server's `encoding` says otherwise: remove `encoding`, or replace the \
             character with `set.COLUMN`"
        }
        ("22P05", _) => {
            "a character of the source has no equivalent in the encoding of the target's database, \
             or is \\u0000, which jsonb cannot hold: replace it with `set.COLUMN`, or use a target \
             database in UTF8"
        }
        ("42501", Side::Source) => {
            "the role needs SELECT on the relations that are read, and EXECUTE on the functions; `tableferry check --connect` lists all missing privileges"
        }
        ("42501", _) => {
            "the role lacks a privilege on the target; `tableferry check --connect` lists all missing privileges"
        }
        ("55P03", _) => {
            "another session holds a lock: see pg_locks and pg_stat_activity on that server, or raise `lock_timeout`"
        }
        ("40P01" | "40001", _) => {
            "a deadlock or serialization conflict with another session; it is transient"
        }
        ("25006", Side::Source) => WRITES_TO_SOURCE,
        ("25006", _) => READ_ONLY,
        ("53300", _) => {
            "the server has no free connection: lower `max_connections` in the configuration, or raise it on the server"
        }
        ("54000", _) if matches!(phase, Phase::Gate | Phase::Verify) => {
            "a row is longer than the 1 GB that PostgreSQL writes as one text (bytea counts twice), so it has no checksum, and the rows were not compared: leave the large column out of `columns`, or \
             use `verify = \"count\"`"
        }
        ("54000", _) if matches!(phase, Phase::CopyOut | Phase::CopyIn) => {
            "a row is longer than the 1 GB that PostgreSQL writes as one text (bytea counts twice): make both \
             sides' types the same, so that COPY is binary, or leave a column out of `columns`"
        }
        ("53100", _) => "the server's disk is full",
        ("57P01" | "57P02" | "57P03", _) => {
            "the server was stopped, or the session was terminated; it is transient"
        }
        ("57014", _) => {
            "the statement was cancelled on the server, by pg_cancel_backend() or a timeout"
        }
        ("42725", _) if copying_in => {
            "a reg* value (regproc, regoper) names an overloaded function, which its text can't tell \
             apart: leave the column out, or copy it with `set.COLUMN = \"COLUMN::oid\"`"
        }
        ("428C9", Side::Target) => {
            "a GENERATED ALWAYS column is written on the target by a trigger, or by a foreign key with ON \
             UPDATE or ON DELETE: ALTER TABLE … ALTER COLUMN … SET GENERATED BY DEFAULT, or change the \
             trigger or the foreign key"
        }
        ("42P01", _) => "the relation does not exist; see `tableferry plan`",
        _ => return None,
    })
}
