//! A source that is a directory, or the standard input: which files a job means, and their readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::JobContext;
use super::fed::{self, Column, Fed};
use super::pipe::{file_error, silent_file};
use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::config::files::layout;
use crate::config::spec::{FileInput, JobSpec, ServerPlace};
use crate::config::spec::{TableInput, TableSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::directory::{self, UnusablePath};
use crate::files::layout::Layout;
use crate::files::reader::{FileReader, Input, ReadError};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::Refusal;
use crate::plan::column::CopyFormat;
use crate::plan::copy::CopyPlan;
use crate::plan::file;

/// The files of a run's source.
pub(super) struct FileSource {
    server: String,
    place: ServerPlace,
    stall_timeout: Duration,
    /// The headers that the plan was made from.
    headers: Mutex<BTreeMap<QualifiedName, Vec<String>>>,
    /// The standard input can be opened only once.
    stdin: Mutex<Option<FileReader>>,
    /// The program that gives the rows instead.
    fed: Option<Arc<Fed>>,
    /// What it needs to know of the columns that it gives.
    fed_columns: Mutex<Vec<Column>>,
}

impl FileSource {
    pub fn new(context: &JobContext) -> Self {
        FileSource {
            server: context.source.name.clone(),
            place: context.source.place.clone(),
            stall_timeout: context.job.stall_timeout,
            headers: Mutex::default(),
            stdin: Mutex::default(),
            fed: context.fed.clone(),
            fed_columns: Mutex::default(),
        }
    }

    /// What the plan has to know of one table and its file.
    ///
    /// *Errors:* the file cannot be read, or has no header.
    pub async fn describe(
        &self,
        job: &JobSpec,
        mut spec: TableSpec,
        target: Option<&RelationDesc>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<Inspected> {
        let name = spec.file_name();
        let layout = match layout(job, &spec) {
            Ok(layout) => layout,
            Err(message) => {
                refusals.push(
                    Refusal::mismatch(Side::Source, &name, message).of_kind(ErrorKind::Config),
                );
                Layout::new(crate::files::layout::FileFormat::Csv)
            }
        };
        let file = FileInput { name, layout };
        let header = match refusals.is_empty() {
            true => self.header(&spec, &file).await?,
            false => None,
        };
        let source = target.map(|target| {
            let header = header.as_deref();
            file::describe(&spec, &file, header, target, refusals)
        });
        spec.input = TableInput::File(file);
        Ok(Inspected {
            target: target.cloned(),
            source,
            attachments: None,
            target_is_empty: false,
            creation: None,
            constraints: Default::default(),
            set: BTreeMap::new(),
            progress: None,
            changes: None,
            load: None,
            spec,
        })
    }

    /// Asks the target for the types of what a program gives, if it has to encode its values.
    pub async fn learn_types(&self, target: &Session, tables: &[CopyPlan]) -> Result<()> {
        let is_wanted = |fed: &Arc<Fed>| fed.wants_types();
        let ([table], true) = (tables, self.fed.as_ref().is_some_and(is_wanted)) else {
            return Ok(());
        };
        target.begin_reading(Phase::Inspect).await?;
        let columns = fed::columns(target, table).await?;
        target.end_reading(Phase::Inspect).await?;
        *lock(&self.fed_columns) = columns;
        Ok(())
    }

    /// Reads the header, where there is one.
    async fn header(&self, spec: &TableSpec, file: &FileInput) -> Result<Option<Vec<String>>> {
        let mut reader = self.open(&file.name, &file.layout)?;
        let header = match file.layout.header {
            true => {
                let names = self.awaited(&mut reader, &file.name).await;
                Some(names.map_err(|error| error.in_phase(Phase::Inspect))?)
            }
            false => None,
        };
        if let Some(names) = &header {
            lock(&self.headers).insert(spec.target.clone(), names.clone());
        }
        if self.place == ServerPlace::Standard {
            *lock(&self.stdin) = Some(reader);
        }
        Ok(header)
    }

    fn open(&self, name: &str, layout: &Layout) -> Result<FileReader> {
        if let Some(fed) = &self.fed {
            return fed.take_reader().ok_or_else(|| {
                let what = "the rows of a program can be read only once";
                Error::new(ErrorKind::Bug, Phase::CopyOut, Side::Local, what)
            });
        }
        let input = match &self.place {
            ServerPlace::Directory(path) => {
                let path = directory::source(path, name).map_err(|refused| {
                    refusal(Phase::CopyOut, Side::Source, name, refused).at(&self.server)
                })?;
                Input::File(path)
            }
            ServerPlace::Standard | ServerPlace::Database => Input::Stdin,
        };
        let started = FileReader::start(input, layout.clone());
        started.map_err(|error| file_error(name, ReadError::Io(error)))
    }

    /// Opens a table's file to read its rows. *Errors:* its header is not what was planned for.
    pub async fn reader(&self, table: &CopyPlan) -> Result<FileReader> {
        if let Some(fed) = &self.fed {
            fed.tell_ready(std::mem::take(&mut *lock(&self.fed_columns)));
        }
        if let Some(reader) = lock(&self.stdin).take() {
            return Ok(reader);
        }
        let CopyFormat::File(layout) = &table.format else {
            let message = "a file was planned without its format";
            return Err(Error::new(
                ErrorKind::Bug,
                Phase::CopyOut,
                Side::Local,
                message,
            ));
        };
        let mut reader = self.open(&table.source, layout)?;
        if layout.header {
            let planned = lock(&self.headers).get(&table.target).cloned();
            let on_table = |error: Error| error.on(&table.target);
            let names = self.awaited(&mut reader, &table.source).await;
            if planned != Some(names.map_err(on_table)?) {
                let what = "was replaced while the copy was being planned".to_owned();
                let error = file_error(&table.source, ReadError::Changed(what));
                return Err(on_table(error.at(&self.server)));
            }
        }
        Ok(reader)
    }

    /// The header, which a disk or a program may take `stall_timeout` to give.
    async fn awaited(&self, reader: &mut FileReader, file: &str) -> Result<Vec<String>> {
        let waited = tokio::time::timeout(self.stall_timeout, reader.header()).await;
        let names = match waited {
            Ok(names) => names.map_err(|error| file_error(file, error)),
            Err(_) => Err(silent_file(Phase::CopyOut, file, self.stall_timeout)),
        };
        names.map_err(|error| error.at(&self.server))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of a file that may not, or cannot, be opened.
pub(super) fn refusal(phase: Phase, side: Side, name: &str, refused: UnusablePath) -> Error {
    let kind = match &refused {
        UnusablePath::Misplaced(_) => ErrorKind::Config,
        UnusablePath::Io(error) => match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            std::io::ErrorKind::NotFound => ErrorKind::SchemaMismatch,
            _ => ErrorKind::Unreachable,
        },
    };
    Error::new(kind, phase, side, format!("{name}: {refused}"))
}

/// The tables of a job whose source is a directory: each is named.
pub(super) fn tables(job: &JobSpec) -> Vec<TableSpec> {
    let named = job.tables.iter().filter_map(|pattern| pattern.literal());
    let mut tables: BTreeMap<QualifiedName, TableSpec> = named
        .map(|name| (name.clone(), TableSpec::whole(&name)))
        .collect();
    let own = job.table.iter();
    tables.extend(own.map(|(name, spec)| (name.clone(), spec.clone())));
    tables.into_values().collect()
}
