//! The plan of a job: all of its tables, or every reason why there is no plan.

use std::collections::BTreeSet;

use crate::catalog::desc::{ForeignKey, KeyActions, RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, OnError, Triggers, Verify};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::effects::{self, Effects};
use crate::plan::partitions::swapped;
use crate::plan::refusal::Refusal;
use crate::plan::setting::Setting;
use crate::plan::shared::{Attempt, KeptTables, Shared};
use crate::plan::staged::choose;
use crate::plan::staged::types::Apply;
use crate::plan::used::SeenLocks;
use crate::plan::{
    checks, ctid_ranges, inheritance, modes, order, partitions, quarantine, resume, staged, swap,
    table,
};

/// Plans a job. `same_place`: source and target are the same database of the same server. `attempt` marks
/// the tables that several workers load. `actions` are the target's foreign keys that may change rows.
///
/// *Errors:* every reason why the job cannot be run, of all tables.
pub fn job(
    job: &JobSpec,
    tables: Vec<Inspected>,
    same_place: bool,
    attempt: Attempt,
    actions: &KeyActions,
) -> Result<JobPlan, Vec<Refusal>> {
    let (job, warning) = &writes_alone(job, &tables);
    let planned = |kept: KeptTables| with_kept(job, &tables, same_place, (attempt, kept), actions);
    let plan = planned(KeptTables::new())?;
    let (kept, lost) = resume::choose(&plan, &tables);
    let mut plan = match kept.is_empty() {
        true => plan,
        false => planned(kept)?,
    };
    plan.warnings.extend(warning.clone());
    for (target, why) in lost {
        let mut plans = plan.tables.iter_mut();
        if let Some(table) = plans.find(|table| table.target == target) {
            let warning = format!("what a run that died has loaded is not kept: {why}");
            table.warnings.push(warning);
        }
    }
    Ok(plan)
}

/// A run that makes tables or columns loads through one connection: no other session sees them before COMMIT.
fn writes_alone(job: &JobSpec, tables: &[Inspected]) -> (JobSpec, Option<String>) {
    let mut job = job.clone();
    let mut warning = None;
    if tables.iter().any(|table| table.creation.is_some()) {
        if job.loaders() > 1 {
            warning = Some(
                "`workers` has no effect in this run: other connections do not see what it creates before it commits"
                    .to_owned(),
            );
        }
        (job.workers, job.resume) = (1, false);
    }
    (job, warning)
}

