//! Decides which relations a job's patterns match.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::spec::{JobSpec, TableInput, TableSpec};
use crate::pg::ident::QualifiedName;

/// A relation as far as patterns look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: QualifiedName,
    /// An ordinary table or a partitioned parent, not a partition, not temporary, not PostgreSQL's
    /// own: what a wildcard may match.
    pub by_wildcard: bool,
}

/// The entries of a job, by target, and the patterns that match nothing.
#[derive(Debug, PartialEq)]
pub struct MatchedTables {
    /// One entry a target.
    pub tables: Vec<TableSpec>,
    /// Patterns of `tables` that match no relation.
    pub without_match: Vec<String>,
    /// What is left out though a wildcard matches it.
    pub warnings: Vec<String>,
}

/// Schemas that a wildcard does not match: PostgreSQL's own, and the ledger, which each server has for
/// itself.
pub fn is_system_schema(schema: &str) -> bool {
    schema.starts_with("pg_") || matches!(schema, "information_schema" | "tableferry")
}

/// Combines `tables`, `exclude` and the `table` entries.
///
/// A `table` entry replaces the pattern's match for the same target. It also replaces a match of a wildcard
/// for the same source: a table that is copied under another name is copied once, unless `tables` also names
/// it.
pub fn entries(job: &JobSpec, candidates: &[Candidate]) -> MatchedTables {
    let mut tables: BTreeMap<QualifiedName, TableSpec> = BTreeMap::new();
    let mut named: BTreeSet<&QualifiedName> = BTreeSet::new();
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
                tables.insert(candidate.name.clone(), TableSpec::whole(&candidate.name));
                if pattern.literal().is_some() {
                    named.insert(&candidate.name);
                }
            }
        }
        if !found {
            without_match.push(pattern.text.clone());
        }
    }
    let mut warnings = Vec::new();
    for entry in job.table.values() {
        if let TableInput::Relation(source) = &entry.input
            && !job.table.contains_key(source)
            && !named.contains(source)
            && tables.remove(source).is_some()
        {
            warnings.push(format!(
                "{source} is copied to {} only, because only a wildcard of `tables` matches it: name \
                 it in `tables` to copy it to a table of its own name as well",
                entry.target
            ));
        }
    }
    tables.extend(
        job.table
            .iter()
            .map(|(name, entry)| (name.clone(), entry.clone())),
    );
    MatchedTables {
        tables: tables.into_values().collect(),
        without_match,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Mode, TablePattern};
    use crate::plan::fixtures;
    use rstest::rstest;

    fn parse(texts: &[&str]) -> Vec<TablePattern> {
        let parsed = texts.iter().map(|text| TablePattern::parse(text).unwrap());
        parsed.collect()
    }

    fn candidates() -> Vec<Candidate> {
        let names = [
            ("public.a", true),
            ("public.b", true),
            ("public.b_1", false),
            ("sales.a", true),
            ("sales.view", false),
        ];
        let made = names.iter().map(|(name, by_wildcard)| Candidate {
            name: QualifiedName::parse(name).unwrap(),
            by_wildcard: *by_wildcard,
        });
        made.collect()
    }

    /// `target < source` for an entry of `table`.
    fn entry(text: &str) -> (QualifiedName, TableSpec) {
        let (target, source) = text.split_once(" < ").unwrap();
        let mut made = TableSpec::whole(&QualifiedName::parse(source).unwrap());
        made.target = QualifiedName::parse(target).unwrap();
        made.lossy = true;
        (made.target.clone(), made)
    }

    #[rstest]
    #[case(&["*.*"], &[], &[], "public.a public.b sales.a", "")]
    #[case(&["public.*"], &["*.a"], &[], "public.b", "")]
    #[case(&["public.b_1", "sales.view"], &[], &[], "public.b_1 sales.view", "")]
    #[case(&["public.*", "public.a"], &[], &[], "public.a public.b", "")]
    #[case(&["public.x", "*.view", "public.a"], &[], &[], "public.a", "public.x *.view")]
    // A pattern of which everything is excluded has matched.
    #[case(&["public.a"], &["public.*"], &[], "", "")]
    #[case(&["public.*"], &[], &["public.a < public.a"], "public.a! public.b", "")]
    #[case(&["public.*"], &[], &["mart.a < public.a"], "mart.a! public.b", "")]
    #[case(&["public.*"], &[], &["public.a < sales.a"], "public.a! public.b", "")]
    #[case(&["*.a"], &[], &["public.a < sales.a", "mart.a < public.a"], "mart.a! public.a!", "")]
    #[case(&[], &[], &["mart.a < public.a"], "mart.a!", "")]
    #[case(&["public.*"], &["public.a"], &["public.a < public.a"], "public.a! public.b", "")]
    // A name without a wildcard means the table itself, even if another section reads it.
    #[case(&["public.a"], &[], &["mart.a < public.a"], "mart.a! public.a", "")]
    #[case(&["public.*", "\"public\".\"a\""], &[], &["mart.a < public.a"], "mart.a! public.a public.b", "")]
    #[case(&["public.a"], &["public.a"], &["mart.a < public.a"], "mart.a!", "")]
    #[case(&["public.a"], &[], &["public.a < sales.a"], "public.a!", "")]
    #[case(&["public.a"], &[], &["mart.a < public.a", "public.a < public.b"], "mart.a! public.a!", "")]
    fn what_a_job_means(
        #[case] tables: &[&str],
        #[case] exclude: &[&str],
        #[case] table: &[&str],
        #[case] expected: &str,
        #[case] without_match: &str,
    ) {
        let mut job = fixtures::job(Mode::Append);
        job.tables = parse(tables);
        job.exclude = parse(exclude);
        job.table = table.iter().map(|text| entry(text)).collect();
        let matched = entries(&job, &candidates());
        let shown: Vec<String> = matched
            .tables
            .iter()
            .map(|spec| format!("{}{}", spec.target, if spec.lossy { "!" } else { "" }))
            .collect();
        assert_eq!(shown.join(" "), expected);
        assert_eq!(matched.without_match.join(" "), without_match);
    }

    #[rstest]
    #[case(&["public.*"], &["mart.a < public.a"], 1)]
    #[case(&["public.*", "public.a"], &["mart.a < public.a"], 0)]
    #[case(&["public.b"], &["mart.a < public.a"], 0)]
    #[case(&["public.*"], &["mart.a < public.a", "public.a < public.a"], 0)]
    #[case(&["*.*"], &["mart.a < public.a", "mart.b < public.a"], 1)]
    fn what_a_wildcard_no_longer_means_is_said(
        #[case] tables: &[&str],
        #[case] table: &[&str],
        #[case] count: usize,
    ) {
        let mut job = fixtures::job(Mode::Append);
        job.tables = parse(tables);
        job.table = table.iter().map(|text| entry(text)).collect();
        let warnings = entries(&job, &candidates()).warnings;
        assert_eq!(warnings.len(), count, "{warnings:?}");
        let names = ["public.a is copied to mart.a only", "wildcard"];
        assert!(
            warnings
                .iter()
                .all(|w| names.iter().all(|part| w.contains(part))),
            "{warnings:?}"
        );
    }

    #[rstest]
    #[case("pg_catalog", true)]
    #[case("pg_temp_3", true)]
    #[case("information_schema", true)]
    #[case("tableferry", true)]
    #[case("public", false)]
    #[case("page", false)]
    fn schemas_that_wildcards_pass_over(#[case] schema: &str, #[case] expected: bool) {
        assert_eq!(is_system_schema(schema), expected);
    }
}
