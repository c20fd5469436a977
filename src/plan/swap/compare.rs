//! Compares what is attached to a table with what was planned for.

use crate::catalog::attachments::{Attachments, Grant, RowType};

/// The differences between two sets of attachments, as a text. Two differences do not count: the privileges
/// of the run's role, and default privileges that are also granted explicitly.
pub fn differences(one: &Attachments, other: &Attachments) -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! compare {
        ($($field:ident: $shown:literal),* $(,)?) => {
            $(if one.$field != other.$field {
                found.push($shown);
            })*
        };
    }
    compare! {
        owner: "the owner",
        unlogged: "LOGGED or UNLOGGED",
        access_method: "the access method",
        tablespace: "the tablespace",
        options: "storage options",
        toast_options: "storage options of TOAST",
        row_security: "row security",
        force_row_security: "FORCE ROW LEVEL SECURITY",
        replica_identity: "the replica identity",
        comment: "the comment",
        typed: "the type that it is OF",
        inherits: "inheritance",
        partition: "the partition's parent or bound",
        checks: "CHECK or NOT NULL constraints",
        foreign_keys: "foreign keys",
        indexes: "indexes",
        triggers: "triggers",
        constraint_trigger_states: "the triggers of constraints (ENABLE or DISABLE TRIGGER)",
        policies: "policies",
        statistics: "extended statistics",
        publications: "publications",
        labels: "security labels",
        views: "views",
        bound: "objects that depend on it",
    }
    if sorted(&one.grants) != sorted(&other.grants) {
        found.push("privileges");
    }
    let (type_of_one, type_of_other) = (&one.row_type, &other.row_type);
    if sorted(&type_of_one.grants) != sorted(&type_of_other.grants) {
        found.push("privileges on the row type");
    }
    let comments = |of: &RowType| (of.comment.clone(), of.array_comment.clone());
    if comments(type_of_one) != comments(type_of_other) {
        found.push("the row type's comment");
    }
    if columns(one) != columns(other) {
        found.push("columns");
    }
    found
}

fn sorted(grants: &[Grant]) -> Vec<Grant> {
    let mut grants = grants.to_vec();
    grants.sort();
    grants
}

fn columns(of: &Attachments) -> Vec<crate::catalog::attachments::AttachedColumn> {
    let mut columns = of.columns.clone();
    for sequence in columns
        .iter_mut()
        .filter_map(|c| c.identity_sequence.as_mut())
    {
        sequence.grants.sort();
        sequence.acl_is_default = false;
    }
    columns
}
