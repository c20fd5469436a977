//! The data of a plan: everything that copying the tables of a job needs, decided before a row is copied.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::change_mark::Marking;
use crate::catalog::creation::{AddedColumn, Creation};
use crate::catalog::desc::RelationKind;
use crate::catalog::mark::Mark;
use crate::config::spec::RejectLimit;
use crate::files::writer::Output;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::compare::Comparison;
use crate::plan::partitions::types::Partitions;
use crate::plan::resume::types::{KeptLoad, ResumePlan};
use crate::plan::sql;
use crate::plan::staged::types::Changed;
use crate::plan::staged::types::{Apply, Staged, Stream, Way};
use crate::plan::step::Transaction;
use crate::plan::swap::types::Shadow;
use crate::plan::used::{SeenLocks, Used};
use crate::report::Drift;

/// The plan of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// The plans of the tables; referenced tables come first.
    pub tables: Vec<CopyPlan>,
    /// Connections that load on each side. One worker loads in the publishing transaction; several workers
    /// commit what they load before it is published.
    pub workers: u32,
    /// The statements that begin the source's snapshot.
    pub snapshot: Vec<String>,
    /// The target's transactions, in order.
    pub transactions: Vec<Transaction>,
    /// Locks that only the servers know; filled in if the plan is shown.
    pub seen_locks: SeenLocks,
    /// Warnings about the whole job.
    pub warnings: Vec<String>,
}

/// How many tables a warning names.
const TABLES_NAMED_MAX: usize = 20;

impl JobPlan {
    /// The tables that a transaction publishes.
    pub fn tables_of(&self, transaction: &Transaction) -> &[CopyPlan] {
        let tables = self.tables.get(transaction.tables.clone());
        tables.unwrap_or_default()
    }

    /// The tables of a run that died which this run keeps.
    pub fn kept_tables(&self) -> BTreeSet<QualifiedName> {
        let kept = self.tables.iter().filter_map(|table| {
            let kept = table.kept()?;
            Some([table.written().clone(), kept.found.clone()])
        });
        kept.flatten().collect()
    }

    /// The warnings of the job and of its tables, each once with the names of its tables.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut of_tables: Vec<(&str, Vec<&QualifiedName>)> = Vec::new();
        for table in &self.tables {
            for warning in &table.warnings {
                match of_tables.iter_mut().find(|(text, _)| text == warning) {
                    Some((_, tables)) => tables.push(&table.target),
                    None => of_tables.push((warning, vec![&table.target])),
                }
            }
        }
        let of_tables = of_tables.iter().map(|(warning, tables)| {
            let shown = tables
                .iter()
                .take(TABLES_NAMED_MAX)
                .map(ToString::to_string);
            let mut names = shown.collect::<Vec<_>>().join(", ");
            if tables.len() > TABLES_NAMED_MAX {
                names.push_str(&format!(" and {} more", tables.len() - TABLES_NAMED_MAX));
            }
            format!("{names}: {warning}")
        });
        self.warnings.iter().cloned().chain(of_tables).collect()
    }
}

/// The plan of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyPlan {
    /// The source as messages name it: a relation, or `(query)`.
    pub source: String,
    /// The relation that is read; None for a query.
    pub source_relation: Option<QualifiedName>,
    /// The source's input.
    pub source_kind: RelationKind,
    /// The relation that is written.
    pub target: QualifiedName,
    /// The kind of the target.
    pub target_kind: RelationKind,
    /// The partitioned table of which the target is a partition that is replaced alone.
    pub partition_of: Option<QualifiedName>,
    /// Triggers on the target fire.
    pub target_has_triggers: bool,
    /// How the rows are loaded.
    pub load: Load,
    /// The mode compares rows, but the target is empty, so it is loaded directly.
    pub must_be_empty: bool,
    /// What is made on the target for it.
    pub creation: Option<Creation>,
    /// What the run records, so that the next one can tell what has changed.
    pub marking: Option<Marking>,
    /// The columns, in the order of both COPY statements.
    pub columns: Vec<ColumnPlan>,
    /// The COPY format and, for text, the reason.
    pub format: CopyFormat,
    /// `COPY … TO STDOUT (…)`.
    pub copy_out: String,
    /// Statements that together read the same rows as `copy_out`, if the table is divided into ranges. Of a
    /// load that is kept, only those that it lacks.
    pub ctid_ranges: Vec<String>,
    /// How the rows stay loaded if the run dies, with `resume = true`.
    pub resume: Option<Box<ResumePlan>>,
    /// `COPY … FROM STDIN (…)`.
    pub copy_in: String,
    /// The watermark, if only new rows are read.
    pub watermark: Option<Watermark>,
    /// How rejected rows are recorded; None if a rejected row fails the run.
    pub quarantine: Option<Quarantine>,
    /// How rows without a partition are found before they are written.
    pub partitions: Partitions,
    /// How the rows of both sides are compared.
    pub comparison: Comparison,
    /// Sequences to move past the copied values.
    pub sequences: Vec<SequencePlan>,
    /// Other relations of the target that are locked when rows are written.
    pub used: Used,
    /// Size on the source's disk in bytes, if known.
    pub bytes_estimate: Option<u64>,
    /// The expected number of rows, for the progress bar.
    pub rows_estimate: Option<u64>,
    /// The columns that only one side has.
    pub drift: Drift,
    /// Warnings about the table.
    pub warnings: Vec<String>,
}

/// Where the rows are written, and how they get into the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Into the target itself.
    Direct,
    /// Into a staging table.
    Staged(Box<Staged>),
    /// Into a new table that then takes the target's place.
    Shadow(Box<Shadow>),
    /// Into a file.
    File(TargetFile),
}

