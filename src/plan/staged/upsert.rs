//! Mode `upsert`, and `append` with a watermark: writes the staged rows by key and leaves other rows alone.

use super::differs::differs;
use super::parts::{self, Gone, Parts};
use crate::catalog::desc::RelationKind;
use crate::config::spec::{JobSpec, OnConflict};
use crate::error::Side;
use crate::pg::ident::{QualifiedName, quote_literal};
use crate::plan::effects::Effects;
use crate::plan::refusal::Refusal;
use crate::plan::sql;

/// The statements of an upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// Rows that the target has are updated; not in mode `append`.
    pub updates: bool,
    /// Writes only rows that differ; None if most staged rows are expected to be new.
    pub changes: Option<Changes>,
    /// How the rows that are inserted are told from those that are updated.
    pub new_rows: NewRows,
    /// Returns the number of staged rows whose key the target does not have.
    pub count_new: String,
    /// Returns the number of staged rows that are missing or different on the target.
    pub count_wrong: String,
    /// `INSERT … ON CONFLICT …` of all staged rows.
    pub insert: String,
}

/// How the number of new rows is found if all staged rows are written by one statement.
#[derive(Clone, Debug, PartialEq)]
pub enum NewRows {
    /// Before they are written, by a join: triggers may suppress rows, or write others.
    Joined,
    /// Every row that is written is new.
    Written,
    /// The server counts what a transaction inserts into a table.
    Counted(ServerCounts),
}

/// What the server has counted for the target in the open transaction. It counts a row that could not be inserted,
/// because another session inserted its key at the same moment, as inserted and deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerCounts {
    /// Returns whether the server counts (`track_counts`), and lets the role read it.
    pub exist: String,
    /// Returns the numbers of inserted and of deleted rows.
    pub read: String,
}

/// The staged rows that are new or different, in a table of their own. It pays off if most staged rows are
/// on the target as they are, because ON CONFLICT locks every existing row and writes WAL for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// Returns the rows of a sample of the staged ones, and how many of them are new or different. None if
    /// triggers must not see other rows than those.
    pub sample: Option<String>,
    /// Creates and analyzes the table.
    pub make: Vec<String>,
    /// Drops the table before it is created again.
    pub drop: String,
    /// Returns the number of its rows whose key the target does not have.
    pub count_new: String,
    /// `INSERT … ON CONFLICT …` of its rows.
    pub insert: String,
}

impl Upsert {
    /// All staged rows may be written by one statement.
    pub fn may_write_at_once(&self) -> bool {
        let changes = self.changes.as_ref();
        changes.is_none_or(|changes| changes.sample.is_some())
    }

    /// The server's counts, if they tell which rows are new.
    pub fn counts(&self) -> Option<&ServerCounts> {
        match &self.new_rows {
            NewRows::Counted(counts) => Some(counts),
            NewRows::Joined | NewRows::Written => None,
        }
    }
}

impl Changes {
    /// Is the table not worth its cost? From what the sample returns.
    pub fn are_most(rows: u64, differing: u64) -> bool {
        rows > 0 && differing.saturating_mul(4) >= rows
    }
}