/// Plans a job that keeps these loads of a run that died.
fn with_kept(
    job: &JobSpec,
    tables: &[Inspected],
    same_place: bool,
    (attempt, loads): (Attempt, KeptTables),
    actions: &KeyActions,
) -> Result<JobPlan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut warnings = Vec::new();
    check_job(job, tables, &mut refusals);
    inheritance::check(job, tables, &mut refusals);
    quarantine::check(job, tables, &mut refusals, &mut warnings);
    let workers = job.loaders();
    let range_bytes = ctid_ranges::range_bytes(workers, tables, job.resume);
    let shared = Shared::new(job, attempt, range_bytes, loads);
    if job.workers > workers {
        let where_ = match job.on_error {
            OnError::Abort => format!("in mode `{}`", job.mode.as_str()),
            OnError::Quarantine => "with `on_error = \"quarantine\"`".to_owned(),
        };
        warnings.push(format!(
            "`workers` has no effect {where_}: one transaction writes the target itself, through \
             one connection"
        ));
    }
    let targets: Vec<&RelationDesc> = tables.iter().filter_map(|t| t.target.as_ref()).collect();
    let names: Vec<QualifiedName> = targets.iter().map(|target| target.name.clone()).collect();
    let references = order::references(&targets);
    let refers_to = |inspected: &Inspected| -> Vec<QualifiedName> {
        references
            .iter()
            .filter(|reference| targets[reference.from].name == inspected.spec.target)
            .map(|reference| targets[reference.to].name.clone())
            .collect()
    };
    let mut plans: Vec<Option<CopyPlan>> = tables
        .iter()
        .enumerate()
        .map(|(at, inspected)| {
            let setting = Setting {
                // One transaction of the target has the tables of all sources.
                number: attempt.source * tables.len() + at + 1,
                same_place,
                shared: shared.as_ref(),
                refers_to: refers_to(inspected),
                targets: &names,
                actions,
            };
            table::plan(job, inspected, &setting, &mut refusals)
        })
        .collect();
    for target in targets.iter().filter(|target| is_table(target)) {
        checks::mode(job, target, &mut refusals);
    }
    if job.mode == Mode::Truncate {
        check_references(job, &targets, &mut refusals);
    }
    staged::judge::plan(job, tables, &mut plans, &mut refusals);
    if job.mode == Mode::Swap {
        refusals.extend(tables.iter().filter_map(swapped::moved));
        let shared = shared.as_ref();
        swap::plan(job, tables, shared, &mut plans, &mut refusals);
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let order = order::by_foreign_keys(&targets, &references);
    let against: Vec<(String, String)> = order
        .against
        .iter()
        .map(|key| (key.from.to_string(), key.name.clone()))
        .collect();
    quarantine::check_circle(job, &against, &mut refusals);
    let circle = circles(job, &order, &mut warnings);
    let mut tables: Vec<CopyPlan> = order
        .positions
        .iter()
        .filter_map(|at| plans.get_mut(*at).and_then(Option::take))
        .collect();
    refusals.extend(effects::refusals(job, &with_effects(&tables)));
    // Also of targets that are empty now and loaded directly: the warnings hold for later runs.
    warnings.extend(effects::beyond(&with_effects(&tables), |table| {
        kept(tables.iter().find(|plan| plan.target == *table)?)
    }));
    let references: Vec<(QualifiedName, QualifiedName)> = references
        .iter()
        .map(|key| (targets[key.from].name.clone(), targets[key.to].name.clone()))
        .collect();
    staged::empty::choose(&mut tables, &references);
    choose::choose(job, &mut tables, &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(JobPlan {
        transactions: modes::transactions(job, &tables, workers, circle),
        snapshot: Vec::new(),
        seen_locks: SeenLocks::default(),
        tables,
        workers,
        warnings,
    })
}

fn with_effects(tables: &[CopyPlan]) -> Vec<(&QualifiedName, &Effects)> {
    let staged = tables.iter().filter_map(|table| match &table.load {
        Load::Staged(staged) => Some((&table.target, &staged.effects)),
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
    });
    staged.collect()
}

/// Describes the rows of a target that the job does not change, as a text that follows "rows".
fn kept(plan: &CopyPlan) -> Option<&'static str> {
    let Load::Staged(staged) = &plan.load else {
        return None;
    };
    match &staged.apply {
        Apply::Merge(merge) if merge.scope.is_some() => Some("outside of `where`"),
        Apply::Merge(merge) => merge
            .of_run
            .as_ref()
            .map(|_| "that `on_missing` marks or that are of other sources"),
        Apply::Upsert(_) => Some("that the source does not have"),
    }
}

fn is_table(target: &RelationDesc) -> bool {
    matches!(target.kind, RelationKind::Table | RelationKind::Partitioned)
}

