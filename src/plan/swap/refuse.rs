//! What cannot follow to a new table, each by its name, before a row moves.

use std::collections::BTreeMap;

use super::cannot_follow;
use crate::catalog::attachments::Attachments;
use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::{JobSpec, Triggers};
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
            refusals.push(
                cannot_follow(
                    target,
                    "is partitioned: only ordinary tables and single partitions are swapped",
                )
                .hinted("use `mode = \"merge\"`, or name its partitions"),
            );
            return;
        }
        // Refused for every mode.
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
    check_rights(target, attachments, refusals);
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
        !target.children.is_empty(),
        "other tables inherit from it".to_owned(),
    );
    refuse(
        old.published_unnamed,
        "a publication of all tables, or of all in its schema, would send the new table to subscribers \
         under a name that they don't know"
            .to_owned(),
    );
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
            format!("{what} is bound to this very table and cannot follow to a new one"),
        ));
    }
    for key in &target.referenced_by {
        if !shadows.contains_key(&key.from) {
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
        if !job.recreate_views {
            refusals.push(
                cannot_follow(target, format!("view {name} is bound to this very table")).hinted(
                    "use `mode = \"merge\"`, or let swap make the view again: `recreate_views = true`",
                ),
            );
        } else if !view.owned {
            refusals.push(
                Refusal::permission(
                    Side::Target,
                    &target.name,
                    format!("the role does not own view {name}, which has to be made again"),
                )
                .hinted(format!("GRANT {} TO the role of the target", view.owner)),
            );
        }
    }
}

/// Definitions of a shape that no known version writes.
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
}

fn check_rights(target: &RelationDesc, old: &Attachments, refusals: &mut Vec<Refusal>) {
    let mut lacks = |when: bool, message: String, hint: String| {
        if when {
            refusals.push(Refusal::permission(Side::Target, &target.name, message).hinted(hint));
        }
    };
    let schema = &target.name.schema;
    lacks(
        !target.privileges.owner,
        format!("the role is no member of {}, who owns the table", old.owner),
        format!(
            "GRANT {} TO the role of the target, or use `mode = \"merge\"`",
            old.owner
        ),
    );
    lacks(
        !old.may_create,
        format!("the role lacks CREATE on schema {schema}"),
        format!(
            "GRANT CREATE ON SCHEMA {schema} TO the role of the target, or use `mode = \"merge\"`"
        ),
    );
    lacks(
        !old.owner_may_create,
        format!(
            "{}, who owns the table, lacks CREATE on schema {schema}",
            old.owner
        ),
        format!(
            "GRANT CREATE ON SCHEMA {schema} TO {}, or use `mode = \"merge\"`",
            old.owner
        ),
    );
    for key in old.foreign_keys.iter().filter(|key| !key.may_reference) {
        let to = QualifiedName::new(&key.to_schema, &key.to_name);
        lacks(
            true,
            format!(
                "the role lacks REFERENCES on {to} for foreign key {}",
                key.name
            ),
            format!(
                "GRANT REFERENCES ON {to} TO the role of the target, or use `mode = \"merge\"`"
            ),
        );
    }
    let publications = old.publications.iter().filter(|p| !p.owned);
    let publications = publications.map(|p| format!("publication {}", p.name));
    let statistics = old.statistics.iter().filter(|s| !s.owned);
    let statistics = statistics.map(|s| format!("statistics object {}", s.name));
    let parent = old.partition.iter().filter(|p| !p.owned);
    let parent = parent.map(|p| format!("its parent {}", QualifiedName::new(&p.schema, &p.name)));
    for what in publications.chain(statistics).chain(parent) {
        lacks(
            true,
            format!("the role does not own {what}"),
            "make it a member of the owner, or use `mode = \"merge\"`".to_owned(),
        );
    }
}

/// What follows, with a catch.
pub(super) fn warn(
    job: &JobSpec,
    target: &RelationDesc,
    old: &Attachments,
    warnings: &mut Vec<String>,
) {
    for publication in &old.publications {
        warnings.push(format!(
            "publication {} gets the new table; its subscribers don't get the new rows by \
             themselves: `mode = \"merge\"` replicates",
            publication.name
        ));
    }
    if !old.invalid_indexes.is_empty() {
        warnings.push(format!(
            "invalid indexes are not made again: {}",
            old.invalid_indexes.join(", ")
        ));
    }
    if job.triggers == Triggers::Fire && !target.triggers.is_empty() {
        warnings.push("its triggers fire on the shadow, whose name they see".to_owned());
    }
    if old.partition.is_some() {
        warnings.push(
            "publishing a partition keeps readers of the whole partitioned table waiting for a moment"
                .to_owned(),
        );
    }
}
