//! `replace = "partitions"`: the partitions of the target that get rows are replaced, the others stay. The source
//! counts the rows of each partition before the load, in the snapshot of the copy.
//!
//! `truncate` empties these partitions (`run/modes/replaced.rs`); for `swap`, each is a table of the run
//! (`swapped.rs`).

use super::{as_source, source_judges};
use crate::catalog::constraints::Leaf;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, Replace, TableInput};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::QualifiedName;
use crate::plan::column::ColumnPlan;
use crate::plan::refusal::Refusal;

/// Partitions that are counted by one statement: a SELECT has at most 1664 columns.
pub const COUNTED_MAX: usize = 1000;

/// Finds the partitions that get rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Reads the source's rows.
    select: String,
    /// Counts them for each partition that the plan knows.
    pub counts: Vec<String>,
}

/// Plans it for one table; None if the table is replaced as a whole.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    columns: &[ColumnPlan],
    select: &str,
    refusals: &mut Vec<Refusal>,
) -> Option<Replaced> {
    let (constraints, target) = (inspected.constraints.as_ref()?, inspected.target.as_ref()?);
    let leaves = constraints.leaf_tables.as_ref()?;
    if job.replace != Replace::Partitions {
        return None;
    }
    let mut refuse = |message: String, hint: &str| {
        let message = format!("`replace = \"partitions\"`, but {message}");
        let refusal = Refusal::mismatch(Side::Target, &target.name, message);
        refusals.push(refusal.hinted(hint));
    };
    let whole = "use `replace = \"table\"`, or mode `merge`";
    if let Some(key) = target.referenced_by.first() {
        let why = match job.mode {
            Mode::Swap => "a partition with rows that are referenced cannot be detached",
            _ => "PostgreSQL does not truncate single partitions then",
        };
        let message = format!(
            "{} refers to it by foreign key {}, and {why}",
            key.from, key.name
        );
        refuse(message, "use mode `merge`, or drop the foreign key");
    }
    if let Some(leaf) = leaves.iter().find(|leaf| !leaf.is_table) {
        refuse(
            format!("its partition {} is not a plain table", leaf.table()),
            whole,
        );
    }
    if let Err(why) = source_judges(job, inspected, columns, &conditions(leaves)) {
        refuse(
            format!("the source cannot tell which partitions get rows: {why}"),
            whole,
        );
    }
    let locked = leaves
        .iter()
        .find(|leaf| leaf.is_table && !leaf.may_truncate);
    if let Some(leaf) = locked.filter(|_| job.mode == Mode::Truncate) {
        let name = leaf.table();
        let message =
            format!("`replace = \"partitions\"`: the role lacks TRUNCATE on partition {name}");
        refusals.push(
            Refusal::permission(Side::Target, &target.name, message).hinted(format!(
                "GRANT TRUNCATE ON {name} TO the role of the target"
            )),
        );
    }
    if matches!(inspected.spec.input, TableInput::File(_)) {
        return None;
    }
    Some(Replaced {
        select: select.to_owned(),
        counts: counts(select, leaves),
    })
}

impl Replaced {
    /// Reads the source's rows.
    pub fn select(&self) -> &str {
        &self.select
    }

    /// Counts the source's rows for each of these partitions, in their order.
    pub fn counts_of(&self, leaves: &[Leaf]) -> Vec<String> {
        counts(&self.select, leaves)
    }
}

fn conditions(leaves: &[Leaf]) -> String {
    let conditions = leaves.iter().filter_map(|leaf| leaf.condition.clone());
    conditions.collect::<Vec<_>>().join(" OR ")
}

fn counts(select: &str, leaves: &[Leaf]) -> Vec<String> {
    let count = |leaf: &Leaf| match &leaf.condition {
        Some(condition) => format!("pg_catalog.count(*) FILTER (WHERE {condition})"),
        // It takes every row.
        None => "pg_catalog.count(*)".to_owned(),
    };
    let statement = |leaves: &[Leaf]| {
        let counts: Vec<String> = leaves.iter().map(count).collect();
        format!("SELECT {} FROM {}", counts.join(", "), as_source(select))
    };
    leaves.chunks(COUNTED_MAX).map(statement).collect()
}

impl Leaf {
    /// Counts the rows that are in it now, with the privileges on the partitioned table.
    pub fn count(&self, parent: &QualifiedName) -> String {
        let within = self.condition.as_ref();
        let within = within.map_or(String::new(), |condition| format!(" WHERE {condition}"));
        format!("SELECT pg_catalog.count(*) FROM {}{within}", parent.sql())
    }
}

/// TRUNCATE of these partitions; None of none.
pub fn truncate(names: &[QualifiedName]) -> Option<String> {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("ONLY {}", name.sql()))
        .collect();
    (!names.is_empty()).then(|| format!("TRUNCATE TABLE {}", names.join(", ")))
}

/// The job's keys that exclude it, with the reason.
pub fn refuse_checksum(job: &JobSpec) -> Option<Refusal> {
    let is_asked = job.verify == crate::config::spec::Verify::Checksum;
    let keeps = job.replace == Replace::Partitions && job.mode == Mode::Truncate;
    (is_asked && keeps).then(|| {
        let message = "`verify = \"checksum\"` compares whole tables, and `replace = \"partitions\"` keeps partitions \
                       that get no rows";
        Refusal::mismatch(Side::Local, format!("job `{}`", job.name), message)
            .of_kind(ErrorKind::Config)
            .hinted("use `verify = \"count\"`; `tableferry verify` finds what is missing or different")
    })
}
