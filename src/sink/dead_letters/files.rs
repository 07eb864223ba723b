//! Dead letters in a directory: one file a lane, `PIPELINE/STREAM.SINK.ndjson`, a line for each letter.
//!
//! Lanes append to them; `dead-letters` takes letters out beside a running worker. Whoever changes a file holds its lock, and
//! a file from which letters are taken is written anew and renamed over the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::line::{parse_line, write_line};
use super::{DeadLetter, DeadLetterError, Kept, LetterStore};
use crate::sink::append::{append_lines, open_locked};

/// Held by the one command that takes letters out.
const LOCK: &str = "lock";

/// Files in a directory: on disk and synced when they are kept.
#[derive(Debug)]
pub struct Directory(Arc<Files>);

#[derive(Debug)]
struct Files {
    path: PathBuf,
    max: u64,
    /// Bytes of all files, once counted. Others may take letters out, so it is counted again before it is called full.
    used: Mutex<Option<u64>>,
}

impl Directory {
    pub fn new(path: PathBuf, max: u64) -> Self {
        Self(Arc::new(Files { path, max, used: Mutex::new(None) }))
    }
}

impl LetterStore for Directory {
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for letter in letters {
            let name = PathBuf::from(letter.pipeline).join(format!("{}.{}.ndjson", letter.stream, letter.sink));
            write_line(letter, files.entry(name).or_default());
        }
        let directory = self.0.clone();
        Box::pin(async move {
            let place = directory.path.display().to_string();
            match tokio::task::spawn_blocking(move || directory.append(files)).await {
                Ok(kept) => kept,
                Err(_) => {
                    let source = io::Error::other("the writing task ended early");
                    Err(DeadLetterError::Io { place, source })
                }
            }
        })
    }
}

impl Files {
    fn append(&self, files: BTreeMap<PathBuf, Vec<u8>>) -> Result<(), DeadLetterError> {
        let place = || self.path.display().to_string();
        let io = |source| DeadLetterError::Io { place: place(), source };
        let more: u64 = files.values().map(|lines| lines.len() as u64).sum();
        let fits = |used: &u64| used.saturating_add(more) <= self.max;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match used.filter(fits) {
            Some(used) => used,
            None => size_of_letters(&self.path).map_err(io)?,
        };
        if !fits(&before) {
            return Err(DeadLetterError::Full { place: place(), max: self.max });
        }
        // Whatever happens now, the next one counts anew unless this one comes to its end.
        *used = None;
        for (name, lines) in files {
            append_lines(&self.path.join(name), &lines).map_err(io)?;
        }
        *used = Some(before + more);
        Ok(())
    }
}

type Numbered = Box<dyn Iterator<Item = io::Result<(u64, Kept)>> + Send>;

/// The letters of one file, each numbered by its line when the first was read.
pub struct FileDrawer {
    path: PathBuf,
    /// Once the first was asked for: there may be thousands of files.
    letters: Option<Numbered>,
    /// Lines that were taken out, in their order: those behind them have moved up.
    removed: Vec<u64>,
}

impl std::fmt::Debug for FileDrawer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FileDrawer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FileDrawer {
    pub fn new(path: PathBuf) -> Self {
        Self { path, letters: None, removed: Vec::new() }
    }

    pub fn next(&mut self) -> Option<io::Result<(u64, Kept)>> {
        if self.letters.is_none() {
            match read(&self.path) {
                Ok(letters) => self.letters = Some(Box::new(letters)),
                Err(error) => return Some(Err(error)),
            }
        }
        self.letters.as_mut()?.next()
    }

    pub fn take_out(&mut self, letters: &BTreeSet<u64>) -> io::Result<usize> {
        let moved = |line: &u64| line - self.removed.partition_point(|gone| gone < line) as u64;
        let count = remove(&self.path, &letters.iter().map(moved).collect())?;
        self.removed.extend(letters);
        self.removed.sort_unstable();
        Ok(count)
    }
}

fn size_of_letters(directory: &Path) -> io::Result<u64> {
    files(directory)?.iter().map(|path| path.metadata().map(|metadata| metadata.len())).sum()
}

/// The files of a store, sorted: none when it does not exist yet.
///
/// # Errors
/// When a directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let pipelines = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for pipeline in pipelines {
        let pipeline = pipeline?;
        if pipeline.file_type()?.is_dir() {
            for file in std::fs::read_dir(pipeline.path())? {
                found.push(file?.path());
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    found.sort();
    Ok(found)
}

/// Takes the lock of whoever takes letters out of the store in `directory`.
///
/// # Errors
/// When another process has it, or the directory cannot be used.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    let lock = File::options().create(true).append(true).open(directory.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another command takes letters out of this store at the moment",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The letters of one file as it is now, in order, each with the number of its line. A line that a crash cut short was never
/// acknowledged, and is left out.
///
/// # Errors
/// When the file cannot be read; each item, when its line is damaged or of a newer version.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<(u64, Kept)>> + use<>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut lines = BufReader::new(file).take(length);
    let mut next = 0_u64;
    let place = path.display().to_string();
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let number = next;
        next += 1;
        match lines.read_until(b'\n', &mut line) {
            Err(error) => Some(Err(error)),
            Ok(_) if line.pop() != Some(b'\n') => None,
            Ok(_) => Some(parse_line(&line).map(|kept| (number, kept)).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{place}, line {}: {problem}", number + 1))
            })),
        }
    }))
}

/// Takes the letters of these lines out of a file; the numbers are those that [`read`] gave, and whoever calls holds
/// [`lock`]. What lanes append meanwhile stays. Gives the number of letters taken out.
///
/// # Errors
/// When the file cannot be read or written; it is as it was then.
pub(super) fn remove(path: &Path, taken: &BTreeSet<u64>) -> io::Result<usize> {
    if taken.is_empty() {
        return Ok(0);
    }
    let file = open_locked(path)?;
    let rest = path.with_extension("rest");
    let mut out = BufWriter::new(File::create(&rest)?);
    let mut lines = BufReader::new(&file);
    let mut line = Vec::new();
    let (mut removed, mut left) = (0, false);
    for number in 0_u64.. {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        if taken.contains(&number) {
            removed += 1;
        } else {
            out.write_all(&line)?;
            left = true;
        }
    }
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.sync_all()?;
    if left {
        std::fs::rename(&rest, path)?;
    } else {
        std::fs::remove_file(&rest)?;
        std::fs::remove_file(path)?;
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(removed)
}
