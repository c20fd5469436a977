//! Objects that cannot be transferred to a new table. Each is refused by name before a row moves.

use std::collections::BTreeMap;

use super::{cannot_follow, rights};
use crate::catalog::attachments::Attachments;
use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::{JobSpec, Replace, Triggers};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::QualifiedName;
use crate::plan::refusal::Refusal;

pub(super) fn check(
    job: &JobSpec,
    target: &RelationDesc,
    attachments: Option<&Attachments>,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
    refusals: &mut Vec<Refusal>,
) {
    match target.kind {
        RelationKind::Table => {}
        RelationKind::Partitioned => {
            let (message, hint) = match job.replace {
                Replace::Table => (
                    "is partitioned: only ordinary tables and single partitions are swapped",
                    "set `replace = \"partitions\"`, use `mode = \"merge\"`, or name its partitions",
                ),
                // Those of a table were counted, and its partitions are here instead of it.
                Replace::Partitions => (
                    "is partitioned, and which partitions get the rows of a file is not known before it is loaded",
                    "use `mode = \"merge\"`, or name a partition",
                ),
            };
            refusals.push(cannot_follow(target, message).hinted(hint));
            return;
        }
        // Refused in every mode.
        _ => return,
    }
    let Some(attachments) = attachments else {
        let refusal = cannot_follow(target, "what is attached to it could not be read");
        refusals.push(refusal.of_kind(ErrorKind::Bug));
        return;
    };
    check_kind(target, attachments, refusals);
    check_bound(job, target, attachments, shadows, refusals);
    check_forms(target, attachments, refusals);
    check_states(target, attachments, shadows, refusals);
    rights::check(target, attachments, refusals);
}

fn check_kind(target: &RelationDesc, old: &Attachments, refusals: &mut Vec<Refusal>) {
    let mut refuse = |when: bool, message: String| {
        if when {
            refusals.push(cannot_follow(target, message));
        }
    };
    refuse(old.temporary, "is a temporary table".to_owned());
    refuse(old.typed, "is a typed table (CREATE TABLE … OF)".to_owned());
    if let Some(extension) = &old.extension {
        refuse(true, format!("belongs to extension {extension}"));
    }
    refuse(
        !old.inherits.is_empty(),
        format!("inherits from {}", old.inherits.join(", ")),
    );
    refuse(
        old.partition.as_ref().is_some_and(|p| p.detaching),
        "is being detached from its parent: finish that with ALTER TABLE … DETACH PARTITION … FINALIZE"
            .to_owned(),
    );
    refuse(
        old.published_unnamed,
        "a publication of all tables, or of all in its schema, would send the new table to subscribers \
         under a name that they do not know"
            .to_owned(),
    );
    if !target.children.is_empty() {
        refusals.push(cannot_follow(target, "other tables inherit from it").hinted(
            "use `mode = \"merge\"`, and name the children in `tables`, too; or ALTER TABLE … NO INHERIT there",
        ));
    }
}

fn check_bound(
    job: &JobSpec,
    target: &RelationDesc,
    old: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
    refusals: &mut Vec<Refusal>,
) {
    for what in &old.bound {
        refusals.push(cannot_follow(
            target,
            format!("{what} refers to this table by its OID and cannot follow to a new one"),
        ));
    }
    for key in &target.referenced_by {
        if key.to != target.name {
            refusals.push(cannot_follow(
                target,
                format!(
                    "{} refers to {}, which it is a partition of, by foreign key {}: a partition with rows \
                     that are referenced cannot be detached",
                    key.from, key.to, key.name
                ),
            ));
        } else if !shadows.contains_key(&key.from) {
            refusals.push(
                cannot_follow(
                    target,
                    format!(
                        "{} refers to it by foreign key {}, which cannot follow to a new table",
                        key.from, key.name
                    ),
                )
                .hinted(format!(
                    "use `mode = \"merge\"`, or swap {} in the same job, with `atomic = true`",
                    key.from
                )),
            );
        }
    }
    for view in &old.views {
        let name = QualifiedName::new(&view.schema, &view.name);
        if view.temporary {
            refusals.push(
                cannot_follow(
                    target,
                    format!(
                        "temporary view {name} of another session refers to this table by its OID"
                    ),
                )
                .hinted(
                    "let that session end, or drop the view; `mode = \"merge\"` keeps the table",
                ),
            );
        } else if !job.recreate_views {
            refusals.push(
                cannot_follow(
                    target,
                    format!("view {name} refers to this table by its OID"),
                )
                .hinted("use `mode = \"merge\"`, or set `recreate_views = true`"),
            );
        } else if !view.owned {
            refusals.push(
                Refusal::permission(
                    Side::Target,
                    &target.name,
                    format!("the role does not own view {name}, which has to be recreated"),
                )
                .hinted(format!("GRANT {} TO the role of the target", view.owner)),
            );
        }
    }
}

