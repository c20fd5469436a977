//! Reads a file, or stdin, on a thread of its own: undoes the compression, finds rows, and hands over
//! blocks. The thread ends when its reader is dropped; one that waits for stdin ends with the process.
//! A program that makes blocks itself needs no thread: see [`feed`].

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

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A regular file.
    File(PathBuf),
    /// The standard input. Gzip and zstd are known by their first bytes.
    Stdin,
}

/// Why a file's rows are not to be had.
#[derive(Debug)]
pub enum ReadError {
    /// Its bytes are no rows, or not all of them are there.
    Rows(Fault),
    /// It is not what it was when it was opened.
    Changed(String),
    /// The system's own words.
    Io(io::Error),
}

/// What a reader hands over.
enum FileItem {
    Header(Vec<String>),
    Block(Bytes),
    End,
}

/// How far a file has been read. Shared with those who show it.
#[derive(Debug, Default)]
pub struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    raw: AtomicU64,
    size: AtomicU64,
}

/// The reading end.
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

    /// Thousandths of the file that were read, where its size is known.
    pub fn permille(&self) -> Option<u16> {
        let size = self.size.load(Ordering::Relaxed);
        let permille = u128::from(self.raw()) * 1000 / u128::from(size.max(1));
        (size > 0).then(|| u16::try_from(permille.min(1000)).unwrap_or(1000))
    }
}

impl FileReader {
    /// Starts to read. What is wrong comes with the first item.
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

    /// The columns of the header; to be asked first, where the layout has one.
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

    /// How far it has read.
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
    /// Nobody wants more.
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

    /// Reads to the end, block by block. `strict`: the last row must have its newline.
    fn rows(&mut self, data: &mut dyn Read, strict: bool) -> Result<(), Stop> {
        let mut finder = RowFinder::new(self.layout);
        let mut cutter = Cutter::new(self.layout);
        let mut is_first = true;
        loop {
            let mut buffer = cutter.take_tail();
            let scanned = buffer.len();
            // A program that writes slowly must not wait for a block to be full; but a mark of the encoding
            // has to be whole.
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

    /// What may stand before the first row.
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

/// Fills the buffer, with `enough` bytes at least; true: the data is over.
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
        // The decoder of zstd takes no bytes for no frames.
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

/// Opens a regular file; another one, such as a FIFO, must not make the thread wait.
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

/// What tells a file from another one, or from what it was before.
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

/// Was the file the same all the time that it was read?
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
