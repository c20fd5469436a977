//! Finding differences by two ordered streams: both sides are read in the order of the key at the same
//! time, tableferry merges the two streams (`run/pipe/stream`), and only rows that differ are staged.
//!
//! Rows are compared as COPY writes them, in the table's format. Equal bytes are equal values, because
//! they would be staged as the same value. Different bytes may still be the same value in another
//! spelling: the target compares every staged row with its own before it writes anything, so such rows
//! cost time and change nothing.
//!
//! A row that is not staged cannot be compared again. So all rows are staged if foreign keys, triggers or
//! rules may change the table's rows while other tables are written (`plan/effects.rs`).

use super::changed;
use super::parts::Parts;
use super::source_key::SourceKey;
use super::stream_input::StreamInput;
use super::types::{KeyOrder, KeyPart, Staged, Stream, StreamPlan, Way};
use crate::catalog::desc::{RelationKind, TypeDesc, TypeShape, UniqueIndex};
use crate::config::spec::{Mode, OnError, TableInput};
use crate::plan::column::CopyFormat;
use crate::plan::columns::ColumnPair;
use crate::plan::form::AS_IT_IS;
use crate::plan::{compare, pairs, sql};

/// Plans to compare a table by streams, or says why that cannot be done.
pub(in crate::plan) fn plan(
    input: &StreamInput<'_>,
    full: &Staged,
) -> Result<Box<StreamPlan>, String> {
    let StreamInput {
        job, spec, target, ..
    } = *input;
    if spec.watermark.is_some() {
        return Err("a watermark reads only what is new".to_owned());
    }
    if job.on_error == OnError::Quarantine {
        return Err("rows that the target rejects are set aside".to_owned());
    }
    if job.loaders() > 1 {
        return Err("several workers load it".to_owned());
    }
    let index = super::key_index(spec, target).ok_or_else(|| "the target has no key".to_owned())?;
    let parts = Parts {
        spec,
        target,
        columns: input.pairs.iter().map(|pair| pair.target).collect(),
        key: index,
        stage: full.stage.clone(),
        changes: full.changes.clone(),
        gone: None,
        source_key: SourceKey {
            never_null: full.null_keys.is_none(),
            never_repeated: full.repeated_keys.is_none(),
        },
    };
    let Both {
        parts,
        stream,
        copy_out,
        copy_in,
        source_order,
        target_order,
    } = both(input, parts, job.mode == Mode::Merge)?;
    let choice = changed::choose(input, index, &stream, (&source_order, &target_order));
    let mut staged = super::again(job, &parts, full);
    staged.equal_if_empty = job.mode == Mode::Upsert || !parts.key_may_be_null();
    staged.way = Way::Stream { stream, why: None };
    Ok(Box::new(StreamPlan {
        staged,
        copy_out,
        copy_in,
        costly: costly(input, index),
        choice,
    }))
}

/// The statements that read two tables in the order of the key, and stage the rows that differ.
pub(in crate::plan) struct Both<'a> {
    pub parts: Parts<'a>,
    pub stream: Stream,
    pub copy_out: String,
    pub copy_in: String,
    pub source_order: String,
    pub target_order: String,
}

/// Plans these statements. `marks_gone`: rows that only the target has are staged, too.
pub(in crate::plan) fn both<'a>(
    input: &StreamInput<'_>,
    mut parts: Parts<'a>,
    marks_gone: bool,
) -> Result<Both<'a>, String> {
    let (index, spec) = (parts.key, parts.spec);
    let key = key_parts(input, index)?;
    parts.gone = marks_gone.then(|| parts.free_name("gone"));
    let copy_in = match &parts.gone {
        Some(gone) => sql::copy_in_with(&parts.stage, input.columns, gone, input.format),
        None => sql::copy_in(&parts.stage, input.columns, input.format),
    };
    let order = |of: &dyn Fn(usize) -> String| -> String {
        let terms: Vec<String> = key
            .iter()
            .zip(&index.columns)
            .map(|(part, _)| {
                let value = of(part.place);
                match (part.order, is_text(input.pairs[part.place].target)) {
                    (KeyOrder::Bytes, true) => format!("({value}) COLLATE pg_catalog.\"C\""),
                    _ => value,
                }
            })
            .collect();
        format!(" ORDER BY {}", terms.join(", "))
    };
    let source_order = order(&|place| match &input.columns[place].expression {
        Some(expression) => format!("({})", sql::closed(expression)),
        None => input.columns[place].name.sql(),
    });
    let target_order = order(&|place| input.columns[place].name.sql());
    let within = compare::within(spec);
    let within = within.map_or(String::new(), |within| {
        format!(" WHERE ({})", sql::closed(&within))
    });
    let target_select = format!(
        "SELECT {} FROM {}{within}{target_order}",
        parts.columns_sql(""),
        parts.target_from()
    );
    let stream = Stream {
        target_out: sql::copy_out(&target_select, input.format),
        key,
        marks_gone,
    };
    Ok(Both {
        parts,
        stream,
        copy_out: sql::copy_out(&format!("{}{source_order}", input.select), input.format),
        copy_in,
        source_order,
        target_order,
    })
}