pub(super) fn plan(
    job: &JobSpec,
    parts: &Parts<'_>,
    effects: &Effects,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Upsert {
    let key: Vec<_> = parts
        .key
        .columns
        .iter()
        .map(|column| &column.name)
        .collect();
    let names = parts::list(key.iter().copied());
    // ON CONFLICT (columns) uses every unique index over these columns.
    let deferrable = parts.target.unique_indexes.iter().find(|index| {
        !index.immediate
            && index.is_plain
            && index.columns.len() == key.len()
            && index
                .columns
                .iter()
                .all(|column| key.contains(&&column.name))
    });
    if let Some(index) = deferrable {
        refusals.push(
            Refusal::mismatch(
                Side::Target,
                &parts.target.name,
                format!(
                    "{} over the key ({names}) is DEFERRABLE, and PostgreSQL has no ON CONFLICT for \
                     it",
                    index.name
                ),
            )
            .hinted("use a unique constraint that is not deferrable, or mode `merge`"),
        );
    }
    let updates = job.mode.updates() && parts.spec.on_conflict == OnConflict::Update;
    let fixed = parts.fixed();
    if updates && !fixed.is_empty() {
        warnings.push(format!(
            "GENERATED ALWAYS AS IDENTITY cannot be updated: existing rows keep their {}",
            parts::list(fixed.iter().map(|column| &column.name))
        ));
    }
    let settable = parts.settable();
    let update = differs("\"target\"", "EXCLUDED", settable.iter().copied())
        .filter(|_| updates)
        .map(|differs| format!("UPDATE SET {} WHERE {differs}", parts.set_as("EXCLUDED")));
    let insert = |from: &str| {
        format!(
            "{} SELECT {}{} FROM {from} ON CONFLICT ({}) DO {}",
            parts.insert_into(),
            parts.columns_sql("\"staged\"."),
            parts.own_values(),
            sql::names("", key.iter().copied()),
            update.as_deref().unwrap_or("NOTHING"),
        )
    };
    let stage = format!("{} AS \"staged\"", parts.stage.sql());
    let differs = differs("\"target\"", "\"staged\"", settable.iter().copied());
    let differs = differs.filter(|_| updates);
    let as_staged = differs
        .as_ref()
        .map_or(String::new(), |differs| format!(" AND NOT ({differs})"));
    let count_without = |condition: &str| {
        format!(
            "SELECT pg_catalog.count(*) FROM {stage} WHERE NOT EXISTS (SELECT FROM {} AS \"target\" WHERE {}{condition})",
            parts.target_from(),
            parts.same_as_staged("\"target\"")
        )
    };
    // Most rows that pass a watermark are new.
    let finds_changes = updates && parts.spec.watermark.is_none();
    let changes = parts.changes.sql();
    let is_plain = parts.target.kind == RelationKind::Table && parts.target.triggers.is_empty();
    let new_rows = match (updates, effects.runs_code) {
        (_, true) => NewRows::Joined,
        (false, false) => NewRows::Written,
        (true, false) if parts.target.kind == RelationKind::Table => {
            NewRows::Counted(server_counts(&parts.target.name))
        }
        (true, false) => NewRows::Joined,
    };
    Upsert {
        updates,
        new_rows,
        changes: finds_changes.then(|| Changes {
            sample: is_plain.then(|| parts.sample(differs.as_deref())),
            make: vec![parts.make_changes(Gone::None), format!("ANALYZE {changes}")],
            drop: parts.drop_changes(),
            count_new: format!("SELECT pg_catalog.count(*) FROM {changes} WHERE \"is_new\""),
            insert: insert(&parts.changed_rows()),
        }),
        count_new: count_without(""),
        count_wrong: count_without(&as_staged),
        insert: insert(&stage),
    }
}

fn server_counts(target: &QualifiedName) -> ServerCounts {
    let target = quote_literal(&target.sql());
    let target = format!("{}::pg_catalog.regclass", target.trim_start());
    ServerCounts {
        // Other table access methods need not count.
        exist: format!(
            "SELECT pg_catalog.current_setting('track_counts')::pg_catalog.bool \
             AND pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_xact_tuples_inserted(pg_catalog.oid)', 'EXECUTE') \
             AND pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_xact_tuples_deleted(pg_catalog.oid)', 'EXECUTE') \
             AND EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_am AS a ON a.oid OPERATOR(pg_catalog.=) c.relam \
             WHERE c.oid OPERATOR(pg_catalog.=) {target} AND a.amname OPERATOR(pg_catalog.=) 'heap')"
        ),
        read: format!(
            "SELECT pg_catalog.pg_stat_get_xact_tuples_inserted(t.oid), pg_catalog.pg_stat_get_xact_tuples_deleted(t.oid) \
             FROM (SELECT {target}::pg_catalog.oid) AS t (oid)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_table_of_their_own_where_they_are_few() {
        for (rows, differing, are_most) in [(0, 0, false), (2000, 499, false), (2000, 500, true)] {
            assert_eq!(Changes::are_most(rows, differing), are_most, "{differing}");
        }
    }
}
