//! The state that survives a restart of the daemon, in `state_dir/past.jsonl`: which fire times need no
//! catching up.
//!
//! A line is appended when a run starts and when it ends. A daemon that was killed during a run repeats the
//! run; one that was killed after the run does not. The file is not rewritten each time, because there may be
//! 10 000 jobs. The last line of a job counts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::daemon::health::Health;
use crate::daemon::job_table::SavedJob;
use crate::private;
use crate::report::drift::NotCopied;

mod reading;

/// The version of the format. A file of another version is from a newer tableferry.
const STATE_FILE_VERSION: u32 = 1;

/// Outdated lines that the file may hold before it is rewritten.
const OUTDATED_MAX: usize = 10_000;

/// The open state file of one daemon.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    jobs: BTreeMap<String, SavedJob>,
    /// Jobs whose line is not up to date.
    changed: BTreeSet<String>,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<'l> {
    job: Cow<'l, str>,
    #[serde(flatten)]
    saved: SavedJob,
}

impl StateFile {
    /// Reads the file, if there is one. *Errors:* it cannot be opened or written, or a newer tableferry
    /// has written it.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        private::make_directory(state_dir)?;
        let path = state_dir.join("past.jsonl");
        let jobs = reading::load(&path)?;
        Ok(StateFile {
            file: write_anew(&path, &jobs)?,
            lines: jobs.len(),
            path,
            jobs,
            changed: BTreeSet::new(),
        })
    }

    /// The saved state of these jobs. A new job gets `now` as its last fire time, so that its first fire can
    /// be missed, too.
    pub fn saved_jobs(
        &mut self,
        jobs: impl Iterator<Item = String>,
        now: Timestamp,
    ) -> BTreeMap<String, SavedJob> {
        let mut found = BTreeMap::new();
        for name in jobs {
            let saved = self.jobs.entry(name.clone()).or_default();
            if saved.due_at.is_none() || saved.known_at.is_none() {
                saved.due_at.get_or_insert(now);
                saved.known_at.get_or_insert(now);
                self.changed.insert(name.clone());
            }
            found.insert(name, saved.clone());
        }
        found
    }

    /// A run has started.
    pub fn started(&mut self, job: &str, run_id: Uuid, now: Timestamp) {
        let saved = self.change(job);
        saved.started_at = Some(now);
        saved.run_id = Some(run_id);
    }

    /// It is known how the job's last run ended.
    pub fn ended(&mut self, job: &str) {
        self.change(job).run_id = None;
    }

    /// A run has committed what this snapshot of the source holds, but for some columns. `None`: another daemon ran
    /// it, and its snapshot is not known.
    pub fn committed(
        &mut self,
        job: &str,
        snapshot_at: Option<Timestamp>,
        not_copied: NotCopied,
        now: Timestamp,
    ) {
        let saved = self.change(job);
        saved.committed_at = Some(now);
        saved.not_copied = not_copied;
        saved.snapshot_at = snapshot_at.or(saved.snapshot_at);
    }

    /// The ledger says that the target holds this snapshot, which a run of another daemon may have published. Returns
    /// whether it is newer.
    pub fn published(&mut self, job: &str, snapshot_at: Timestamp) -> bool {
        let is_newer = self.saved(job).snapshot_at < Some(snapshot_at);
        if is_newer {
            let saved = self.change(job);
            let known = saved.snapshot_at.replace(snapshot_at);
            // Which columns a run of another daemon has left out is not known. The ledger rounds times.
            let is_same =
                |known: Timestamp| snapshot_at.as_microsecond() - known.as_microsecond() <= 1;
            if !known.is_some_and(is_same) {
                saved.not_copied = NotCopied::default();
            }
        }
        is_newer
    }

    /// The job's health has changed.
    pub fn health(&mut self, job: &str, health: Health) {
        self.change(job).health = health;
    }

    /// What is saved of a job.
    pub fn saved(&self, job: &str) -> SavedJob {
        self.jobs.get(job).cloned().unwrap_or_default()
    }

    /// Fire times up to this one need no catching up.
    pub fn completed(&mut self, job: &str, due_at: Timestamp) {
        self.change(job).due_at = Some(due_at);
    }

    fn change(&mut self, job: &str) -> &mut SavedJob {
        if !self.changed.contains(job) {
            self.changed.insert(job.to_owned());
        }
        self.jobs.entry(job.to_owned()).or_default()
    }

    /// Writes what has changed since the last call, and waits for the disk.
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
            // A single write, so that a daemon that is killed leaves whole lines.
            if let Err(error) = self
                .file
                .write_all(&text)
                .and_then(|()| self.file.sync_data())
            {
                // A partial line may be there now: nothing may be appended to it.
                self.lines = usize::MAX;
                return Err(error);
            }
            self.lines += self.changed.len();
        }
        self.changed.clear();
        Ok(())
    }
}

/// Rewrites the file. After a crash, the old file or the new one is there.
fn write_anew(path: &Path, jobs: &BTreeMap<String, SavedJob>) -> io::Result<File> {
    let temporary = path.with_extension("jsonl.new");
    let failed = |why| io::Error::other(format!("{}: {why}", temporary.display()));
    let mut text = serde_json::to_vec(&Header {
        version: STATE_FILE_VERSION,
    })
    .map_err(io::Error::other)?;
    text.push(b'\n');
    text.extend(lines(jobs)?);
    // A daemon that was killed while it wrote may have left one.
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

fn lines<'j>(jobs: impl IntoIterator<Item = (&'j String, &'j SavedJob)>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (job, saved) in jobs {
        let line = Line {
            job: Cow::Borrowed(job),
            saved: saved.clone(),
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

    fn due_at(file: &mut StateFile) -> Option<Timestamp> {
        file.saved_jobs(std::iter::once("j".to_owned()), at(0))["j"].due_at
    }

    fn run_id(file: &mut StateFile) -> Option<Uuid> {
        file.saved_jobs(std::iter::once("j".to_owned()), at(0))["j"].run_id
    }

    #[test]
    fn what_was_saved_is_read_back_and_a_new_job_counts_from_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = StateFile::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut file), Some(at(0)));
        file.started("j", Uuid::from_u128(7), at(61));
        file.save().unwrap();
        // Killed here: the fire at 60 has not been completed.
        let mut file = StateFile::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut file), Some(at(0)));
        assert_eq!(run_id(&mut file), Some(Uuid::from_u128(7)));

        file.completed("j", at(60));
        file.ended("j");
        file.save().unwrap();
        let mut file = StateFile::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut file), Some(at(60)));
        assert_eq!(run_id(&mut file), None);
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("past.jsonl"),
            "{\"version\":2,\"jobs\":{}}\n",
        )
        .unwrap();
        assert!(StateFile::open(dir.path()).is_err());
    }

    #[test]
    fn the_file_does_not_grow_for_ever_and_a_torn_line_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = StateFile::open(dir.path()).unwrap();
        file.lines = OUTDATED_MAX;
        for second in 1..=3 {
            file.completed("j", at(second));
            file.save().unwrap();
        }
        let path = dir.path().join("past.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        std::fs::write(&path, format!("{text}{{\"job\":\"j\",\"due")).unwrap();
        let mut file = StateFile::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut file), Some(at(3)));
    }
}
