//! The plan of a job whose target is a directory: the contents of each file, or every reason why it cannot
//! be written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, TableInput};
use crate::error::{ErrorKind, Side};
use crate::files::layout::{FileFormat, Layout};
use crate::files::writer::Output;
use crate::pg::ident::Ident;
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::compare::Comparison;
use crate::plan::copy::{CopyPlan, JobPlan, Load, TargetFile};
use crate::plan::partitions::types::Partitions;
use crate::plan::reading::Reading;
use crate::plan::refusal::Refusal;
use crate::plan::used::{SeenLocks, Used};
use crate::plan::{checks, inheritance, modes};
use crate::report::Drift;

/// A table, and the file that it is written to.
pub struct Exported {
    /// What is read.
    pub table: Inspected,
    /// How the file is written.
    pub layout: Layout,
    /// Where it is.
    pub output: Output,
}

/// Plans a job. *Errors:* every reason why it cannot be run, of all tables.
pub fn job(job: &JobSpec, tables: Vec<Exported>) -> Result<JobPlan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut plans = Vec::new();
    let mut places: BTreeMap<PathBuf, String> = BTreeMap::new();
    for exported in &tables {
        let (spec, name) = (&exported.table.spec, exported.table.spec.file_name());
        if let Output::File(place) = &exported.output
            && let Some(other) = places.insert(place.clone(), spec.target.to_string())
        {
            let message = format!("would be written by {other} and by {}", spec.target);
            refusals.push(
                Refusal::mismatch(Side::Target, &name, message)
                    .of_kind(ErrorKind::Config)
                    .hinted("give each table a `file` of its own"),
            );
        }
        plans.extend(table(exported, &name, &mut refusals));
    }
    let inspected: Vec<Inspected> = tables.into_iter().map(|one| one.table).collect();
    inheritance::check(job, &inspected, &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(JobPlan {
        transactions: vec![modes::into_files(&plans)],
        tables: plans,
        workers: 1,
        snapshot: Vec::new(),
        seen_locks: SeenLocks::default(),
        warnings: Vec::new(),
    })
}

fn table(exported: &Exported, file: &str, refusals: &mut Vec<Refusal>) -> Option<CopyPlan> {
    let before = refusals.len();
    let Exported {
        table,
        layout,
        output,
    } = exported;
    let spec = &table.spec;
    let Some(source) = &table.source else {
        refusals.push(
            Refusal::mismatch(Side::Source, &spec.target, "does not exist on the source")
                .hinted("check the name, its upper and lower case, and the database"),
        );
        return None;
    };
    let mut warnings = Vec::new();
    checks::source(source, refusals, &mut warnings);
    let columns = columns(table, source, refusals, &mut warnings);
    privileges(source, &columns, refusals);
    if layout.format == FileFormat::Text && layout.header && source.server_version < 150_000 {
        let message = "PostgreSQL 14 and older write no header in the text format";
        refusals.push(Refusal::mismatch(Side::Source, file, message).hinted("use CSV"));
    }
    if refusals.len() > before {
        return None;
    }
    let planned: Vec<ColumnPlan> = columns.iter().map(|column| plan(table, column)).collect();
    let reading = Reading::new(spec, source, &planned, None);
    let format = CopyFormat::File(layout.clone());
    let copy_out = reading.copy_out(&format);
    let source_relation = match &spec.input {
        TableInput::Relation(name) => Some(name.clone()),
        TableInput::Query(_) | TableInput::File(_) => None,
    };
    Some(CopyPlan {
        source: source_relation
            .as_ref()
            .map_or_else(|| "(query)".to_owned(), ToString::to_string),
        source_relation,
        source_kind: source.kind,
        target: spec.target.clone(),
        target_kind: RelationKind::File,
        partition_of: None,
        target_has_triggers: false,
        load: Load::File(TargetFile {
            name: file.to_owned(),
            output: output.clone(),
        }),
        must_be_empty: false,
        creation: None,
        marking: None,
        columns: planned,
        copy_out,
        ctid_ranges: Vec::new(),
        resume: None,
        copy_in: match output {
            Output::File(_) => {
                format!("-- writes file {file} under a temporary name beside its place, syncs it")
            }
            Output::Stdout => "-- writes the standard output".to_owned(),
        },
        watermark: None,
        quarantine: None,
        partitions: Partitions::default(),
        comparison: Comparison {
            source: reading.select,
            columns: Vec::new(),
            left_out: Vec::new(),
            key: Vec::new(),
            within: None,
        },
        sequences: Vec::new(),
        used: Used::new(),
        bytes_estimate: None,
        rows_estimate: source.rows_estimate.filter(|_| spec.filter.is_none()),
        format,
        drift: Drift::default(),
        warnings,
    })
}

