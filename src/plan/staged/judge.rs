//! Finds staged rows that the target would reject although they satisfy the staging table's constraints:
//! rows without a partition, rows that violate a unique index together with rows that stay, and rows
//! without the row that they reference.
//!
//! Each statement moves such rows to `tableferry.rejected`. Rejecting a row may cause other rows to be
//! rejected, so the statements are repeated until none moves a row.

use std::collections::BTreeMap;

use super::parts::{Parts, same_index};
use super::types::{Apply, Partitionless};
use crate::catalog::constraints::{Constraints, ForeignKeyLookup};
use crate::catalog::desc::{RelationDesc, RelationKind, UniqueIndex};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, OnError, TableSpec, Triggers};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::copy::Quarantine;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::partitions::fits_none;
use crate::plan::quarantine::line_column;
use crate::plan::refusal::Refusal;

/// A table of the job whose rows are staged in the same transaction.
#[derive(Clone)]
pub(super) struct Stage {
    name: QualifiedName,
    same_key: String,
    pub(super) columns: Vec<Ident>,
    /// Rows of the target stay whose keys are not staged.
    keeps_others: bool,
}

/// Plans the statements of all tables, with `on_error = "quarantine"`.
pub fn plan(
    job: &JobSpec,
    tables: &[Inspected],
    plans: &mut [Option<CopyPlan>],
    refusals: &mut Vec<Refusal>,
) {
    if job.on_error != OnError::Quarantine {
        return;
    }
    let stages: BTreeMap<QualifiedName, Stage> = plans.iter().flatten().filter_map(stage).collect();
    for (inspected, plan) in tables.iter().zip(plans) {
        let (Some(plan), Some(target), Some(constraints)) =
            (plan, &inspected.target, &inspected.constraints)
        else {
            continue;
        };
        let (Load::Staged(staged), Some(quarantine)) = (&mut plan.load, &plan.quarantine) else {
            continue;
        };
        let others = job.atomic;
        let stages = stages
            .iter()
            .filter(|(name, _)| others || **name == target.name);
        let judging = Judging {
            job,
            inspected,
            target,
            constraints,
            quarantine,
            copied: plan.columns.iter().map(|column| &column.name).collect(),
            stage: &staged.stage,
            same_key: &staged.same_key,
            stages: stages
                .map(|(name, stage)| (name.clone(), stage.clone()))
                .collect(),
        };
        judging.refuse(tables, refusals);
        let statements = judging.statements();
        let names = unique_names(&staged.stage, constraints);
        staged.judge = statements;
        if let Some(quarantine) = &mut plan.quarantine {
            quarantine.names = names;
        }
    }
}

fn stage(plan: &CopyPlan) -> Option<(QualifiedName, Stage)> {
    let Load::Staged(staged) = &plan.load else {
        return None;
    };
    let stage = Stage {
        name: staged.stage.clone(),
        same_key: staged.same_key.clone(),
        columns: plan.columns.iter().map(|c| c.name.clone()).collect(),
        keeps_others: match &staged.apply {
            Apply::Merge(merge) => merge.of_run.is_some(),
            Apply::Upsert(_) => true,
        },
    };
    Some((plan.target.clone(), stage))
}

pub(super) struct Judging<'a> {
    pub(super) job: &'a JobSpec,
    pub(super) inspected: &'a Inspected,
    pub(super) target: &'a RelationDesc,
    pub(super) constraints: &'a Constraints,
    quarantine: &'a Quarantine,
    pub(super) copied: Vec<&'a Ident>,
    stage: &'a QualifiedName,
    same_key: &'a str,
    /// The tables that the same transaction publishes, by target.
    pub(super) stages: BTreeMap<QualifiedName, Stage>,
}