fn check_job(job: &JobSpec, tables: &[Inspected], refusals: &mut Vec<Refusal>) {
    refusals.extend(partitions::replaced::refuse_checksum(job));
    if job.verify == Verify::Checksum && job.mode.keeps_other_rows() {
        let message = format!(
            "`verify = \"checksum\"` compares whole tables, and mode `{}` keeps rows that the source \
             does not have",
            job.mode.as_str()
        );
        let refusal = Refusal::mismatch(Side::Local, format!("job `{}`", job.name), message);
        refusals.push(refusal.of_kind(ErrorKind::Config).hinted(
            "use `verify = \"count\"`; `tableferry verify` finds what is missing or different",
        ));
    }
    let mut seen: BTreeSet<&QualifiedName> = BTreeSet::new();
    for inspected in tables {
        let target = &inspected.spec.target;
        if !seen.insert(target) {
            refusals.push(
                Refusal::mismatch(
                    Side::Target,
                    target,
                    "is the target of two entries of the job",
                )
                .of_kind(ErrorKind::Config)
                .hinted("join them in one `query`, or exclude one"),
            );
        }
    }
    let may_skip = |inspected: &Inspected| {
        inspected
            .target
            .as_ref()
            .is_none_or(|target| target.privileges.skip_triggers)
    };
    if job.triggers == Triggers::Skip && !tables.iter().all(may_skip) {
        refusals.push(
            Refusal::permission(
                Side::Target,
                format!("job `{}`", job.name),
                "the role may not set session_replication_role, which `triggers = \"skip\"` needs",
            )
            .hinted(
                "since version 15: GRANT SET ON PARAMETER session_replication_role TO the role of \
                 the target; before, it takes a superuser",
            ),
        );
    }
}

/// TRUNCATE refuses a table that another table references, even if that table is empty, unless both are
/// truncated in one statement. With `atomic = false`, each table is truncated alone.
fn check_references(job: &JobSpec, targets: &[&RelationDesc], refusals: &mut Vec<Refusal>) {
    let all: BTreeSet<&QualifiedName> = targets.iter().map(|target| &target.name).collect();
    for target in targets {
        for key in &target.referenced_by {
            let truncated_with = |names: &BTreeSet<&QualifiedName>| {
                std::iter::once(&key.from)
                    .chain(&key.from_ancestors)
                    .any(|name| names.contains(name))
            };
            let in_job = truncated_with(&all);
            let hint = match in_job {
                true if job.atomic || truncated_with(&BTreeSet::from([&target.name])) => continue,
                true => {
                    "`atomic = false` truncates each table on its own: use `atomic = true`, or a \
                         mode that does not truncate"
                        .to_owned()
                }
                false => format!(
                    "copy {} in the same job, or drop the foreign key; tableferry never truncates \
                     with CASCADE",
                    key.from
                ),
            };
            refusals.push(
                Refusal::mismatch(
                    Side::Target,
                    &target.name,
                    format!(
                        "cannot be truncated: {} refers to it by foreign key {}",
                        key.from, key.name
                    ),
                )
                .hinted(hint),
            );
        }
    }
}

/// Handles tables that reference each other in a circle: their foreign keys are deferred, or a warning says
/// that they cannot be.
fn circles(job: &JobSpec, order: &order::LoadOrder<'_>, warnings: &mut Vec<String>) -> bool {
    // `swap` adds foreign keys after all tables have been loaded.
    if job.triggers == Triggers::Skip || job.mode == Mode::Swap {
        return false;
    }
    let (late, early): (Vec<&ForeignKey>, Vec<&ForeignKey>) = order
        .against
        .iter()
        .copied()
        .partition(|key| key.deferrable && job.atomic);
    for key in early {
        warnings.push(format!(
            "{} refers by foreign key {} to {}, which is loaded later because they refer to each \
             other; {}, so a row that refers to a new one is refused",
            key.from,
            key.name,
            key.to,
            if key.deferrable {
                "`atomic = false` publishes them one by one"
            } else {
                "the key is not DEFERRABLE"
            }
        ));
    }
    for key in &late {
        warnings.push(format!(
            "{} refers by foreign key {} to {}, which is loaded later because they refer to each \
             other; the key is deferrable, so it is checked at COMMIT",
            key.from, key.name, key.to
        ));
    }
    // SET CONSTRAINTS by name fails if another table of the schema has a constraint of this name that is
    // not deferrable.
    !late.is_empty()
}

#[cfg(test)]
#[path = "job_sql_tests.rs"]
mod sql_tests;
#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
