//! Loads through a staging table: creates the table, checks its keys, and finds the rows of the target that
//! must change. `merge.rs` and `upsert.rs` have the statements of these modes.
//!
//! The staging table has the column types of the target, so that the COPY format for the target is valid for
//! it, too. Keys are equal if the target's unique index treats them as equal. Rows are equal if their binary
//! images are: `=` treats 1.0 and 1.00, or -0 and 0, as equal, and json has no `=`.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind, UniqueIndex};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, OnConflict, OnError, TableSpec};
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::effects::{self, Effects, Writes};
use crate::plan::refusal::Refusal;
use crate::plan::setting::Setting;
use crate::plan::shared::Shared;

pub mod changed;
mod changed_rows;
pub mod changed_side;
pub mod choose;
mod differs;
pub(in crate::plan) mod empty;
mod in_order;
pub mod judge;
mod judgeable;
pub mod listing;
pub mod merge;
mod own;
pub(in crate::plan) mod parts;
mod plain_filter;
pub(in crate::plan) mod source_key;
pub mod stream;
pub mod stream_input;
pub mod types;
pub mod upsert;

use parts::{Parts, list};
use types::{Apply, RepeatedKeys, Staged, Way};

/// Does this table load through a staging table?
pub fn is_staged(job: &JobSpec, spec: &TableSpec) -> bool {
    match job.mode {
        Mode::Merge | Mode::Upsert => true,
        Mode::Append => spec.watermark.is_some(),
        Mode::Truncate | Mode::Swap => false,
    }
}

/// Plans the staging of one table.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    target: &RelationDesc,
    columns: Vec<&ColumnDesc>,
    setting: &Setting<'_>,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Option<Staged> {
    let spec = &inspected.spec;
    privileges(job, spec, target, refusals);
    let key = key(job, spec, target, &columns, refusals)?;
    let number = setting.number;
    let parts = Parts {
        spec,
        target,
        columns,
        key,
        stage: match setting.shared {
            Some(shared) => shared.stage(&target.name),
            None => QualifiedName::new("pg_temp", format!("tableferry_{number}")),
        },
        changes: QualifiedName::new("pg_temp", format!("tableferry_{number}_changes")),
        gone: None,
        source_key: source_key::of(inspected, target, key),
    };
    let updates = updates(job, &parts);
    let writes = Writes {
        deletes: writes_deletes(job, spec),
        updates: &updates,
        moves: target.kind == RelationKind::Partitioned && target.server_version < 150_000,
        fires: !target.triggers.is_empty(),
    };
    let effects = effects::of(
        &target.name,
        writes,
        setting.targets,
        setting.actions,
        warnings,
    );
    warnings.extend(effects::warnings(job, &target.name, &effects));
    let apply = match job.mode {
        Mode::Merge => Apply::Merge(merge::plan(&parts, &setting.refers_to, effects.runs_code)),
        _ => Apply::Upsert(upsert::plan(job, &parts, &effects, refusals, warnings)),
    };
    let mut staged = with(&parts, apply, effects, setting.shared);
    match (&inspected.constraints, job.on_error) {
        (Some(constraints), OnError::Quarantine) => {
            staged.create = judge::create(spec, target, key, constraints, &parts.stage);
            // Rows are judged by other columns, too.
            staged.analyze = format!("ANALYZE {}", parts.stage.sql());
        }
        // Partitions are made for these rows.
        (Some(_), OnError::Abort) if spec.create_partitions => {}
        (Some(constraints), OnError::Abort) => {
            staged.partitionless = judge::partitionless(constraints, &parts);
        }
        (None, _) => {}
    }
    staged.may_load_directly = empty::may_load_directly(job, inspected, &parts, &staged);
    Some(staged)
}

fn with(parts: &Parts<'_>, apply: Apply, effects: Effects, shared: Option<&Shared>) -> Staged {
    let not_copied = parts.target.columns.iter().filter(|column| {
        let name = &column.name;
        let copied = parts.columns.iter().any(|other| other.name == *name);
        let given = (copied && !parts.spec.insert_only.contains(name)) || parts.spec.is_own(name);
        !given && column.generated.is_none()
    });
    Staged {
        effects,
        not_copied: not_copied.map(|column| column.name.clone()).collect(),
        way: Way::Full {
            why: "nothing else is possible".to_owned(),
        },
        stream_plan: None,
        may_load_directly: false,
        equal_if_empty: false,
        list_changes: match &apply {
            Apply::Merge(_) => changed_rows::of_merge(parts),
            Apply::Upsert(upsert) => changed_rows::of_upsert(parts, upsert.updates),
        },
        create: parts.create(shared),
        same_key: parts.same_as_staged("\"target\""),
        judge: Vec::new(),
        partitionless: None,
        drop: shared.map(|_| format!("DROP TABLE {}", parts.stage.sql())),
        analyze: parts.analyze(),
        null_keys: (!parts.source_key.never_null).then(|| parts.null_keys()),
        repeated_keys: (!parts.source_key.never_repeated).then(|| RepeatedKeys {
            surplus: parts.surplus_rows(),
            count: parts.repeated_keys(),
            examples: parts.repeated_examples(),
        }),
        stage: parts.stage.clone(),
        changes: parts.changes.clone(),
        apply,
    }
}

