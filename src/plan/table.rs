//! The plan of one table, or every reason why there is none.

use crate::catalog::desc::{ColumnSequence, Inspected, RelationDesc, TypeDesc, TypeShape};
use crate::config::spec::{FormatChoice, JobSpec, Mode, OnError, TableInput, Triggers, Verify};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::Ident;
use crate::plan::column::{ColumnPlan, CopyFormat, FormatReason};
use crate::plan::columns::{self, ColumnPair};
use crate::plan::copy::{CopyPlan, Load, SequencePlan};
use crate::plan::format::{self, Carrier, Conversion, ServerFacts};
use crate::plan::refusal::Refusal;
use crate::plan::setting::Setting;
use crate::plan::staged::stream;
use crate::plan::used::{self, Use, Used};
use crate::plan::{
    checks, compare, ctid_ranges, pairs, partitions, quarantine, sql, staged, watermark,
};

/// Plans one table. Returns None after adding at least one entry to `refusals`.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    setting: &Setting<'_>,
    refusals: &mut Vec<Refusal>,
) -> Option<CopyPlan> {
    let before = refusals.len();
    let spec = &inspected.spec;
    let (source, target) = both_exist(inspected, refusals)?;
    let mut warnings = Vec::new();
    refuse_itself(inspected, setting, refusals);
    checks::source(source, refusals, &mut warnings);
    checks::target(job, target, refusals, &mut warnings);
    let mut pairs = columns::pair(inspected, source, target, refusals, &mut warnings);
    let file = match &spec.input {
        TableInput::File(file) => Some(file),
        TableInput::Relation(_) | TableInput::Query(_) => None,
    };
    if file.is_some() {
        // The columns of a file come in the order of the file.
        let place = |pair: &ColumnPair<'_>| {
            let mut columns = source.columns.iter();
            columns.position(|column| column.name == pair.source.name)
        };
        pairs.sort_by_key(place);
    }
    checks::privileges(source, target, &pairs, refusals);
    let ends = ServerFacts {
        target_version: target.server_version,
        source_monetary: &source.lc_monetary,
        target_monetary: &target.lc_monetary,
    };
    let judge = |pairs: &'_ [ColumnPair<'_>]| -> Vec<Conversion> {
        let of = |pair: &ColumnPair<'_>| format::convert(ends, pair.source, pair.target);
        pairs.iter().map(of).collect()
    };
    let judged: Vec<(&ColumnPair<'_>, Conversion)> = pairs.iter().zip(judge(&pairs)).collect();
    let format = match file {
        Some(file) => CopyFormat::File(file.layout.clone()),
        None => choose(job, inspected, &judged, refusals, &mut warnings),
    };
    let mut planned: Vec<ColumnPlan> = judged.iter().map(column_plan).collect();
    if file.is_some() {
        // The target parses the text of its own type.
        planned
            .iter_mut()
            .for_each(|column| column.needs_text = None);
    }
    let sequences = sequences(job, target, &pairs, refusals);
    let load = if staged::is_staged(job, spec) {
        let columns = pairs.iter().map(|pair| pair.target).collect();
        staged::plan(
            job,
            inspected,
            target,
            columns,
            setting,
            refusals,
            &mut warnings,
        )
        .map(|staged| Load::Staged(Box::new(staged)))
    } else {
        Some(Load::Direct)
    };
    let from = sql::read_from(spec, source.kind);
    let everything = sql::select(&from, &planned, spec.filter.as_deref());
    let reading = spec.watermark.as_ref().and_then(|column| {
        let read = (everything.as_str(), from.as_str());
        let progress = inspected.progress.as_ref()?;
        watermark::plan(
            spec,
            column,
            source,
            read,
            progress,
            refusals,
            &mut warnings,
        )
    });
    if refusals.len() > before {
        return None;
    }
    let mut load = load?;
    let written = match &load {
        Load::Direct | Load::File(_) => &target.name,
        Load::Staged(staged) => &staged.stage,
        Load::Shadow(shadow) => &shadow.name,
    };
    let line = quarantine::written_line(&load, target, &format);
    let line = line.filter(|_| job.on_error == OnError::Quarantine);
    let copy_in = match job.on_error {
        OnError::Abort => sql::copy_in(written, &planned, &format),
        OnError::Quarantine => {
            let format = quarantine::written_format(&format);
            sql::copy_numbered_in(written, line.as_ref(), &planned, &format)
        }
    };
    let condition = reading
        .as_ref()
        .and_then(|reading| reading.condition.as_deref());
    let filter = watermark::and(spec.filter.as_deref(), condition);
    let select = sql::select(&from, &planned, filter.as_deref());
    let partitions = partitions::plan(job, inspected, &planned, (&load, &select), refusals);
    if refusals.len() > before {
        return None;
    }
    let ctid_ranges = ctid_conditions(setting, source, &mut warnings)
        .iter()
        .map(|range| {
            let filter = watermark::and(filter.as_deref(), Some(range));
            sql::copy_out(&sql::select(&from, &planned, filter.as_deref()), &format)
        })
        .collect();
    let computed = columns::computed(inspected, source, target, &pairs);
    let compared: Vec<(&ColumnPair<'_>, Conversion)> = judged
        .into_iter()
        .chain(computed.iter().zip(judge(&computed)))
        .collect();
    let read: Vec<ColumnPlan> = compared.iter().map(column_plan).collect();
    let everything = sql::select(&from, &read, spec.filter.as_deref());
    let comparison = compare::comparison(spec, &compared, target, &format, everything);
    let mut marking = None;
    if let Load::Staged(full) = &mut load {
        let input = stream::StreamInput {
            job,
            spec,
            source,
            target,
            pairs: &pairs,
            columns: &planned,
            format: &format,
            select: &select,
            comparison: &comparison,
            changes: inspected.changes.as_ref(),
        };
        let stream_plan = stream::plan(&input, full);
        marking = stream_plan
            .as_ref()
            .ok()
            .and_then(|plan| plan.choice.marking.clone());
        full.stream_plan = Some(stream_plan);
    }
    if job.verify == Verify::Checksum {
        refusals.extend(comparison.refusals(target));
        if refusals.len() > before {
            return None;
        }
    }
    let source_relation = match &spec.input {
        TableInput::Relation(name) => Some(name),
        TableInput::Query(_) | TableInput::File(_) => None,
    };
    let names: Vec<&Ident> = pairs.iter().map(|pair| &pair.target.name).collect();
    let key = spec.key.as_ref().unwrap_or(&target.primary_key);
    Some(CopyPlan {
        source: match (file, source_relation) {
            (Some(file), _) => file.name.clone(),
            (None, Some(name)) => name.to_string(),
            (None, None) => "(query)".to_owned(),
        },
        source_relation: source_relation.cloned(),
        source_kind: source.kind,
        target: target.name.clone(),
        target_kind: target.kind,
        copy_out: match file {
            Some(file) => format!("-- reads file {} {}", file.name, format.options()),
            None => sql::copy_out(&select, &format),
        },
        ctid_ranges,
        // The size of a view or a query is not known.
        bytes_estimate: (source.bytes_estimate > 0 || source.blocks.is_some())
            .then_some(source.bytes_estimate),
        copy_in,
        must_be_empty: false,
        marking,
        target_has_triggers: !target.triggers.is_empty(),
        load,
        quarantine: quarantine::plan(job, &names, key, line),
        partitions,
        comparison,
        used: used(job, target, setting, &pairs, &sequences),
        columns: planned,
        format,
        sequences,
        // The number of rows that satisfy `where` is not known.
        rows_estimate: source.rows_estimate.filter(|_| filter.is_none()),
        watermark: reading.map(|reading| reading.watermark),
        warnings,
    })
}

fn refuse_itself(inspected: &Inspected, setting: &Setting<'_>, refusals: &mut Vec<Refusal>) {
    let target = &inspected.spec.target;
    let itself = matches!(&inspected.spec.input, TableInput::Relation(name) if name == target);
    if setting.same_place && itself {
        let message = "source and target are one and the same table";
        refusals.push(
            Refusal::mismatch(Side::Target, target, message)
                .of_kind(ErrorKind::Config)
                .hinted("check the conninfo of both servers"),
        );
    }
}

/// The conditions of the ranges that several workers read; empty if the table is read whole.
fn ctid_conditions(
    setting: &Setting<'_>,
    source: &RelationDesc,
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let Some(shared) = setting.shared else {
        return Vec::new();
    };
    warnings.extend(ctid_ranges::note(source, shared.range_bytes));
    ctid_ranges::conditions(source, shared.range_bytes)
}

fn both_exist<'a>(
    inspected: &'a Inspected,
    refusals: &mut Vec<Refusal>,
) -> Option<(&'a RelationDesc, &'a RelationDesc)> {
    let spec = &inspected.spec;
    if inspected.source.is_none() {
        let name = match &spec.input {
            TableInput::Relation(name) => name.to_string(),
            TableInput::Query(_) => "the query".to_owned(),
            TableInput::File(file) => file.name.clone(),
        };
        refusals.push(
            Refusal::mismatch(Side::Source, name, "does not exist on the source")
                .hinted("check the name, its upper and lower case, and the database"),
        );
    }
    if inspected.target.is_none() {
        refusals.push(
            Refusal::mismatch(Side::Target, &spec.target, "does not exist on the target").hinted(
                "create it first, for example with `pg_dump --schema-only --table` from the source",
            ),
        );
    }
    Some((inspected.source.as_ref()?, inspected.target.as_ref()?))
}

