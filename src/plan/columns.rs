//! Decides which columns are copied. Columns are paired by name.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, NewColumns, TableSpec};
use crate::error::Side;
use crate::pg::ident::Ident;
use crate::plan::refusal::Refusal;
use crate::plan::renamed;
use crate::report::{ColumnChange, Drift, DriftedColumn};
use crate::wording;

/// A source column or an expression, and the target column that is filled with it.
pub struct ColumnPair<'a> {
    /// The source column.
    pub source: &'a ColumnDesc,
    /// The target column.
    pub target: &'a ColumnDesc,
    /// The expression of `set`, if there is one.
    pub expression: Option<&'a str>,
}

/// Pairs the columns by name, in the order of the target. Columns without a counterpart are refusals, or warnings
/// and drift.
pub fn pair<'a>(
    job: &JobSpec,
    inspected: &'a Inspected,
    source: &'a RelationDesc,
    target: &'a RelationDesc,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> (Vec<ColumnPair<'a>>, Drift) {
    let spec = &inspected.spec;
    let before = refusals.len();
    unknown_names(inspected, target, refusals);
    let mut pairs = Vec::new();
    let mut defaulted = Vec::new();
    for column in target.columns.iter().filter(|c| !spec.is_own(&c.name)) {
        let expression = spec.set.get(&column.name).map(String::as_str);
        let named = spec
            .columns
            .as_ref()
            .is_some_and(|names| names.contains(&column.name));
        if let Some(by) = &column.generated {
            if named || expression.is_some() {
                refusals.push(
                    Refusal::mismatch(
                        Side::Target,
                        &target.name,
                        format!("column {} is generated and cannot be written", column.name),
                    )
                    .in_column(&column.name)
                    .hinted("leave it out: the target computes it"),
                );
            } else if spec.columns.is_none()
                && let Some(read) = source.column(&column.name)
                && read.generated.as_ref() != Some(by)
            {
                refusals.push(computed_otherwise(source, target, column, by, read));
            }
            continue;
        }
        let found = match expression {
            Some(_) => inspected.set.get(&column.name),
            None if spec.columns.is_none() || named => source.column(&column.name),
            None => None,
        };
        match found {
            Some(read) => pairs.push(ColumnPair {
                source: read,
                target: column,
                expression,
            }),
            None if named => refusals.push(
                Refusal::mismatch(
                    Side::Source,
                    &spec.target,
                    format!("{} has no column {}", what_is_read(source), column.name),
                )
                .in_column(&column.name)
                .hinted(format!(
                    "give it as an expression: `set.{} = \"…\"`",
                    column.name
                )),
            ),
            None if column.not_null && !column.has_default => {
                refusals.push(unfilled(source, target, column));
            }
            None => defaulted.push(column),
        }
    }
    if pairs.is_empty() && !defaulted.is_empty() && refusals.len() == before {
        refusals.push(
            Refusal::mismatch(
                Side::Source,
                &spec.target,
                format!("{} has no column in common with it", what_is_read(source)),
            )
            .hinted("give the columns as expressions: `set.COLUMN = \"…\"`"),
        );
    }
    let drift = leftovers(
        job, inspected, source, target, &defaulted, refusals, warnings,
    );
    (pairs, drift)
}

/// The generated columns that must have the same values on both sides: their expressions are the same, and
/// all columns that these may use are copied unchanged.
pub fn computed<'a>(
    inspected: &Inspected,
    source: &'a RelationDesc,
    target: &'a RelationDesc,
    pairs: &[ColumnPair<'_>],
) -> Vec<ColumnPair<'a>> {
    let spec = &inspected.spec;
    let same_type = |pair: &ColumnPair<'_>| {
        pair.source.ty == pair.target.ty && pair.source.typmod == pair.target.typmod
    };
    let as_they_are = spec.columns.is_none()
        && spec.set.is_empty()
        && spec.insert_only.is_empty()
        && spec.own_columns().next().is_none()
        && pairs.iter().all(same_type);
    let both = target.columns.iter().filter_map(|column| {
        let read = source.column(&column.name)?;
        let same = column.generated.is_some() && read.generated == column.generated;
        let pair = ColumnPair {
            source: read,
            target: column,
            expression: None,
        };
        (same && read.privileged && same_type(&pair)).then_some(pair)
    });
    both.filter(|_| as_they_are).collect()
}

