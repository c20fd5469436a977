//! Mode `upsert`, and `append` with a watermark: writes the staged rows by key and leaves other rows alone.

use super::parts::{self, Gone, Parts};
use crate::config::spec::{JobSpec, Mode};
use crate::error::Side;
use crate::plan::refusal::Refusal;

/// The statements of an upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// Creates and analyzes the table of changes. The join pays off if most staged rows are already on the
    /// target, because ON CONFLICT locks every existing row and writes WAL for it.
    pub make_changes: Vec<String>,
    /// Drops the table of changes before it is created again.
    pub drop_changes: Option<String>,
    /// Returns the number of staged rows whose key the target does not have.
    pub count_new: String,
    /// Returns the number of staged rows that are missing or different on the target.
    pub count_wrong: String,
    /// `INSERT … ON CONFLICT …`.
    pub insert: String,
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
    let updates = job.mode == Mode::Upsert;
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
    let changes = parts.changes.sql();
    // Most rows that pass a watermark are new.
    let finds_changes_first = updates && parts.spec.watermark.is_none();
    let (make_changes, count_new, from) = if finds_changes_first {
        (
            vec![parts.make_changes(Gone::None), format!("ANALYZE {changes}")],
            format!("SELECT pg_catalog.count(*) FROM {changes} WHERE \"is_new\""),
            parts.changed_rows(),
        )
    } else {
        let stage = format!("{} AS \"staged\"", parts.stage.sql());
        let count = format!(
            "SELECT pg_catalog.count(*) FROM {stage} WHERE NOT EXISTS (\
             SELECT FROM {} AS \"target\" WHERE {})",
            parts.target_from(),
            parts.same_as_staged("\"target\"")
        );
        (Vec::new(), count, stage)
    };
    let as_staged = parts::differs("\"target\"", "\"staged\"", settable.iter().copied())
        .filter(|_| updates)
        .map_or(String::new(), |differs| format!(" AND NOT ({differs})"));
    Upsert {
        drop_changes: finds_changes_first.then(|| parts.drop_changes()),
        make_changes,
        count_new,
        count_wrong: format!(
            "SELECT pg_catalog.count(*) FROM {} AS \"staged\" WHERE NOT EXISTS (\
             SELECT FROM {} AS \"target\" WHERE {}{as_staged})",
            parts.stage.sql(),
            parts.target_from(),
            parts.same_as_staged("\"target\"")
        ),
        insert: format!(
            "{} SELECT {} FROM {from} ON CONFLICT ({}) DO {}",
            parts.insert_into(),
            parts.columns_sql("\"staged\"."),
            parts::sql_list("", key.into_iter()),
            update.unwrap_or_else(|| "NOTHING".to_owned()),
        ),
    }
}
