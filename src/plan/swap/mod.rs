//! Mode `swap`: the statements that create a new table with everything that the old one has and replace the
//! old table by it; or every reason why that is not possible.
//!
//! What the catalogs contain about a table, and how it is handled. `catalog/attachments.sql` reads it;
//! `compare` compares the new table with the old one before COMMIT:
//!
//! | catalog | how it is handled |
//! |---|---|
//! | `pg_class` | recreated: owner, ACL, options of heap and TOAST, access method, tablespace, persistence, row security, replica identity. Refused: temporary, `reloftype`. `rel…id`s of storage, `relfrozenxid` and sizes are the new table's own |
//! | `pg_attribute` | recreated: type, collation, NOT NULL, default, identity, generation, storage, compression, statistics target, options, ACL. Dropped columns and fast defaults disappear; `attfdwoptions` belong to foreign tables; `attislocal` and `attinhcount` follow from ATTACH |
//! | `pg_attrdef`, `pg_constraint` | by the server's definition, which contains DEFERRABLE, NOT VALID, NO INHERIT, NOT ENFORCED; those on the whole row are refused. Foreign keys from other tables: together with these tables, else refused |
//! | `pg_index` | by the server's definition; CLUSTER mark, replica identity, options, tablespace, targets, the parent's index. Invalid ones are left out, with a warning |
//! | `pg_trigger` | by the server's definition, and `tgenabled`, also of inherited triggers; triggers of constraints: all enabled or all disabled, else refused |
//! | `pg_policy`, `pg_statistic_ext` | by their parts; `pg_statistic` by ANALYZE |
//! | `pg_sequence` | serial: the same sequence, owned by the new column; identity: a new sequence with the same settings |
//! | `pg_type` | the row type's ACL and comments; other objects that use the type are refused |
//! | `pg_rewrite` | views are replaced with `recreate_views`; rules and materialized views are refused |
//! | `pg_inherits`, `pg_partitioned_table` | a partition is attached again; inheritance, and an unfinished DETACH CONCURRENTLY, are refused |
//! | `pg_publication_rel`, `pg_publication` | added again; publications of all tables or of a schema are refused |
//! | `pg_subscription_rel` | refused |
//! | `pg_description`, `pg_seclabel` | of the table and of all its parts; labels of types and sequences are not copied |
//! | `pg_depend` | every other dependent object is refused by name, including dependents of identity sequences and DEPENDS ON EXTENSION |
//! | `pg_shdepend`, `pg_init_privs`, `pg_default_acl` | follow from owner and ACL; members of extensions are refused; default privileges are revoked |
//! | event triggers | fire for the statements, and what they change is found by the comparison |

mod acl;
mod build;
mod compare;
mod make;
mod publish;
mod refuse;
mod rights;
#[cfg(test)]
mod tests;
pub mod types;

use std::collections::BTreeMap;

use crate::catalog::attachments::Attachments;
use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::config::spec::JobSpec;
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::refusal::Refusal;
use crate::plan::shared::{SHADOW_MARK, Shared};
use crate::plan::sql;

pub use compare::differences;
pub use make::OWN_TABLESPACE;
pub use publish::{other_locks, publish_sql};

use types::Shadow;

/// The shadows of a plan.
pub fn shadows(tables: &[CopyPlan]) -> impl Iterator<Item = (&CopyPlan, &Shadow)> {
    tables.iter().filter_map(|table| match &table.load {
        Load::Shadow(shadow) => Some((table, &**shadow)),
        Load::Direct | Load::Staged(_) | Load::File(_) => None,
    })
}

/// Changes the plans of a job's tables to load shadows.
pub fn plan(
    job: &JobSpec,
    tables: &[Inspected],
    shared: Option<&Shared>,
    plans: &mut [Option<CopyPlan>],
    refusals: &mut Vec<Refusal>,
) {
    let shadow = |name: &QualifiedName| (name.clone(), shadow_name(name, shared));
    let shadows: BTreeMap<QualifiedName, QualifiedName> = tables
        .iter()
        .filter(|table| !is_new(table))
        .map(|table| shadow(&table.spec.target))
        .collect();
    for (inspected, plan) in tables.iter().zip(plans) {
        // Tables that are published one by one do not have shadows at the same time.
        let name = &inspected.spec.target;
        let alone = BTreeMap::from([shadow(name)]);
        let shadows = if job.atomic { &shadows } else { &alone };
        let Some(target) = inspected.target.as_ref().filter(|_| !is_new(inspected)) else {
            continue;
        };
        let before = refusals.len();
        refuse::check(
            job,
            target,
            inspected.attachments.as_ref(),
            shadows,
            refusals,
        );
        let (Some(attachments), Some(plan)) = (&inspected.attachments, plan) else {
            continue;
        };
        if refusals.len() == before {
            refuse::warn(job, target, attachments, shadows, &mut plan.warnings);
            let shadow = shadow_of(job, target, attachments, shadows, shared);
            into_shadow(target, shadow, shared, plan);
        }
    }
}

