//! Reads a file or standard input on a thread of its own: decompresses it, finds rows, and sends blocks.
//! The thread ends when its reader is dropped; a thread that waits for standard input ends with the
//! process. A program that makes blocks itself needs no thread: see [`feed`].

pub mod feed;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

use super::cutter::{Cutter, FILE_BLOCK_BYTES_MAX};
use super::header;
use super::layout::{Compression, FileFormat, Layout};
use super::rows::{Fault, RowFinder};

/// Blocks that are read ahead.
const BLOCKS_AHEAD: usize = 4;

/// The largest window of a zstd frame, a power of two. A frame's writer chooses its window, and
/// with it the memory that reading takes.
const ZSTD_WINDOW_BYTES_MAX: u32 = 128 << 20;

/// The input of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A regular file.
    File(PathBuf),
    /// The standard input. gzip and zstd are detected by their first bytes.
    Stdin,
}

/// Why a file's rows cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file is malformed or truncated.
    Rows(Fault),
    /// The file was changed, replaced or removed while it was read.
    Changed(String),
    /// An error of the operating system.
    Io(io::Error),
}

/// The items that the thread sends.
enum FileItem {
    Header(Vec<String>),
    Block(Bytes),
    End,
}

/// The progress of a reader, shared with the progress display.
#[derive(Debug, Default)]
pub struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    raw: AtomicU64,
    size: AtomicU64,
}

/// Receives the blocks of a file.
#[derive(Debug)]
pub struct FileReader {
    items: mpsc::Receiver<Result<FileItem, ReadError>>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for FileItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl Counters {
    /// Rows, without the header.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes of COPY data.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the file itself.
    pub fn raw(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    /// Thousandths of the file that have been read, if its size is known.
    pub fn permille(&self) -> Option<u16> {
        let size = self.size.load(Ordering::Relaxed);
        let permille = u128::from(self.raw()) * 1000 / u128::from(size.max(1));
        (size > 0).then(|| u16::try_from(permille.min(1000)).unwrap_or(1000))
    }
}

impl FileReader {
    /// Starts the thread. Its errors are returned in place of an item.
    pub fn start(input: Input, layout: Layout) -> io::Result<Self> {
        FileReader::spawn(layout, move |mut reading| reading.all(&input))
    }

    /// Starts to read bytes that are no file, by the rules of the standard input.
    pub fn start_stream(data: impl Read + Send + 'static, layout: Layout) -> io::Result<Self> {
        FileReader::spawn(layout, move |mut reading| reading.stream(data))
    }

    fn spawn(
        layout: Layout,
        read: impl FnOnce(ReaderThread<'_>) -> Result<(), Stop> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, items) = mpsc::channel(BLOCKS_AHEAD);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let work = move || {
            let reading = ReaderThread {
                layout: &layout,
                sender: &sender,
                counters: &counted,
            };
            match read(reading) {
                Ok(()) => {
                    let _ = sender.blocking_send(Ok(FileItem::End));
                }
                Err(Stop::Error(error)) => {
                    let _ = sender.blocking_send(Err(error));
                }
                Err(Stop::Unwanted) => {}
            }
        };
        std::thread::Builder::new()
            .name("file reader".to_owned())
            .spawn(work)?;
        Ok(FileReader { items, counters })
    }

    /// The columns of the header. Must be called first if the layout has a header.
    pub async fn header(&mut self) -> Result<Vec<String>, ReadError> {
        match self.items.recv().await {
            Some(Ok(FileItem::Header(names))) => Ok(names),
            Some(Err(error)) => Err(error),
            Some(Ok(FileItem::Block(_) | FileItem::End)) | None => Err(gone()),
        }
    }

    /// The next block; None at the clean end of all rows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            return match self.items.recv().await {
                Some(Ok(FileItem::Header(_))) => continue,
                Some(Ok(FileItem::Block(block))) => Ok(Some(block)),
                Some(Ok(FileItem::End)) => Ok(None),
                Some(Err(error)) => Err(error),
                None => Err(gone()),
            };
        }
    }

    /// The counters of its progress.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

fn gone() -> ReadError {
    ReadError::Rows(Fault::Truncated(
        "the reader ended without the end of the rows".to_owned(),
    ))
}

/// Why the thread stops early.
enum Stop {
    Error(ReadError),
    /// The receiver has been dropped.
    Unwanted,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Error(ReadError::Rows(fault))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Error(match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Rows(Fault::Truncated(
                "the compressed data ends early".to_owned(),
            )),
            _ => ReadError::Io(error),
        })
    }
}

struct ReaderThread<'a> {
    layout: &'a Layout,
    sender: &'a mpsc::Sender<Result<FileItem, ReadError>>,
    counters: &'a Arc<Counters>,
}

