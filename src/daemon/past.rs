//! What must survive a restart: which fire times are done with, in `state_dir/past.json`.
//!
//! Written whenever a run starts or ends, so that a daemon that was killed in the middle of a run
//! catches it up, and one that was killed after it does not run it again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::daemon::job_table::Past;

/// The only version so far; another one was written by a newer tableferry.
const VERSION: u32 = 1;

/// The memory of one daemon.
#[derive(Debug)]
pub struct Memory {
    file: PathBuf,
    jobs: BTreeMap<String, JobMemory>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct JobMemory {
    due_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    jobs: BTreeMap<String, JobMemory>,
}

impl Memory {
    /// Reads `past.json`; there is none at the first start. *Errors:* it can't be read, or is not
    /// ours: better to stop than to forget what was missed.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        let file = state_dir.join("past.json");
        let jobs = match std::fs::read(&file) {
            Ok(text) => {
                let read: File = serde_json::from_slice(&text).map_err(io::Error::other)?;
                if read.version != VERSION {
                    let message = format!("{} was written by a newer version", file.display());
                    return Err(io::Error::other(message));
                }
                read.jobs
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Memory { file, jobs })
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
            known.due_at.get_or_insert(now);
            past.insert(
                name,
                Past {
                    due_at: known.due_at,
                    started_at: known.started_at,
                    committed_at: known.committed_at,
                },
            );
        }
        past
    }

    /// A run has started.
    pub fn started(&mut self, job: &str, now: Timestamp) {
        self.jobs.entry(job.to_owned()).or_default().started_at = Some(now);
    }

    /// A run has committed.
    pub fn committed(&mut self, job: &str, now: Timestamp) {
        self.jobs.entry(job.to_owned()).or_default().committed_at = Some(now);
    }

    /// Fire times up to this one need no catching up.
    pub fn settled(&mut self, job: &str, due_at: Timestamp) {
        self.jobs.entry(job.to_owned()).or_default().due_at = Some(due_at);
    }

    /// Writes the file: the old one or the new one, whatever happens.
    pub fn save(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&File {
            version: VERSION,
            jobs: self.jobs.clone(),
        })
        .map_err(io::Error::other)?;
        let temporary = self.file.with_extension("json.new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.file)
    }
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

    #[test]
    fn what_was_saved_is_recalled_and_a_new_job_counts_from_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(0)));
        memory.started("j", at(61));
        memory.save().unwrap();
        // Killed here: the fire at 60 has not been settled.
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(0)));

        memory.settled("j", at(60));
        memory.save().unwrap();
        let mut memory = Memory::open(dir.path()).unwrap();
        assert_eq!(due_at(&mut memory), Some(at(60)));
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("past.json"),
            "{\"version\": 2, \"jobs\": {}}",
        )
        .unwrap();
        assert!(Memory::open(dir.path()).is_err());
    }
}
