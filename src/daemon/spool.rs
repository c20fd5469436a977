//! The trigger spool: a file in `runtime_dir/trigger/` requests a run of the job that it is named for. The file
//! name is the job's name, alone (`touch catalogue`) or with a suffix (`catalogue.018f…`). The file is never
//! opened.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::is_name;
use crate::private;

/// Files read at a time, so that a full directory does not hold up the daemon.
const TAKE_FILES_MAX: usize = 1000;

/// A job's name must leave room for the suffix in a file name of 255 bytes.
const JOB_NAME_BYTES_MAX: usize = 200;

/// Characters of a rejected file's name that are reported.
const REPORTED_NAME_MAX: usize = 80;

/// How long signals may arrive after the files that they announce.
const ECHO: Duration = Duration::from_secs(1);

/// The directory of trigger files.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: PathBuf,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no spool.
    #[error("{} does not exist: no daemon runs with this runtime_dir", .0.display())]
    NoSpool(PathBuf),
    /// The spool is a symbolic link or a file.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("cannot {what} {}: {why}", .path.display())]
    Io {
        /// "read", "create", "use".
        what: &'static str,
        path: PathBuf,
        why: io::Error,
    },
}

/// What one batch has found. All of it has been removed, except `rejected` directories that are not empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SpoolBatch {
    /// The jobs that are to run. They may not exist.
    pub jobs: BTreeSet<String>,
    /// The names, made printable, of what is not a trigger file, and why not.
    pub rejected: Vec<(String, String)>,
    /// There may be more: take again.
    pub more: bool,
}

impl Spool {
    /// The spool of a daemon with this `runtime_dir`.
    pub fn of(runtime_dir: &Path) -> Self {
        Spool {
            dir: runtime_dir.join("trigger"),
        }
    }

    /// Makes the directory, for the daemon's user only.
    pub fn create(&self) -> Result<(), SpoolError> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.error("create", &self.dir, why))
            }
            _ => self.check_writers(),
        }
    }

    /// Begins to read the files that are there now.
    pub fn scan(&self) -> Result<SpoolScan, SpoolError> {
        self.check()?;
        let entries = fs::read_dir(&self.dir).map_err(|why| self.error("read", &self.dir, why))?;
        Ok(SpoolScan {
            spool: self.clone(),
            entries,
            found: false,
        })
    }

    /// Its group may write to the spool, other users may not.
    fn check_writers(&self) -> Result<(), SpoolError> {
        self.check()?;
        private::writers(&self.dir)
            .map(drop)
            .map_err(|why| self.error("use", &self.dir, why))
    }

    /// Refuses a symbolic link: files would be removed elsewhere.
    fn check(&self) -> Result<(), SpoolError> {
        match fs::symlink_metadata(&self.dir) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(SpoolError::NotADirectory(self.dir.clone())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                Err(SpoolError::NoSpool(self.dir.clone()))
            }
            Err(why) => Err(self.error("read", &self.dir, why)),
        }
    }

    fn error(&self, what: &'static str, path: &Path, why: io::Error) -> SpoolError {
        SpoolError::Io {
            what,
            path: path.to_owned(),
            why,
        }
    }
}

/// One pass over the spool, in batches. It ends even if a file cannot be removed.
#[derive(Debug)]
pub struct SpoolScan {
    spool: Spool,
    entries: fs::ReadDir,
    found: bool,
}

impl SpoolScan {
    /// Removes some of the trigger files and returns the jobs that they name. A file that cannot be removed is
    /// rejected: it would request a run again and again.
    pub fn take(&mut self) -> Result<SpoolBatch, SpoolError> {
        let mut taken = SpoolBatch::default();
        for _ in 0..TAKE_FILES_MAX {
            let Some(entry) = self.entries.next() else {
                return Ok(taken);
            };
            let entry = entry.map_err(|why| self.spool.error("read", &self.spool.dir, why))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.found = true;
            match accept(&entry) {
                Ok(job) => {
                    taken.jobs.insert(job);
                }
                Err(why) => taken.rejected.push((printable(&name), why)),
            }
        }
        taken.more = true;
        Ok(taken)
    }

    /// Was there any trigger file so far?
    pub fn has_found(&self) -> bool {
        self.found
    }
}