impl Judging<'_> {
    /// The foreign keys that the target checks.
    pub(super) fn references(&self) -> impl Iterator<Item = &ForeignKeyLookup> {
        let keys = self.constraints.foreign_keys.iter();
        keys.filter(|_| self.job.triggers == Triggers::Fire)
    }

    /// Do rows of the target stay whose keys are not staged?
    pub(super) fn keeps_others(&self) -> bool {
        let own = self.stages.get(&self.target.name);
        own.is_some_and(|stage| stage.keeps_others)
    }

    fn statements(&self) -> Vec<String> {
        let mut list = Vec::new();
        list.extend(self.without_partition());
        if self.keeps_others() {
            let others = self
                .target
                .unique_indexes
                .iter()
                .filter(|index| index.is_plain);
            list.extend(others.filter_map(|index| self.conflicts(index)));
        }
        list.extend(self.references().map(|key| self.orphans(key)));
        list
    }

    fn without_partition(&self) -> Option<String> {
        let condition = fits_none(self.constraints)?;
        let reason = "a row does not fit the partitions of the table";
        Some(self.reject(&condition, None, "23514", reason))
    }

    /// Finds rows that violate a unique index together with a row of the target that stays.
    fn conflicts(&self, index: &UniqueIndex) -> Option<String> {
        let column = |name: &Ident| format!("\"row\".{}", name.sql());
        let equal = same_index(index, "\"target\"", |_, name| column(name));
        let condition = format!(
            "EXISTS (SELECT FROM {} AS \"target\" WHERE {equal} AND NOT EXISTS (SELECT FROM {} AS \"staged\" WHERE {}))",
            self.target_from(),
            self.stage.sql(),
            self.same_key,
        );
        let reason = "duplicate key value violates a unique constraint";
        Some(self.reject(&condition, Some(&index.name), "23505", reason))
    }

    fn target_from(&self) -> String {
        match self.target.kind {
            RelationKind::Partitioned => self.target.name.sql(),
            _ => format!("ONLY {}", self.target.name.sql()),
        }
    }

    /// Finds rows without the row that they reference.
    fn orphans(&self, key: &ForeignKeyLookup) -> String {
        let own = |name: &str| format!("\"row\".{}", Ident::new(name).sql());
        let matches = |alias: &str| -> String {
            let columns = key.columns.iter().map(|column| {
                format!(
                    "{alias}.{} OPERATOR({}.{}) {}",
                    Ident::new(&column.to).sql(),
                    Ident::new(&column.schema).sql(),
                    column.operator,
                    own(&column.from)
                )
            });
            columns.collect::<Vec<_>>().join(" AND ")
        };
        let to = key.to();
        let in_table = |from: &str, alias: &str, and: &str| {
            format!(
                "EXISTS (SELECT FROM {from} AS {alias} WHERE {}{and})",
                matches(alias)
            )
        };
        let from = match key.partitioned {
            true => to.sql(),
            false => format!("ONLY {}", to.sql()),
        };
        let found = match self.stages.get(&to) {
            None => in_table(&from, "\"other\"", ""),
            Some(stage) => {
                let staged = in_table(&stage.name.sql(), "\"other\"", "");
                let stays = format!(
                    " AND NOT EXISTS (SELECT FROM {} AS \"staged\" WHERE {})",
                    stage.name.sql(),
                    stage.same_key
                );
                match stage.keeps_others {
                    true => format!("({staged} OR {})", in_table(&from, "\"target\"", &stays)),
                    false => staged,
                }
            }
        };
        let tested = |test: &str, joint: &str| {
            let columns = key
                .columns
                .iter()
                .map(|c| format!("{} {test}", own(&c.from)));
            columns.collect::<Vec<_>>().join(joint)
        };
        let whole = tested("IS NOT NULL", " AND ");
        let condition = match key.full {
            false => format!("{whole} AND NOT {found}"),
            true => {
                let any = tested("IS NOT NULL", " OR ");
                format!("({any}) AND NOT ({whole} AND {found})")
            }
        };
        self.reject(
            &condition,
            Some(&key.name),
            "23503",
            "a foreign key is violated",
        )
    }

    /// Moves rows from the staging table to `tableferry.rejected`: $1 is the run, $2 the job. Returns their
    /// number.
    fn reject(
        &self,
        condition: &str,
        constraint: Option<&str>,
        sqlstate: &str,
        reason: &str,
    ) -> String {
        let text = |text: &str| quote_literal(text).trim_start().to_owned();
        let object = |columns: &[&Ident]| -> String {
            if columns.is_empty() {
                return "NULL::pg_catalog.jsonb".to_owned();
            }
            let names: Vec<String> = columns.iter().map(|name| text(name.as_str())).collect();
            let values: Vec<String> = columns
                .iter()
                .map(|name| format!("\"row\".{}::pg_catalog.text", name.sql()))
                .collect();
            format!(
                "pg_catalog.jsonb_object(ARRAY[{}]::pg_catalog.text[], ARRAY[{}])",
                names.join(", "),
                values.join(", ")
            )
        };
        let key: Vec<&Ident> = self
            .quarantine
            .key
            .iter()
            .filter_map(|at| self.copied.get(*at).copied())
            .collect();
        let shown = match self.quarantine.log_values {
            true => &self.copied,
            false => &key,
        };
        let columns = constraint.and_then(|name| self.columns_of(name));
        let or_null = |value: Option<&str>| value.map_or("NULL".to_owned(), text);
        let reason = match constraint {
            Some(name) => format!("{reason}, constraint \"{name}\""),
            None => reason.to_owned(),
        };
        format!(
            "WITH bad AS (DELETE FROM {} AS \"row\" WHERE {condition} RETURNING \"row\".{} AS \"line\", \
             {} AS \"key\", {} AS \"shown\"), \
             kept AS (INSERT INTO tableferry.rejected (run_id, job, target, line, key, column_name, constraint_name, \
             sqlstate, reason, \"row\") SELECT $1::pg_catalog.text::pg_catalog.uuid, $2, {}, bad.\"line\", \
             bad.\"key\", {}, {}, {}, {}, bad.\"shown\" FROM bad RETURNING 1) \
             SELECT pg_catalog.count(*) FROM kept",
            self.stage.sql(),
            line_column(self.target).sql(),
            object(&key),
            object(shown),
            text(&self.target.name.to_string()),
            or_null(columns.as_deref()),
            or_null(constraint),
            text(sqlstate),
            text(&reason),
        )
    }

    fn columns_of(&self, constraint: &str) -> Option<String> {
        let keys = self.constraints.foreign_keys.iter();
        let of_key = keys.filter(|key| key.name == constraint).map(|key| {
            let names: Vec<&str> = key
                .columns
                .iter()
                .map(|column| column.from.as_str())
                .collect();
            names.join(", ")
        });
        let indexes = self.target.unique_indexes.iter();
        let of_index = indexes
            .filter(|index| index.name == constraint)
            .map(|index| {
                let names: Vec<&str> = index
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .collect();
                names.join(", ")
            });
        of_key.chain(of_index).next()
    }
}

