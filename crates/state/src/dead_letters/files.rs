//! Dead letters in a directory: one file for each lane, `PIPELINE/STREAM.SINK.ndjson`, one line for each dead letter.
//!
//! Lanes append to the files while the command `dead-letters` may remove lines. A process locks a file to change it.
//! Removal writes a new file and renames it over the old one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use s1_forwarder_engine::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, StoreFill};
use s1_forwarder_engine::sink::append::{Readers, append_lines, open_locked};
use s1_forwarder_record::LaneId;
use s1_forwarder_settings::{check_private_directory, explain_symbolic_link, private_file};

use super::line::{StoredDeadLetter, is_intact, parse_line, write_line};
use super::shares::Shares;

/// Most bytes of a line. An event of the largest record, in base64, has less.
const MAX_LINE: u64 = 512 << 20;

/// Name of the file that is locked by the command that removes dead letters. Only one may run at a time.
const LOCK: &str = "lock";

#[derive(Debug)]
pub struct DirectoryStore(Arc<StoreFiles>);

#[derive(Debug)]
struct StoreFiles {
    path: PathBuf,
    max: u64,
    /// Bytes in the files, once counted. They are counted again before a share counts as full, since other processes
    /// may remove dead letters.
    shares: Mutex<Option<Shares>>,
    /// Number of lines of each file, as it was when they were counted.
    lines: Mutex<HashMap<PathBuf, (FileVersion, u64)>>,
}

/// Version of a file, which changes whenever the content does: inode, size, time of the last change in nanoseconds.
type FileVersion = (u64, u64, i64);

impl DirectoryStore {
    pub fn new(path: PathBuf, max: u64) -> Self {
        Self(Arc::new(StoreFiles { path, max, shares: Mutex::new(None), lines: Mutex::default() }))
    }
}

impl DeadLetterStore for DirectoryStore {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        let mut files: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
        for dead_letter in dead_letters {
            let LaneId { pipeline, stream, sink } = dead_letter.lane;
            let name = format!("{stream}.{sink}.ndjson");
            write_line(dead_letter, files.entry((pipeline.clone(), name)).or_default());
        }
        let directory = self.0.clone();
        Box::pin(async move {
            let place = directory.path.display().to_string();
            match tokio::task::spawn_blocking(move || directory.append(files)).await {
                Ok(result) => result,
                Err(_) => {
                    let source = io::Error::other("the writing task ended early");
                    Err(DeadLetterError::Io { place, source })
                }
            }
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Option<StoreFill>, DeadLetterError>> {
        Box::pin(self.measure())
    }

    /// Returns a short interval: files that have not changed are not read again.
    fn measure_interval(&self) -> Duration {
        Duration::from_secs(10)
    }
}

impl DirectoryStore {
    async fn measure(&self) -> Result<Option<StoreFill>, DeadLetterError> {
        let files = self.0.clone();
        let failed = |source| DeadLetterError::Io { place: self.0.path.display().to_string(), source };
        let measured = tokio::task::spawn_blocking(move || files.usage()).await;
        let measured = measured.unwrap_or_else(|_| Err(io::Error::other("the reading task ended early")));
        measured.map(Some).map_err(failed)
    }
}

impl StoreFiles {
    /// Reads the sizes of all files.
    fn count(&self) -> io::Result<Shares> {
        let size = |path: PathBuf| {
            let pipeline = path.parent().and_then(Path::file_name).unwrap_or_default();
            let size = unless_gone(path.metadata())?.map_or(0, |metadata| metadata.len());
            Ok((pipeline.to_string_lossy().into_owned(), size))
        };
        let sizes: Vec<(String, u64)> = files(&self.path)?.into_iter().map(size).collect::<io::Result<_>>()?;
        Ok(Shares::new(self.max, sizes))
    }

    fn usage(&self) -> io::Result<StoreFill> {
        let files = files(&self.path)?;
        let mut lines = self.lines.lock();
        let mut lanes = BTreeMap::new();
        let mut counted = HashMap::new();
        for path in files {
            let Some(lane) = lane_of(&path) else { continue };
            // The file is gone if a command has removed the last line meanwhile.
            let Some(metadata) = unless_gone(path.metadata())? else { continue };
            let version = (metadata.ino(), metadata.len(), metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec());
            let count = match lines.get(&path) {
                Some((known, count)) if *known == version => *count,
                _ => unless_gone(count_lines(&path))?.unwrap_or_default(),
            };
            lanes.insert(lane, count);
            counted.insert(path, (version, count));
        }
        *lines = counted;
        lanes.retain(|_, count| *count > 0);
        Ok(StoreFill { lanes, ..self.count()?.usage() })
    }

    /// Appends lines. `files` are lines by pipeline and name of the file.
    fn append(&self, files: BTreeMap<(String, String), Vec<u8>>) -> Result<(), DeadLetterError> {
        let place = || self.path.display().to_string();
        let io = |source| DeadLetterError::Io { place: place(), source };
        check_private_directory(&self.path).map_err(io)?;
        let mut more: BTreeMap<&str, u64> = BTreeMap::new();
        for ((pipeline, _), lines) in &files {
            *more.entry(pipeline).or_default() += lines.len() as u64;
        }
        {
            let mut shares = self.shares.lock();
            if shares.as_mut().is_none_or(|shares| shares.reserve(&more, &place()).is_err()) {
                shares.insert(self.count().map_err(io)?).reserve(&more, &place())?;
            }
        }
        // The lock is not held: a command may have locked one of the files for long, and other lanes write to others.
        let appended = files.iter().try_for_each(|((pipeline, name), lines)| {
            append_lines(&self.path.join(pipeline).join(name).into(), lines, Readers::Owner)
        });
        appended.map_err(|source| {
            // After an error the size is unknown.
            *self.shares.lock() = None;
            io(source)
        })
    }
}

/// Returns the lane whose dead letters a file of this name has.
fn lane_of(path: &Path) -> Option<LaneId> {
    let pipeline = path.parent()?.file_name()?.to_str()?.to_owned();
    let (stream, sink) = path.file_stem()?.to_str()?.split_once('.')?;
    Some(LaneId { pipeline, stream: stream.parse().ok()?, sink: sink.to_owned() })
}

/// Returns `None` for the error of a file that does not exist any more.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Counts the complete lines of a file.
fn count_lines(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut lines = 0;
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Ok(lines);
        }
        lines += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = read.len();
        reader.consume(length);
    }
}