/// Removes the entry. Returns its job, or why it is not a trigger file.
fn accept(entry: &fs::DirEntry) -> Result<String, String> {
    let kind = entry.file_type().map_err(|why| why.to_string())?;
    let removed = if kind.is_dir() {
        fs::remove_dir(entry.path())
    } else {
        fs::remove_file(entry.path())
    };
    removed.map_err(|why| format!("cannot be removed: {why}"))?;
    if !kind.is_file() {
        return Err("not a plain file".to_owned());
    }
    let name = entry.file_name();
    let job = name.to_str().and_then(|name| name.split('.').next());
    match job {
        Some(job) if is_job_name(job) => Ok(job.to_owned()),
        _ => Err("not the name of a job".to_owned()),
    }
}

fn is_job_name(name: &str) -> bool {
    name.len() <= JOB_NAME_BYTES_MAX && is_name(name)
}

fn printable(name: &OsStr) -> String {
    let name: String = name
        .to_string_lossy()
        .chars()
        .take(REPORTED_NAME_MAX)
        .collect();
    name.escape_debug().to_string()
}

/// What SIGUSR1 means when the spool is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareSignal {
    /// Every job with `on_demand`.
    OnDemand,
    /// Nothing: an earlier pass has already taken the file that the signal announced.
    Echo {
        /// The first such signal since that pass.
        is_first: bool,
    },
}

/// Decides whether SIGUSR1 with an empty spool means "all on-demand jobs", or is one of many signals whose
/// files have already been taken.
#[derive(Debug, Default)]
pub struct SignalStorm {
    last_named: Option<Instant>,
    has_echoed: bool,
}

impl SignalStorm {
    /// Trigger files were found.
    pub fn named(&mut self, now: Instant) {
        self.last_named = Some(now);
        self.has_echoed = false;
    }

