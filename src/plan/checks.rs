//! Checks one relation by itself: its kind, rules, row security and privileges.

use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::{JobSpec, Mode, Triggers};
use crate::error::Side;
use crate::plan::columns::ColumnPair;
use crate::plan::refusal::Refusal;

/// Refuses a source whose rows cannot all be read.
pub fn source(source: &RelationDesc, refusals: &mut Vec<Refusal>, warnings: &mut Vec<String>) {
    if source.row_security_applies {
        refusals.push(
            Refusal::permission(
                Side::Source,
                &source.name,
                "row security applies to the source's role, which would read only some rows",
            )
            .hinted(
                "give the role BYPASSRLS; or read a view whose owner row security does not apply to, with \
                 the policy's condition in the view",
            ),
        );
    }
    if source.kind == RelationKind::Foreign {
        warnings.push("a foreign table's rows are not read from the job's snapshot".to_owned());
    }
}

/// Refuses a target into which rows cannot be written unchanged.
pub fn target(
    job: &JobSpec,
    target: &RelationDesc,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) {
    let name = &target.name;
    if !matches!(target.kind, RelationKind::Table | RelationKind::Partitioned) {
        refusals.push(
            Refusal::mismatch(
                Side::Target,
                name,
                format!(
                    "the target is a {}: only tables are written",
                    target.kind.as_str()
                ),
            )
            .hinted("write into the underlying table"),
        );
        return;
    }
    if target.row_security_applies {
        refusals.push(
            Refusal::permission(
                Side::Target,
                name,
                "row security applies to the target's role, and PostgreSQL refuses COPY FROM then",
            )
            .hinted("let the role own the table, or give it BYPASSRLS"),
        );
    }
    if !target.rules.is_empty() {
        refusals.push(
            Refusal::mismatch(
                Side::Target,
                name,
                format!(
                    "the target has rules, which COPY ignores: {}",
                    target.rules.join(", ")
                ),
            )
            .hinted("disable or drop the rules, or use triggers instead"),
        );
    }
    if !target.triggers.is_empty() {
        warnings.push(format!(
            "the target's triggers fire, and may change or drop rows: {}",
            target.triggers.join(", ")
        ));
    }
    if job.triggers == Triggers::Skip && !target.foreign_keys.is_empty() {
        warnings.push(
            "`triggers = \"skip\"` also skips foreign keys: rows without their referenced row are \
             not noticed"
                .to_owned(),
        );
    }
    if job.analyze && !target.privileges.analyze {
        warnings.push("ANALYZE is skipped: the role may not".to_owned());
    }
}

/// Refuses missing privileges on both relations and their columns.
pub fn privileges(
    source: &RelationDesc,
    target: &RelationDesc,
    pairs: &[ColumnPair<'_>],
    refusals: &mut Vec<Refusal>,
) {
    for (side, relation) in [(Side::Source, source), (Side::Target, target)] {
        if !relation.privileges.usage {
            refusals.push(
                Refusal::permission(
                    side,
                    &relation.name,
                    format!("the role lacks USAGE on schema {}", relation.name.schema),
                )
                .hinted(format!(
                    "GRANT USAGE ON SCHEMA {} TO the role of the {}",
                    relation.name.schema,
                    side_name(side)
                )),
            );
        }
    }
    let unreadable: Vec<&ColumnPair<'_>> = pairs
        .iter()
        .filter(|pair| pair.expression.is_none() && !pair.source.privileged)
        .collect();
    if !source.privileges.select {
        lacking(Side::Source, source, "SELECT", &unreadable, pairs, refusals);
    }
    let unwritable: Vec<&ColumnPair<'_>> = pairs
        .iter()
        .filter(|pair| !pair.target.privileged)
        .collect();
    let is_table = matches!(target.kind, RelationKind::Table | RelationKind::Partitioned);
    let has = &target.privileges;
    if !has.insert && is_table {
        lacking(Side::Target, target, "INSERT", &unwritable, pairs, refusals);
        if unwritable.is_empty() && !(has.update || has.delete || has.truncate) {
            let message =
                "the role has INSERT on columns only, and LOCK TABLE needs it on the table";
            refusals.push(
                Refusal::permission(Side::Target, &target.name, message).hinted(format!(
                    "GRANT INSERT ON {} TO the role of the target",
                    target.name
                )),
            );
        }
    }
}

/// A privilege that is missing on all columns is reported once, otherwise for each column.
fn lacking(
    side: Side,
    relation: &RelationDesc,
    privilege: &str,
    without: &[&ColumnPair<'_>],
    all: &[ColumnPair<'_>],
    refusals: &mut Vec<Refusal>,
) {
    let name = &relation.name;
    if without.len() == all.len() {
        refusals.push(
            Refusal::permission(side, name, format!("the role lacks {privilege}")).hinted(format!(
                "GRANT {privilege} ON {name} TO the role of the {}",
                side_name(side)
            )),
        );
        return;
    }
    for pair in without {
        let column = &pair.target.name;
        refusals.push(
            Refusal::permission(
                side,
                name,
                format!("the role lacks {privilege} on column {column}"),
            )
            .in_column(column)
            .hinted(format!(
                "GRANT {privilege} ({column}) ON {name} TO the role of the {}",
                side_name(side)
            )),
        );
    }
}

/// The privileges on the target that a mode needs besides INSERT.
pub fn mode(job: &JobSpec, target: &RelationDesc, refusals: &mut Vec<Refusal>) {
    if job.mode == Mode::Truncate && !target.privileges.truncate {
        refusals.push(
            Refusal::permission(Side::Target, &target.name, "the role lacks TRUNCATE").hinted(
                format!(
                    "GRANT TRUNCATE ON {} TO the role of the target",
                    target.name
                ),
            ),
        );
    }
    let counts = job.mode.replaces_all_rows() && job.guard.compares();
    if counts && !target.privileges.select {
        let message = "the role lacks SELECT, and the guard counts the rows that would be replaced";
        refusals.push(
            Refusal::permission(Side::Target, &target.name, message).hinted(format!(
                "GRANT SELECT ON {} TO the role of the target, or set `guard = {{ allow_empty = true, \
                 max_shrink = \"100%\" }}`",
                target.name
            )),
        );
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
        Side::Local => "program",
    }
}