type Numbered = Box<dyn Iterator<Item = io::Result<(u64, StoredDeadLetter)>> + Send>;

/// The dead letters of one file. Their numbers are the lines of the file as it was at the first read.
pub struct FilePartition {
    path: PathBuf,
    /// Dead letters from the first read on, which opens the file: there may be thousands of files.
    reader: Option<Numbered>,
    /// Sorted numbers of removed lines. Later lines of the file have moved up.
    removed: Vec<u64>,
}

impl std::fmt::Debug for FilePartition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FilePartition").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FilePartition {
    pub fn new(path: PathBuf) -> Self {
        Self { path, reader: None, removed: Vec::new() }
    }

    pub fn next(&mut self) -> Option<io::Result<(u64, StoredDeadLetter)>> {
        if self.reader.is_none() {
            match read(&self.path) {
                Ok(reader) => self.reader = Some(Box::new(reader)),
                Err(error) => return Some(Err(error)),
            }
        }
        self.reader.as_mut()?.next()
    }

    /// Removes the dead letters with these numbers, and returns how many there were.
    ///
    /// # Errors
    /// If the file cannot be read or written. It is unchanged then.
    pub fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<usize> {
        let current_line = |line: &u64| line - self.removed.partition_point(|removed| removed < line) as u64;
        let count = remove(&self.path, &numbers.iter().map(current_line).collect())?;
        self.removed.extend(numbers);
        self.removed.sort_unstable();
        Ok(count)
    }
}

/// Returns the files of a store, sorted. A missing directory has none.
///
/// # Errors
/// If a directory cannot be read.
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

