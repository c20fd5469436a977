//! What must survive a restart: which fire times are done with, in `state_dir/past.jsonl`.
//!
//! A line is added whenever a run starts or ends, so that a daemon that was killed in the middle of a
//! run catches it up, and one that was killed after it does not run it again. Lines and not the whole
//! each time, because there may be 10 000 jobs; the later line of a job counts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::daemon::job_table::Past;
use crate::private;

mod reading;

/// The only version so far; another one was written by a newer tableferry.
const VERSION: u32 = 1;

/// Lines that may be outdated before the file is written anew.
const OUTDATED_MAX: usize = 10_000;

/// The memory of one daemon.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    /// Open for appending.
    file: File,
    jobs: BTreeMap<String, JobMemory>,
    /// Jobs whose line is not up to date.
    changed: BTreeSet<String>,
    lines: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct JobMemory {
    due_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
    /// The run that was started last, as long as it is not known how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_id: Option<Uuid>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<'l> {
    job: Cow<'l, str>,
    #[serde(flatten)]
    memory: JobMemory,
}

impl Memory {
    /// Reads the file; there is none at the first start. *Errors:* it can't be opened or written, or a
    /// newer tableferry has written it: better to stop than to forget what was missed.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        private::make_directory(state_dir)?;
        let path = state_dir.join("past.jsonl");
        let jobs = reading::load(&path)?;
        Ok(Memory {
            file: write_anew(&path, &jobs)?,
            lines: jobs.len(),
            path,
            jobs,
            changed: BTreeSet::new(),
        })
    }

    /// What the job table wants to know. A job that was never seen counts from `now`: its first
    /// fire can be missed, too.
    pub fn recall(
        &mut self,
        jobs: impl Iterator<Item = String>,
        now: Timestamp,
    ) -> BTreeMap<String, Past> {
        let mut past = BTreeMap::new();
        for name in jobs {
            let known = self.jobs.entry(name.clone()).or_default();
            if known.due_at.is_none() {
                known.due_at = Some(now);
                self.changed.insert(name.clone());
            }
            past.insert(
                name,
                Past {
                    due_at: known.due_at,
                    started_at: known.started_at,
                    committed_at: known.committed_at,
                    run_id: known.run_id,
                },
            );
        }
        past
    }

    /// A run has started.
    pub fn started(&mut self, job: &str, run_id: Uuid, now: Timestamp) {
        let memory = self.change(job);
        memory.started_at = Some(now);
        memory.run_id = Some(run_id);
    }

    /// It is known how the job's last run ended.
    pub fn ended(&mut self, job: &str) {
        self.change(job).run_id = None;
    }

    /// A run has committed.
    pub fn committed(&mut self, job: &str, now: Timestamp) {
        self.change(job).committed_at = Some(now);
    }

    /// Fire times up to this one need no catching up.
    pub fn settled(&mut self, job: &str, due_at: Timestamp) {
        self.change(job).due_at = Some(due_at);
    }

    fn change(&mut self, job: &str) -> &mut JobMemory {
        if !self.changed.contains(job) {
            self.changed.insert(job.to_owned());
        }
        self.jobs.entry(job.to_owned()).or_default()
    }

    /// Writes what has changed since the last time, and waits for the disk.
    pub fn save(&mut self) -> io::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if self.lines > self.jobs.len() + OUTDATED_MAX {
            self.file = write_anew(&self.path, &self.jobs)?;
            self.lines = self.jobs.len();
        } else {
            let changed = self.changed.iter();
            let text = lines(changed.filter_map(|job| self.jobs.get_key_value(job)))?;
            // One write: a daemon that is killed leaves whole lines.
            if let Err(error) = self
                .file
                .write_all(&text)
                .and_then(|()| self.file.sync_data())
            {
                // Half a line may be there now: nothing may be added to it.
                self.lines = usize::MAX;
                return Err(error);
            }
            self.lines += self.changed.len();
        }
        self.changed.clear();
        Ok(())
    }
}

/// The old file or the new one, whatever happens.
fn write_anew(path: &Path, jobs: &BTreeMap<String, JobMemory>) -> io::Result<File> {
    let temporary = path.with_extension("jsonl.new");
    let failed = |why| io::Error::other(format!("{}: {why}", temporary.display()));
    let mut text = serde_json::to_vec(&Header { version: VERSION }).map_err(io::Error::other)?;
    text.push(b'\n');
    text.extend(lines(jobs)?);
    // One that an earlier daemon was killed over.
    let _ = std::fs::remove_file(&temporary);
    let mut file = private::file_options()
        .append(true)
        .create_new(true)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&temporary, path)?;
    Ok(file)
}

fn lines<'j>(jobs: impl IntoIterator<Item = (&'j String, &'j JobMemory)>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (job, memory) in jobs {
        let line = Line {
            job: Cow::Borrowed(job),
            memory: *memory,
        };
        serde_json::to_writer(&mut text, &line).map_err(io::Error::other)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn due_at(memory: &mut Memory) -> Option<Timestamp> {
        memory.recall(std::iter::once("j".to_owned()), at(0))["j"].due_at
    }

    fn run_id(memory: &mut Memory) -> Option<Uuid> {
        memory.recall(std::iter::once("j".to_owned()), at(0))["j"].run_id
    }

    #[test]
    fn what_was_saved_is_recalled_and_a_new_job_counts_from_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(0)));
        memory.started("j", Uuid::from_u128(7), at(61));
        memory.save().unwrap();
        // Killed here: the fire at 60 has not been settled.
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(0)));
        assert_eq!(run_id(&mut memory), Some(Uuid::from_u128(7)));

        memory.settled("j", at(60));
        memory.ended("j");
        memory.save().unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(60)));
        assert_eq!(run_id(&mut memory), None);
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("past.jsonl"),
            "{\"version\":2,\"jobs\":{}}\n",
        )
        .unwrap();
        assert!(Memory::open(dir.path()).is_err());
    }

    #[test]
    fn the_file_does_not_grow_for_ever_and_a_torn_line_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        memory.lines = OUTDATED_MAX;
        for second in 1..=3 {
            memory.settled("j", at(second));
            memory.save().unwrap();
        }
        let path = dir.path().join("past.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        std::fs::write(&path, format!("{text}{{\"job\":\"j\",\"due")).unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(3)));
    }
}