/// A table that the run makes is loaded itself.
fn is_new(table: &Inspected) -> bool {
    table
        .creation
        .as_ref()
        .is_some_and(|creation| creation.is_new)
}

fn shadow_of(
    job: &JobSpec,
    target: &RelationDesc,
    attachments: &Attachments,
    shadows: &BTreeMap<QualifiedName, QualifiedName>,
    shared: Option<&Shared>,
) -> Shadow {
    let names = Names::new(shadow_name(&target.name, shared), &target.name);
    let mark = match shared {
        Some(shared) => shared.shadow_mark(&target.name),
        None => format!("{SHADOW_MARK}{}", target.name),
    };
    Shadow {
        make: make::make(&names, attachments, target.server_version, &mark),
        indexes: build::indexes(&names, attachments),
        build: build::build(&names, attachments, job.analyze),
        attach: build::attach(&names, attachments, shadows),
        outer_keys: build::outer_keys(&names, &target.name, attachments, shadows),
        frozen: false,
        name: names.shadow.clone(),
        retired: names.retired,
        attachments: attachments.clone(),
    }
}

/// What a shadow of the table is made of, whatever its name.
pub fn definition(target: &RelationDesc, attachments: &Attachments) -> String {
    let names = Names::new(named(&target.name, "shadow"), &target.name);
    make::make(&names, attachments, target.server_version, "").join("\n")
}

/// Brings the sequences of a shadow that a run that died has created to where the target's are.
pub fn positions(
    target: &RelationDesc,
    attachments: &Attachments,
    shadow: &QualifiedName,
) -> Vec<String> {
    make::positions(&Names::new(shadow.clone(), &target.name), attachments)
}

fn into_shadow(
    target: &RelationDesc,
    mut shadow: Shadow,
    shared: Option<&Shared>,
    plan: &mut CopyPlan,
) {
    plan.copy_in = sql::copy_in(&shadow.name, &plan.columns, &plan.format);
    // Only the transaction that created the table can write frozen rows.
    let one_transaction = shared.is_none() || !plan.is_cut();
    if one_transaction && shadow.attachments.access_method.as_deref() == Some("heap") {
        shadow.frozen = true;
        plan.copy_in = sql::frozen(&plan.copy_in);
    }
    let loaded = RelationDesc {
        name: shadow.name.clone(),
        ..target.clone()
    };
    for owned in &mut plan.sequences {
        owned.sql = sql::set_sequence(&loaded, &owned.column, &owned.sequence);
    }
    plan.load = Load::Shadow(Box::new(shadow));
}

/// A shadow's name. If it is created and published in one transaction, the name is always the same for a
/// target, because only one run at a time writes it.
fn shadow_name(target: &QualifiedName, shared: Option<&Shared>) -> QualifiedName {
    match shared {
        Some(shared) => shared.shadow(target),
        None => named(target, "shadow"),
    }
}

fn named(target: &QualifiedName, what: &str) -> QualifiedName {
    QualifiedName {
        schema: target.schema.clone(),
        name: Ident::new(format!("tableferry_{what}_{:016x}", target.digest())),
    }
}

/// Names that exist only within the transaction.
struct Names {
    shadow: QualifiedName,
    retired: QualifiedName,
}

impl Names {
    fn new(shadow: QualifiedName, target: &QualifiedName) -> Self {
        Names {
            shadow,
            retired: named(target, "old"),
        }
    }

    /// The temporary name of an object whose own name is in use in its schema.
    fn part(&self, schema: &str, kind: char, number: usize) -> QualifiedName {
        QualifiedName::new(
            schema,
            format!("{}_{kind}{number}", self.shadow.name.as_str()),
        )
    }

    fn index(&self, number: usize) -> QualifiedName {
        self.part(self.shadow.schema.as_str(), 'i', number)
    }
}

fn quoted(name: &str) -> String {
    Ident::new(name).sql()
}

fn literal(text: Option<&str>) -> String {
    match text {
        Some(text) => quote_literal(text).trim_start().to_owned(),
        None => "NULL".to_owned(),
    }
}

/// `COMMENT ON what IS 'text'`; None without a comment.
fn comment(what: &str, text: Option<&String>) -> Option<String> {
    text.map(|text| format!("COMMENT ON {what} IS {}", literal(Some(text))))
}

/// `fillfactor=70` as `"fillfactor"='70'`.
fn option(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) => format!("{}={}", quoted(name), literal(Some(value))),
        None => quoted(text),
    }
}

fn options(list: &[String]) -> String {
    list.iter()
        .map(|text| option(text))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A refusal with the hint that always applies: another mode.
fn cannot_follow(target: &RelationDesc, message: impl ToString) -> Refusal {
    Refusal::mismatch(Side::Target, &target.name, message).hinted("use `mode = \"merge\"`")
}
