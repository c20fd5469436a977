//! The plan of one table, or every reason why there is none.

use crate::catalog::change_mark::Marking;
use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, OnError, TableInput, Verify};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::Ident;
use crate::plan::column::ColumnPlan;
use crate::plan::columns::{self, ColumnPair};
use crate::plan::compare::Comparison;
use crate::plan::copied::{self, CopiedColumns};
use crate::plan::copy::{CopyPlan, Load, SequencePlan};
use crate::plan::reading::Reading;
use crate::plan::refusal::Refusal;
use crate::plan::resume::types::ResumePlan;
use crate::plan::setting::Setting;
use crate::plan::staged::stream;
use crate::plan::staged::stream_input::StreamInput;
use crate::plan::used;
use crate::plan::watermark::WatermarkPlan;
use crate::plan::{
    checks, compare, ctid_ranges, own_columns, partitions, quarantine, resume, sequences, sql,
    staged, swap, watermark,
};
use crate::report::Drift;

/// Plans one table. Returns None after adding at least one entry to `refusals`.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    setting: &Setting<'_>,
    refusals: &mut Vec<Refusal>,
) -> Option<CopyPlan> {
    let before = refusals.len();
    let (source, target) = both_exist(inspected, refusals)?;
    let mut warnings = Vec::new();
    if let Some(creation) = &inspected.creation {
        warnings.push(creation.note.clone());
    }
    refuse_itself(inspected, setting, refusals);
    checks::source(source, refusals, &mut warnings);
    checks::target(job, target, refusals, &mut warnings);
    let (mut pairs, drift) = columns::pair(job, inspected, source, target, refusals, &mut warnings);
    if matches!(inspected.spec.input, TableInput::File(_)) {
        copied::order_as_in_file(source, &mut pairs);
    }
    let both = (source, target);
    own_columns::check(
        job.mode,
        &inspected.spec,
        both,
        &pairs,
        refusals,
        &mut warnings,
    );
    checks::privileges(source, target, &pairs, refusals);
    let table = Table {
        job,
        inspected,
        setting,
        source,
        target,
    };
    let copied = CopiedColumns::new(
        job,
        inspected,
        (source, target),
        &pairs,
        refusals,
        &mut warnings,
    );
    let sequences = sequences::plan(job, target, &pairs, refusals);
    let load = table.load(&pairs, refusals, &mut warnings);
    let new_rows = table.new_rows(&copied, refusals, &mut warnings);
    if refusals.len() > before {
        return None;
    }
    let decided = (load?, sequences, new_rows, drift);
    let plan = table.copy_plan(copied, decided, refusals, warnings);
    if job.verify == Verify::Checksum {
        refusals.extend(plan.comparison.refusals(target));
    }
    (refusals.len() == before).then_some(plan)
}

/// A table that exists on both sides.
struct Table<'a> {
    job: &'a JobSpec,
    inspected: &'a Inspected,
    setting: &'a Setting<'a>,
    source: &'a RelationDesc,
    target: &'a RelationDesc,
}

/// What is decided before the plan is put together.
type Decided = (Load, Vec<SequencePlan>, Option<WatermarkPlan>, Drift);

