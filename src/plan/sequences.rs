//! Sequences of the target that are moved past the copied values.

use super::columns::ColumnPair;
use super::copy::SequencePlan;
use super::refusal::Refusal;
use super::{pairs, sql};
use crate::catalog::desc::{ColumnSequence, RelationDesc, TypeDesc, TypeShape};
use crate::config::spec::JobSpec;
use crate::error::Side;

/// Plans to move the sequences of copied columns. A sequence that the role may not move is refused.
pub(super) fn plan(
    job: &JobSpec,
    target: &RelationDesc,
    pairs: &[ColumnPair<'_>],
    refusals: &mut Vec<Refusal>,
) -> Vec<SequencePlan> {
    let mut planned = Vec::new();
    if !job.sequences {
        return planned;
    }
    for column in pairs.iter().map(|pair| pair.target) {
        // A sequence may also be used by the default of a text column, whose values are not its numbers.
        if !matches!(
            number(&column.ty),
            Some("int2" | "int4" | "int8" | "numeric")
        ) {
            continue;
        }
        for ColumnSequence { name, may_set } in &column.sequences {
            if !may_set {
                refusals.push(
                    Refusal::permission(
                        Side::Target,
                        &target.name,
                        format!(
                            "the role cannot move sequence {name} of column {}",
                            column.name
                        ),
                    )
                    .in_column(&column.name)
                    .hinted(format!(
                        "GRANT SELECT, UPDATE ON SEQUENCE {name}, USAGE on its schema and SELECT \
                         on {} to the role of the target, or set `sequences = false`",
                        target.name
                    )),
                );
            }
            planned.push(SequencePlan {
                column: column.name.clone(),
                sequence: name.clone(),
                sql: sql::set_sequence(target, &column.name, name),
            });
        }
    }
    planned
}

/// Is it a number type, or a domain over one?
fn number(ty: &TypeDesc) -> Option<&str> {
    match &ty.shape {
        TypeShape::Domain { base, .. } => number(base),
        _ => pairs::key(ty),
    }
}
