//! Mode `upsert`, and `append` with a watermark: writes the staged rows by key and leaves other rows alone.

use super::parts::{self, Gone, Parts};
use crate::catalog::desc::RelationKind;
use crate::config::spec::JobSpec;
use crate::error::Side;
use crate::plan::refusal::Refusal;

/// The statements of an upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// Rows that the target has are updated; not in mode `append`.
    pub updates: bool,
    /// Writes only rows that differ; None if most staged rows are expected to be new.
    pub changes: Option<Changes>,
    /// Returns the number of staged rows whose key the target does not have.
    pub count_new: String,
    /// Returns the number of staged rows that are missing or different on the target.
    pub count_wrong: String,
    /// `INSERT … ON CONFLICT …` of all staged rows.
    pub insert: String,
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

impl Changes {
    /// Is the table not worth its cost? From what the sample returns.
    pub fn are_most(rows: u64, differing: u64) -> bool {
        rows > 0 && differing.saturating_mul(4) >= rows
    }
}

pub(super) fn plan(
    job: &JobSpec,
    parts: &Parts<'_>,
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
    let updates = job.mode.updates();
    let fixed = parts.fixed();
    if updates && !fixed.is_empty() {
        warnings.push(format!(
            "GENERATED ALWAYS AS IDENTITY cannot be updated: existing rows keep their {}",
            parts::list(fixed.into_iter())
        ));
    }
    let settable = parts.settable();
    let update = parts::differs("\"target\"", "EXCLUDED", settable.iter().copied())
        .filter(|_| updates)
        .map(|differs| {
            let set = parts::assignments(&settable, "EXCLUDED");
            format!("UPDATE SET {set} WHERE {differs}")
        });
    let insert = |from: &str| {
        format!(
            "{} SELECT {} FROM {from} ON CONFLICT ({}) DO {}",
            parts.insert_into(),
            parts.columns_sql("\"staged\"."),
            parts::sql_list("", key.iter().copied()),
            update.as_deref().unwrap_or("NOTHING"),
        )
    };
    let stage = format!("{} AS \"staged\"", parts.stage.sql());
    let differs = parts::differs("\"target\"", "\"staged\"", settable.iter().copied());
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
    Upsert {
        updates,
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