/// Locks the store in `directory` for the removal of dead letters.
///
/// # Errors
/// If another process has locked it, or the directory cannot be used.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    let lock = private_file().create(true).append(true).open(directory.join(LOCK)).map_err(explain_symbolic_link)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another command is removing dead letters from this store"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the current dead letters of a file in order, each with the number of its line. An incomplete last line is
/// skipped: a crash left it, and the store never acknowledged it.
///
/// # Errors
/// If the file cannot be read. An item is an error if its line is damaged or of a newer version.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<(u64, StoredDeadLetter)>> + use<>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut lines = BufReader::new(file).take(length);
    let mut next = 0_u64;
    let place = path.display().to_string();
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let number = next;
        next += 1;
        match lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Err(error) => Some(Err(error)),
            Ok(read) if read as u64 == MAX_LINE && line.last() != Some(&b'\n') => {
                // The bytes that follow are not the next line.
                lines.set_limit(0);
                let problem = format!("{place}, line {}: it is larger than {MAX_LINE} bytes", number + 1);
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, problem)))
            }
            Ok(_) if line.pop() != Some(b'\n') => is_intact(&line).then(|| {
                let problem = format!("{place}, line {}: its line feed is damaged", number + 1);
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }),
            Ok(_) => Some(parse_line(&line).map(|stored| (number, stored)).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{place}, line {}: {problem}", number + 1))
            })),
        }
    }))
}

/// Removes lines from a file, by the numbers that [`read`] returned, and returns how many. The caller holds [`lock`].
/// Lines that lanes append meanwhile are kept.
///
/// # Errors
/// If the file cannot be read or written. It is unchanged then.
pub(super) fn remove(path: &Path, numbers: &BTreeSet<u64>) -> io::Result<usize> {
    if numbers.is_empty() {
        return Ok(0);
    }
    let file = open_locked(&path.to_owned().into())?;
    let rest = path.with_extension("rest");
    let mut out = BufWriter::new(
        private_file().write(true).create(true).truncate(true).open(&rest).map_err(explain_symbolic_link)?,
    );
    let mut lines = BufReader::new(&file);
    let mut line = Vec::new();
    let mut removed = 0;
    let mut has_rest = false;
    for number in 0_u64.. {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            if line.split_last().is_some_and(|(_, line)| is_intact(line)) {
                out.write_all(&line)?;
                has_rest = true;
            }
            break;
        }
        if numbers.contains(&number) {
            removed += 1;
        } else {
            out.write_all(&line)?;
            has_rest = true;
        }
    }
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.sync_all()?;
    if has_rest {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;
    use s1_forwarder_record::Stream;

    use super::*;

    #[tokio::test]
    async fn a_last_line_whose_line_feed_is_damaged_is_not_taken_for_one_that_a_crash_cut() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(directory.path().to_owned(), 1 << 20);
        let lane = LaneId::new("acme", Stream::Threats, "siem");
        store.keep(&[DeadLetter::sample(&lane, b"{}"), DeadLetter::sample(&lane, b"{}")]).await.unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        let whole = std::fs::read(&path).unwrap();
        let problems = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap().filter_map(Result::err).map(|error| error.to_string()).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(problems(&whole), "");
        assert_eq!(problems(&whole[..whole.len() - 20]), "");
        for end in
            whole.split_last().unwrap().1.iter().rposition(|byte| *byte == b'\n').into_iter().chain([whole.len() - 1])
        {
            let mut flipped = whole.clone();
            flipped[end] ^= 1;
            assert!(!problems(&flipped).is_empty(), "the line feed at {end}");
        }
        let mut flipped = whole.clone();
        flipped[whole.len() - 1] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert_eq!(remove(&path, &BTreeSet::from([0])).unwrap(), 1);
        assert!(std::fs::read(&path).unwrap().ends_with(&flipped[flipped.len() - 50..]), "it stays");
    }

    /// A replay locks a file for as long as it rewrites it.
    #[tokio::test]
    async fn a_locked_file_keeps_no_other_lane_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(directory.path().to_owned(), 1 << 20);
        let [acme, other] = ["acme", "other"].map(|pipeline| LaneId::new(pipeline, Stream::Threats, "siem"));
        store.keep(&[DeadLetter::sample(&acme, b"{}")]).await.unwrap();
        let locked = open_locked(&directory.path().join("acme/threats.siem.ndjson").into()).unwrap();
        let waiting = [DeadLetter::sample(&acme, b"{}")];
        let mut waits = store.keep(&waiting);
        assert!(poll!(&mut waits).is_pending());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let others = [DeadLetter::sample(&other, b"{}")];
        tokio::time::timeout(Duration::from_secs(20), store.keep(&others)).await.unwrap().unwrap();
        assert!(poll!(&mut waits).is_pending());
        drop(locked);
        waits.await.unwrap();
    }
}
