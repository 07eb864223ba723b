//! Events that a sink refused for good, kept with the reason so that they can be sent again.
//!
//! A directory holds one file a lane, `PIPELINE/STREAM.SINK.ndjson`, that only grows: a line for each letter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::append::append_lines;
use crate::record::{Identity, Stream, Timestamp};

/// One refused event.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// When it was refused.
    pub time: Timestamp,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Stream of the record.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: &'a str,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's id at the console.
    pub record_id: &'a str,
    /// The sink's status (label of `sink_requests_total`).
    pub status: &'a str,
    /// The sink's reason.
    pub reason: &'a str,
    /// The event as it was sent.
    pub event: &'a [u8],
}

/// The store could not keep a dead letter; the lane stops rather than lose it.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no store.
    #[error("no store for dead letters is set up; name one with --dead-letters")]
    Disabled,
    /// The store has reached its size.
    #[error(
        "the dead letters in {} have reached {max} bytes; replay or purge them, or raise --dead-letters-max",
        directory.display()
    )]
    Full {
        /// The store.
        directory: PathBuf,
        /// Its size.
        max: u64,
    },
    /// The disk does not take them.
    #[error("cannot keep dead letters in {}: {source}", directory.display())]
    Io {
        /// The store.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where dead letters are kept. Shared by all lanes.
#[derive(Debug)]
pub struct DeadLetters {
    store: Option<Arc<dyn LetterStore>>,
}

/// A store of dead letters.
pub trait LetterStore: Send + Sync + std::fmt::Debug {
    /// Keeps all of `letters` durably, or none of them counts as kept.
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>>;
}

impl DeadLetters {
    /// What `--dead-letters-max` is by default.
    pub const DEFAULT_MAX: u64 = 1 << 30;

    /// Keeps them in `path`, up to `max` bytes together. The directory is made when the first one comes.
    pub fn directory(path: impl Into<PathBuf>, max: u64) -> Self {
        Self::in_store(Directory(Arc::new(Files { path: path.into(), max, used: Mutex::new(None) })))
    }

    /// Keeps them in `store`.
    pub fn in_store(store: impl LetterStore + 'static) -> Self {
        Self { store: Some(Arc::new(store)) }
    }

    /// No store: whatever is refused stops its lane.
    pub fn disabled() -> Self {
        Self { store: None }
    }

    /// Keeps all of `letters` durably, or none of them counts as kept.
    ///
    /// # Errors
    /// When there is no store, when it is full, or when it does not take them.
    pub async fn keep(&self, letters: &[DeadLetter<'_>]) -> Result<(), DeadLetterError> {
        self.store.as_ref().ok_or(DeadLetterError::Disabled)?.keep(letters).await
    }
}

/// Files in a directory: on disk and synced when they are kept.
#[derive(Debug)]
struct Directory(Arc<Files>);

#[derive(Debug)]
struct Files {
    path: PathBuf,
    max: u64,
    /// Bytes of all files, once counted. Others may take letters out, so it is counted again before it is called full.
    used: Mutex<Option<u64>>,
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
            let path = directory.path.clone();
            match tokio::task::spawn_blocking(move || directory.append(files)).await {
                Ok(kept) => kept,
                Err(_) => {
                    let source = io::Error::other("the writing task ended early");
                    Err(DeadLetterError::Io { directory: path, source })
                }
            }
        })
    }
}

impl Files {
    fn append(&self, files: BTreeMap<PathBuf, Vec<u8>>) -> Result<(), DeadLetterError> {
        let io = |source| DeadLetterError::Io { directory: self.path.clone(), source };
        let more: u64 = files.values().map(|lines| lines.len() as u64).sum();
        let fits = |used: &u64| used.saturating_add(more) <= self.max;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match used.filter(fits) {
            Some(used) => used,
            None => size_of_letters(&self.path).map_err(io)?,
        };
        if !fits(&before) {
            return Err(DeadLetterError::Full { directory: self.path.clone(), max: self.max });
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

/// A dead letter as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When it was refused.
    pub time: Timestamp,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Stream of the record.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: String,
    /// The identity's 32 hex digits.
    pub identity: String,
    /// The record's id at the console.
    pub record_id: String,
    /// The sink's status.
    pub status: String,
    /// The sink's reason.
    pub reason: String,
    /// The event as it was sent.
    pub event: Vec<u8>,
}

/// The letters of one file in order. A line that a crash cut short was never acknowledged, and is left out.
///
/// # Errors
/// When the file cannot be read; each item, when its line is damaged or of a newer version.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Kept>>> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut number = 0_u64;
    let place = path.display().to_string();
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        number += 1;
        match lines.read_until(b'\n', &mut line) {
            Err(error) => Some(Err(error)),
            Ok(_) if line.pop() != Some(b'\n') => None,
            Ok(_) => Some(parse_line(&line).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{place}, line {number}: {problem}"))
            })),
        }
    }))
}

const VERSION: u32 = 1;

/// The form on disk. Of the last three keys one is there.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    v: u32,
    time: Cow<'a, str>,
    pipeline: Cow<'a, str>,
    stream: Stream,
    sink: Cow<'a, str>,
    identity: Cow<'a, str>,
    record_id: Cow<'a, str>,
    status: Cow<'a, str>,
    reason: Cow<'a, str>,
    /// Byte for byte as it was sent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    /// Where it is not one line of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_text: Option<Cow<'a, str>>,
    /// Where it is not text either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_base64: Option<Cow<'a, str>>,
}

