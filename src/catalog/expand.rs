//! Finds the tables that a job's patterns match on its source.

use crate::catalog::pattern::{self, Candidate};
use crate::config::spec::{JobSpec, TableSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// What a job means on its source.
#[derive(Debug)]
pub struct Expanded {
    /// One entry a target.
    pub tables: Vec<TableSpec>,
    /// What is left out though a wildcard matches it.
    pub warnings: Vec<String>,
}

/// Every relation that a pattern may name. Privileges are not checked here: a table that the role cannot
/// read must be refused later, and not left out silently. A wildcard does not match the tables that workers
/// of mode `swap` load (`plan/shared.rs`).
const CANDIDATES: &str = "\
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
       c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
       AND NOT (pg_catalog.starts_with(c.relname::pg_catalog.text, 'tableferry_') \
           AND COALESCE(pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), \
               'tableferry: shadow of '), false)) \
FROM pg_catalog.pg_class AS c \
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
ORDER BY 1, 2";

/// The entries of a job, by target relation: its `table` entries, and what `tables` without
/// `exclude` matches on the source.
///
/// *Errors:* `SchemaMismatch`, naming every pattern that matches nothing, or every name that `target_names` makes and
/// that cannot be used; or that nothing is left.
pub async fn expand(source: &Session, job: &JobSpec) -> Result<Expanded> {
    let candidates = if job.tables.is_empty() {
        Vec::new()
    } else {
        candidates(source).await?
    };
    let matched = pattern::entries(job, &candidates);
    let refuse = |message: String| {
        Error::new(
            ErrorKind::SchemaMismatch,
            Phase::Inspect,
            Side::Source,
            message,
        )
        .at(source.server())
    };
    if !matched.without_match.is_empty() {
        let shown: Vec<String> = matched
            .without_match
            .iter()
            .map(|text| format!("`{text}`"))
            .collect();
        return Err(refuse(format!(
            "no relation matches {} in `tables` of job `{}`",
            shown.join(", "),
            job.name
        ))
        .hinted(hint(job)));
    }
    if !matched.refused.is_empty() {
        return Err(refuse(matched.refused.join("; ")).hinted(
            "leave a table out by `exclude`, or name its target in a [jobs.NAME.table.\"schema.name\"] with \
             `source`",
        ));
    }
    if matched.tables.is_empty() {
        return Err(
            refuse(format!("job `{}` has no table left to copy", job.name))
                .hinted("`exclude` leaves out everything that `tables` matches"),
        );
    }
    Ok(Expanded {
        tables: matched.tables,
        warnings: matched.warnings,
    })
}

/// Every relation that a pattern may name, in order of names.
pub(crate) async fn candidates(source: &Session) -> Result<Vec<Candidate>> {
    let rows = source.query(Phase::Inspect, CANDIDATES, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let schema: String = row.get(0);
            let by_wildcard: bool = row.get(2);
            Candidate {
                by_wildcard: by_wildcard && !pattern::is_system_schema(&schema),
                name: QualifiedName::new(schema, row.get::<_, String>(1)),
            }
        })
        .collect())
}

fn hint(job: &JobSpec) -> &'static str {
    if job.tables.iter().any(|pattern| pattern.literal().is_none()) {
        "a wildcard matches tables and partitioned tables, not their partitions, views, \
         materialized views or foreign tables: name those"
    } else {
        "check the name, its upper and lower case, and the database"
    }
}
