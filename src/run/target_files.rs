//! A target that is a directory, or the standard output: where each table goes, and the files that are written
//! and not in their places yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::context::JobContext;
use super::files::refusal;
use super::pipe::write_error;
use crate::catalog::inspected::Inspected;
use crate::config::files::layout;
use crate::config::spec::{JobSpec, ServerPlace};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::files::directory;
use crate::files::writer::{FileWriter, Output, Unpublished, sync_directory};
use crate::plan::Refusal;
use crate::plan::copy::TargetFile;
use crate::plan::export::Exported;
use crate::report::TableReport;

/// The files of a run's target.
pub(super) struct TargetFiles {
    server: String,
    place: ServerPlace,
    run_id: Uuid,
    /// Written and synced, under temporary names. In the order of the plan's tables.
    written: Mutex<Vec<(String, Unpublished)>>,
}

impl TargetFiles {
    pub fn new(context: &JobContext) -> Self {
        TargetFiles {
            server: context.target.name.clone(),
            place: context.target.place.clone(),
            run_id: context.run_id,
            written: Mutex::default(),
        }
    }

    /// Where a table's rows go. What is wrong with a file is a refusal.
    pub fn describe(
        &self,
        job: &JobSpec,
        table: Inspected,
    ) -> std::result::Result<Exported, Refusal> {
        let spec = &table.spec;
        let name = spec.file_name();
        let refused = |message: String| {
            Refusal::mismatch(Side::Target, &name, message).of_kind(ErrorKind::Config)
        };
        let layout = layout(job, spec).map_err(&refused)?;
        if spec.file.name.is_none() && name.contains('/') {
            let message = "a table's name with a slash makes no file name".to_owned();
            return Err(refused(message).hinted("name it in `file`"));
        }
        let output = match &self.place {
            ServerPlace::Directory(path) => {
                let place = directory::target(path, &name);
                Output::File(place.map_err(|why| {
                    let error = refusal(Phase::Plan, Side::Target, &name, why);
                    Refusal::mismatch(Side::Target, &self.server, error.message())
                        .of_kind(error.kind())
                })?)
            }
            ServerPlace::Standard | ServerPlace::Database => Output::Stdout,
        };
        Ok(Exported {
            table,
            layout,
            output,
        })
    }

    /// Begins to write a file under a temporary name. `number` makes the name unique in the run.
    pub fn writer(&self, file: &TargetFile, number: usize) -> Result<FileWriter> {
        let started = FileWriter::start(&file.output, &format!("{}-{number}", self.run_id));
        started.map_err(|error| self.failed(&file.name, Phase::CopyIn, error))
    }

    /// Keeps a file until it is published. Those that are not are removed with `self`.
    pub fn keep(&self, file: &TargetFile, written: Unpublished) {
        let mut files = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        files.push((file.name.clone(), written));
    }

    /// Puts all files into their places, one after the other at once. If one cannot be, `tables` say which
    /// are there.
    pub fn publish(&self, tables: &mut [TableReport]) -> Result<()> {
        let mut files = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let files = std::mem::take(&mut *files);
        let mut directories = BTreeSet::new();
        let count = files.len();
        for (at, (name, file)) in files.into_iter().enumerate() {
            directories.extend(file.directory());
            if let Err(error) = file.publish() {
                for (other, table) in tables.iter_mut().enumerate() {
                    table.committed = (count > 1).then_some(other < at);
                }
                return Err(self.failed(&name, Phase::Publish, error));
            }
        }
        for directory in directories {
            sync_directory(&directory).map_err(|error| {
                let message = format!(
                    "{}: the files are in their places, and a crash of the machine may undo that: {error}",
                    directory.display()
                );
                Error::new(ErrorKind::InDoubt, Phase::Publish, Side::Target, message)
                    .at(&self.server)
            })?;
        }
        Ok(())
    }

    fn failed(&self, name: &str, phase: Phase, error: std::io::Error) -> Error {
        write_error(name, phase, error).at(&self.server)
    }
}
