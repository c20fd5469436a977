//! `history = "local"`: a file of JSON lines in `state_dir`, for roles that may not create a schema.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::run_record::RunRecord;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::private;

/// A larger file is renamed to the old one, which is replaced.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const HISTORY_FILE: &str = "history.jsonl";
const OLD_HISTORY_FILE: &str = "history.jsonl.1";
const HISTORY_LOCK_FILE: &str = "history.lock";

/// Can the history be written? Called before a run.
pub(super) fn ready(state_dir: &Path) -> Result<()> {
    let opened =
        private::make_directory(state_dir).and_then(|_| open(&state_dir.join(HISTORY_FILE)));
    opened
        .map(drop)
        .map_err(|why| failed(state_dir, "written", &why))
}

/// Appends a line and flushes it to disk.
pub(super) fn append(state_dir: &Path, entry: &RunRecord) -> Result<()> {
    append_line(state_dir, entry).map_err(|why| failed(state_dir, "written", &why))
}

fn append_line(state_dir: &Path, entry: &RunRecord) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    // Several processes may share the directory. The lock prevents writing to a file that is being renamed.
    let lock = open(&state_dir.join(HISTORY_LOCK_FILE))?;
    lock.lock()?;
    let path = state_dir.join(HISTORY_FILE);
    let mut file = open(&path)?;
    if file.metadata()?.len() + line.len() as u64 > FILE_BYTES_MAX {
        fs::rename(&path, state_dir.join(OLD_HISTORY_FILE))?;
        file = open(&path)?;
    }
    if !ends_with_newline(&mut file)? {
        // A line that a power failure has truncated stays a line of its own, which readers skip.
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    file.sync_all()?;
    File::open(state_dir)?.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    private::file_options()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The newest `limit` runs of one job or of all, newest first. Unreadable lines are skipped.
pub fn read(state_dir: &Path, job: Option<&str>, limit: usize) -> Result<Vec<RunRecord>> {
    let mut entries = Vec::new();
    for name in [OLD_HISTORY_FILE, HISTORY_FILE] {
        let path = state_dir.join(name);
        read_file(&path, job, &mut entries).map_err(|why| failed(state_dir, "read", &why))?;
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
    entries.truncate(limit);
    Ok(entries)
}

fn read_file(path: &PathBuf, job: Option<&str>, entries: &mut Vec<RunRecord>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(why),
    };
    for line in BufReader::new(file).split(b'\n') {
        match serde_json::from_slice::<RunRecord>(&line?) {
            Ok(entry) if job.is_none_or(|job| job == entry.job) => entries.push(entry),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn failed(state_dir: &Path, what: &str, why: &io::Error) -> Error {
    let path = state_dir.join(HISTORY_FILE);
    let message = format!("the history {} cannot be {what}: {why}", path.display());
    Error::new(ErrorKind::Config, Phase::Prepare, Side::Local, message)
        .hinted("set `state_dir`, or `history = \"target\"` or \"off\"")
}

#[cfg(test)]
mod tests {
    use super::super::run_record::RunState;
    use super::*;
    use crate::report::RunTrigger;
    use jiff::Timestamp;
    use uuid::Uuid;

    fn entry(second: i64, error_bytes: usize) -> RunRecord {
        RunRecord {
            run_id: Uuid::now_v7(),
            job: if second % 2 == 0 { "even" } else { "odd" }.to_owned(),
            server: "warehouse".to_owned(),
            state: RunState::RolledBack,
            trigger: RunTrigger::Manual,
            due_at: None,
            started_at: Timestamp::from_second(second).unwrap(),
            finished_at: None,
            instance: "host:1".to_owned(),
            attempts: 1,
            source_lsn: None,
            snapshot_at: None,
            error: Some("x".repeat(error_bytes)),
            retried: None,
            tables: Vec::new(),
        }
    }

    fn seconds(entries: &[RunRecord]) -> Vec<i64> {
        entries
            .iter()
            .map(|entry| entry.started_at.as_second())
            .collect()
    }

    #[test]
    fn the_newest_come_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(seconds(&read(dir.path(), None, 10).unwrap()), [0; 0]);
        for second in 0..5 {
            append(dir.path(), &entry(second, 1)).unwrap();
        }
        let all = |job, limit| seconds(&read(dir.path(), job, limit).unwrap());
        assert_eq!(all(None, 10), [4, 3, 2, 1, 0]);
        assert_eq!(all(None, 2), [4, 3]);
        assert_eq!(all(Some("odd"), 10), [3, 1]);
    }

    #[test]
    fn a_line_that_was_cut_off_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &entry(1, 1)).unwrap();
        let path = dir.path().join(HISTORY_FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        append(dir.path(), &entry(2, 1)).unwrap();
        assert_eq!(seconds(&read(dir.path(), None, 10).unwrap()), [2, 1]);
    }

    #[test]
    fn two_files_are_all_that_it_ever_takes() {
        let dir = tempfile::tempdir().unwrap();
        let large = FILE_BYTES_MAX as usize / 3;
        for second in 0..8 {
            append(dir.path(), &entry(second, large)).unwrap();
        }
        assert_eq!(seconds(&read(dir.path(), None, 10).unwrap()), [7, 6, 5, 4]);
        for name in [HISTORY_FILE, OLD_HISTORY_FILE] {
            assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= FILE_BYTES_MAX);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let error = ready(Path::new("/proc/ferry")).unwrap_err().to_string();
        assert!(error.contains("/proc/ferry/history.jsonl"), "{error}");
    }
}