fn write_line(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(letter.event).ok();
    let one_line = text.filter(|text| !text.contains(['\n', '\r']));
    // RawValue strips blanks around the value, which then would not be the bytes that were sent.
    let event = one_line
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
        .filter(|event| event.get().len() == letter.event.len());
    let event_text = text.filter(|_| event.is_none()).map(Cow::Borrowed);
    let event_base64 = text.is_none().then(|| Cow::Owned(BASE64_STANDARD.encode(letter.event)));
    let line = Line {
        v: VERSION,
        time: Cow::Owned(letter.time.to_string()),
        pipeline: Cow::Borrowed(letter.pipeline),
        stream: letter.stream,
        sink: Cow::Borrowed(letter.sink),
        identity: Cow::Owned(letter.identity.to_string()),
        record_id: Cow::Borrowed(letter.record_id),
        status: Cow::Borrowed(letter.status),
        reason: Cow::Borrowed(letter.reason),
        event,
        event_text,
        event_base64,
    };
    // Texts into a Vec: neither can fail.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

fn parse_line(line: &[u8]) -> Result<Kept, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if line.v > VERSION {
        return Err(format!("version {} is of a newer release", line.v));
    }
    let event = match (line.event, line.event_text, line.event_base64) {
        (Some(event), _, _) => event.get().as_bytes().to_vec(),
        (_, Some(text), _) => text.into_owned().into_bytes(),
        (_, _, Some(encoded)) => BASE64_STANDARD.decode(encoded.as_bytes()).map_err(|error| error.to_string())?,
        _ => return Err("there is no event in it".to_owned()),
    };
    Ok(Kept {
        time: Timestamp::parse(&line.time).map_err(|error| error.to_string())?,
        pipeline: line.pipeline.into_owned(),
        stream: line.stream,
        sink: line.sink.into_owned(),
        identity: line.identity.into_owned(),
        record_id: line.record_id.into_owned(),
        status: line.status.into_owned(),
        reason: line.reason.into_owned(),
        event,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    fn letter<'a>(pipeline: &'a str, event: &'a [u8]) -> DeadLetter<'a> {
        DeadLetter {
            time: Timestamp::from_micros(1_700_000_000_123_456),
            pipeline,
            stream: Stream::Threats,
            sink: "siem",
            identity: Identity::of("host", Stream::Threats, "1", "2"),
            record_id: "1",
            status: "400",
            reason: "line\nbreaks \"and\" quotes",
            event,
        }
    }

    fn all(directory: &Path) -> Vec<Kept> {
        files(directory).unwrap().iter().flat_map(|path| read(path).unwrap()).map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn what_is_kept_is_read_back_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path().join("dead"), DeadLetters::DEFAULT_MAX);
        let events: [&[u8]; 5] = [b"{\"a\": 1.0}", b" {} ", b"{\"cut", b"\xff\x00", b"two\nlines"];
        let letters: Vec<_> = events.iter().map(|event| letter("acme", event)).collect();
        store.keep(&letters).await.unwrap();
        store.keep(&[letter("other", b"{}")]).await.unwrap();

        let kept = all(&directory.path().join("dead"));
        let bytes: Vec<_> = kept.iter().map(|kept| kept.event.as_slice()).collect();
        assert_eq!(bytes, [&events[..], &[b"{}"]].concat());
        assert_eq!(kept[0].reason, "line\nbreaks \"and\" quotes");
        assert_eq!(kept[0].identity, letters[0].identity.to_string());
        assert_eq!((kept[0].time, kept[5].pipeline.as_str()), (letters[0].time, "other"));
    }

    #[tokio::test]
    async fn a_torn_last_line_is_left_out_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), DeadLetters::DEFAULT_MAX);
        store.keep(&[letter("acme", b"1")]).await.unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"time").unwrap();
        assert_eq!(all(directory.path()).len(), 1);
        store.keep(&[letter("acme", b"2")]).await.unwrap();
        assert_eq!(all(directory.path()).iter().map(|kept| kept.event.clone()).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[tokio::test]
    async fn a_full_store_refuses_until_letters_are_taken_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), 600);
        store.keep(&[letter("acme", b"{}")]).await.unwrap();
        let more = [letter("acme", b"{}"), letter("acme", b"{}")];
        assert!(matches!(store.keep(&more).await, Err(DeadLetterError::Full { max: 600, .. })));
        assert_eq!(all(directory.path()).len(), 1);
        std::fs::remove_dir_all(directory.path().join("acme")).unwrap();
        store.keep(&more).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_store_nothing_is_kept() {
        assert!(matches!(DeadLetters::disabled().keep(&[letter("acme", b"{}")]).await, Err(DeadLetterError::Disabled)));
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "not a directory").unwrap();
        let store = DeadLetters::directory(path, DeadLetters::DEFAULT_MAX);
        assert!(matches!(store.keep(&[letter("acme", b"{}")]).await, Err(DeadLetterError::Io { .. })));
    }
}