/// The target generates the column by another expression than the source, so the source's values would be
/// lost.
fn computed_otherwise(
    source: &RelationDesc,
    target: &RelationDesc,
    column: &ColumnDesc,
    by: &str,
    read: &ColumnDesc,
) -> Refusal {
    let name = &column.name;
    let other = match &read.generated {
        Some(other) => format!("by {other} on the source"),
        None => format!("{} gives it values of its own", what_is_read(source)),
    };
    let others: Vec<String> = target
        .columns
        .iter()
        .filter(|other| other.generated.is_none() && source.column(&other.name).is_some())
        .map(|other| format!("{:?}", other.name.as_str()))
        .collect();
    Refusal::mismatch(
        Side::Target,
        &target.name,
        format!("column {name} is generated by {by} on the target, and {other}"),
    )
    .in_column(name)
    .hinted(match source.kind {
        RelationKind::Query => "leave it out of the query".to_owned(),
        _ => format!(
            "leave it out: `columns = [{}]`; or let the target take the source's values: ALTER TABLE {} \
             ALTER COLUMN {name} DROP EXPRESSION",
            others.join(", "),
            target.name
        ),
    })
}

fn unfilled(source: &RelationDesc, target: &RelationDesc, column: &ColumnDesc) -> Refusal {
    Refusal::mismatch(
        Side::Target,
        &target.name,
        format!(
            "column {} is NOT NULL without a default, and {} does not give it",
            column.name,
            what_is_read(source)
        ),
    )
    .in_column(&column.name)
    .hinted(format!(
        "give it as an expression (`set.{} = \"…\"`), or a default on the target",
        column.name
    ))
}

/// Refuses names in `columns` and `set` that the target does not have.
fn unknown_names(inspected: &Inspected, target: &RelationDesc, refusals: &mut Vec<Refusal>) {
    let columns = inspected.spec.columns.iter().flatten();
    let named = columns.map(|name| (name, "`columns` names"));
    let filled = inspected.spec.source_value.as_ref();
    let filled = filled.map(|(column, _)| column);
    let set = inspected.spec.set.keys().map(|name| match filled {
        Some(column) if column == name => (name, "`source_column` names"),
        _ => (name, "`set` names"),
    });
    let key = inspected.spec.key.iter().flatten();
    let key = key.map(|name| (name, "`key` names"));
    for (name, by) in named.chain(set).chain(key) {
        if target.column(name).is_none() {
            refusals.push(
                Refusal::mismatch(
                    Side::Target,
                    &target.name,
                    format!("{by} column {name}, which the target does not have"),
                )
                .in_column(name),
            );
        }
    }
}