/// The columns of the file: in the order of `columns`, else in the source's order followed by the columns
/// of `set`.
fn columns<'t>(
    table: &'t Inspected,
    source: &'t RelationDesc,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Vec<&'t ColumnDesc> {
    let spec = &table.spec;
    let found = |name: &Ident| table.set.get(name).or_else(|| source.column(name));
    if let Some(names) = &spec.columns {
        let lacking = names.iter().filter(|name| found(name).is_none());
        refusals.extend(lacking.map(|name| {
            let message = format!("`columns` names column {name}, which the source does not have");
            Refusal::mismatch(Side::Source, &source.name, message).in_column(name)
        }));
        return names.iter().filter_map(found).collect();
    }
    let is_written = |column: &&ColumnDesc| column.generated.is_none();
    let generated: Vec<String> = source
        .columns
        .iter()
        .filter(|column| !is_written(column))
        .map(|column| column.name.to_string())
        .collect();
    if !generated.is_empty() {
        warnings.push(format!(
            "generated columns are left out, because COPY cannot load them: {}",
            generated.join(", ")
        ));
    }
    let own = source.columns.iter().filter(is_written);
    let own = own.map(|column| found(&column.name).unwrap_or(column));
    let added = table.set.iter();
    let added = added.filter(|(name, _)| source.column(name).is_none());
    let columns: Vec<&ColumnDesc> = own.chain(added.map(|(_, column)| column)).collect();
    if columns.is_empty() {
        let message = "has no column that could be written";
        refusals.push(Refusal::mismatch(Side::Source, &source.name, message));
    }
    columns
}

fn plan(table: &Inspected, column: &ColumnDesc) -> ColumnPlan {
    let set = table.set.iter();
    let mut set = set.filter(|(_, of)| std::ptr::eq(*of, column));
    let name = set.next().map_or(&column.name, |(name, _)| name);
    ColumnPlan {
        name: name.clone(),
        source_type: column.type_text.clone(),
        target_type: "text".to_owned(),
        expression: table.spec.set.get(name).cloned(),
        needs_text: None,
    }
}

fn privileges(source: &RelationDesc, columns: &[&ColumnDesc], refusals: &mut Vec<Refusal>) {
    let name = &source.name;
    let has = &source.privileges;
    if !has.usage {
        let message = format!("the role lacks USAGE on schema {}", name.schema);
        let hint = format!(
            "GRANT USAGE ON SCHEMA {} TO the role of the source",
            name.schema
        );
        refusals.push(Refusal::permission(Side::Source, name, message).hinted(hint));
    }
    let unreadable = columns.iter().find(|column| !column.privileged);
    if let Some(column) = unreadable.filter(|_| !has.select) {
        let message = format!("the role lacks SELECT on column {}", column.name);
        let hint = format!("GRANT SELECT ON {name} TO the role of the source");
        refusals.push(Refusal::permission(Side::Source, name, message).hinted(hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::Mode;
    use crate::plan::fixtures;

    #[test]
    fn generated_columns_stay_out_and_two_tables_need_two_files() {
        let mut computed = fixtures::column("total", "int4");
        computed.generated = Some("id * 2".to_owned());
        let desc = fixtures::table("t", vec![fixtures::column("id", "int4"), computed]);
        let exported = || Exported {
            table: fixtures::inspected(desc.clone(), desc.clone()),
            layout: Layout::new(FileFormat::Csv),
            output: Output::File(PathBuf::from("/x/t.csv")),
        };
        let spec = fixtures::job(Mode::Truncate);
        let plan = job(&spec, vec![exported()]).unwrap();
        assert_eq!(
            plan.tables[0].copy_out,
            "COPY \"public\".\"t\" (\"id\") TO STDOUT (FORMAT csv, HEADER true)"
        );
        assert!(plan.tables[0].warnings[0].contains("total"));
        let refusals = job(&spec, vec![exported(), exported()]).unwrap_err();
        assert!(
            refusals[0].message.contains("would be written by"),
            "{refusals:?}"
        );
    }
}