/// Definitions in a form that no known version writes.
fn check_forms(target: &RelationDesc, old: &Attachments, refusals: &mut Vec<Refusal>) {
    let indexes = old
        .indexes
        .iter()
        .filter(|i| i.tail.is_none())
        .map(|i| ("index", &i.name));
    let keys = old.foreign_keys.iter().filter(|k| k.tail.is_none());
    let keys = keys.map(|k| ("foreign key", &k.name));
    let statistics = old.statistics.iter().filter(|s| s.middle.is_none());
    let statistics = statistics.map(|s| ("statistics object", &s.name));
    let on = format!(" ON {} ", old.sql_name);
    let triggers = old.triggers.iter().filter(|t| !t.definition.contains(&on));
    let triggers = triggers.map(|t| ("trigger", &t.name));
    for (what, name) in indexes.chain(keys).chain(statistics).chain(triggers) {
        refusals.push(cannot_follow(
            target,
            format!("{what} {name} has a definition that swap does not know"),
        ));
    }
    // The definition refers to the row by the table's name, which the new table does not yet have.
    let checks = old.checks.iter().filter(|check| check.whole_row);
    let checks = checks.map(|check| ("constraint", &check.name));
    let indexes = old.indexes.iter().filter(|index| index.whole_row);
    let indexes = indexes.map(|index| ("index", &index.name));
    let statistics = old.statistics.iter().filter(|s| s.whole_row);
    let statistics = statistics.map(|s| ("statistics object", &s.name));
    for (what, name) in checks.chain(indexes).chain(statistics) {
        refusals.push(cannot_follow(
            target,
            format!("{what} {name} refers to the whole row"),
        ));
    }
}

/// ENABLE and DISABLE TRIGGER for the triggers of constraints. Their names differ from table to table, so
/// only all of them can be disabled.
fn check_states(
    target: &RelationDesc,
    old: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
    refusals: &mut Vec<Refusal>,
) {
    let mut refuse = |message: String| {
        refusals.push(cannot_follow(target, message).hinted(
            "use `mode = \"merge\"`, or ALTER TABLE … ENABLE TRIGGER ALL, which also enables its other \
             triggers",
        ));
    };
    if !matches!(old.constraint_trigger_states.as_slice(), [] | [_])
        || old
            .constraint_trigger_states
            .iter()
            .any(|s| s != "O" && s != "D")
    {
        refuse("some of the triggers of its constraints are disabled, and some are not".to_owned());
    }
    for key in &old.foreign_keys {
        let to = QualifiedName::new(&key.to_schema, &key.to_name);
        if key.states_there.iter().any(|state| state != "O") && !shadows.contains_key(&to) {
            refuse(format!(
                "the triggers of foreign key {} on {to} are disabled",
                key.name
            ));
        }
    }
}

/// Objects that are transferred with a restriction, as warnings.
pub(super) fn warn(
    job: &JobSpec,
    target: &RelationDesc,
    old: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
    warnings: &mut Vec<String>,
) {
    for publication in &old.publications {
        warnings.push(format!(
            "publication {} gets the new table; its subscribers do not receive the new rows: `mode = \"merge\"` replicates them",
            publication.name
        ));
    }
    if !old.invalid_indexes.is_empty() {
        warnings.push(format!(
            "invalid indexes are not rebuilt: {}",
            old.invalid_indexes.join(", ")
        ));
    }
    if job.triggers == Triggers::Fire && !target.triggers.is_empty() {
        warnings.push("its triggers fire on the new table, and see its temporary name".to_owned());
    }
    if let Some(partition) = &old.partition {
        let default = partition.default.as_ref();
        let default = default.map(|default| QualifiedName::new(&default.schema, &default.name));
        // One that is replaced, too, is attached after the others.
        let default = default.filter(|name| !shadows.contains_key(name));
        if let (Some(default), false) = (default, partition.default_excludes) {
            let condition = partition.condition.as_deref().unwrap_or("the bound");
            warnings.push(format!(
                "publishing reads the DEFAULT partition {default} while readers of the partitioned table wait; \
                 this constraint spares that: ALTER TABLE {} ADD CHECK (NOT {condition})",
                default.sql()
            ));
        }
        warnings.push(
            "publishing a partition keeps readers of the whole partitioned table waiting for a moment"
                .to_owned(),
        );
    }
}
