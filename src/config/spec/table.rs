//! A table of a job.

use std::collections::BTreeMap;

use crate::files::layout::{FileFormat, FileOptions, Layout};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};

/// `[jobs.NAME.table."schema.name"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// The target relation.
    pub target: QualifiedName,
    /// What is read.
    pub input: TableInput,
    /// Read the rows of the relation's inheritance children, too.
    pub children: bool,
    /// The target's columns that are written; default: all that the source has.
    pub columns: Option<Vec<Ident>>,
    /// A condition over the source's columns.
    pub filter: Option<String>,
    /// What identifies a row; default: the target's primary key.
    pub key: Option<Vec<Ident>>,
    /// Read only what is newer.
    pub watermark: Option<Ident>,
    /// Read again this much of what was read: a duration or a number, as written.
    pub watermark_overlap: Option<String>,
    /// Where merge may delete.
    pub scope: Scope,
    /// Merge sets this column of rows that the source lacks, instead of deleting them.
    pub on_missing: Option<Ident>,
    /// What upsert does with rows that the target has.
    pub on_conflict: OnConflict,
    /// Columns that are set when a row is inserted, and never after.
    pub insert_only: Vec<Ident>,
    /// The column that is set to the time when a row is written.
    pub synced_at: Option<Ident>,
    /// The target's column that holds the name of a row's source, and the name of the source that is read.
    pub source_value: Option<(Ident, String)>,
    /// Allow pairs of types that lose something.
    pub lossy: bool,
    /// Make partitions that rows need and the target lacks.
    pub create_partitions: bool,
    /// The target is a partition that gets rows, and is replaced alone. No key of the configuration: a run finds it.
    pub partition: Option<PartitionOf>,
    /// Expressions over the source's columns, by target column.
    pub set: BTreeMap<Ident, String>,
    /// Its file, on a server that is a directory.
    pub file: FileSpec,
}

impl TableSpec {
    /// Copies a relation into one of the same name, without any option.
    pub fn whole(name: &QualifiedName) -> Self {
        TableSpec {
            target: name.clone(),
            input: TableInput::Relation(name.clone()),
            children: false,
            columns: None,
            filter: None,
            key: None,
            watermark: None,
            watermark_overlap: None,
            scope: Scope::Table,
            on_missing: None,
            on_conflict: OnConflict::Update,
            insert_only: Vec::new(),
            synced_at: None,
            source_value: None,
            lossy: false,
            create_partitions: false,
            partition: None,
            set: BTreeMap::new(),
            file: FileSpec::default(),
        }
    }

    /// Reads one of several sources: its rows have its name in this column.
    pub fn read_from(&mut self, column: &Ident, source: &str) {
        let literal = quote_literal(source);
        let expression = format!("{}::pg_catalog.text", literal.trim_start());
        self.set.insert(column.clone(), expression);
        if let Some(key) = &mut self.key
            && !key.contains(column)
        {
            key.insert(0, column.clone());
        }
        self.source_value = Some((column.clone(), source.to_owned()));
    }

    /// The condition on the target's rows that are those of this source.
    pub fn of_source(&self, prefix: &str) -> Option<String> {
        let (column, source) = self.source_value.as_ref()?;
        let literal = quote_literal(source);
        Some(format!(
            "{prefix}{}::pg_catalog.text OPERATOR(pg_catalog.=) {}",
            column.sql(),
            literal.trim_start()
        ))
    }

    /// The columns of the target that the run fills itself, each with its key.
    pub fn own_columns(&self) -> impl Iterator<Item = (&'static str, &Ident)> {
        let missing = self.on_missing.iter().map(|column| ("on_missing", column));
        missing.chain(self.synced_at.iter().map(|column| ("synced_at", column)))
    }

    /// Is it such a column?
    pub fn is_own(&self, column: &Ident) -> bool {
        self.own_columns().any(|(_, own)| own == column)
    }

    /// The name of its file beneath `dir`.
    pub fn file_name(&self) -> String {
        let QualifiedName { schema, name } = &self.target;
        let default = || format!("{}.{}.csv", schema.as_str(), name.as_str());
        self.file.name.clone().unwrap_or_else(default)
    }
}

/// A partition, and the table of the job that it is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOf {
    /// The partitioned table.
    pub table: QualifiedName,
    /// The condition of its rows, when these were counted; None if it takes every row.
    pub condition: Option<String>,
    /// The number of the source's rows for it.
    pub rows: u64,
}

/// `file` and `csv` of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name beneath `dir`; default: `schema.table.csv`.
    pub name: Option<String>,
    /// Its format, where that is not its name's ending.
    pub format: Option<FileFormat>,
    /// How it is written, over what the job says.
    pub options: FileOptions,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableInput {
    /// A relation of the source.
    Relation(QualifiedName),
    Query(String),
    /// A file. The configuration names none here: a run finds that its source is a directory.
    File(FileInput),
}

/// A file that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInput {
    /// Its name, for people.
    pub name: String,
    /// How it is written.
    pub layout: Layout,
}

/// Where merge may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In the whole table.
    Table,
    /// Only within `where`.
    Where,
}

/// What upsert does with rows that the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Updates those that differ.
    Update,
    /// Leaves them alone.
    Keep,
}
