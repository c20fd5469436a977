//! What a plan is: everything that moving one table needs, decided before a row moves.

use crate::catalog::desc::RelationKind;
use crate::catalog::mark::Mark;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::compare::Comparison;
use crate::plan::quarantine::Quarantine;
use crate::plan::staged::types::{Apply, Staged, Stream, Way};
use crate::plan::step::Transaction;
use crate::plan::swap::types::Shadow;
use crate::plan::used::{SeenLocks, Used};

/// How all tables of a job will be copied.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// One a table; a table that others refer to comes before them.
    pub tables: Vec<CopyPlan>,
    /// Connections that load on each side. With one, everything is one transaction of the target;
    /// what several load is committed before it is published.
    pub workers: u32,
    /// The statements that began the source's snapshot.
    pub snapshot: Vec<String>,
    /// What the target does, one transaction after the other.
    pub transactions: Vec<Transaction>,
    /// What the servers tell of the locks, where the plan is shown.
    pub seen_locks: SeenLocks,
    /// Warnings about the whole job.
    pub warnings: Vec<String>,
}

/// Tables that one warning names.
const TABLES_NAMED_MAX: usize = 20;

impl JobPlan {
    /// The tables that a transaction publishes.
    pub fn tables_of(&self, transaction: &Transaction) -> &[CopyPlan] {
        let tables = self.tables.get(transaction.tables.clone());
        tables.unwrap_or_default()
    }

    /// The job's warnings, and those of its tables, each once with the names of its tables.
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

/// How one table will be copied.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyPlan {
    /// What is read, for people: a relation's name, or `(query)`.
    pub source: String,
    /// The relation that is read; None for a query.
    pub source_relation: Option<QualifiedName>,
    /// What is read.
    pub source_kind: RelationKind,
    /// The relation that is written.
    pub target: QualifiedName,
    /// The file that is written instead.
    pub target_file: Option<String>,
    /// What the target is.
    pub target_kind: RelationKind,
    /// Triggers on the target fire.
    pub target_has_triggers: bool,
    /// Where COPY writes.
    pub load: Load,
    /// The mode looks for differences, but the target is empty, so that it is loaded directly.
    pub must_be_empty: bool,
    /// The columns that are written, in the order of both COPY statements.
    pub columns: Vec<ColumnPlan>,
    /// The COPY format and, for text, why.
    pub format: CopyFormat,
    /// `COPY (SELECT …) TO STDOUT (…)`.
    pub copy_out: String,
    /// Statements that together read what `copy_out` reads, where the table is cut.
    pub ctid_ranges: Vec<String>,
    /// `COPY … FROM STDIN (…)`.
    pub copy_in: String,
    /// Only what is new is read.
    pub watermark: Option<Watermark>,
    /// How rejected rows are set aside; None where a rejected row fails the run.
    pub quarantine: Option<Quarantine>,
    /// How the rows of both sides are compared.
    pub comparison: Comparison,
    /// Sequences to move past the copied values.
    pub sequences: Vec<SequencePlan>,
    /// Other relations of the target that writing rows locks.
    pub used: Used,
    /// Bytes on the source's disk, where that is known.
    pub bytes_estimate: Option<u64>,
    /// Rows expected, for the progress bar.
    pub rows_estimate: Option<u64>,
    /// Warnings about the table.
    pub warnings: Vec<String>,
}

/// Where the target's COPY writes, and what makes the target's rows of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Into the target itself.
    Direct,
    /// Into a staging table.
    Staged(Box<Staged>),
    /// Into a new table that then takes the target's place.
    Shadow(Box<Shadow>),
}

impl CopyPlan {
    /// What an error of the source is about: the relation that is read, or for a query the one
    /// that it feeds.
    pub fn read_relation(&self) -> &QualifiedName {
        self.source_relation.as_ref().unwrap_or(&self.target)
    }

    /// What is written, for people: the relation's name, or the file's.
    pub fn target_name(&self) -> String {
        let relation = || self.target.to_string();
        self.target_file.clone().unwrap_or_else(relation)
    }

    /// The rows of the target that a refresh would replace, after FROM.
    pub fn replaced_rows(&self) -> String {
        let scope = match &self.load {
            Load::Staged(staged) => match &staged.apply {
                Apply::Merge(merge) => merge.scope.as_ref(),
                Apply::Upsert(_) => None,
            },
            Load::Direct | Load::Shadow(_) => None,
        };
        match scope {
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
            Load::Direct => &self.target,
            Load::Staged(staged) => &staged.stage,
            Load::Shadow(shadow) => &shadow.name,
        }
    }

    /// The table that holds the rows until they are published.
    pub fn loaded(&self) -> &QualifiedName {
        match &self.load {
            Load::Direct | Load::Staged(_) => &self.target,
            Load::Shadow(shadow) => &shadow.name,
        }
    }

    /// The FROM item with the rows that this run has written, before they are published.
    pub fn loaded_from(&self) -> String {
        match &self.load {
            Load::Direct | Load::Staged(_) => self.target_from(),
            Load::Shadow(shadow) => format!("ONLY {}", shadow.name.sql()),
        }
    }

    /// How both sides are read and compared, if only differences are staged.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.load {
            Load::Staged(staged) => match &staged.way {
                Way::Stream(stream) => Some(stream),
                Way::Full { .. } => None,
            },
            Load::Direct | Load::Shadow(_) => None,
        }
    }

    /// How the rows that differ are found, as the value of `compare`; None in modes that do not look
    /// for them.
    pub fn compare(&self) -> Option<&'static str> {
        match &self.load {
            Load::Staged(staged) => match &staged.apply {
                Apply::Upsert(upsert) if upsert.make_changes.is_empty() => None,
                Apply::Upsert(_) | Apply::Merge(_) => Some(staged.way.as_str()),
            },
            Load::Direct | Load::Shadow(_) => None,
        }
    }

    /// The target as a FROM item: without the rows of a plain table's inheritance children, which
    /// are not this table's.
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

/// A sequence that belongs to a copied column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePlan {
    /// The column.
    pub column: Ident,
    /// The sequence.
    pub sequence: QualifiedName,
    /// Moves it past the copied values, never back. Not undone by ROLLBACK, and harmless then.
    pub sql: String,
}

/// What a run needs to know of a table with a watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Gives the highest value as text.
    pub read_value: String,
    /// The mark that this run will record, without the value.
    pub mark: Mark,
}