/// Plans the statements for these parts; [`stream`] uses it for a staging table that holds only
/// differences.
fn again(job: &JobSpec, parts: &Parts<'_>, full: &Staged) -> Staged {
    let apply = match &full.apply {
        Apply::Merge(merge) => {
            let runs_code = full.effects.runs_code;
            Apply::Merge(merge::plan(parts, &merge.refers_to, runs_code))
        }
        // Refusals and warnings have been reported by the first plan.
        Apply::Upsert(_) => {
            let (mut refusals, mut warnings) = (Vec::new(), Vec::new());
            let (refusals, warnings) = (&mut refusals, &mut warnings);
            Apply::Upsert(upsert::plan(job, parts, &full.effects, refusals, warnings))
        }
    };
    let same_stage = parts.stage == full.stage;
    Staged {
        partitionless: full.partitionless.clone().filter(|_| same_stage),
        ..with(parts, apply, full.effects.clone(), None)
    }
}

/// The columns that an UPDATE may change: the columns that it sets, and columns that are generated from
/// them.
fn updates(job: &JobSpec, parts: &Parts<'_>) -> Vec<Ident> {
    let set = parts.settable();
    let marks = parts.spec.on_missing.is_some();
    if !writes_updates(job, parts.spec) || (set.is_empty() && !marks) {
        return Vec::new();
    }
    let own = parts.spec.own_columns().map(|(_, name)| name);
    let generated = parts
        .target
        .columns
        .iter()
        .filter(|c| c.generated.is_some());
    let generated = generated.map(|column| &column.name);
    let set = set.into_iter().map(|column| &column.name);
    set.chain(own).chain(generated).cloned().collect()
}

/// Are rows updated that the target has?
fn writes_updates(job: &JobSpec, spec: &TableSpec) -> bool {
    job.mode.updates() && spec.on_conflict == OnConflict::Update
}

/// Are rows deleted that the source lacks?
fn writes_deletes(job: &JobSpec, spec: &TableSpec) -> bool {
    job.mode.deletes() && spec.on_missing.is_none()
}

fn privileges(job: &JobSpec, spec: &TableSpec, target: &RelationDesc, refusals: &mut Vec<Refusal>) {
    let has = target.privileges;
    let needed = [
        ("SELECT", has.select, true),
        ("UPDATE", has.update, writes_updates(job, spec)),
        ("DELETE", has.delete, writes_deletes(job, spec)),
    ];
    for (privilege, granted, needs) in needed {
        if needs && !granted {
            let name = &target.name;
            refusals.push(
                Refusal::permission(Side::Target, name, format!("the role lacks {privilege}"))
                    .hinted(format!(
                        "GRANT {privilege} ON {name} TO the role of the target"
                    )),
            );
        }
    }
    if !has.temporary {
        refusals.push(
            Refusal::permission(
                Side::Target,
                &target.name,
                "the role may not make temporary tables in the database, which staging needs",
            )
            .hinted("GRANT TEMPORARY ON DATABASE … TO the role of the target"),
        );
    }
}

/// The unique index that identifies rows, or why there is none.
fn key<'a>(
    job: &JobSpec,
    spec: &'a TableSpec,
    target: &'a RelationDesc,
    columns: &[&ColumnDesc],
    refusals: &mut Vec<Refusal>,
) -> Option<&'a UniqueIndex> {
    let mode = job.mode.as_str();
    let mut refuse = |message: String, hint: &str| {
        refusals.push(Refusal::mismatch(Side::Target, &target.name, message).hinted(hint));
        None
    };
    let names = match &spec.key {
        Some(names) => names,
        None if target.primary_key.is_empty() => {
            let what = if spec.watermark.is_some() && job.mode == Mode::Append {
                "`append` with a watermark reads rows again, so it needs a key to identify them, \
                 and the target has no primary key"
                    .to_owned()
            } else {
                format!("`{mode}` needs a key, and the target has no primary key")
            };
            return refuse(
                what,
                "set `key` to the columns of a unique index, or add a primary key",
            );
        }
        None => &target.primary_key,
    };
    let list = list(names.iter());
    let unread: Vec<&Ident> = names
        .iter()
        .filter(|name| columns.iter().all(|column| column.name != **name))
        .collect();
    if let Some(name) = unread.first() {
        return refuse(
            format!("key column {name} is not copied"),
            "a key column has to be among the columns that the source gives",
        );
    }
    let mut candidates = indexes_over(target, names);
    match (key_index(spec, target), candidates.next()) {
        (Some(index), _) => Some(index),
        (None, Some(other)) => refuse(
            format!(
                "{} over ({list}) is partial, an exclusion constraint, of one partition only, or not valid",
                other.name
            ),
            "a key needs a unique index or constraint over exactly its columns, without WHERE",
        ),
        (None, None) => refuse(
            format!("no unique index or constraint is exactly over the key ({list})"),
            "add one to the target: CREATE UNIQUE INDEX; or name the columns of another in `key`",
        ),
    }
}

fn indexes_over<'a>(
    target: &'a RelationDesc,
    names: &'a [Ident],
) -> impl Iterator<Item = &'a UniqueIndex> {
    target.unique_indexes.iter().filter(|index| {
        index.columns.len() == names.len()
            && index
                .columns
                .iter()
                .all(|column| names.contains(&column.name))
    })
}

/// The unique index over the key.
pub(in crate::plan) fn key_index<'a>(
    spec: &'a TableSpec,
    target: &'a RelationDesc,
) -> Option<&'a UniqueIndex> {
    let names = spec.key.as_ref().unwrap_or(&target.primary_key);
    indexes_over(target, names).find(|index| index.is_plain)
}