    /// SIGUSR1 came, and the spool was empty.
    pub fn wanted(&mut self, now: Instant) -> BareSignal {
        match self.last_named {
            Some(last) if now.saturating_duration_since(last) < ECHO => BareSignal::Echo {
                is_first: !std::mem::replace(&mut self.has_echoed, true),
            },
            _ => BareSignal::OnDemand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;
    use uuid::Uuid;

    fn spool() -> (TempDir, Spool) {
        let dir = TempDir::new().unwrap();
        let spool = Spool::of(dir.path());
        spool.create().unwrap();
        (dir, spool)
    }

    impl Spool {
        /// Puts a trigger file there as docs/scheduling.md says: under a hidden name first.
        fn put(&self, job: &str) {
            let name = format!("{job}.{}", Uuid::now_v7().simple());
            let hidden = self.dir.join(format!(".{name}"));
            fs::write(&hidden, "").unwrap();
            fs::rename(&hidden, self.dir.join(name)).unwrap();
        }

        fn take(&self) -> Result<SpoolBatch, SpoolError> {
            self.scan()?.take()
        }
    }

    #[test]
    fn a_full_directory_is_taken_in_several_goes_and_an_end_is_reached() {
        let (_dir, spool) = spool();
        for n in 0..TAKE_FILES_MAX {
            fs::write(spool.dir.join(format!(".hidden_{n}")), "").unwrap();
            fs::write(spool.dir.join(format!("job_{n}")), "").unwrap();
        }
        fs::create_dir_all(spool.dir.join("full/inside")).unwrap();
        let mut scan = spool.scan().unwrap();
        let (mut jobs, mut rejected, mut goes) = (0, 0, 1);
        loop {
            let taken = scan.take().unwrap();
            jobs += taken.jobs.len();
            rejected += taken.rejected.len();
            if !taken.more {
                break;
            }
            goes += 1;
        }
        assert_eq!((jobs, rejected, goes), (TAKE_FILES_MAX, 1, 3));
        assert!(scan.has_found());
    }

    fn names(jobs: &[&str]) -> BTreeSet<String> {
        jobs.iter().map(|j| (*j).to_owned()).collect()
    }

    #[test]
    fn what_was_put_is_taken_once() {
        let (_dir, spool) = spool();
        for job in ["orders", "catalogue", "orders"] {
            spool.put(job);
        }
        assert_eq!(fs::read_dir(&spool.dir).unwrap().count(), 3);
        let taken = spool.take().unwrap();
        assert_eq!(taken.jobs, names(&["catalogue", "orders"]));
        assert_eq!(taken.rejected, []);
        assert_eq!(spool.take().unwrap(), SpoolBatch::default());
    }

    #[test]
    fn a_file_touched_by_hand_counts() {
        let (_dir, spool) = spool();
        fs::write(spool.dir.join("orders"), "whatever").unwrap();
        assert_eq!(spool.take().unwrap().jobs, names(&["orders"]));
    }

    #[test]
    fn files_that_are_being_written_are_left_alone() {
        let (_dir, spool) = spool();
        let hidden = spool.dir.join(".orders.1");
        fs::write(&hidden, "").unwrap();
        assert_eq!(spool.take().unwrap(), SpoolBatch::default());
        assert!(hidden.exists());
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let (_dir, spool) = spool();
        let mut seen = BTreeSet::new();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let spool = &spool;
                scope.spawn(move || {
                    for n in 0..50 {
                        spool.put(&format!("job_{writer}_{n}"));
                    }
                });
            }
            while seen.len() < 200 {
                seen.extend(spool.take().unwrap().jobs);
            }
        });
        seen.extend(spool.take().unwrap().jobs);
        assert_eq!(seen.len(), 400);
    }

    #[rstest]
    #[case("")]
    #[case("../orders")]
    #[case("Orders")]
    #[case("orders.x")]
    #[case("a__b")]
    #[case("1a")]
    #[case(&"x".repeat(201))]
    fn names_that_are_no_jobs_are_refused(#[case] job: &str) {
        assert!(!is_job_name(job));
    }

    #[test]
    fn strange_things_are_reported_removed_and_harm_nobody() {
        let (dir, spool) = spool();
        let outside = dir.path().join("precious");
        fs::write(&outside, "kept").unwrap();
        let put = |name: &[u8]| spool.dir.join(OsStr::from_bytes(name));
        symlink(&outside, put(b"linked")).unwrap();
        symlink("/", put(b"root")).unwrap();
        fs::create_dir(put(b"empty")).unwrap();
        fs::create_dir_all(put(b"full").join("inside")).unwrap();
        fs::write(put(b"bad\xff\nname"), "").unwrap();
        fs::write(put(&[b'x'; 255]), "").unwrap();
        nix::unistd::mkfifo(&put(b"fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let huge = fs::File::create(put(b"orders.huge")).unwrap();
        huge.set_len(1 << 40).unwrap();

        let mut taken = spool.take().unwrap();
        taken.rejected.sort();
        assert_eq!(taken.jobs, names(&["orders"]));
        let plain = "not a plain file".to_owned();
        let no_job = "not the name of a job".to_owned();
        let (full, others): (Vec<_>, Vec<_>) =
            taken.rejected.into_iter().partition(|(n, _)| n == "full");
        assert!(full[0].1.starts_with("cannot be removed"), "{full:?}");
        assert_eq!(
            others,
            [
                ("bad\u{fffd}\\nname".to_owned(), no_job.clone()),
                ("empty".to_owned(), plain.clone()),
                ("fifo".to_owned(), plain.clone()),
                ("linked".to_owned(), plain.clone()),
                ("root".to_owned(), plain),
                ("x".repeat(80), no_job),
            ]
        );
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
        assert_eq!(fs::read_dir(&spool.dir).unwrap().count(), 1);
    }

    #[test]
    fn the_spool_is_not_followed_elsewhere() {
        let dir = TempDir::new().unwrap();
        let elsewhere = TempDir::new().unwrap();
        fs::write(elsewhere.path().join("orders"), "kept").unwrap();
        let spool = Spool::of(dir.path());
        assert!(matches!(spool.take(), Err(SpoolError::NoSpool(_))));
        symlink(elsewhere.path(), &spool.dir).unwrap();
        for result in [spool.create(), spool.take().map(drop)] {
            assert!(matches!(result, Err(SpoolError::NotADirectory(_))));
        }
        assert!(elsewhere.path().join("orders").exists());
    }

    #[test]
    fn a_storm_of_signals_runs_only_what_was_named() {
        let mut storm = SignalStorm::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs_f64(seconds);
        assert_eq!(storm.wanted(after(0.0)), BareSignal::OnDemand);
        for second in [1.0, 5.0] {
            storm.named(after(second));
            let echo = |is_first| BareSignal::Echo { is_first };
            assert_eq!(storm.wanted(after(second + 0.01)), echo(true));
            assert_eq!(storm.wanted(after(second + 0.99)), echo(false));
            assert_eq!(storm.wanted(after(second + 1.0)), BareSignal::OnDemand);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_name_is_a_job_or_refused_in_printable_words(name: Vec<u8>) {
            let name = OsStr::from_bytes(&name);
            let shown = printable(name);
            proptest::prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            if name.to_str().is_some_and(is_job_name) {
                proptest::prop_assert!(!shown.contains('/'));
            }
        }
    }
}
