//! Which relations a job's patterns mean: pure matching.

use std::collections::BTreeMap;

use crate::config::spec::{JobSpec, Scope, TableInput, TableSpec};
use crate::pg::ident::QualifiedName;

/// A relation as far as patterns look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: QualifiedName,
    /// An ordinary table or a partitioned parent, not a partition, not temporary, not PostgreSQL's
    /// own: what a wildcard may match.
    pub by_wildcard: bool,
}

/// The entries of a job, by target, and the patterns that match nothing.
#[derive(Debug, PartialEq)]
pub struct Matched {
    /// One entry a target.
    pub tables: Vec<TableSpec>,
    /// Patterns of `tables` that match no relation.
    pub without_match: Vec<String>,
}

/// Schemas that a wildcard never looks into: PostgreSQL's own, and this program's ledger, which two
/// servers each have for themselves.
pub fn is_system_schema(schema: &str) -> bool {
    schema.starts_with("pg_") || matches!(schema, "information_schema" | "tableferry")
}

/// Puts together what `tables`, `exclude` and the `table` entries mean.
///
/// An entry of `table` replaces what a pattern found for the same target, and also what a pattern
/// found for the same source: a table that is copied under another name is meant once.
pub fn entries(job: &JobSpec, candidates: &[Candidate]) -> Matched {
    let mut tables: BTreeMap<QualifiedName, TableSpec> = BTreeMap::new();
    let mut without_match = Vec::new();
    for pattern in &job.tables {
        let mut found = false;
        for candidate in candidates {
            if !pattern.matches(&candidate.name)
                || (pattern.literal().is_none() && !candidate.by_wildcard)
            {
                continue;
            }
            found = true;
            if !job.exclude.iter().any(|out| out.matches(&candidate.name)) {
                tables.insert(candidate.name.clone(), plain(&candidate.name));
            }
        }
        if !found {
            without_match.push(pattern.text.clone());
        }
    }
    for entry in job.table.values() {
        if let TableInput::Relation(source) = &entry.input
            && !job.table.contains_key(source)
        {
            tables.remove(source);
        }
    }
    tables.extend(
        job.table
            .iter()
            .map(|(name, entry)| (name.clone(), entry.clone())),
    );
    Matched {
        tables: tables.into_values().collect(),
        without_match,
    }
}

/// A relation copied whole, under its own name.
fn plain(name: &QualifiedName) -> TableSpec {
    TableSpec {
        target: name.clone(),
        input: TableInput::Relation(name.clone()),
        columns: None,
        filter: None,
        key: None,
        watermark: None,
        watermark_overlap: None,
        scope: Scope::Table,
        lossy: false,
        set: BTreeMap::new(),
    }
}