fn leftovers(
    job: &JobSpec,
    inspected: &Inspected,
    source: &RelationDesc,
    target: &RelationDesc,
    defaulted: &[&ColumnDesc],
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Drift {
    for (at, column) in source.columns.iter().enumerate() {
        let again = source.columns[..at].iter().any(|c| c.name == column.name);
        if again {
            refusals.push(
                Refusal::mismatch(
                    Side::Source,
                    &inspected.spec.target,
                    format!("the query gives column {} twice", column.name),
                )
                .in_column(&column.name)
                .hinted("name each column of the query with AS"),
            );
        }
    }
    let list = |columns: Vec<&ColumnDesc>| -> String {
        let names: Vec<String> = columns.iter().map(|c| c.name.to_string()).collect();
        names.join(", ")
    };
    if inspected.spec.columns.is_some() {
        return Drift::default();
    }
    if !defaulted.is_empty() {
        warnings.push(format!(
            "only the target has {}: filled by default",
            list(defaulted.to_vec())
        ));
    }
    let unread: Vec<&ColumnDesc> = source
        .columns
        .iter()
        .filter(|column| target.column(&column.name).is_none())
        .collect();
    refusals.extend(renamed::refuse(
        inspected, source, target, &unread, defaulted,
    ));
    if source.kind == RelationKind::Query {
        // A query lists its columns explicitly, so a column without a counterpart is an error.
        let unused = unread.iter().filter(|c| !is_used(&inspected.spec, &c.name));
        refusals.extend(unused.map(|column| no_place(target, column)));
    } else if !unread.is_empty() && job.new_columns == NewColumns::Error {
        refusals.push(new_columns(target, &unread));
    } else if !unread.is_empty() {
        warnings.push(format!(
            "only the source has {}: left out",
            list(unread.clone())
        ));
    }
    let left_out = match source.kind {
        RelationKind::Query => Vec::new(),
        _ => unread,
    };
    drift(inspected, source, left_out, defaulted)
}

fn drift(
    inspected: &Inspected,
    source: &RelationDesc,
    left_out: Vec<&ColumnDesc>,
    defaulted: &[&ColumnDesc],
) -> Drift {
    let creation = inspected.creation.iter();
    let added = creation.flat_map(|creation| &creation.added);
    let added = added.filter_map(|added| source.column(&added.name));
    let of = |change: ColumnChange| {
        move |column: &ColumnDesc| DriftedColumn {
            column: column.name.to_string(),
            change,
            type_text: column.type_text.clone(),
        }
    };
    let left_out = left_out.into_iter().map(of(ColumnChange::NotCopied));
    let added = added.map(of(ColumnChange::Added));
    let defaulted = defaulted
        .iter()
        .copied()
        .map(of(ColumnChange::OnlyOnTarget));
    Drift::new(left_out.chain(added).chain(defaulted))
}

/// `new_columns = "error"`.
fn new_columns(target: &RelationDesc, unread: &[&ColumnDesc]) -> Refusal {
    let names: Vec<String> = unread.iter().map(|c| c.name.to_string()).collect();
    let add = unread
        .iter()
        .map(|c| format!("ADD COLUMN {} {}", c.name, c.type_text));
    let add: Vec<String> = add.collect();
    let message = format!(
        "the target lacks columns that the source has: {}",
        names.join(", ")
    );
    let refusal = Refusal::mismatch(Side::Target, &target.name, message);
    let alter = format!("ALTER TABLE {} {}", target.name, add.join(", "));
    let refusal = match unread {
        [only] => refusal.in_column(&only.name),
        _ => refusal,
    };
    refusal.hinted(format!(
        "{alter}; or `new_columns = \"add\"`, or leave them out with `columns`"
    ))
}

/// Is the column used by the watermark, `where` or an expression? It is if its name occurs there.
pub(super) fn is_used(spec: &TableSpec, column: &Ident) -> bool {
    let name = column.as_str().to_lowercase();
    let mut texts = spec.set.values().chain(&spec.filter);
    spec.watermark.as_ref() == Some(column) || texts.any(|text| text.to_lowercase().contains(&name))
}

fn no_place(target: &RelationDesc, column: &ColumnDesc) -> Refusal {
    let names = target.columns.iter().map(|column| column.name.as_str());
    let near = wording::nearest(column.name.as_str(), names);
    let meant = near.map_or(String::new(), |near| {
        format!("; did you mean {}?", Ident::new(near))
    });
    Refusal::mismatch(
        Side::Source,
        &target.name,
        format!(
            "the query gives column {}, which the target does not have{meant}",
            column.name
        ),
    )
    .in_column(&column.name)
    .hinted("name it with AS as the target's column is called, or leave it out of the query")
}

/// The source's name for messages.
pub fn what_is_read(source: &RelationDesc) -> String {
    match source.kind {
        RelationKind::Query => "the query".to_owned(),
        RelationKind::File => "the file".to_owned(),
        _ => format!("the source {}", source.name),
    }
}