impl ReaderThread<'_> {
    fn all(&mut self, input: &Input) -> Result<(), Stop> {
        match input {
            Input::File(path) => {
                let file = open(path)?;
                let before = FileIdentity::of(&file.metadata()?);
                self.counters.size.store(before.size, Ordering::Relaxed);
                let name = path.to_string_lossy();
                let raw = self.counted(&file);
                self.rows(&mut *decompressed(raw, Compression::of(&name))?, false)?;
                unchanged(path, &file, &before, self.counters.raw())
            }
            Input::Stdin => self.stream(io::stdin().lock()),
        }
    }

    /// Reads what a program writes.
    fn stream(&mut self, raw: impl Read) -> Result<(), Stop> {
        let mut raw = self.counted(raw);
        let mut first = Vec::new();
        raw.by_ref().take(4).read_to_end(&mut first)?;
        let compression = match first.as_slice() {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
            _ => Compression::Plain,
        };
        let all = io::Cursor::new(first).chain(raw);
        self.rows(&mut *decompressed(all, compression)?, true)
    }

    fn counted<R: Read>(&self, inner: R) -> Counted<R> {
        Counted {
            inner,
            counters: Arc::clone(self.counters),
        }
    }

    /// Reads to the end, block by block. `strict`: the last row must end in a newline.
    fn rows(&mut self, data: &mut dyn Read, strict: bool) -> Result<(), Stop> {
        let mut finder = RowFinder::new(self.layout);
        let mut cutter = Cutter::new(self.layout);
        let mut is_first = true;
        loop {
            let mut buffer = cutter.take_tail();
            let scanned = buffer.len();
            // The rows of a slow writer are sent before the block is full. A byte order mark must be
            // complete.
            let enough = match (strict, is_first) {
                (true, true) => 4,
                (true, false) => scanned + 1,
                (false, _) => FILE_BLOCK_BYTES_MAX,
            };
            let ended = fill(data, &mut buffer, enough)?;
            let mut from = scanned;
            if std::mem::take(&mut is_first) {
                from = 0;
                self.begin(&mut buffer)?;
            }
            let mut ready = cutter.pass(&mut finder, buffer, from)?;
            if ended {
                let open = finder.finish()?;
                if open && strict {
                    return Err(Fault::Truncated(format!(
                        "line {}: the last line has no newline, so that it may not be whole",
                        finder.line().saturating_sub(1)
                    ))
                    .into());
                }
                ready = cutter.last(ready);
            }
            if let Some(header) = cutter.header.take() {
                let names = header::names(self.layout, &header)?;
                self.send(FileItem::Header(names))?;
            } else if cutter.wants_header && (ended || !ready.is_empty()) {
                let message = match ended {
                    true => "there is no header: the data is empty".to_owned(),
                    false => {
                        format!("line 1: the header is longer than {FILE_BLOCK_BYTES_MAX} bytes")
                    }
                };
                return Err(Fault::Truncated(message).into());
            }
            let rows = finder.rows().saturating_sub(u64::from(self.layout.header));
            self.counters.rows.store(rows, Ordering::Relaxed);
            self.counters
                .bytes
                .fetch_add(ready.len() as u64, Ordering::Relaxed);
            if !ready.is_empty() {
                self.send(FileItem::Block(Bytes::from(ready)))?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Skips a byte order mark before the first row.
    fn begin(&self, buffer: &mut Vec<u8>) -> Result<(), Stop> {
        if self.layout.format == FileFormat::Binary || !self.layout.is_utf8() {
            return Ok(());
        }
        match buffer.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => {
                buffer.drain(..3);
            }
            // Without its mark, ASCII in UTF-16 has a NUL byte, which no text of a server has.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => {
                let message =
                    "the text is UTF-16, which PostgreSQL does not read: convert it (iconv)";
                return Err(Fault::Malformed(message.to_owned()).into());
            }
            _ => {}
        }
        Ok(())
    }

    fn send(&self, item: FileItem) -> Result<(), Stop> {
        self.sender
            .blocking_send(Ok(item))
            .map_err(|_| Stop::Unwanted)
    }
}

/// Fills the buffer with at least `enough` bytes. Returns true at the end of the data.
fn fill(data: &mut dyn Read, buffer: &mut Vec<u8>, enough: usize) -> io::Result<bool> {
    let mut at = buffer.len();
    buffer.resize(FILE_BLOCK_BYTES_MAX.max(at), 0);
    while at < buffer.len().min(enough) {
        match data.read(&mut buffer[at..]) {
            Ok(0) => {
                buffer.truncate(at);
                return Ok(true);
            }
            Ok(read) => at += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(at);
    Ok(false)
}

struct Counted<R> {
    inner: R,
    counters: Arc<Counters>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.counters.raw.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn decompressed<'a>(
    raw: impl Read + 'a,
    compression: Compression,
) -> Result<Box<dyn Read + 'a>, Stop> {
    use std::io::BufRead as _;
    let mut raw = BufReader::with_capacity(FILE_BLOCK_BYTES_MAX, raw);
    if compression == Compression::Plain {
        return Ok(Box::new(raw));
    }
    if raw.fill_buf()?.is_empty() {
        // The zstd decoder treats empty input as valid.
        let message = "the compressed data ends early: there is none";
        return Err(Fault::Truncated(message.to_owned()).into());
    }
    Ok(match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(raw)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(raw)?;
            decoder.window_log_max(ZSTD_WINDOW_BYTES_MAX.ilog2())?;
            Box::new(decoder)
        }
        Compression::Plain => Box::new(raw),
    })
}

/// Opens a regular file. Opening a FIFO must not block the thread.
fn open(path: &Path) -> Result<File, Stop> {
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Stop::Error(ReadError::Changed(
            "is not a regular file; `-` reads the standard input".to_owned(),
        ))),
    }
}

/// Identifies a file and its state: it changes if the file is replaced or written to.
#[derive(PartialEq, Eq)]
struct FileIdentity {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl FileIdentity {
    fn of(found: &std::fs::Metadata) -> Self {
        FileIdentity {
            place: (found.dev(), found.ino()),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

/// Checks that the file was not changed, replaced or removed while it was read.
fn unchanged(path: &Path, file: &File, before: &FileIdentity, read: u64) -> Result<(), Stop> {
    let changed = |what: &str| Err(Stop::Error(ReadError::Changed(what.to_owned())));
    if FileIdentity::of(&file.metadata()?) != *before || read != before.size {
        return changed("was written to while it was read");
    }
    match std::fs::metadata(path) {
        Ok(now) if FileIdentity::of(&now).place == before.place => Ok(()),
        Ok(_) => changed("was replaced while it was read"),
        Err(_) => changed("was removed while it was read"),
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
