//! Writes a file on a thread of its own, under a temporary name in the same directory, and renames it only
//! after it is synced. A writer that is dropped removes its file. The next writer in the directory removes
//! files that killed writers left behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{mpsc, oneshot};

use super::layout::Compression;

/// The queue of blocks to write.
const BLOCKS_WAITING: usize = 4;

/// Prefix and suffix of temporary names.
const TEMPORARY_PREFIX: &str = ".tableferry-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The output of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file, which is created or replaced.
    File(PathBuf),
    /// The standard output.
    Stdout,
}

enum Order {
    Write(Bytes),
    Finish,
}

/// Sends blocks to the thread.
#[derive(Debug)]
pub struct FileWriter {
    orders: mpsc::Sender<Order>,
    done: oneshot::Receiver<io::Result<()>>,
    written: Arc<AtomicU64>,
    temporary: Option<Temporary>,
}

/// A file that is written and synced, but not yet renamed. Dropping this value removes the file.
#[derive(Debug)]
pub struct Unpublished {
    temporary: Option<Temporary>,
}

/// Removes the temporary file when it is dropped, unless the file was renamed.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    place: PathBuf,
    /// The lock that tells other writers that the file is in use. It is held until the file is renamed.
    _lock: Flock<File>,
    published: bool,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

impl FileWriter {
    /// Creates the temporary file and starts the thread. `name` makes the temporary name unique. The file's
    /// ending determines the compression.
    pub fn start(output: &Output, name: &str) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel(BLOCKS_WAITING);
        let (tell, done) = oneshot::channel();
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let (temporary, compression, file) = match output {
            Output::File(place) => {
                let (temporary, file) = Temporary::make(place, name)?;
                let compression = Compression::of(&place.to_string_lossy());
                (Some(temporary), compression, Some(file))
            }
            Output::Stdout => (None, Compression::Plain, None),
        };
        let work = move || {
            let result = match file {
                Some(file) => write_file(file, compression, taken, &counter),
                None => write_stdout(taken, &counter),
            };
            let _ = tell.send(result);
        };
        std::thread::Builder::new()
            .name("file writer".to_owned())
            .spawn(work)?;
        Ok(FileWriter {
            orders,
            done,
            written,
            temporary,
        })
    }

    /// Bytes that the thread has taken from its queue.
    pub fn written(&self) -> &Arc<AtomicU64> {
        &self.written
    }

    /// Waits for room in the queue, then sends one block.
    pub async fn write(&mut self, block: Bytes) -> io::Result<()> {
        match self.orders.send(Order::Write(block)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Call this after the last block. Waits until the file is written and synced.
    pub async fn finish(mut self) -> io::Result<Unpublished> {
        if self.orders.send(Order::Finish).await.is_err() {
            return Err(self.failure().await);
        }
        (&mut self.done).await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Unpublished {
            temporary: self.temporary.take(),
        })
    }

    async fn failure(&mut self) -> io::Error {
        match (&mut self.done).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => gone(),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the writer ended early")
}

impl Unpublished {
    /// Renames the file. Readers see the old file or the new one.
    pub fn publish(mut self) -> io::Result<()> {
        let Some(temporary) = &mut self.temporary else {
            return Ok(());
        };
        fs::rename(&temporary.path, &temporary.place)?;
        temporary.published = true;
        Ok(())
    }

    /// The directory to sync after the rename.
    pub fn directory(&self) -> Option<PathBuf> {
        let temporary = self.temporary.as_ref()?;
        temporary.place.parent().map(Path::to_path_buf)
    }
}

/// Syncs a directory, so that renames survive a crash.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Temporary {
    fn make(place: &Path, name: &str) -> io::Result<(Self, File)> {
        let directory = place.parent().unwrap_or(Path::new("."));
        clean(directory);
        let path = directory.join(format!("{TEMPORARY_PREFIX}{name}{TEMPORARY_SUFFIX}"));
        let file = File::options().write(true).create_new(true).open(&path)?;
        if let Ok(old) = fs::metadata(place) {
            file.set_permissions(old.permissions())?;
        }
        let lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::from(error))?;
        let temporary = Temporary {
            path,
            place: place.to_path_buf(),
            _lock: lock,
            published: false,
        };
        // Another writer may have removed the file before it was locked.
        let same = fs::metadata(&temporary.path)?.ino() == file.metadata()?.ino();
        match same {
            true => Ok((temporary, file)),
            false => Err(io::Error::other(
                "another run has removed the temporary file",
            )),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporary files of killed writers. Files that cannot be removed are left to the next writer.
pub fn clean(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !name.starts_with(TEMPORARY_PREFIX) || !name.ends_with(TEMPORARY_SUFFIX) {
            continue;
        }
        let locked = File::options().write(true).open(entry.path()).ok();
        let locked =
            locked.and_then(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).ok());
        if locked.is_some() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write_file(
    file: File,
    compression: Compression,
    orders: mpsc::Receiver<Order>,
    written: &AtomicU64,
) -> io::Result<()> {
    let file = match compression {
        Compression::Plain => {
            let mut file = file;
            write_all(&mut file, orders, written)?;
            file
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            write_all(&mut encoder, orders, written)?;
            encoder.finish()?
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            write_all(&mut encoder, orders, written)?;
            encoder.finish()?
        }
    };
    file.sync_all()
}

fn write_stdout(orders: mpsc::Receiver<Order>, written: &AtomicU64) -> io::Result<()> {
    // Not `std::io::Stdout`, which flushes each line.
    let mut stdout = File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?);
    write_all(&mut stdout, orders, written)
}

/// Writes until the order to finish. If the queue closes without it, the writer was dropped.
fn write_all(
    out: &mut impl Write,
    mut orders: mpsc::Receiver<Order>,
    written: &AtomicU64,
) -> io::Result<()> {
    loop {
        match orders.blocking_recv() {
            Some(Order::Write(block)) => {
                out.write_all(&block)?;
                written.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
            Some(Order::Finish) => return out.flush(),
            None => return Err(gone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn a_file_appears_whole_and_only_when_published() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a.csv.zst");
        fs::write(&place, "old").unwrap();
        block_on(async {
            let output = Output::File(place.clone());
            let mut writer = FileWriter::start(&output, "1").unwrap();
            writer.write(Bytes::from_static(b"new\n")).await.unwrap();
            let unpublished = writer.finish().await.unwrap();
            assert_eq!(fs::read(&place).unwrap(), b"old");
            unpublished.publish().unwrap();
            let packed = fs::read(&place).unwrap();
            assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"new\n");
        });
        assert_eq!(names(directory.path()), ["a.csv.zst"]);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a.csv");
        let output = Output::File(place);
        block_on(async {
            let mut writer = FileWriter::start(&output, "1").unwrap();
            writer.write(Bytes::from_static(b"new\n")).await.unwrap();
            assert_eq!(names(directory.path()).len(), 1);
            drop(writer);
            let writer = FileWriter::start(&output, "2").unwrap();
            drop(writer.finish().await.unwrap());
        });
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn leftovers_of_the_dead_are_removed_and_those_of_the_living_kept() {
        let directory = tempfile::tempdir().unwrap();
        let dead = directory.path().join(".tableferry-dead.tmp");
        fs::write(&dead, "x").unwrap();
        let output = Output::File(directory.path().join("a.csv"));
        let _alive = FileWriter::start(&output, "1").unwrap();
        let _other = FileWriter::start(&output, "2").unwrap();
        assert_eq!(
            names(directory.path()),
            [".tableferry-1.tmp", ".tableferry-2.tmp"]
        );
    }
}