/// Chooses the table's format, which is the same for all columns, and refuses columns that it cannot copy.
fn choose(
    job: &JobSpec,
    inspected: &Inspected,
    judged: &[(&ColumnPair<'_>, Conversion)],
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> CopyFormat {
    let spec = &inspected.spec;
    let refuse = |pair: &ColumnPair<'_>, message: &str| {
        Refusal::mismatch(Side::Target, &spec.target, message).in_column(&pair.target.name)
    };
    let mut first_reason = None;
    for (pair, conversion) in judged {
        warnings.extend(conversion.warnings.iter().cloned());
        match &conversion.carrier {
            Carrier::Binary => {}
            Carrier::Text(reason) if job.format == FormatChoice::Binary => refusals.push(
                refuse(pair, &format!("`format = \"binary\"`, but {reason}"))
                    .hinted("use `format = \"auto\"`, or make both types the same"),
            ),
            Carrier::Text(reason) => {
                first_reason.get_or_insert(reason);
            }
            Carrier::Refused { message, hint } => {
                refusals.push(refuse(pair, message).hinted(hint));
            }
        }
    }
    let format = match (job.format, first_reason) {
        (FormatChoice::Text, _) => CopyFormat::Text(FormatReason::Configured),
        (_, None) if job.on_error == OnError::Quarantine => {
            CopyFormat::Text(FormatReason::Quarantine)
        }
        (_, Some(reason)) => CopyFormat::Text(reason.clone()),
        (_, None) => CopyFormat::Binary,
    };
    let as_text = format != CopyFormat::Binary;
    for (pair, conversion) in judged {
        let lossy_as_text = conversion.lossy_as_text.iter().filter(|_| as_text);
        for what in conversion.lossy.iter().chain(lossy_as_text) {
            if spec.lossy {
                warnings.push(what.clone());
            } else {
                refusals.push(refuse(pair, what).hinted(format!(
                    "if that is wanted: `lossy = true` in [jobs.{}.table.{:?}]",
                    job.name,
                    spec.target.to_string()
                )));
            }
        }
    }
    format
}

fn needs_text(conversion: &Conversion) -> Option<&FormatReason> {
    match &conversion.carrier {
        Carrier::Text(reason) => Some(reason),
        Carrier::Binary | Carrier::Refused { .. } => None,
    }
}

fn column_plan((pair, conversion): &(&ColumnPair<'_>, Conversion)) -> ColumnPlan {
    ColumnPlan {
        name: pair.target.name.clone(),
        source_type: pair.source.type_text.clone(),
        target_type: pair.target.type_text.clone(),
        expression: pair.expression.map(str::to_owned),
        needs_text: needs_text(conversion).cloned(),
    }
}

fn sequences(
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

/// The relations that are locked besides the target when rows are written: tables that foreign keys
/// reference, sequences of columns that are not copied, and sequences that are moved.
fn used(
    job: &JobSpec,
    target: &RelationDesc,
    setting: &Setting<'_>,
    pairs: &[ColumnPair<'_>],
    sequences: &[SequencePlan],
) -> Used {
    let mut used = Used::new();
    // `swap` adds foreign keys when it publishes.
    if job.triggers != Triggers::Skip && job.mode != Mode::Swap {
        let outer = target.foreign_keys.iter().map(|key| &key.to);
        for to in outer.filter(|to| !setting.targets.contains(to)) {
            used::add_use(&mut used, to.clone(), Use::LooksUp);
        }
    }
    let copied = |name: &Ident| pairs.iter().any(|pair| pair.target.name == *name);
    let defaults = target.columns.iter().filter(|column| !copied(&column.name));
    let defaults = defaults.flat_map(|column| column.sequences.iter().map(|s| &s.name));
    for name in defaults.chain(sequences.iter().map(|owned| &owned.sequence)) {
        used::add_use(&mut used, name.clone(), Use::Advances);
    }
    used
}

/// Is it a number type, or a domain over one?
fn number(ty: &TypeDesc) -> Option<&str> {
    match &ty.shape {
        TypeShape::Domain { base, .. } => number(base),
        _ => pairs::key(ty),
    }
}