/// A file that a table is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// Its name in its directory.
    pub name: String,
    /// Its place.
    pub output: Output,
}

impl CopyPlan {
    /// The relation that an error of the source names: the relation that is read, or for a query the
    /// target.
    pub fn read_relation(&self) -> &QualifiedName {
        self.source_relation.as_ref().unwrap_or(&self.target)
    }

    /// Is the table loaded in parts, by transactions that do not create the table to load?
    pub fn is_cut(&self) -> bool {
        !self.ctid_ranges.is_empty() || self.resume.is_some()
    }

    /// Is the number of replaced rows known only when all of them have been compared? Then they are not counted before.
    pub fn is_counted_by_comparison(&self) -> bool {
        match &self.load {
            Load::Staged(staged) => match &staged.apply {
                Apply::Merge(merge) => merge.compares_all && self.kept().is_none(),
                Apply::Upsert(_) => false,
            },
            Load::Direct | Load::Shadow(_) | Load::File(_) => false,
        }
    }

    /// What is kept of the load of a run that died.
    pub fn kept(&self) -> Option<&KeptLoad> {
        self.resume.as_ref()?.kept.as_ref()
    }

    /// The columns that the target lacks until its shadow replaces it.
    pub fn in_shadow(&self) -> &[AddedColumn] {
        match (&self.load, &self.creation) {
            (Load::Shadow(_), Some(creation)) => &creation.added,
            _ => &[],
        }
    }

    /// Does the run make the target?
    pub fn is_new(&self) -> bool {
        self.creation
            .as_ref()
            .is_some_and(|creation| creation.is_new)
    }

    /// The target as messages name it: a relation, or a file.
    pub fn target_name(&self) -> String {
        match &self.load {
            Load::File(file) => file.name.clone(),
            Load::Direct | Load::Staged(_) | Load::Shadow(_) => self.target.to_string(),
        }
    }

    /// The rows of the target that the run replaces, as a FROM item.
    pub fn replaced_rows(&self) -> String {
        let replaced = match &self.load {
            Load::Staged(staged) => match &staged.apply {
                Apply::Merge(merge) => sql::and(merge.scope.as_deref(), merge.of_run.as_deref()),
                Apply::Upsert(_) => None,
            },
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        };
        match replaced {
            Some(filter) => format!("{} WHERE ({filter})", self.target_from()),
            None => self.target_from(),
        }
    }

    /// Asks whether the target has rows.
    pub fn has_rows(&self) -> String {
        format!("SELECT EXISTS (SELECT FROM {})", self.target_from())
    }

    /// The table that COPY writes.
    pub fn written(&self) -> &QualifiedName {
        match &self.load {
            Load::Direct | Load::File(_) => &self.target,
            Load::Staged(staged) => &staged.stage,
            Load::Shadow(shadow) => &shadow.name,
        }
    }

    /// The table that holds the rows until they are published.
    pub fn loaded(&self) -> &QualifiedName {
        match &self.load {
            Load::Direct | Load::Staged(_) | Load::File(_) => &self.target,
            Load::Shadow(shadow) => &shadow.name,
        }
    }

    /// The FROM item with the rows that this run has loaded, before they are published.
    pub fn loaded_from(&self) -> String {
        match &self.load {
            Load::Direct | Load::Staged(_) | Load::File(_) => self.target_from(),
            Load::Shadow(shadow) => format!("ONLY {}", shadow.name.sql()),
        }
    }

    /// The statements of the comparison by streams, if the table is compared so.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.load {
            Load::Staged(staged) => match &staged.way {
                Way::Stream { stream, .. } => Some(stream),
                Way::Changed(changed) => Some(&changed.stream),
                Way::Full { .. } => None,
            },
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        }
    }

    /// How what has changed since the last run is found, for `compare = "changed"`.
    pub fn changed(&self) -> Option<&Changed> {
        match &self.load {
            Load::Staged(staged) => match &staged.way {
                Way::Changed(changed) => Some(changed),
                Way::Stream { .. } | Way::Full { .. } => None,
            },
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        }
    }

    /// How differences are found, as the value of `compare`; None in modes that do not compare.
    pub fn compare(&self) -> Option<&'static str> {
        match &self.load {
            Load::Staged(staged) => match &staged.apply {
                Apply::Upsert(upsert) if upsert.changes.is_none() && self.stream().is_none() => {
                    None
                }
                Apply::Upsert(_) | Apply::Merge(_) => Some(staged.way.as_str()),
            },
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        }
    }

    /// The target as a FROM item, without the rows of inheritance children.
    pub fn target_from(&self) -> String {
        match self.target_kind {
            RelationKind::Table => format!("ONLY {}", self.target.sql()),
            RelationKind::Partitioned
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::Foreign
            | RelationKind::Query
            | RelationKind::File => self.target.sql(),
        }
    }
}

/// A sequence of a copied column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePlan {
    /// The column.
    pub column: Ident,
    /// The sequence.
    pub sequence: QualifiedName,
    /// Moves it past the copied values, never back. ROLLBACK does not undo this, which is harmless.
    pub sql: String,
}

/// The watermark of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Returns the highest value as text.
    pub read_value: String,
    /// The mark that this run will record, without the value.
    pub mark: Mark,
}
/// How the rejected rows of one table are recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantine {
    /// `reject_limit`.
    pub limit: RejectLimit,
    /// The positions of the key's columns among the copied ones; empty if not all of them are copied.
    pub key: Vec<usize>,
    /// `log_values`: record whole rows, not only their keys.
    pub log_values: bool,
    /// The column of the staging table that gets each row's line, before the others: rows are rejected there
    /// after the load, too.
    pub line: Option<Ident>,
    /// The target's names of unique indexes, by their names on the staging table.
    pub names: BTreeMap<String, String>,
}