impl Table<'_> {
    /// Where COPY writes. None if it was refused.
    fn load(
        &self,
        pairs: &[ColumnPair<'_>],
        refusals: &mut Vec<Refusal>,
        warnings: &mut Vec<String>,
    ) -> Option<Load> {
        let Table {
            job,
            inspected,
            setting,
            target,
            ..
        } = self;
        if !staged::is_staged(job, &inspected.spec) {
            return Some(Load::Direct);
        }
        let columns = pairs.iter().map(|pair| pair.target).collect();
        let staged = staged::plan(job, inspected, target, columns, setting, refusals, warnings)?;
        Some(Load::Staged(Box::new(staged)))
    }

    /// The rows that are new, if the table has a watermark.
    fn new_rows(
        &self,
        copied: &CopiedColumns<'_>,
        refusals: &mut Vec<Refusal>,
        warnings: &mut Vec<String>,
    ) -> Option<WatermarkPlan> {
        let spec = &self.inspected.spec;
        let column = spec.watermark.as_ref()?;
        let all = Reading::new(spec, self.source, &copied.columns, None);
        let progress = self.inspected.progress.as_ref()?;
        let read = (all.select.as_str(), all.from.as_str());
        watermark::plan(
            spec,
            column,
            self.source,
            read,
            progress,
            refusals,
            warnings,
        )
    }

    fn reading(&self, copied: &CopiedColumns<'_>, new_rows: Option<&WatermarkPlan>) -> Reading {
        let condition = new_rows.and_then(|new_rows| new_rows.condition.as_deref());
        Reading::new(
            &self.inspected.spec,
            self.source,
            &copied.columns,
            condition,
        )
    }

    /// The COPY that writes, and the column of a staging table that takes the line of each row.
    fn copy_in(&self, copied: &CopiedColumns<'_>, load: &Load) -> (String, Option<Ident>) {
        let written = match load {
            Load::Direct | Load::File(_) => &self.target.name,
            Load::Staged(staged) => &staged.stage,
            Load::Shadow(shadow) => &shadow.name,
        };
        let (columns, format) = (&copied.columns, &copied.format);
        match self.job.on_error {
            OnError::Abort => (sql::copy_in(written, columns, format), None),
            OnError::Quarantine => {
                let line = quarantine::written_line(load, self.target, format);
                let format = quarantine::written_format(format);
                let copy_in = sql::copy_numbered_in(written, line.as_ref(), columns, &format);
                (copy_in, line)
            }
        }
    }

    /// How both sides are compared. Columns that the target computes are compared, too.
    fn comparison(&self, copied: &CopiedColumns<'_>) -> Comparison {
        let (spec, source, target) = (&self.inspected.spec, self.source, self.target);
        let computed = columns::computed(self.inspected, source, target, copied.pairs);
        let mut compared = copied.conversions.clone();
        compared.extend(copied::convert(source, target, &computed));
        let read: Vec<ColumnPlan> = compared.iter().map(copied::column_plan).collect();
        let everything = Reading::new(spec, source, &read, None).select;
        compare::comparison(spec, &compared, target, &copied.format, everything)
    }

    /// Plans the comparison by streams for a staged table. Returns what marks its rows for the next run.
    fn plan_stream(
        &self,
        copied: &CopiedColumns<'_>,
        select: &str,
        comparison: &Comparison,
        load: &mut Load,
    ) -> Option<Marking> {
        let Load::Staged(full) = load else {
            return None;
        };
        // Another session cannot read a table that is not published, or to which columns are added.
        if let Some(creation) = &self.inspected.creation
            && (creation.is_staged || !creation.is_new)
        {
            return None;
        }
        let input = self.stream_input(copied, select, comparison);
        let planned = stream::plan(&input, full);
        let plan = planned.as_ref().ok();
        let marking = plan.and_then(|plan| plan.choice.marking.clone());
        full.stream_plan = Some(planned);
        marking
    }

    fn stream_input<'a>(
        &'a self,
        copied: &'a CopiedColumns<'_>,
        select: &'a str,
        comparison: &'a Comparison,
    ) -> StreamInput<'a> {
        StreamInput {
            job: self.job,
            spec: &self.inspected.spec,
            source: self.source,
            target: self.target,
            pairs: copied.pairs,
            columns: &copied.columns,
            format: &copied.format,
            select,
            comparison,
            changes: self.inspected.changes.as_ref(),
        }
    }

    /// The conditions of the ranges that several workers read; none if the table is read whole. With `resume = true`,
    /// also what is kept of a load that died; a table of which nothing can be kept gets a warning.
    fn plan_ranges(
        &self,
        copied: &CopiedColumns<'_>,
        read: &Reading,
        comparison: &Comparison,
        load: &Load,
        warnings: &mut Vec<String>,
    ) -> (Option<Box<ResumePlan>>, Vec<String>) {
        let Table {
            job,
            inspected,
            setting,
            target,
            ..
        } = self;
        let Some(shared) = setting.shared else {
            return (None, Vec::new());
        };
        warnings.extend(ctid_ranges::note(self.source, shared.range_bytes));
        let conditions = ctid_ranges::conditions(self.source, shared.range_bytes);
        let planned = match (resume::may_be_kept(job, inspected), &inspected.load) {
            (Ok(()), Some(state)) => {
                let attachments = inspected.attachments.as_ref();
                let attachments = attachments.filter(|_| job.mode == Mode::Swap);
                let loaded = match load {
                    Load::Staged(staged) => staged.stage.clone(),
                    Load::Direct | Load::Shadow(_) | Load::File(_) => shared.shadow(&target.name),
                };
                let refresh =
                    attachments.map(|attachments| swap::positions(target, attachments, &loaded));
                resume::plan(resume::Table {
                    input: self.stream_input(copied, &read.select, comparison),
                    shared,
                    state,
                    definition: attachments.map(|a| swap::definition(target, a)),
                    refresh: refresh.unwrap_or_default(),
                    number: setting.number,
                    conditions: conditions.clone(),
                    loaded,
                })
            }
            (Err(None), _) | (Ok(()), None) => return (None, conditions),
            (Err(Some(why)), _) => Err(why),
        };
        match planned {
            Ok(planned) => (Some(Box::new(planned.resume)), planned.conditions),
            Err(why) => {
                warnings.push(format!("`resume` has no effect on it: {why}"));
                (None, conditions)
            }
        }
    }

    /// Puts the plan together.
    fn copy_plan(
        &self,
        copied: CopiedColumns<'_>,
        (mut load, sequences, new_rows, drift): Decided,
        refusals: &mut Vec<Refusal>,
        mut warnings: Vec<String>,
    ) -> CopyPlan {
        let (job, source, target) = (self.job, self.source, self.target);
        let spec = &self.inspected.spec;
        let read = self.reading(&copied, new_rows.as_ref());
        let (copy_in, line) = self.copy_in(&copied, &load);
        let written = (&load, read.select.as_str());
        let partitions = partitions::plan(job, self.inspected, &copied.columns, written, refusals);
        let comparison = self.comparison(&copied);
        let marking = self.plan_stream(&copied, &read.select, &comparison, &mut load);
        let (resume, conditions) =
            self.plan_ranges(&copied, &read, &comparison, &load, &mut warnings);
        let read_range =
            |range: &String| read.copy_range_out(range, &copied.columns, &copied.format);
        let ctid_ranges = conditions.iter().map(read_range).collect();
        let names: Vec<&Ident> = copied.pairs.iter().map(|pair| &pair.target.name).collect();
        let key = spec.key.as_ref().unwrap_or(&target.primary_key);
        let partition = spec.partition.as_ref();
        let moved: Vec<_> = sequences.iter().map(|owned| &owned.sequence).collect();
        let read_all = || read.copy_out(&copied.format);
        let (name, relation, copy_out) = match &spec.input {
            TableInput::File(file) => {
                let copy_out = format!("-- reads file {} {}", file.name, copied.format.options());
                (file.name.clone(), None, copy_out)
            }
            TableInput::Relation(name) => (name.to_string(), Some(name.clone()), read_all()),
            TableInput::Query(_) => ("(query)".to_owned(), None, read_all()),
        };
        CopyPlan {
            source: name,
            source_relation: relation,
            source_kind: source.kind,
            target: target.name.clone(),
            target_kind: target.kind,
            partition_of: partition.map(|partition| partition.table.clone()),
            copy_out,
            ctid_ranges,
            resume,
            // The size of a view or a query is not known.
            bytes_estimate: (source.bytes_estimate > 0 || source.blocks.is_some())
                .then_some(source.bytes_estimate),
            copy_in,
            must_be_empty: false,
            creation: self.inspected.creation.clone(),
            marking,
            target_has_triggers: !target.triggers.is_empty(),
            load,
            quarantine: quarantine::plan(job, &names, key, line),
            partitions,
            comparison,
            used: used::by_writing(job, target, self.setting, copied.pairs, &moved),
            columns: copied.columns,
            format: copied.format,
            sequences,
            // The number of rows that satisfy `where` is not known.
            rows_estimate: match partition {
                Some(partition) => Some(partition.rows),
                None => source.rows_estimate.filter(|_| read.filter.is_none()),
            },
            watermark: new_rows.map(|new_rows| new_rows.watermark),
            drift,
            warnings,
        }
    }
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
                "set `create = \"missing\"`, or create it with `pg_dump --schema-only --table` from the source",
            ),
        );
    }
    Some((inspected.source.as_ref()?, inspected.target.as_ref()?))
}
