//! Decides which relations a job's patterns match.

use std::collections::BTreeMap;

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
    /// Why names that `target_names` makes cannot be used.
    pub refused: Vec<String>,
    /// What is left out though a wildcard matches it.
    pub warnings: Vec<String>,
}

/// Schemas that a wildcard does not match: PostgreSQL's own, and the ledger, which each server has for
/// itself.
pub fn is_system_schema(schema: &str) -> bool {
    schema.starts_with("pg_") || matches!(schema, "information_schema" | "tableferry")
}

/// Combines `tables`, `exclude`, `target_names` and the `table` entries.
///
/// A `table` entry replaces the pattern's match for the same target. It also replaces a match of a wildcard
/// for the same source: a table that is copied under another name is copied once, unless `tables` also names
/// it. An entry without a `source` of its own is the table that `tables` names.
pub fn entries(job: &JobSpec, candidates: &[Candidate]) -> MatchedTables {
    let (matched, without_match) = matched(job, candidates);
    let mut tables: BTreeMap<QualifiedName, TableSpec> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut targets: BTreeMap<&QualifiedName, QualifiedName> = BTreeMap::new();
    for source in matched.keys() {
        match target_of(job, source) {
            Ok(target) => {
                targets.insert(source, target);
            }
            Err(message) => refused.push(message),
        }
    }
    let mut warnings = Vec::new();
    for entry in job.table.values() {
        let TableInput::Relation(source) = &entry.input else {
            continue;
        };
        let (Some(by), Some(target)) = (matched.get(source), targets.get(source)) else {
            continue;
        };
        let is_itself = entry.target == *source;
        let is_left_out = *by == MatchedBy::Wildcard && !job.table.contains_key(target);
        if !is_itself && is_left_out {
            warnings.push(format!(
                "{source} is copied to {} only, because only a wildcard of `tables` matches it: name \
                 it in `tables` to copy it to {} as well",
                entry.target,
                match target == source {
                    true => "a table of its own name".to_owned(),
                    false => target.to_string(),
                }
            ));
        }
        if is_itself || is_left_out {
            targets.remove(source);
        }
    }
    for (source, target) in targets {
        let spec = TableSpec {
            target: target.clone(),
            ..TableSpec::whole(source)
        };
        if let Some(other) = tables.insert(target.clone(), spec) {
            refused.push(meet(
                &target,
                [&other.input, &TableInput::Relation(source.clone())],
            ));
        }
    }
    for (target, entry) in &job.table {
        let replaced = tables.insert(target.clone(), entry.clone());
        if let Some(replaced) = replaced.filter(|_| job.target_names.is_some())
            && replaced.input != entry.input
            && matches!(entry.input, TableInput::Relation(_))
        {
            refused.push(meet(target, [&replaced.input, &entry.input]));
        }
    }
    MatchedTables {
        tables: tables.into_values().collect(),
        without_match,
        refused,
        warnings,
    }
}

/// What made a pattern match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MatchedBy {
    Wildcard,
    Name,
}

/// What `tables` matches and `exclude` leaves, and the patterns that match nothing.
fn matched(
    job: &JobSpec,
    candidates: &[Candidate],
) -> (BTreeMap<QualifiedName, MatchedBy>, Vec<String>) {
    let mut matched = BTreeMap::new();
    let mut without_match = Vec::new();
    for pattern in &job.tables {
        let by = match pattern.literal() {
            Some(_) => MatchedBy::Name,
            None => MatchedBy::Wildcard,
        };
        let mut found = false;
        for Candidate { name, by_wildcard } in candidates {
            if !pattern.matches(name) || (by == MatchedBy::Wildcard && !by_wildcard) {
                continue;
            }
            found = true;
            if !job.exclude.iter().any(|out| out.matches(name))
                && matched.get(name) != Some(&MatchedBy::Name)
            {
                matched.insert(name.clone(), by);
            }
        }
        if !found {
            without_match.push(pattern.text.clone());
        }
    }
    (matched, without_match)
}

fn target_of(job: &JobSpec, source: &QualifiedName) -> Result<QualifiedName, String> {
    let Some(names) = &job.target_names else {
        return Ok(source.clone());
    };
    names.target_of(source).map_err(|long| {
        format!(
            "{source} would have a name of more than 63 bytes by `target_names = {:?}`: {long}",
            names.text
        )
    })
}

/// Two sources of one target.
fn meet(target: &QualifiedName, inputs: [&TableInput; 2]) -> String {
    let [first, second] = inputs.map(|input| match input {
        TableInput::Relation(name) => name.to_string(),
        TableInput::Query(_) => "a query".to_owned(),
        TableInput::File(file) => file.name.clone(),
    });
    format!("{first} and {second} would both be copied to {target} by `target_names`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Mode, TablePattern, TargetNames};
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

    /// `target < source`, of tables whose targets have names of their own.
    #[rstest]
    #[case("m.{schema}_{table}", &["*.*"], &[], "m.public_a<public.a m.public_b<public.b m.sales_a<sales.a", "")]
    #[case("{table}_x", &["*.a"], &[], "public.a_x<public.a sales.a_x<sales.a", "")]
    #[case("m.{table}", &["*.a"], &[], "m.a<sales.a", "public.a and sales.a would both be copied to m.a")]
    // An entry keeps its own name, whether `tables` names what it reads or not.
    #[case("m.{table}", &["public.*"], &["public.a < public.a"], "m.b<public.b public.a<public.a", "")]
    #[case("m.{table}", &["public.a"], &["public.a < public.a"], "public.a<public.a", "")]
    #[case("m.{table}", &["public.*"], &["x.a < public.a"], "m.b<public.b x.a<public.a", "")]
    #[case("m.{table}", &["public.a"], &["x.a < public.a"], "m.a<public.a x.a<public.a", "")]
    #[case("m.{table}", &["public.a"], &["m.a < public.a"], "m.a<public.a", "")]
    #[case("m.{table}", &["public.a"], &["m.a < sales.a"], "m.a<sales.a", "public.a and sales.a would both")]
    #[case("m.{table}", &["public.a"], &["m.a < m.a"], "m.a<m.a", "public.a and m.a would both be copied to m.a")]
    #[case("m.{schema}__0123456789_0123456789_0123456789_0123456789_0123456789_{table}", &["*.a"], &[],
        "m.sales__0123456789_0123456789_0123456789_0123456789_0123456789_a<sales.a",
        "public.a would have a name of more than 63 bytes")]
    fn targets_have_other_names(
        #[case] names: &str,
        #[case] tables: &[&str],
        #[case] table: &[&str],
        #[case] expected: &str,
        #[case] refused: &str,
    ) {
        let mut job = fixtures::job(Mode::Append);
        job.tables = parse(tables);
        job.target_names = Some(TargetNames::parse(names).unwrap());
        job.table = table.iter().map(|text| entry(text)).collect();
        let matched = entries(&job, &candidates());
        let shown = matched.tables.iter().map(|spec| match &spec.input {
            TableInput::Relation(source) => format!("{}<{source}", spec.target),
            other => panic!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected);
        assert_eq!(matched.refused.is_empty(), refused.is_empty());
        assert!(matched.refused.concat().contains(refused), "{matched:?}");
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
