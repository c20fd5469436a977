//! Is what is attached still, or again, the same?

use crate::catalog::attachments::{Attachments, Grant};

/// What differs between two sets of attachments, named for people. What only says what our role
/// may do is left out, and so is the difference between default privileges and the same granted.
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

fn columns(of: &Attachments) -> Vec<crate::catalog::attachments::Column> {
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
