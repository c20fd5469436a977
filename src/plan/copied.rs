//! The columns of a table that are copied, how their values are converted, and in which COPY format.

use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{FormatChoice, JobSpec, OnError, TableInput};
use crate::error::Side;
use crate::plan::column::{ColumnPlan, CopyFormat, FormatReason};
use crate::plan::columns::ColumnPair;
use crate::plan::format::{self, Carrier, Conversion, ServerFacts};
use crate::plan::refusal::Refusal;

/// The columns that are copied, in the order of COPY.
pub struct CopiedColumns<'a> {
    pub pairs: &'a [ColumnPair<'a>],
    /// How the values of each pair are converted.
    pub conversions: Vec<(&'a ColumnPair<'a>, Conversion)>,
    pub format: CopyFormat,
    pub columns: Vec<ColumnPlan>,
}

impl<'a> CopiedColumns<'a> {
    /// Chooses the format. Refuses columns that cannot be copied.
    pub fn new(
        job: &JobSpec,
        inspected: &Inspected,
        (source, target): (&RelationDesc, &RelationDesc),
        pairs: &'a [ColumnPair<'a>],
        refusals: &mut Vec<Refusal>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let conversions = convert(source, target, pairs);
        let mut columns: Vec<ColumnPlan> = conversions.iter().map(column_plan).collect();
        let format = match &inspected.spec.input {
            TableInput::File(file) => {
                // The target parses the text of its own type.
                columns
                    .iter_mut()
                    .for_each(|column| column.needs_text = None);
                CopyFormat::File(file.layout.clone())
            }
            TableInput::Relation(_) | TableInput::Query(_) => {
                choose(job, inspected, &conversions, refusals, warnings)
            }
        };
        CopiedColumns {
            pairs,
            conversions,
            format,
            columns,
        }
    }
}

/// The columns of a file come in the order of the file.
pub fn order_as_in_file(source: &RelationDesc, pairs: &mut [ColumnPair<'_>]) {
    pairs.sort_by_key(|pair| {
        let mut columns = source.columns.iter();
        columns.position(|column| column.name == pair.source.name)
    });
}

/// How the values of each pair are converted.
pub fn convert<'a>(
    source: &RelationDesc,
    target: &RelationDesc,
    pairs: &'a [ColumnPair<'a>],
) -> Vec<(&'a ColumnPair<'a>, Conversion)> {
    let ends = ServerFacts {
        target_version: target.server_version,
        source_monetary: &source.lc_monetary,
        target_monetary: &target.lc_monetary,
    };
    let of = |pair: &'a ColumnPair<'a>| (pair, format::convert(ends, pair.source, pair.target));
    pairs.iter().map(of).collect()
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

pub fn column_plan((pair, conversion): &(&ColumnPair<'_>, Conversion)) -> ColumnPlan {
    ColumnPlan {
        name: pair.target.name.clone(),
        source_type: pair.source.type_text.clone(),
        target_type: pair.target.type_text.clone(),
        expression: pair.expression.map(str::to_owned),
        needs_text: needs_text(conversion).cloned(),
    }
}