/// Finds staged rows without a partition; None if a column of a partition key is not copied or a trigger
/// may change it.
pub(super) fn partitionless(constraints: &Constraints, parts: &Parts<'_>) -> Option<Partitionless> {
    let condition = fits_none(constraints)?;
    let keys = constraints.partition_columns.as_ref()?;
    let copied = |name: &String| parts.columns.iter().any(|c| c.name.as_str() == name);
    if !parts.target.triggers.is_empty() || !keys.iter().all(copied) {
        return None;
    }
    let shown: Vec<String> = keys
        .iter()
        .map(|name| format!("{}::pg_catalog.text", Ident::new(name.as_str()).sql()))
        .collect();
    let from = format!("FROM {} WHERE {condition}", parts.stage.sql());
    Some(Partitionless {
        count: format!("SELECT pg_catalog.count(*) {from}"),
        examples: format!(
            "SELECT DISTINCT ROW({})::pg_catalog.text {from} ORDER BY 1 LIMIT 5",
            shown.join(", ")
        ),
        columns: keys.join(", "),
    })
}

/// The constraints of the staging table: the target's NOT NULL and CHECK constraints, unique indexes and
/// exclusion constraints, and NOT NULL for the key's columns, because NULL matches no key.
pub(super) fn create(
    spec: &TableSpec,
    target: &RelationDesc,
    key: &UniqueIndex,
    constraints: &Constraints,
    stage: &QualifiedName,
) -> Vec<String> {
    let name = stage.sql();
    let mut list = vec![format!(
        "CREATE TEMPORARY TABLE {name} ({} pg_catalog.int8, LIKE {} INCLUDING CONSTRAINTS INCLUDING DEFAULTS \
         INCLUDING GENERATED INCLUDING IDENTITY) ON COMMIT DROP",
        line_column(target).sql(),
        target.name.sql()
    )];
    let is_nullable = |name: &&Ident| target.column(name).is_none_or(|column| !column.not_null);
    for column in key
        .columns
        .iter()
        .map(|column| &column.name)
        .filter(is_nullable)
    {
        list.push(format!(
            "ALTER TABLE {name} ALTER COLUMN {} SET NOT NULL",
            column.sql()
        ));
    }
    // The run fills these columns when rows are written.
    for (_, column) in spec.own_columns() {
        list.push(format!(
            "ALTER TABLE {name} ALTER COLUMN {0} DROP NOT NULL, ALTER COLUMN {0} DROP DEFAULT",
            column.sql()
        ));
    }
    for (at, unique) in constraints.uniques.iter().enumerate() {
        let own = Ident::new(unique_name(stage, at)).sql();
        list.push(match unique.is_constraint {
            true => format!(
                "ALTER TABLE {name} ADD CONSTRAINT {own} {}",
                unique.definition
            ),
            false => format!("CREATE UNIQUE INDEX {own} ON {name}{}", unique.definition),
        });
    }
    list
}

/// The names of the staging table's unique indexes, each with the target's index that it represents.
fn unique_names(stage: &QualifiedName, constraints: &Constraints) -> BTreeMap<String, String> {
    let uniques = constraints.uniques.iter().enumerate();
    uniques
        .map(|(at, unique)| (unique_name(stage, at), unique.name.clone()))
        .collect()
}

fn unique_name(stage: &QualifiedName, at: usize) -> String {
    format!("{}_u{at}", stage.name.as_str())
}
