//! The privileges that the role needs for everything that a new table gets. They are checked while planning,
//! because a statement that fails after the load wastes the load.

use crate::catalog::attachments::Attachments;
use crate::catalog::desc::RelationDesc;
use crate::error::Side;
use crate::pg::ident::QualifiedName;
use crate::plan::refusal::Refusal;

const MERGE: &str = ", or use `mode = \"merge\"`";

pub(super) fn check(target: &RelationDesc, old: &Attachments, refusals: &mut Vec<Refusal>) {
    let mut lacks = |message: String, hint: String| {
        refusals.push(
            Refusal::permission(Side::Target, &target.name, message)
                .hinted(format!("{hint}{MERGE}")),
        );
    };
    let schema = &target.name.schema;
    let owner = &old.owner;
    if !target.privileges.owner || !old.may_set_owner {
        lacks(
            format!("the role is not a member of {owner}, which owns the table"),
            format!("GRANT {owner} TO the role of the target"),
        );
    }
    if !old.may_create {
        lacks(
            format!("the role lacks CREATE on schema {schema}"),
            format!("GRANT CREATE ON SCHEMA {schema} TO the role of the target"),
        );
    }
    if !old.owner_may_create {
        lacks(
            format!("{owner}, which owns the table, lacks CREATE on schema {schema}"),
            format!("GRANT CREATE ON SCHEMA {schema} TO {owner}"),
        );
    }
    for key in old.foreign_keys.iter().filter(|key| !key.may_reference) {
        let to = QualifiedName::new(&key.to_schema, &key.to_name);
        lacks(
            format!(
                "the role lacks REFERENCES on {to}, or USAGE on its schema, for foreign key {}",
                key.name
            ),
            format!("GRANT REFERENCES ON {to} TO the role of the target"),
        );
    }
    for column in old.columns.iter().filter(|column| !column.may_use_type) {
        lacks(
            format!(
                "the role lacks USAGE on type {} of column {}, or on its schema",
                column.type_text, column.name
            ),
            "GRANT USAGE ON TYPE or ON SCHEMA to the role of the target".to_owned(),
        );
    }
    for trigger in old.triggers.iter().filter(|trigger| !trigger.may_execute) {
        lacks(
            format!(
                "the role lacks EXECUTE on function {} of trigger {}, or USAGE on its schema",
                trigger.function, trigger.name
            ),
            "GRANT EXECUTE ON FUNCTION to the role of the target".to_owned(),
        );
    }
    for grantor in &old.denied_grantors {
        lacks(
            format!(
                "{grantor} has granted privileges on it, and the role cannot SET ROLE {grantor} to grant \
                 them again"
            ),
            format!("GRANT {grantor} TO the role of the target"),
        );
    }
    for tablespace in &old.denied_tablespaces {
        lacks(
            format!("the role lacks CREATE on tablespace {tablespace}"),
            format!("GRANT CREATE ON TABLESPACE {tablespace} TO the role of the target"),
        );
    }
    for statistics in old.statistics.iter().filter(|s| !s.may_create) {
        lacks(
            format!(
                "the role, or {}, lacks CREATE on schema {} for statistics object {}",
                statistics.owner, statistics.schema, statistics.name
            ),
            format!("GRANT CREATE ON SCHEMA {} to both", statistics.schema),
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
            format!("the role does not own {what}"),
            "make it a member of the owner".to_owned(),
        );
    }
    check_states(target, old, &mut lacks);
}

/// Disabling triggers of constraints, and before version 15 triggers that a partition inherits from its
/// parent, needs a superuser.
fn check_states(target: &RelationDesc, old: &Attachments, lacks: &mut impl FnMut(String, String)) {
    if old.superuser {
        return;
    }
    let other_than_the_parents = |trigger: &&crate::catalog::attachments::AttachedTrigger| {
        let parent = trigger.parent_enabled.as_ref();
        parent.is_some_and(|state| *state != trigger.enabled)
    };
    let hint = || "let a superuser enable them".to_owned();
    if old.constraint_trigger_states == ["D"] {
        lacks(
            "only a superuser can disable the triggers of its constraints on the new table"
                .to_owned(),
            hint(),
        );
    }
    if target.server_version < 150_000 {
        for trigger in old.triggers.iter().filter(other_than_the_parents) {
            lacks(
                format!(
                    "only a superuser can give trigger {} another state than the parent's",
                    trigger.name
                ),
                hint(),
            );
        }
    }
}