fn key_parts(input: &StreamInput<'_>, index: &UniqueIndex) -> Result<Vec<KeyPart>, String> {
    let parts = index.columns.iter().map(|column| {
        let found = input.pairs.iter().enumerate();
        let (place, pair) = found
            .into_iter()
            .find(|(_, pair)| pair.target.name == column.name)
            .ok_or_else(|| format!("key column {} is not copied", column.name))?;
        if !column.equal_is_identical {
            let name = &column.name;
            return Err(format!("equal values of key column {name} may be written in several ways"));
        }
        let order = key_order(pair, input.format).ok_or_else(|| {
            let (name, ty) = (&column.name, &pair.target.type_text);
            format!("no order of {ty}, the type of key column {name}, is known to be the same on both sides")
        })?;
        Ok(KeyPart { place, order })
    });
    parts.collect()
}

fn key_order(pair: &ColumnPair<'_>, format: &CopyFormat) -> Option<KeyOrder> {
    let name = |ty| pairs::key(innermost(ty));
    let (from, to) = (name(&pair.source.ty)?, name(&pair.target.ty)?);
    let is_integer = |name| matches!(name, "int2" | "int4" | "int8");
    let is_text = |name| matches!(name, "text" | "varchar");
    match format {
        CopyFormat::Binary if from == to => match from {
            "int2" | "int4" | "int8" | "date" | "timestamp" | "timestamptz" => {
                Some(KeyOrder::Number)
            }
            "uuid" | "bytea" | "bool" | "oid" | "text" | "varchar" => Some(KeyOrder::Bytes),
            _ => None,
        },
        _ if is_text(from) && is_text(to) => Some(KeyOrder::Bytes),
        CopyFormat::Text(_) if is_integer(from) && is_integer(to) => Some(KeyOrder::Number),
        CopyFormat::Text(_) if from == "uuid" && to == "uuid" => Some(KeyOrder::Bytes),
        _ => None,
    }
}

fn innermost(ty: &TypeDesc) -> &TypeDesc {
    match &ty.shape {
        TypeShape::Domain { base, .. } => innermost(base),
        _ => ty,
    }
}

fn is_text(column: &crate::catalog::desc::ColumnDesc) -> bool {
    matches!(pairs::key(innermost(&column.ty)), Some("text" | "varchar"))
}

/// Why ordered streams would cost more than staging all rows.
fn costly(input: &StreamInput<'_>, index: &UniqueIndex) -> Option<String> {
    let StreamInput {
        spec,
        source,
        target,
        ..
    } = *input;
    if source.kind == RelationKind::File {
        return Some("the source is a file, which has no order".to_owned());
    }
    if target.rows_estimate == Some(0) {
        return Some("the target is empty".to_owned());
    }
    let sorted = |side: &str| Some(format!("the {side} would have to sort its rows by the key"));
    let of_text = |pair: &ColumnPair<'_>| is_text(pair.target) || is_text(pair.source);
    let in_key = |pair: &&ColumnPair<'_>| index.columns.iter().any(|k| k.name == pair.target.name);
    if input.pairs.iter().filter(in_key).any(of_text) {
        return sorted("servers");
    }
    let served = matches!(spec.input, TableInput::Relation(_))
        && matches!(source.kind, RelationKind::Table | RelationKind::Partitioned)
        && !spec.children
        && input
            .pairs
            .iter()
            .filter(in_key)
            .all(|pair| pair.expression.is_none())
        && source.unique_indexes.iter().any(|of_source| {
            let names = |index: &UniqueIndex| -> Vec<_> {
                index
                    .columns
                    .iter()
                    .map(|column| column.name.clone())
                    .collect()
            };
            of_source.is_plain && names(of_source) == names(index)
        });
    if !served {
        return sorted("source");
    }
    let comparison = input.comparison;
    let respelled = comparison
        .columns
        .iter()
        .find(|column| column.source != AS_IT_IS || column.target != AS_IT_IS);
    if let Some(name) = respelled.map(|column| column.name.to_string()).or_else(|| {
        comparison
            .left_out
            .iter()
            .find(|column| !column.may_differ)
            .map(|left_out| left_out.column.clone())
    }) {
        return Some(format!(
            "the servers write equal values of column {name} differently"
        ));
    }
    let binary = *input.format == CopyFormat::Binary;
    let has_oids = |pair: &&ColumnPair<'_>| holds_oids(&pair.target.ty);
    input
        .pairs
        .iter()
        .find(has_oids)
        .filter(|_| binary)
        .map(|pair| {
            format!(
                "the binary form of column {} holds OIDs, which differ between the servers",
                pair.target.name
            )
        })
}

/// Arrays and composites contain the OIDs of their element types.
fn holds_oids(ty: &TypeDesc) -> bool {
    match &ty.shape {
        TypeShape::Array(element) => !element.is_builtin() || holds_oids(element),
        TypeShape::Composite(attributes) => attributes
            .iter()
            .any(|attribute| !attribute.ty.is_builtin() || holds_oids(&attribute.ty)),
        TypeShape::Domain { base, .. } => holds_oids(base),
        TypeShape::Range(inner) | TypeShape::Multirange(inner) => holds_oids(inner),
        TypeShape::Base | TypeShape::Enum(_) | TypeShape::Pseudo => false,
    }
}
