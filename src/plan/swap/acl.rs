//! Privileges: no role gets a privilege on the new table that it lacks on the old one.

use std::collections::BTreeSet;

use super::quoted;
use crate::catalog::attachments::Grant;

/// The statements that set exactly these privileges on `object` (`TABLE "s"."t"`), whatever ALTER DEFAULT
/// PRIVILEGES granted when it was created.
pub(super) fn acl(
    object: &str,
    owner: &str,
    is_default: bool,
    default_grantees: &[Option<String>],
    grants: &[Grant],
) -> Vec<String> {
    if is_default && default_grantees.is_empty() && grants.iter().all(|g| g.column.is_none()) {
        return Vec::new();
    }
    let mut statements = Vec::new();
    if !is_default || !default_grantees.is_empty() {
        let mut everybody = BTreeSet::from(["PUBLIC".to_owned(), quoted(owner)]);
        everybody.extend(
            default_grantees
                .iter()
                .map(|grantee| role(grantee.as_deref())),
        );
        let everybody: Vec<String> = everybody.into_iter().collect();
        statements.push(format!(
            "REVOKE ALL ON {object} FROM {}",
            everybody.join(", ")
        ));
    }
    for grant in grants {
        let column = match &grant.column {
            Some(column) => format!(" ({})", quoted(column)),
            None => String::new(),
        };
        let option = if grant.grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        let sql = format!(
            "GRANT {}{column} ON {object} TO {}{option}",
            grant.privilege,
            role(grant.grantee.as_deref())
        );
        if grant.grantor == owner {
            statements.push(sql);
        } else {
            statements.push(format!("SET LOCAL ROLE {}", quoted(&grant.grantor)));
            statements.push(sql);
            statements.push("RESET ROLE".to_owned());
        }
    }
    statements
}

/// A role as GRANT and CREATE POLICY write it.
pub(super) fn role(name: Option<&str>) -> String {
    name.map_or_else(|| "PUBLIC".to_owned(), quoted)
}
